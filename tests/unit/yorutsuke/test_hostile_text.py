"""Stored text with control characters, markup and emoji codes, in the output of each command."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

from tests.unit.hostile_text import SURROGATE, file_name, harmful_characters, hostile, shown
from yorutsuke.app import main

from .hostile_aws import STORED, HostileAws

REQUEST = {"intentId": hostile("requestIntent"), "pendingImageIds": ["a"], "userId": hostile("requestUser")}
ERROR = {"errorType": hostile("errorType"), "errorMessage": hostile("errorMessage")}


def _failure_record(request: dict[str, Any]) -> str:
    """Return Lambda's record of a failed invocation."""
    context = {"condition": hostile("condition")}
    return json.dumps({"requestContext": context, "requestPayload": request, "responsePayload": ERROR})


def _put_dead_messages(aws: HostileAws) -> None:
    """Put messages about an output file, an object of another bucket and an unknown event into the queue."""
    key = f"batch-output/{file_name('messageJob')}/output.jsonl"
    objects = [("images", key), (hostile("bucket"), "key")]
    records = [{"s3": {"bucket": {"name": bucket}, "object": {"key": key}}} for bucket, key in objects]
    unknown = {hostile("eventKey") + SURROGATE: 1}
    aws.messages = [json.dumps(body) for body in (*({"Records": [record]} for record in records), unknown)]


def _put_failed_requests(aws: HostileAws) -> None:
    """Put a valid and an invalid request into the orchestrator's queue. The valid one will fail again."""
    aws.messages = [_failure_record({**REQUEST, "intentId": "intent-1"}), _failure_record(REQUEST)]
    again = {**ERROR, "errorMessage": hostile("newErrorMessage") + SURROGATE}
    aws.answers["Invoke"] = lambda _: {"FunctionError": "Unhandled", "Payload": io.BytesIO(json.dumps(again).encode())}


def _put_alarm_and_mapping(aws: HostileAws) -> None:
    place = "eu-west-1:123456789012"
    alarm = {"AlarmName": hostile("alarmName"), "StateReason": hostile("stateReason") + SURROGATE}
    alarm |= {"AlarmActions": [f"arn:aws:sns:{place}:yorutsuke-alarms-dev"], "StateValue": "ALARM"}
    mapping = {"EventSourceArn": f"arn:aws:sqs:{place}:yorutsuke-batch-output-dev", "State": hostile("mappingState")}
    aws.answers["DescribeAlarms"] = lambda _: {"MetricAlarms": [alarm]}
    aws.answers["ListEventSourceMappings"] = lambda _: {"EventSourceMappings": [mapping]}


def _complete_job(aws: HostileAws) -> None:
    """Complete the job, and make the copies of its images fail."""
    aws.job |= {"status": "COMPLETED", "completedAt": "2026-11-22T18:42:07Z"}
    aws.images = [{"imageId": hostile("imageId"), "userId": hostile("userId"), "s3Key": "user/image.jpg"}]


def _put_images(aws: HostileAws) -> None:
    texts = {"userId": "userId", "s3Key": "s3Key", "status": "imageStatus", "failureReason": "failureReason"}
    image = {"imageId": hostile("imageId"), **{name: hostile(value) for name, value in texts.items()}}
    aws.images = [{**image, "intentId": hostile("intentId")}]


def _run_job(aws: HostileAws) -> None:
    del aws.job["bedrockStatus"]


def _release_images(aws: HostileAws) -> None:
    """End the job, and let one of its images fail."""
    aws.job |= {"status": "FAILED"}
    _put_images(aws)
    aws.images = [{**aws.images[0], "imageId": hostile("otherImageId"), "status": "failed"}]


def _release_enough_images(aws: HostileAws) -> None:
    """End the job, and let enough of its images for a job fail."""
    _release_images(aws)
    aws.job["pendingImageIds"] += [hostile("thirdImageId")]
    aws.images += [{**aws.images[0], "imageId": hostile("thirdImageId")}]


