"""Tests of `doctor` on a stage with one problem at a time."""

import json
import re
import shlex
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local.emulator import Emulator
from local.job_run import JobRun
from yorutsuke.checks import queues
from yorutsuke.checks.finding import Finding
from yorutsuke_common.aws.dynamodb import to_item
from yorutsuke_common.schema import ResultStats

from .operator_stage import CommandResult, Operator, delete_jobs, make_operator, put_job

Undo = Callable[[], object]
Cause = Callable[[JobRun], Undo]
WRONG_IMAGE = "img-wrong"
SUBMIT_DLQ = "yorutsuke-batch-orchestrator-dlq-local"


@pytest.fixture(scope="module")
def operator(emulator: Emulator, stage: JobRun, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return make_operator(emulator, stage, tmp_path_factory.mktemp("doctor"))


def _findings(operator: Operator) -> dict[str, dict[str, str]]:
    """Return the findings of `doctor` by check."""
    return {finding["check"]: finding for finding in operator("doctor", "--json").json["checks"]}


def test_deployed_stage_is_healthy(operator: Operator) -> None:
    result = operator.run_process("doctor")

    assert result.code == 0, result.out
    assert "Stage local: 0 bad, 1 warning, 0 not checked, of" in result.out
    answer = operator("doctor", "--json").json
    assert answer["healthy"] is True
    assert {finding["check"]: finding["state"] for finding in answer["checks"] if finding["state"] != "ok"} == {
        "alarm subscriptions": "warning"
    }


def _alarm_in_alarm_state(stage: JobRun) -> Undo:
    def state(value: Any) -> None:
        stage.aws.cloudwatch.set_alarm_state(
            AlarmName="yorutsuke-dlq-depth-local", StateValue=value, StateReason="1 > 0"
        )

    state("ALARM")
    return lambda: state("OK")


def _dead_message(stage: JobRun) -> Undo:
    queue = stage.outputs["deadLetterQueueUrl"]
    stage.aws.sqs.send_message(QueueUrl=queue, MessageBody="dead")
    return lambda: stage.aws.sqs.purge_queue(QueueUrl=queue)


def _dead_submission(stage: JobRun) -> Undo:
    queue = stage.outputs["submissionDeadLetterQueueUrl"]
    stage.aws.sqs.send_message(QueueUrl=queue, MessageBody="dead")
    return lambda: stage.aws.sqs.purge_queue(QueueUrl=queue)


def _mapping_disabled(stage: JobRun) -> Undo:
    lambda_ = stage.aws.lambda_
    [mapping] = lambda_.list_event_source_mappings(FunctionName=stage.outputs["functionName"])["EventSourceMappings"]
    uuid = mapping.get("UUID", "")
    lambda_.update_event_source_mapping(UUID=uuid, Enabled=False)
    return lambda: lambda_.update_event_source_mapping(UUID=uuid, Enabled=True)


def _job(**attributes: object) -> Cause:
    def put(stage: JobRun) -> Undo:
        put_job(stage, "intent-wrong", **attributes)
        return lambda: delete_jobs(stage, "intent-wrong")

    return put


def _put_image(stage: JobRun, **attributes: object) -> None:
    """Write the item of the image of the job `intent-wrong`."""
    item = {"imageId": WRONG_IMAGE, "userId": "user-1", "s3Key": "user-1/a.png", "uploadedAt": _ago(days=1)}
    table = stage.outputs["pendingImagesTable"]
    stage.aws.dynamodb.put_item(TableName=table, Item=to_item({**item, **attributes}))


def _unread(**attributes: object) -> Cause:
    """Return the cause of a job with an image that waits for another job."""

    def put(stage: JobRun) -> Undo:
        job = _job(jobId="wrong0000001", submitTime=_ago(days=1), pendingImageIds=[WRONG_IMAGE], **attributes)
        delete_job = job(stage)
        _put_image(stage, status="pending", intentId="intent-wrong")

        def delete() -> None:
            delete_job()
            key = to_item({"imageId": WRONG_IMAGE})
            stage.aws.dynamodb.delete_item(TableName=stage.outputs["pendingImagesTable"], Key=key)

        return delete

    return put


def _ago(**span: float) -> str:
    return (datetime.now(UTC) - timedelta(**span)).isoformat()


def _stats(**counts: int) -> dict[str, Any]:
    stats = {"successCount": 90, "failureCount": 0, "totalCount": 90, "migrationFailedCount": 0}
    return ResultStats.model_validate({**stats, **counts}).model_dump(exclude_none=True)


PROBLEMS: Mapping[str, tuple[Cause, str, str, str]] = {
    "an alarm is in ALARM": (_alarm_in_alarm_state, "alarm dlq-depth", "in ALARM: 1 > 0", "runbook: dlq-depth"),
    "the dead-letter queue holds a message": (
        _dead_message,
        "yorutsuke-batch-output-dlq-local",
        "1 message, age",
        "redrive --dry-run",
    ),
    "a submission failed": (_dead_submission, SUBMIT_DLQ, "1 message, age", "redrive --submissions"),
    "a submission was interrupted": (
        _job(status="SUBMITTING", submitTime=_ago(minutes=16)),
        "submissions begun",
        "submissions without a job, although their invocation has ended: 1 (intent-wrong)",
        "send the request of intent-wrong again",
    ),
    "a function crashed during a job": (
        _job(jobId="wrong0000001", status="SUBMITTED", submitTime=_ago(hours=1), claimedUntil=1),
        "claims",
        "jobs with an expired claim of an invocation that ended during processing: 1 (wrong0000001)",
        "run `yorutsuke redrive --job wrong0000001 --stage local` or `yorutsuke replay wrong0000001 --stage local`",
    ),
    "a job runs too long": (
        _job(jobId="wrong0000001", status="SUBMITTED", submitTime=_ago(days=8)),
        "jobs at Bedrock",
        "the maximum duration of a job: 1 (wrong0000001)",
        "aws bedrock get-model-invocation-job --job-identifier wrong0000001",
    ),
    "a replay was interrupted": (
        _job(jobId="wrong0000001", status="COMPLETED", submitTime=_ago(days=9), completedAt=_ago(days=8)),
        "replays",
        "jobs with a replay that was started and is not completed: 1 (wrong0000001)",
        "; if that finds 0 messages, run `yorutsuke replay wrong0000001 --stage local`",
    ),
    "the event source mapping is disabled": (_mapping_disabled, "event source mapping", "Disabled", "deploy"),
}
WARNINGS: Mapping[str, tuple[Cause, str, str, str]] = {
    "Bedrock failed a job": (
        _unread(status="FAILED"),
        "jobs that Bedrock ended",
        "jobs that Bedrock did not complete: 1 (wrong0000001)",
        "runbook: failed-jobs",
    ),
    "migrations failed": (
        _job(
            jobId="wrong0000001",
            status="COMPLETED",
            submitTime=_ago(days=1),
            resultStats=_stats(migrationFailedCount=1),
        ),
        "images unmoved",
        "wrong0000001",
        "retry-migrations wrong0000001",
    ),
    "images have no record": (
        _unread(status="COMPLETED", resultStats=_stats(missingCount=1)),
        "images missing",
        "wrong0000001",
        "runbook: images without a record",
    ),
    "many records failed": (
        _unread(status="COMPLETED", resultStats=_stats(failureCount=5, totalCount=95)),
        "failed records",
        "jobs with more than 5% failed records: 1 (wrong0000001)",
        "`yorutsuke dead-letters wrong0000001 --stage local` shows the reasons; runbook: failure-rate",
    ),
}


def _run_suggested_commands(operator: Operator, result: CommandResult) -> set[int]:
    """Run the operator's commands in the findings of `doctor` as they are printed, and return their exit codes."""
    texts = [finding["next"] for finding in result.json["checks"]]
    commands = [shlex.split(command) for text in texts for command in re.findall("`([^`]+)`", text)]
    return {operator.run_in_process(words[1:]).code for words in commands if words[0] == "yorutsuke"}


@pytest.mark.parametrize("name", PROBLEMS)
def test_doctor_reports_a_problem(operator: Operator, name: str) -> None:
    cause, check, seen, remedy = PROBLEMS[name]
    undo = cause(operator.job_run)
    try:
        result = operator("doctor", "--json")
        shown = operator("doctor")
        codes = _run_suggested_commands(operator, result)
    finally:
        undo()

    found = {finding["check"]: finding for finding in result.json["checks"]}
    assert (result.code, result.json["healthy"], found[check]["state"]) == (3, False, "bad")
    assert seen in found[check]["seen"]
    assert remedy in found[check]["next"]
    assert f"{check}: {found[check]['next']}" in shown.out.splitlines()
    # Without a terminal, commands that modify data are refused. Invalid arguments would have the code 2.
    assert codes <= {0, 1}


@pytest.mark.parametrize("name", WARNINGS)
def test_doctor_reports_a_warning(operator: Operator, name: str) -> None:
    cause, check, seen, remedy = WARNINGS[name]
    undo = cause(operator.job_run)
    try:
        result = operator("doctor", "--json")
        old = operator("doctor", "--json", "--since", "2h")
        codes = _run_suggested_commands(operator, result)
    finally:
        undo()

    found = {finding["check"]: finding for finding in result.json["checks"]}
    assert (result.code, found[check]["state"]) == (0, "warning")
    assert codes <= {0, 1}
    assert seen in found[check]["seen"]
    assert remedy in found[check]["next"]
    assert {finding["check"]: finding["state"] for finding in old.json["checks"]}[check] == "ok"


@pytest.mark.parametrize(
    ("image", "state"),
    [
        ({"status": "pending"}, "warning"),
        ({"status": "failed"}, "warning"),
        ({"status": "submitted"}, "warning"),
        ({"status": "pending", "intentId": "abandoned"}, "warning"),
        ({"status": "processed"}, "ok"),
        ({"status": "migrationFailed"}, "ok"),
        ({"status": "submitted", "intentId": "intent-newer"}, "ok"),
        ({"status": "pending", "intentId": "intent-newer"}, "ok"),
    ],
)
def test_doctor_reports_only_jobs_with_images_left(operator: Operator, image: dict[str, str], state: str) -> None:
    """A newer job that has not read the image is reported in place of the older one."""
    stats = _stats(failureCount=5, totalCount=95, missingCount=1)
    undo = _unread(status="FAILED", resultStats=stats)(operator.job_run)
    put_job(operator.job_run, "intent-newer", jobId="newer0000001", status="SUBMITTED", submitTime=_ago(hours=1))
    try:
        _put_image(operator.job_run, **{"intentId": "intent-wrong", **image})
        found = _findings(operator)
    finally:
        undo()
        delete_jobs(operator.job_run, "intent-newer")

    states = {found[check]["state"] for check in ("jobs that Bedrock ended", "images missing", "failed records")}
    assert states == {state}


FAILED_IMAGES = "1 image with the status failed, by reason: {}"
RESUBMIT = "`yorutsuke resubmit wrong0000001 --stage local` submits those of the job again; runbook: failed images"


@pytest.mark.parametrize(
    ("job", "reason", "remedy"),
    [
        ({"status": "COMPLETED"}, "MODEL_ERROR", RESUBMIT),
        ({"status": "FAILED"}, "FAILED", RESUBMIT),
        ({"status": "COMPLETED"}, "OWNER_MISMATCH", "runbook: failed images"),
        ({"status": "SUBMITTED"}, "MODEL_ERROR", "runbook: failed images"),
        ({"status": "COMPLETED", "claimedUntil": 2**40}, "MODEL_ERROR", "runbook: failed images"),
    ],
)
def test_doctor_counts_failed_images_by_reason(
    operator: Operator, job: dict[str, Any], reason: str, remedy: str
) -> None:
    undo = _unread(**job)(operator.job_run)
    try:
        _put_image(operator.job_run, status="failed", intentId="intent-wrong", failureReason=reason)
        found = _findings(operator)["failed images"]
    finally:
        undo()

    assert (found["state"], found["seen"], found["next"]) == ("warning", FAILED_IMAGES.format(f"{reason} 1"), remedy)


def test_failed_image_of_deleted_job_is_counted(operator: Operator) -> None:
    undo = _unread(status="FAILED")(operator.job_run)
    try:
        _put_image(operator.job_run, status="failed", intentId="expired")
        found = _findings(operator)["failed images"]
    finally:
        undo()

    assert (found["seen"], found["next"]) == (FAILED_IMAGES.format("unknown 1"), "runbook: failed images")


@pytest.fixture
def paused_function(stage: JobRun) -> Generator[None]:
    """Pause the function, and redeliver messages immediately."""
    undo = _mapping_disabled(stage)
    sqs, queue = stage.aws.sqs, stage.outputs["queueUrl"]
    before = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "0"})
    yield
    sqs.set_queue_attributes(QueueUrl=queue, Attributes=dict(before))
    sqs.purge_queue(QueueUrl=queue)
    undo()


