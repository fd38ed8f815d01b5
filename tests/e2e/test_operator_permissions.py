"""Tests that each operator's command needs exactly the permissions that docs/operating.md lists."""

import json
import re
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from local.emulator import Emulator
from local.job_run import JobRun
from local.receipts import simple_lines
from yorutsuke.orchestrator import submit_settings
from yorutsuke.stage import Stage
from yorutsuke_common.aws.dynamodb import to_item
from yorutsuke_common.names import SCHEDULE, physical_name
from yorutsuke_common.settings import SubmitSettings

from .conftest import own_receipts
from .copy_actions import COPY_ACTIONS
from .operator_stage import ROOT, Operator, make_operator

JOB = "rights000001"
UNREAD = f"{JOB}-unread"
"""An image without a record."""
MANIFEST_KEY = f"batch-output/{JOB}/manifest.json.out"
COUNTS = {"totalRecordCount": 2, "processedRecordCount": 2, "successRecordCount": 2, "errorRecordCount": 0}
ALWAYS = "lambda:GetFunctionConfiguration"
ACTION = re.compile(r"`([a-z0-9]+:[A-Z][A-Za-z]+)`")
COMMANDS = {
    "jobs": ["jobs"],
    "job": ["job", JOB],
    "job --images": ["job", JOB, "--images"],
    "dead-letters": ["dead-letters", JOB],
    "redrive": ["redrive", "--yes", "--job", JOB],
    "replay": ["replay", JOB, "--yes", "--no-wait"],
    "retry-migrations": ["retry-migrations", JOB, "--yes"],
    "resubmit": ["resubmit", JOB, "--yes"],
}
"""The commands, in an order in which each one has work to do."""
INVOKE = "lambda:InvokeFunction"
"""The action of `resubmit` that too few images for a job do not need."""
UNSEEN = {"s3:ListBucket", "s3:GetObjectTagging", "s3:PutObjectTagging"}
"""Actions that no command misses on the emulator.

s3:ListBucket only changes S3's error for a missing object, and here all objects exist. The emulator copies tags without
a check (copy_actions.py).
"""


def _documented_rows() -> dict[str, str]:
    """Return the documented permissions by command."""
    page = (ROOT / "docs" / "operating.md").read_text()
    return dict(re.findall(r"^\| `([a-z -]+)` \| (.*) \|$", page.partition("## Permissions")[2], re.MULTILINE))


def _documented_objects(command: str) -> set[tuple[str, str]]:
    """Return the documented actions on objects, with the prefixes of the objects."""
    found = re.findall(r"([^;]+) on `([a-z-]+/)\*`", _documented_rows()[command])
    return {(action, prefix) for actions, prefix in found for action in ACTION.findall(actions)}


DOCUMENTED = {command: sorted({*ACTION.findall(row)} - {ALWAYS}) for command, row in _documented_rows().items()}


@pytest.fixture(scope="module")
def operator(emulator: Emulator, stage: JobRun, tmp_path_factory: pytest.TempPathFactory) -> Generator[Operator]:
    """A stage with a paused function, a completed job, a dead letter and an image in `uploads/`."""
    folder = tmp_path_factory.mktemp("permissions")
    operator = make_operator(emulator, stage, folder)
    job_run = JobRun(stage.aws, stage.outputs, job_id=JOB)
    receipts = own_receipts(job_run, 1)
    job_run.seed_job([*(receipt.image_id for receipt in receipts), UNREAD])
    file = folder / "output.jsonl"
    file.write_text("".join(f"{line}\n" for line in [*simple_lines(receipts), "{"]))
    job_run.drop_output(file)
    job_run.wait_until_completed()
    job_run.seed_images(receipt.image_id for receipt in receipts)
    lambda_ = stage.aws.lambda_
    [mapping] = lambda_.list_event_source_mappings(FunctionName=stage.outputs["functionName"])["EventSourceMappings"]
    lambda_.update_event_source_mapping(UUID=mapping.get("UUID", ""), Enabled=False)
    schedule = physical_name(SCHEDULE, "local")
    target = {"Arn": "arn:aws:lambda:eu-west-1:123456789012:function:f", "RoleArn": stage.outputs["functionRoleArn"]}
    stage.aws.scheduler.create_schedule(
        Name=schedule, ScheduleExpression="rate(365 days)", FlexibleTimeWindow={"Mode": "OFF"}, Target=target
    )
    yield Operator(job_run, operator.environment)
    stage.aws.scheduler.delete_schedule(Name=schedule)
    for queue in ("queueUrl", "deadLetterQueueUrl"):
        stage.aws.sqs.purge_queue(QueueUrl=stage.outputs[queue])
    lambda_.update_event_source_mapping(UUID=mapping.get("UUID", ""), Enabled=True)


