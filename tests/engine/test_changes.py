"""Changes of a deployed stage: of its code, of its trigger, and of a table's key."""

import itertools

import pytest

from local.job_run import JobRun
from local.receipts import make_receipts, simple_lines
from yorutsuke_common.names import SCHEDULE as SCHEDULE_NAME
from yorutsuke_common.names import physical_name

from .project import SCHEDULE, STAGE, STAGE_FILE, Operation, Project

JOB_NUMBERS = itertools.count(1)
PENDING_IMAGES = physical_name("yorutsuke-pending-images", STAGE)


def test_changed_function_updates_only_this_function(deployed: Project) -> None:
    with (
        deployed.commented("functions/batch_result_handler/handler.py"),
        deployed.new_operations() as operations,
    ):
        deployed.up()
    deployed.up()

    assert operations == [("update", "Function", "batch-result-handler")]


def test_changed_layer_is_published_before_functions_use_it(deployed: Project) -> None:
    layer = deployed.outputs()["commonLayerArn"].split(":")[-2]
    before = deployed.aws.lambda_.list_layer_versions(LayerName=layer)["LayerVersions"]
    with (
        deployed.commented("layer/yorutsuke_common/names.py"),
        deployed.new_operations() as operations,
    ):
        deployed.up()
    deployed.up()

    assert operations[0] == ("create", "LayerVersion", "common")
    assert sorted(operations[1:]) == [
        ("update", "Function", "batch-orchestrator"),
        ("update", "Function", "batch-result-handler"),
    ]
    versions = deployed.aws.lambda_.list_layer_versions(LayerName=layer)["LayerVersions"]
    assert len(versions) == len(before) + 2


def _new_job(project: Project, outputs: dict[str, str]) -> JobRun:
    """Write a job of one image with its output file, which announces itself at once."""
    job = JobRun(project.aws, outputs, f"switching{next(JOB_NUMBERS):03}")
    [receipt] = make_receipts(1, prefix=f"{job.job_id}-")
    job.seed_images([receipt.image_id])
    job.seed_job()
    job.drop_lines(simple_lines([receipt]))
    return job


def test_change_of_trigger_loses_no_notification(deployed: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """An output file is written before each operation of the deployment, and after it."""
    outputs = deployed.outputs()
    jobs = [_new_job(deployed, outputs)]

    def observe(_: Operation) -> None:
        jobs.append(_new_job(deployed, outputs))

    monkeypatch.setattr(deployed, "observe", observe)
    with deployed.new_operations() as operations:
        with deployed.set("trigger: s3"):
            deployed.up()
            jobs.append(_new_job(deployed, outputs))
        deployed.up()
    jobs.append(_new_job(deployed, outputs))

    for job in jobs:
        job.wait_until_completed()
    assert operations.count(("update", "BucketNotification", "batch-output")) == 2
    # S3 uses the earlier path for minutes, so every part of it must remain.
    assert {operation for operation, *_ in operations} == {"update"}


def test_changed_table_key_fails_and_keeps_the_table(deployed: Project) -> None:
    item = {"imageId": {"S": "img-kept"}, "userId": {"S": "user-1"}}
    deployed.aws.dynamodb.put_item(TableName=PENDING_IMAGES, Item=item)
    with (
        deployed.edited("infra/yorutsuke_infra/storage.py", '("imageId",),', '("userId",),'),
        deployed.new_operations() as operations,
    ):
        printed = deployed.up(succeeds=False)

    assert "ResourceInUseException" in printed
    assert "delete" not in {operation for operation, *_ in operations}
    key = {"imageId": {"S": "img-kept"}}
    assert deployed.aws.dynamodb.get_item(TableName=PENDING_IMAGES, Key=key).get("Item") == item
    deployed.up()


def test_changed_schedule_updates_only_the_schedule(deployed: Project) -> None:
    with (
        deployed.edited(STAGE_FILE, SCHEDULE, "    schedule: cron(0 22 * * ? *)\n"),
        deployed.new_operations() as operations,
    ):
        deployed.up()
    stored = deployed.aws.scheduler.get_schedule(Name=physical_name(SCHEDULE_NAME, STAGE))
    deployed.up()

    assert operations == [("update", "Schedule", "batch-schedule")]
    assert stored["ScheduleExpression"] == "cron(0 22 * * ? *)"


def test_removed_schedule_setting_deletes_its_resources(deployed: Project) -> None:
    with deployed.edited(STAGE_FILE, SCHEDULE, ""), deployed.new_operations() as operations:
        deployed.up()
    schedules = deployed.aws.scheduler.list_schedules()["Schedules"]
    deployed.up()

    # The dashboard shows the alarm and the metrics of the schedule.
    assert sorted(operations) == [
        ("delete", "MetricAlarm", "waiting-images"),
        ("delete", "Role", "batch-schedule"),
        ("delete", "RolePolicy", "batch-schedule-target"),
        ("delete", "Schedule", "batch-schedule"),
        ("update", "Dashboard", "jobs"),
    ]
    assert schedules == []
    assert len(deployed.aws.scheduler.list_schedules()["Schedules"]) == 1