LATE_KEY = "batch-output/late00000001/output.jsonl"


@pytest.fixture
def late_output(operator: Operator, paused_function: None) -> Generator[None]:  # noqa: ARG001
    """An output file in the bucket. The paused function does not receive its message."""
    job_run = operator.job_run
    job_run.aws.s3.put_object(Bucket=job_run.outputs["imagesBucket"], Key=LATE_KEY, Body=b"{}\n")
    yield
    job_run.aws.s3.delete_object(Bucket=job_run.outputs["imagesBucket"], Key=LATE_KEY)
    delete_jobs(job_run, "intent-late")


@pytest.mark.usefixtures("late_output")
@pytest.mark.parametrize(
    "record",
    [
        {"status": "FAILED"},
        {"status": "COMPLETED", "processedOutputs": {LATE_KEY: "the ETag of a part"}},
        {"status": "COMPLETED", "processedOutputs": {"batch-output/late00000001/first.jsonl": "etag"}},
    ],
)
def test_doctor_reports_an_unprocessed_output(operator: Operator, record: dict[str, Any]) -> None:
    put_job(operator.job_run, "intent-late", jobId="late00000001", submitTime=_ago(hours=3), **record)

    found = _findings(operator)["outputs"]
    older = operator("doctor", "--json", "--since", "2h").json["checks"]

    assert found["state"] == "bad"
    assert "jobs with an output file that was not processed within" in found["seen"]
    assert found["next"] == (
        "run `yorutsuke redrive --job late00000001 --stage local`; if that finds 0 messages, run `yorutsuke replay "
        "late00000001 --stage local`"
    )
    assert [finding["state"] for finding in older if finding["check"] == "outputs"] == ["ok"]