@pytest.fixture(autouse=True)
def restored_work(operator: Operator) -> None:
    """Restore the messages, the output manifest, the image, the transaction and the item for the next command."""
    job_run = operator.job_run
    key = f"batch-output/{JOB}/output.jsonl"
    # The events of these messages are processed, so `redrive` does not wait.
    for key_, etag in ((key, "etag"), (MANIFEST_KEY, None)):
        s3 = {"bucket": {"name": job_run.outputs["imagesBucket"]}, "object": {"key": key_, "eTag": etag}}
        dead = json.dumps({"Records": [{"s3": s3}]})
        job_run.aws.sqs.send_message(QueueUrl=job_run.outputs["deadLetterQueueUrl"], MessageBody=dead)
    manifest = json.dumps(COUNTS).encode()
    job_run.aws.s3.put_object(Bucket=job_run.outputs["imagesBucket"], Key=MANIFEST_KEY, Body=manifest)
    [image_id] = [transaction["imageId"] for transaction in job_run.transactions()]
    job_run.seed_images([image_id, UNREAD])
    job_run.aws.dynamodb.update_item(
        TableName=job_run.outputs["pendingImagesTable"],
        Key={"imageId": {"S": UNREAD}},
        UpdateExpression="SET #status = :failed",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":failed": {"S": "failed"}},
    )
    for transaction in job_run.transactions():
        table = job_run.outputs["transactionsTable"]
        job_run.aws.dynamodb.put_item(TableName=table, Item=to_item({**transaction, "status": "migrationFailed"}))
    stats = {"successCount": 1, "failureCount": 1, "totalCount": 2, "migrationFailedCount": 1}
    job_run.aws.dynamodb.update_item(
        TableName=job_run.outputs["batchJobsTable"],
        Key={"intentId": {"S": job_run.intent_id}},
        UpdateExpression="SET resultStats = :stats, processedOutputs = :seen, outputStats = :counted, "
        "bedrockCounts = :counts",
        ExpressionAttributeValues=to_item(
            {":stats": stats, ":seen": {key: "etag"}, ":counted": {key: stats}, ":counts": COUNTS}
        ),
    )


def _restricted(operator: Operator, folder: Path, actions: Sequence[str]) -> Operator:
    # The emulator authorizes SQS's batch calls by their own names, AWS by the name of the single call.
    batches = [f"{action}Batch" for action in actions if action.startswith("sqs:")]
    statement: dict[str, Any] = {"Effect": "Allow", "Action": [*actions, *batches], "Resource": ["*"]}
    return operator.restricted_to(folder, [statement])


def test_every_command_is_documented() -> None:
    """test_operator_smoke.py compares the permissions of `smoke` with its calls."""
    assert {*DOCUMENTED} == {*COMMANDS, "redrive --submissions", "doctor", "smoke"}


@pytest.mark.parametrize(("action", "prefix"), COPY_ACTIONS)
def test_retry_migrations_may_copy_tagged_images(operator: Operator, action: str, prefix: str) -> None:
    documented = _documented_objects("retry-migrations")

    assert _simulated(operator, documented, action, prefix) == "allowed"
    assert _simulated(operator, documented - {(action, prefix)}, action, prefix) == "implicitDeny"


def _simulated(operator: Operator, grants: set[tuple[str, str]], action: str, prefix: str) -> str:
    """Return the decision of IAM's simulator about an action on an image, given actions on prefixes."""
    bucket = f"arn:aws:s3:::{operator.job_run.outputs['imagesBucket']}"
    statements = [
        {"Effect": "Allow", "Action": allowed, "Resource": f"{bucket}/{start}*"} for allowed, start in sorted(grants)
    ]
    [result] = operator.job_run.aws.iam.simulate_custom_policy(
        PolicyInputList=[json.dumps({"Version": "2012-10-17", "Statement": statements})],
        ActionNames=[action],
        ResourceArns=[f"{bucket}/{prefix}user-1/image.png"],
    )["EvaluationResults"]
    return result["EvalDecision"]


def _skipped_checks(operator: Operator, folder: Path, actions: Sequence[str]) -> list[str]:
    """Return the checks that `doctor` cannot make with these actions."""
    result = _restricted(operator, folder, actions)("doctor", "--json")
    return [finding["check"] for finding in json.loads(result.out)["checks"] if finding["state"] == "not checked"]


def test_doctor_succeeds_with_documented_permissions(operator: Operator, tmp_path: Path) -> None:
    assert _skipped_checks(operator, tmp_path, [ALWAYS, *DOCUMENTED["doctor"]]) == []


@pytest.mark.parametrize("action", DOCUMENTED["doctor"])
def test_doctor_needs_every_documented_permission(operator: Operator, tmp_path: Path, action: str) -> None:
    allowed = [ALWAYS, *DOCUMENTED["doctor"]]
    allowed.remove(action)

    assert _skipped_checks(operator, tmp_path, allowed) != []


@pytest.mark.parametrize("command", COMMANDS)
def test_command_succeeds_with_documented_permissions(operator: Operator, tmp_path: Path, command: str) -> None:
    result = _restricted(operator, tmp_path, [ALWAYS, *DOCUMENTED[command]])(*COMMANDS[command])

    assert result.code == 0, result.err


@pytest.mark.parametrize(
    ("command", "action"),
    [
        (command, action)
        for command in COMMANDS
        for action in [ALWAYS, *DOCUMENTED[command]]
        if action not in UNSEEN | ({INVOKE} if command == "resubmit" else set())
    ],
)
def test_command_needs_every_documented_permission(
    operator: Operator, tmp_path: Path, command: str, action: str
) -> None:
    allowed = [ALWAYS, *DOCUMENTED[command]]
    allowed.remove(action)

    result = _restricted(operator, tmp_path, allowed)(*COMMANDS[command])

    assert result.code == 1
    assert re.search(r"AccessDenied", result.message)


def test_resubmit_invokes_the_orchestrator_for_enough_images(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_one(stage: Stage) -> SubmitSettings:
        return submit_settings(stage).model_copy(update={"min_records": 1})

    monkeypatch.setattr("yorutsuke.commands.resubmit.submit_settings", with_one)
    documented = [ALWAYS, *DOCUMENTED["resubmit"]]
    (tmp_path / "all").mkdir()
    (tmp_path / "without").mkdir()

    sent = _restricted(operator, tmp_path / "all", documented)(*COMMANDS["resubmit"])
    denied = _restricted(operator, tmp_path / "without", [a for a in documented if a != INVOKE])(*COMMANDS["resubmit"])

    assert "pendingImageIds names 1 images. A batch job needs at least 100" in sent.message
    assert "Invoke is not allowed (AccessDenied" in denied.message
