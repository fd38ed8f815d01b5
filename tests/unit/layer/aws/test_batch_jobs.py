"""The lookup of a job through a lagging index, and the comparison of an output file with the processed ones."""

from typing import Any, cast

import pytest

from tests.unit.layer.samples import JOB
from yorutsuke_common.aws.batch_jobs import INDEX_DELAYS_SECONDS, INDEX_RESERVE_SECONDS, BatchJobs, is_processed
from yorutsuke_common.aws.dynamodb import Item, to_item
from yorutsuke_common.errors import UnknownJobError
from yorutsuke_common.schema import BatchJob

KEY = "batch-output/abcdefgh1234/output.jsonl"
OTHER_KEY = "batch-output/abcdefgh1234/other.jsonl"


class LaggingIndex:
    """A client with an index that returns these items, query by query, and the waits between the queries."""

    def __init__(self, *answers: list[Item]) -> None:
        self.answers = [*answers]
        self.waits: list[float] = []
        self.jobs = BatchJobs(cast("Any", self), "batch-jobs", self.waits.append)

    def query(self, **_: object) -> dict[str, Any]:
        """Return the items of the next query."""
        return {"Items": self.answers.pop(0)}


NOTHING: list[Item] = []
FOUND = to_item(JOB.model_dump(exclude_defaults=True))


@pytest.mark.parametrize("looks", range(len(INDEX_DELAYS_SECONDS) + 1))
def test_find_waits_until_the_index_has_the_job(looks: int) -> None:
    index = LaggingIndex(*[NOTHING] * looks, [FOUND])

    assert index.jobs.find(JOB.jobId) == JOB
    assert index.waits == [*INDEX_DELAYS_SECONDS[:looks]]


def test_find_refuses_an_unknown_job_after_every_wait() -> None:
    index = LaggingIndex(*[NOTHING] * (len(INDEX_DELAYS_SECONDS) + 1))

    with pytest.raises(UnknownJobError, match="has no item in table 'batch-jobs'"):
        index.jobs.find(JOB.jobId)

    assert index.waits == [*INDEX_DELAYS_SECONDS]
    assert (index.answers, sum(index.waits) < 5) == ([], True)


def test_find_keeps_a_reserve_of_time() -> None:
    first, second, *_ = INDEX_DELAYS_SECONDS
    index = LaggingIndex(NOTHING, NOTHING, [FOUND])
    left = iter([INDEX_RESERVE_SECONDS + first, INDEX_RESERVE_SECONDS + second - 0.01])

    with pytest.raises(UnknownJobError):
        index.jobs.find(JOB.jobId, left.__next__)

    assert index.waits == [first]


def test_find_refuses_several_items_without_a_wait() -> None:
    index = LaggingIndex([FOUND, FOUND])

    with pytest.raises(UnknownJobError, match="has several items"):
        index.jobs.find(JOB.jobId)

    assert index.waits == []


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