@pytest.mark.usefixtures("late_output")
def test_doctor_accepts_a_processed_output(operator: Operator) -> None:
    job_run = operator.job_run
    etag = job_run.aws.s3.head_object(Bucket=job_run.outputs["imagesBucket"], Key=LATE_KEY)["ETag"].strip('"')
    record = {"status": "COMPLETED", "completedAt": _ago(hours=1), "processedOutputs": {LATE_KEY: etag}}
    put_job(job_run, "intent-late", jobId="late00000001", submitTime=_ago(hours=3), **record)

    found = _findings(operator)

    assert [found[check]["state"] for check in ("outputs", "replays")] == ["ok", "ok"]


def test_doctor_accepts_a_replay_in_progress(operator: Operator) -> None:
    claim = {"claimedBy": "function", "claimedUntil": 2**40}
    put_job(
        operator.job_run,
        "intent-late",
        jobId="late00000001",
        status="COMPLETED",
        submitTime=_ago(days=1),
        completedAt=_ago(hours=12),
        **claim,
    )

    found = _findings(operator)["replays"]
    delete_jobs(operator.job_run, "intent-late")

    assert found["state"] == "ok"


def test_crashed_check_is_reported_beside_the_others(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> list[Finding]:
        raise KeyError("Action")

    monkeypatch.setattr(queues, "event_source", fails)
    found = _findings(operator)

    assert (found["event source mapping"]["state"], found["event source mapping"]["seen"]) == (
        "bad",
        "the check itself failed: KeyError",
    )
    assert found["alarms"]["state"] == "ok"


def test_health_is_unknown_without_permissions(operator: Operator, tmp_path: Path) -> None:
    actions = ["lambda:GetFunctionConfiguration"]
    restricted = operator.restricted_to(tmp_path, [{"Effect": "Allow", "Action": actions, "Resource": ["*"]}])

    shown = restricted("doctor")
    result = restricted("doctor", "--json")

    answer = json.loads(result.out)
    unchecked = sum(finding["state"] == "not checked" for finding in answer["checks"])
    assert (result.code, answer["healthy"], unchecked) == (1, None, 8)
    assert f"0 bad, 0 warnings, {unchecked} not checked, of {unchecked}" in shown.out
    consequence = "so the health of stage 'local' is not known"
    assert f"UnfinishedError: {unchecked} checks could not be made, {consequence}" in result.error


def test_denied_checks_are_reported_beside_the_others(operator: Operator, tmp_path: Path) -> None:
    actions = ["lambda:*", "sqs:GetQueueUrl", "sqs:GetQueueAttributes", "dynamodb:Scan"]
    restricted = operator.restricted_to(tmp_path, [{"Effect": "Allow", "Action": actions, "Resource": ["*"]}])

    answer = json.loads(restricted("doctor", "--json").out)
    found = {finding["check"]: finding for finding in answer["checks"]}

    states = {check: finding["state"] for check, finding in found.items()}
    assert {check for check, state in states.items() if state == "not checked"} == {
        "alarms",
        "alarm subscriptions",
        "yorutsuke-batch-output-local",
        "failed redeliveries",
        "jobs",
    }
    assert answer["healthy"] is None
    assert (states["event source mapping"], states["outputs"]) == ("ok", "ok")
    assert "DescribeAlarms is not allowed" in found["alarms"]["seen"]
    assert "Query is not allowed" in found["jobs"]["seen"]
    assert "age not checked" in found["yorutsuke-batch-output-local"]["seen"]
