"""Tests of the outcomes of moved messages, by the job's item and the dead-letter queue."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.response import StreamingBody

from yorutsuke.clients import make_clients
from yorutsuke.outcomes import Outcome, OutcomeGroup, Outcomes, is_processed
from yorutsuke.redrive import Kind, MessageContent
from yorutsuke.stage import Stage, find_stage
from yorutsuke_common.events import JobEnd, JobEvent, OutputManifestObject, OutputObject
from yorutsuke_common.names import BedrockEnd

from .hostile_aws import HostileAws

JOB = "job000000001"
OUTPUT = f"batch-output/{JOB}/output.jsonl"
MANIFEST = f"batch-output/{JOB}/manifest.json.out"
COUNTS = {"totalRecordCount": 2, "processedRecordCount": 2, "successRecordCount": 2, "errorRecordCount": 0}
OLDER_COUNTS = {**COUNTS, "processedRecordCount": 1}
END = JobEnd(JOB, BedrockEnd.FAILED, "")


@pytest.fixture
def aws() -> HostileAws:
    """A stage with one job. The content of its output file has the ETag `new`."""
    aws = HostileAws()
    aws.job = {"intentId": "intent-1", "jobId": JOB, "status": "COMPLETED"}
    aws.answers["ListObjectsV2"] = lambda _: {"Contents": [{"Key": OUTPUT, "ETag": '"new"', "Size": 1}]}
    aws.answers["GetObject"] = lambda _: _manifest(json.dumps(COUNTS))
    return aws


@pytest.fixture
def stage(aws: HostileAws) -> Stage:
    return find_stage("dev", make_clients(aws.session))


def _manifest(content: str) -> dict[str, Any]:
    return {"Body": StreamingBody(io.BytesIO(content.encode()), len(content)), "ETag": '"etag"'}


@pytest.mark.parametrize(
    ("event", "attributes", "expected"),
    [
        (OutputObject("images", OUTPUT), {}, False),
        (OutputObject("images", OUTPUT), {"processedOutputs": {OUTPUT: "new"}}, True),
        (OutputObject("images", OUTPUT), {"processedOutputs": {OUTPUT: "old"}}, False),
        (OutputObject("images", OUTPUT, "old"), {"processedOutputs": {OUTPUT: "old"}}, True),
        (OutputObject("images", OUTPUT, "older"), {"processedOutputs": {OUTPUT: "old"}}, False),
        (OutputObject("images", f"{OUTPUT}.out"), {"processedOutputs": {OUTPUT: "new"}}, False),
        (OutputManifestObject("images", MANIFEST), {}, False),
        (OutputManifestObject("images", MANIFEST), {"bedrockCounts": OLDER_COUNTS}, False),
        (OutputManifestObject("images", MANIFEST), {"bedrockCounts": COUNTS}, True),
        (END, {}, False),
        (END, {"bedrockStatus": "Expired"}, False),
        (END, {"bedrockStatus": "Failed"}, True),
    ],
)
def test_job_item_shows_if_an_event_was_processed(
    aws: HostileAws, stage: Stage, event: JobEvent, attributes: dict[str, Any], *, expected: bool
) -> None:
    aws.job |= attributes

    assert is_processed(stage, event) is expected


def _invalid_manifest(_: object) -> dict[str, Any]:
    return _manifest("{}")


def _without_manifest(_: object) -> dict[str, Any]:
    return {"Error": {"Code": "NoSuchKey"}, "ResponseMetadata": {"HTTPStatusCode": 404}}


@pytest.mark.parametrize("answer", [_without_manifest, _invalid_manifest])
def test_unreadable_manifest_was_not_processed(
    aws: HostileAws, stage: Stage, answer: Callable[[object], dict[str, Any]]
) -> None:
    aws.job["bedrockCounts"] = COUNTS
    aws.answers["GetObject"] = answer

    assert not is_processed(stage, OutputManifestObject("images", MANIFEST))


@pytest.mark.parametrize("event", [OutputObject("images", OUTPUT), OutputManifestObject("images", MANIFEST), END])
def test_event_of_an_unknown_job_was_not_processed(aws: HostileAws, stage: Stage, event: JobEvent) -> None:
    aws.answers["Query"] = lambda _: {"Items": []}
    aws.answers["GetItem"] = lambda _: {}

    assert not is_processed(stage, event)


def _message(key: str) -> str:
    return json.dumps({"Records": [{"s3": {"bucket": {"name": "images"}, "object": {"key": key}}}]})


def test_outcomes_become_known_one_by_one(aws: HostileAws, stage: Stage) -> None:
    output, second = OutputObject("images", OUTPUT), OutputObject("images", f"batch-output/{JOB}/second.jsonl")
    third = OutputObject("images", f"batch-output/{JOB}/third.jsonl")
    sent = [MessageContent(Kind.OUTPUT, JOB, (event,)) for event in (output, second, third, third)]
    outcomes = Outcomes(stage, [*sent, MessageContent(Kind.TEST_EVENT, None, ())])
    advanced: list[int] = []

    assert not outcomes.update(advanced.append)
    aws.job["processedOutputs"] = {OUTPUT: "new"}
    aws.messages = [_message(second.key), "not an event"]
    aws.answers["GetQueueAttributes"] = lambda _: _depth(2)
    assert not outcomes.update(advanced.append)
    first = outcomes.groups
    # Without another message, the queue is not read again.
    aws.fail("ReceiveMessage")
    assert not outcomes.update(advanced.append)
    aws.job["processedOutputs"] |= {third.key: "etag"}
    aws.answers["ListObjectsV2"] = lambda _: {"Contents": [{"Key": third.key, "ETag": '"etag"', "Size": 1}]}
    assert outcomes.update(advanced.append)

    assert advanced == [0, 2, 0, 1]
    assert first == [
        OutcomeGroup(Kind.OUTPUT, JOB, Outcome.WAITING, 2),
        OutcomeGroup(Kind.OUTPUT, JOB, Outcome.DEAD, 1),
        OutcomeGroup(Kind.TEST_EVENT, None, Outcome.IGNORED, 1),
        OutcomeGroup(Kind.OUTPUT, JOB, Outcome.PROCESSED, 1),
    ]
    assert [outcomes.count(outcome) for outcome in Outcome] == [3, 1, 0, 1, 0]


def test_message_that_left_the_queue_was_consumed(
    aws: HostileAws, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function skips an output manifest without processed model requests."""
    monkeypatch.setattr("yorutsuke.outcomes.EMPTY_SECONDS", 60)
    outcomes = Outcomes(stage, [MessageContent(Kind.OUTPUT_MANIFEST, JOB, (OutputManifestObject("images", MANIFEST),))])
    known: list[bool] = []
    advanced: list[int] = []
    for seconds, depth in [(0, 1), (1, 0), (40, 1), (41, 0), (100, 0), (101, 0)]:
        monkeypatch.setattr("yorutsuke.outcomes.time.monotonic", lambda seconds=seconds: seconds)
        aws.answers["GetQueueAttributes"] = lambda _, depth=depth: _depth(depth)
        known.append(outcomes.update(advanced.append))

    assert known == [False, False, False, False, False, True]
    assert advanced == [0, 0, 0, 0, 0, 1]
    assert outcomes.groups == [OutcomeGroup(Kind.OUTPUT_MANIFEST, JOB, Outcome.SKIPPED, 1)]


def test_dead_letter_does_not_count_as_consumed(aws: HostileAws, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dead-letter queue has had one message all the time: first another one, and then this one."""
    monkeypatch.setattr("yorutsuke.outcomes.EMPTY_SECONDS", 60)
    outcomes = Outcomes(stage, [MessageContent(Kind.OUTPUT_MANIFEST, JOB, (OutputManifestObject("images", MANIFEST),))])
    aws.answers["GetQueueAttributes"] = lambda request: _depth(int("dlq" in str(request)))
    for seconds, key in [(0, f"batch-output/{JOB}/another.jsonl"), (61, MANIFEST)]:
        monkeypatch.setattr("yorutsuke.outcomes.time.monotonic", lambda seconds=seconds: seconds)
        aws.messages = [_message(key)]
        outcomes.update(list[int]().append)

    assert outcomes.groups == [OutcomeGroup(Kind.OUTPUT_MANIFEST, JOB, Outcome.DEAD, 1)]


def _depth(waiting: int) -> dict[str, Any]:
    counts = {"ApproximateNumberOfMessages": str(waiting), "ApproximateNumberOfMessagesNotVisible": "0"}
    return {"Attributes": {**counts, "VisibilityTimeout": "360"}}
