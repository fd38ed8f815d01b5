"""The comparison of an output file with the processed output files of its job."""

import shlex

import pytest

from batch_result_handler.process_output import require_sole_output
from tests.unit.layer.samples import JOB
from yorutsuke_common.aws.batch_jobs import is_processed
from yorutsuke_common.errors import OutputConflictError
from yorutsuke_common.events import OutputObject
from yorutsuke_common.schema import BatchJob

KEY = "batch-output/abcdefgh1234/output.jsonl"
OTHER_KEY = "batch-output/abcdefgh1234/other.jsonl"
OUTPUT = OutputObject("images", KEY)


def job(**processed_outputs: str) -> BatchJob:
    """Return a job with these outputs processed."""
    return JOB.model_copy(update={"processedOutputs": processed_outputs})


@pytest.mark.parametrize(
    ("processed_outputs", "etag", "expected"),
    [
        ({}, "etag-1", False),
        ({}, None, False),
        ({KEY: "etag-1"}, "etag-1", True),
        ({KEY: "etag-1"}, "etag-2", False),
        ({KEY: "etag-1"}, None, False),
        ({OTHER_KEY: "etag-1"}, "etag-1", False),
        ({OTHER_KEY: "etag-2", KEY: "etag-1"}, "etag-1", True),
    ],
)
def test_output_is_processed_if_key_and_etag_match(
    processed_outputs: dict[str, str], etag: str | None, *, expected: bool
) -> None:
    assert is_processed(job(**processed_outputs), KEY, etag) is expected


@pytest.mark.parametrize("processed_outputs", [{}, {KEY: "etag-1"}])
def test_first_output_and_its_new_content_are_accepted(processed_outputs: dict[str, str]) -> None:
    require_sole_output(job(**processed_outputs), OUTPUT)


@pytest.mark.parametrize("processed_outputs", [{OTHER_KEY: "etag-1"}, {KEY: "etag-1", OTHER_KEY: "etag-2"}])
def test_second_output_is_refused_with_both_keys(processed_outputs: dict[str, str]) -> None:
    with pytest.raises(OutputConflictError) as raised:
        require_sole_output(job(**processed_outputs), OUTPUT)

    assert str(raised.value) == (
        f"object key '{KEY}' is a second output file of job 'abcdefgh1234', which was completed from '{OTHER_KEY}'. "
        "A job has one output file. To process the second file instead, run `yorutsuke replay abcdefgh1234 --stage "
        f"STAGE --output {KEY}`, then redrive the message."
    )


@pytest.mark.parametrize("name", ["a b", "a;b", "a`b`", "a\nb", "a'b", 'a"b', "$(a)"])
def test_second_output_remedy_quotes_the_key(name: str) -> None:
    key = f"batch-output/{name}/{name}.jsonl"
    refused = job(**{OTHER_KEY: "etag-1"}).model_copy(update={"jobId": name})

    with pytest.raises(OutputConflictError) as raised:
        require_sole_output(refused, OutputObject("images", key))

    command = str(raised.value).partition(" run `")[2].removesuffix("`, then redrive the message.")
    assert shlex.split(command) == ["yorutsuke", "replay", name, "--stage", "STAGE", "--output", key]