def _release_images_without_schedule(aws: HostileAws) -> None:
    _release_images(aws)
    aws.answers["GetSchedule"] = lambda _: {
        "Error": {"Code": "ResourceNotFoundException", "Message": hostile("message")},
        "ResponseMetadata": {"HTTPStatusCode": 404},
    }


def _claim_job(aws: HostileAws) -> None:
    aws.job |= {"claimedBy": hostile("claimedBy"), "claimedUntil": 2**33}


def _name_job(aws: HostileAws) -> None:
    """Give the job an id that may be the name of an output's folder."""
    aws.job |= {"jobId": file_name("jobId")}


def _refuse_message(aws: HostileAws) -> None:
    _name_job(aws)
    aws.fail("SendMessageBatch")


def _break_letter(aws: HostileAws) -> None:
    aws.letter = {"line": 1, hostile("letterKey"): 1}


@dataclass(frozen=True)
class Case:
    """A command, its exit code, and the attributes with hostile values that it prints on each stream.

    `prepare` changes the stage, and `answer` is typed at the terminal.
    """

    arguments: Sequence[str]
    out: Sequence[str] = ()
    err: Sequence[str] = ()
    prepare: Callable[[HostileAws], None] = lambda _: None
    answer: str = "y\n"
    code: int = 0


CASES = {
    "jobs": Case(["jobs"], out=["jobId", "intentId", "status", "bedrockStatus"]),
    "job": Case(["job", "job"], out=["jobId", *STORED, "otherImageId"], err=["jobId", "intentId"]),
    "job-images": Case(
        ["job", "job", "--images"],
        out=["imageId", "otherImageId", "userId", "imageStatus", "failureReason"],
        err=["jobId"],
        prepare=_put_images,
    ),
    "dead-letters": Case(["dead-letters", "job"], out=["jobId", "output", "letterImageId", "detail"]),
    "invalid-letter": Case(["dead-letters", "job"], prepare=_break_letter, code=1),
    "replay": Case(["replay", "job", "--no-wait"], out=["file"], err=["jobId", "file"], prepare=_name_job),
    "refused-replay": Case(["replay", "job"], err=["file"], prepare=_name_job, answer="n\n"),
    "lost-replay": Case(["replay", "job"], err=["jobId", "code"], prepare=_refuse_message, code=1),
    "claimed-replay": Case(["replay", "job"], prepare=_claim_job, code=1),
    "redrive": Case(["redrive", "--dry-run"], out=["messageJob"], prepare=_put_dead_messages),
    "moved-redrive": Case(["redrive", "--timeout", "0m"], out=["messageJob"], prepare=_put_dead_messages, code=1),
    "redrive-submissions": Case(
        ["redrive", "--submissions"],
        out=["requestUser", "condition", "errorType", "errorMessage", "newErrorMessage"],
        prepare=_put_failed_requests,
        code=1,
    ),
    "retry-migrations": Case(
        ["retry-migrations", "job"], out=["imageId"], err=["jobId"], prepare=_complete_job, code=1
    ),
    "resubmit": Case(
        ["resubmit", "job", "--dry-run"], out=["jobId", "userId", "modelId"], prepare=_release_enough_images
    ),
    "refused-resubmit": Case(["resubmit", "job"], err=["jobId", "status"], prepare=_run_job, code=1),
    "small-resubmit": Case(["resubmit", "job"], prepare=_release_images_without_schedule, code=1),
    "refused-retry": Case(["retry-migrations", "job"], err=["status"], code=1),
    "doctor": Case(
        ["doctor"], out=["alarmName", "stateReason", "mappingState", "jobId"], prepare=_put_alarm_and_mapping, code=3
    ),
}
FAILING_CALLS = {
    "jobs": "Scan",
    "job job": "Query",
    "dead-letters job": "GetObject",
    "redrive": "GetQueueAttributes",
    "retry-migrations job": "Query",
    "replay job": "ListObjectsV2",
    "doctor": "DescribeAlarms",
}


class _Terminal(io.StringIO):
    """Standard input that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> HostileAws:
    """A stage with hostile text."""
    aws = HostileAws()

    def session(**_: object) -> boto3.Session:
        return aws.session

    monkeypatch.setattr("yorutsuke.stage.boto3.Session", session)
    # Wider than each value, so that a value is in one line.
    monkeypatch.setattr("yorutsuke.screen.WIDTH", 50_000)
    return aws


def _missing(attributes: Sequence[str], text: str) -> list[str]:
    """Return the attributes with a value that a text does not show."""
    return [name for name in attributes if shown(name) not in text and shown(name).replace("/", "") not in text]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_command_escapes_stored_text(
    aws: HostileAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: Case
) -> None:
    case.prepare(aws)
    monkeypatch.setattr("sys.stdin", _Terminal(case.answer))

    code = main([*case.arguments, "--stage", "dev"])

    out, err = capsys.readouterr()
    assert code == case.code
    assert (harmful_characters(out), harmful_characters(err)) == (set(), set())
    assert (_missing(case.out, out), _missing(case.err, err)) == ([], [])
    assert "\nforged" not in out + err


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_json_answer_is_one_line_of_ascii(
    aws: HostileAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: Case
) -> None:
    case.prepare(aws)
    monkeypatch.setattr("sys.stdin", _Terminal(case.answer))

    code = main([*case.arguments, "--stage", "dev", "--json"])

    out, err = capsys.readouterr()
    assert code == case.code
    assert (harmful_characters(out), harmful_characters(err)) == (set(), set())
    assert out.isascii()
    # A refused command has an error and no answer.
    assert len([json.loads(line) for line in out.splitlines()]) == (bool(case.out) or case.answer == "n\n")
    if code == 1:
        assert [*json.loads(err.splitlines()[-1])] == ["error", "message", "remedy"]


def test_json_answer_has_the_exact_text(aws: HostileAws, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["job", "job", "--stage", "dev", "--json"]) == 0

    answer = json.loads(capsys.readouterr().out)
    assert {name: answer[name] for name in ("jobId", *STORED)} == {name: hostile(name) for name in ("jobId", *STORED)}
    assert answer["missingImages"] == {"count": 1, "first": [hostile("otherImageId")]}
    assert aws.job["bedrockMessage"] == answer["bedrockMessage"]


@pytest.mark.parametrize("command", ["job job", "doctor"])
def test_suggested_command_is_in_one_line(
    aws: HostileAws, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    aws.job |= {"jobId": "job0000001", "status": "COMPLETED", "completedAt": "2026-11-22T18:42:07Z"}
    monkeypatch.setattr("yorutsuke.screen.WIDTH", 40)

    main([*command.split(), "--stage", "dev", "--region", "eu-west-1", "--profile", "my profile"])

    out, err = capsys.readouterr()
    options = "--stage dev --region eu-west-1 --profile 'my profile'"
    suggested = ["redrive --dry-run"] if command == "doctor" else ["retry-migrations job0000001"]
    suggested += ["redrive"] if command == "doctor" else ["redrive --job job0000001 --dry-run"]
    for words in suggested:
        assert any(f"yorutsuke {words} {options}" in line for line in (out + err).splitlines())


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_jobs_escapes_a_lone_surrogate(
    aws: HostileAws, capsys: pytest.CaptureFixture[str], json_option: list[str]
) -> None:
    aws.job["jobId"] = hostile("jobId") + SURROGATE

    assert main(["jobs", "--stage", "dev", *json_option]) == 0

    out, _ = capsys.readouterr()
    assert harmful_characters(out) == set()
    assert r"\ud800" in out


@pytest.mark.parametrize(("command", "operation"), FAILING_CALLS.items())
def test_command_escapes_an_error_of_aws(
    aws: HostileAws, capsys: pytest.CaptureFixture[str], command: str, operation: str
) -> None:
    aws.fail(operation)

    code = main([*command.split(), "--stage", "dev"])

    out, err = capsys.readouterr()
    assert code == (3 if command == "doctor" else 1)
    assert _missing(["code"], out + err) == []
    assert (harmful_characters(out), harmful_characters(err)) == (set(), set())
