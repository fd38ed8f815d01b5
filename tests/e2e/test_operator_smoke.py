"""Tests of `smoke` on the emulator: it passes, cleans up after each kind of end, and leaves all other data alone."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from local.bedrock.jobs import Bedrock, RequestRefusedError
from local.emulator import Emulator
from local.job_run import JobRun, until
from local.loop import Loop, running_loop
from yorutsuke.clients import Clients, make_clients
from yorutsuke.smoke import markers
from yorutsuke.smoke.run import new_run
from yorutsuke_common.aws.dynamodb import from_item

from .operator_stage import ROOT, SOURCE, Operator, make_operator

WAIT_SECONDS = 120
BEDROCK_ATTEMPTS = 3
"""Number of attempts of the orchestrator to create a job."""
TABLES = {
    "transactionsTable": ("userId", "transactionId"),
    "batchJobsTable": ("intentId",),
    "pendingImagesTable": ("imageId",),
}
ACTIONS = {
    "ListObjectsV2": "s3:ListBucket",
    "DeleteObjects": "s3:DeleteObject",
    "Invoke": "lambda:InvokeFunction",
}
"""The IAM actions of operations that have another name."""
Contents = dict[str | tuple[str, ...], Any]

pytestmark = pytest.mark.usefixtures("quick_redelivery")


@pytest.fixture(scope="module")
def loop(stage: JobRun) -> Generator[Loop]:
    with running_loop(stage) as running:
        yield running


@pytest.fixture(scope="module")
def operator(emulator: Emulator, stage: JobRun, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """An operator of a stage that has an image, a transaction and a job of a real user."""
    operator = make_operator(emulator, stage, tmp_path_factory.mktemp("smoke"))
    real = JobRun(stage.aws, stage.outputs, job_id="smokereal001")
    real.seed_images(["smokereal001-img-1", "smokereal001-img-2"])
    real.seed_job()
    real.drop_lines(
        [
            json.dumps({"customData": "smokereal001-img-1", "output": {"text": json.dumps(RECEIPT)}}),
            json.dumps({"customData": "smokereal001-img-2", "output": {"text": "?"}}),
        ]
    )
    real.wait_until_completed()
    return operator


RECEIPT = {
    "amount": 1280,
    "type": "expense",
    "date": "2025-11-20",
    "merchant": "Shop",
    "category": "other",
    "description": "",
}


@pytest.fixture(autouse=True)
def _quick_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decide at once whether an earlier run is dead. The run of a killed process is."""
    monkeypatch.setattr(markers, "SILENT_SECONDS", 0)


def _contents(stage: JobRun) -> Contents:
    """Return the current objects, and the items by table and key."""
    pages = stage.aws.s3.get_paginator("list_objects_v2").paginate(Bucket=stage.bucket)
    objects = {entry.get("Key", ""): entry.get("ETag") for page in pages for entry in page.get("Contents", [])}
    dynamodb: Any = stage.aws.dynamodb
    items = {
        (table, *(item[key]["S"] for key in keys)): from_item(item)
        for table, keys in TABLES.items()
        for page in dynamodb.get_paginator("scan").paginate(TableName=stage.outputs[table])
        for item in page["Items"]
    }
    return {**objects, **items}


@contextmanager
def _finishing_jobs(loop: Loop, before: Callable[[str], object] = str) -> Generator[None]:
    """Finish every job of the stand-in, after a call with the job's id."""
    left = threading.Event()

    def finish() -> None:
        while not left.wait(0.5):
            for job_id in loop.bedrock.waiting():
                _wait_for_status(loop, job_id, "SUBMITTED")
                before(job_id)
                loop.bedrock.finish(job_id)

    thread = threading.Thread(target=finish, daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()


def _wait_for_status(loop: Loop, job_id: str, status: str) -> None:
    def has_status() -> bool:
        jobs = [item for key, item in _contents(loop.stage).items() if key[0] == "batchJobsTable"]
        return any((item.get("jobId"), item["status"]) == (job_id, status) for item in jobs)

    until(has_status, WAIT_SECONDS, f"job {job_id} to be {status}")


@contextmanager
def _started(operator: Operator) -> Generator["subprocess.Popen[str]"]:
    """Start a smoke run as a process."""
    environment = {**os.environ, **operator.environment, "PYTHONPATH": SOURCE}
    command = [sys.executable, "-m", "yorutsuke", "smoke", "--stage", "local", "--yes"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def _recorded_actions() -> Generator[set[str]]:
    """Yield the IAM actions of the calls that the command makes, which grow while the command runs."""
    actions: set[str] = set()

    def record(model: Any, **_: object) -> None:
        service, operation = str(model.service_model.endpoint_prefix), str(model.name)
        actions.add(ACTIONS.get(operation, f"{service}:{operation}"))

    def make_recording_clients(*arguments: Any) -> Clients:
        clients = make_clients(*arguments)
        for client in (clients.s3, clients.dynamodb, clients.lambda_, clients.invocations, clients.sqs):
            client.meta.events.register("before-call", record)
        return clients

    with patch("yorutsuke.local_stage.make_clients", make_recording_clients):
        yield actions


def _documented_statements(stage: JobRun) -> list[Any]:
    """Return the policy statements for smoke runs in docs/operating.md, for the local stage."""
    page = (ROOT / "docs" / "operating.md").read_text().partition("### smoke permissions")[2]
    block = page.partition("```json\n")[2].partition("```")[0]
    return json.loads(block.replace("BUCKET", stage.bucket).replace("STAGE", "local"))


def _wait_for_uploads(loop: Loop) -> None:
    until(lambda: loop.stage.object_keys("uploads/smoke-"), WAIT_SECONDS, "the first upload")


def _wait_for_job(loop: Loop) -> str:
    """Wait until the stage has stored a job that the stand-in has not started, and return the job's id."""
    job_id = until(lambda: next(iter(loop.bedrock.waiting()), None), WAIT_SECONDS, "the job")
    _wait_for_status(loop, job_id, "SUBMITTED")
    return job_id


def _finish(loop: Loop, job_id: str) -> None:
    """Finish the job of a dead run, and wait until the stage has processed all messages about it."""
    loop.bedrock.finish(job_id)
    until(
        lambda: any(
            item.get("jobId") == job_id and "bedrockCounts" in item
            for key, item in _contents(loop.stage).items()
            if key[0] == "batchJobsTable"
        ),
        WAIT_SECONDS,
        f"job {job_id} to be reconciled",
    )


@pytest.mark.parametrize(("options", "delivery"), [([], "inline"), (["--image-delivery", "s3"], "s3")])
def test_smoke_passes_and_leaves_all_other_data(
    operator: Operator, loop: Loop, options: list[str], delivery: str
) -> None:
    before = _contents(loop.stage)

    with _finishing_jobs(loop):
        result = operator("smoke", "--yes", "--json", *options)

    assert result.code == 0, result.err
    answer = result.json
    assert _contents(loop.stage) == before
    tokens = answer.pop("tokens")
    assert (tokens["input"] > 100_000, tokens["output"] > 1_000) == (True, True)
    assert float(answer.pop("costUsd")) == pytest.approx((0.03 * tokens["input"] + 0.12 * tokens["output"]) / 1e6)
    assert [*answer.pop("seconds")] == ["upload", "submission", "job", "checks"]
    assert (answer.pop("runId"), answer.pop("jobId")) == (_removed_run(result.err), _last_job(loop.bedrock))
    assert answer == {
        "stage": "local",
        "passed": True,
        "problems": [],
        "modelId": "apac.amazon.nova-lite-v1:0",
        "imageDelivery": delivery,
        "status": "COMPLETED",
        "bedrockStatus": None,
        "receipts": 100,
        "transactions": 100,
        "deadLetters": {},
        "agreement": {"amount": 100, "date": 100, "both": 100},
        "pricesAsOf": "2026-10, US East (N. Virginia)",
        "removedRuns": [],
        "keptRuns": {},
    }


def _removed_run(printed: str) -> str:
    """Return the id of the run that the command reports as removed."""
    return printed.partition("The data of run ")[2].partition(" ")[0]


def _last_job(bedrock: Bedrock) -> str:
    """Return the id of the stand-in's last job."""
    return [*bedrock.changes][-1]


def test_smoke_changes_nothing_without_confirmation(operator: Operator, loop: Loop) -> None:
    before = _contents(loop.stage)

    refused, declined = operator("smoke"), operator("smoke", answer="n\n")

    assert (refused.code, declined.code) == (1, 0)
    assert "100 drawn receipts of the user smoke-" in refused.out
    assert "needs a confirmation (Submit 100 receipts to Bedrock?)" in refused.message
    assert _contents(loop.stage) == before


def test_run_after_killed_upload_cleans_up_and_passes(operator: Operator, loop: Loop) -> None:
    before = _contents(loop.stage)
    with _started(operator) as process:
        _wait_for_uploads(loop)
        process.kill()
    assert _contents(loop.stage) != before

    with _finishing_jobs(loop):
        result = operator("smoke", "--yes", "--json")

    assert (result.code, result.json["passed"], len(result.json["removedRuns"])) == (0, True, 1), result.err
    assert _contents(loop.stage) == before


def test_run_after_killed_wait_cleans_up_and_passes(operator: Operator, loop: Loop) -> None:
    before = _contents(loop.stage)
    with _started(operator) as process:
        job_id = _wait_for_job(loop)
        process.kill()
    _finish(loop, job_id)
    assert len(_contents(loop.stage)) > len(before)

    with _finishing_jobs(loop):
        result = operator("smoke", "--yes", "--json")

    assert (result.code, result.json["passed"], len(result.json["removedRuns"])) == (0, True, 1), result.err
    assert _contents(loop.stage) == before


def test_interrupted_upload_is_cleaned_up(operator: Operator, loop: Loop) -> None:
    before = _contents(loop.stage)
    with _started(operator) as process:
        _wait_for_uploads(loop)
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=WAIT_SECONDS)

    assert process.returncode == 130, printed
    assert f"The data of run {_removed_run(printed)} was removed." in printed
    assert "Traceback" not in printed
    assert _contents(loop.stage) == before


def test_interrupted_wait_keeps_the_running_job(operator: Operator, loop: Loop) -> None:
    before = _contents(loop.stage)
    with _started(operator) as process:
        job_id = _wait_for_job(loop)
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=WAIT_SECONDS)
    interrupted = _contents(loop.stage)

    with _finishing_jobs(loop):
        result = operator("smoke", "--yes", "--json")
        until(lambda: not loop.bedrock.waiting(), WAIT_SECONDS, "all jobs to be finished")

    assert process.returncode == 130, printed
    kept = (
        f"was kept: its job {job_id} is SUBMITTED and messages about it may still arrive. Bedrock continues. Run "
        "`yorutsuke smoke --stage local` again"
    )
    assert kept in " ".join(printed.split())
    assert len([key for key in interrupted if f"uploads/{_removed_run(printed)}/" in key]) == 100
    answer = result.json
    assert answer["passed"], result.err
    runs = {*answer["removedRuns"], *answer["keptRuns"]}
    assert runs == {_removed_run(printed)}
    with _finishing_jobs(loop):
        assert operator("smoke", "--yes", "--json").code == 0
    assert _contents(loop.stage) == before


def test_failed_job_is_reported_and_cleaned_up(operator: Operator, loop: Loop) -> None:
    before = _contents(loop.stage)

    def damage_manifest(_: str) -> None:
        [key] = loop.stage.object_keys("batch-input/smoke-")
        loop.stage.aws.s3.put_object(Bucket=loop.stage.bucket, Key=key, Body=b"{")

    with _finishing_jobs(loop, damage_manifest):
        result = operator("smoke", "--yes", "--json")

    answer = json.loads(result.out)
    assert (result.code, answer["passed"], answer["status"]) == (1, False, "FAILED")
    assert (answer["bedrockStatus"], answer["tokens"], answer["costUsd"]) == ("Failed", None, None)
    [problem] = answer["problems"]
    assert problem.startswith(f"job {answer['jobId']} is FAILED, not COMPLETED: Batch job ")
    error = json.loads(result.err.splitlines()[-1])
    assert error["error"] == "UnfinishedError"
    assert error["message"].startswith("the smoke run of stage 'local' failed: job")
    assert error["remedy"] == "`yorutsuke doctor --stage local` checks the stage."
    assert _contents(loop.stage) == before


def test_refused_job_is_cleaned_up(operator: Operator, loop: Loop) -> None:
    before = _contents(loop.stage)

    with patch.object(loop.bedrock, "create", side_effect=RequestRefusedError("the model is not enabled")):
        result = operator("smoke", "--yes")

    assert result.code == 1
    assert "the model is not enabled" in result.message
    assert f"The data of run {_removed_run(result.err)} was removed." in result.err
    assert _contents(loop.stage) == before


def test_lost_answer_of_bedrock_keeps_the_job(operator: Operator, loop: Loop) -> None:
    before = _contents(loop.stage)
    create, lost = loop.bedrock.create, list(range(BEDROCK_ATTEMPTS))

    def create_without_answer(request: dict[str, Any]) -> str:
        arn = create(request)
        if lost:
            lost.pop()
            raise ConnectionError
        return arn

    with patch.object(loop.bedrock, "create", side_effect=create_without_answer), _finishing_jobs(loop):
        result = operator("smoke", "--yes", "--json")

    assert lost == []
    assert result.json["passed"], result.err
    assert _contents(loop.stage) == before


def test_live_run_refuses_a_second_one(operator: Operator, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _contents(loop.stage)
    marker: Any = {"Bucket": loop.stage.bucket, "Key": new_run().marker_key}

    def beat(_: float) -> None:
        loop.stage.aws.s3.put_object(**marker, Body=b'{"startedAt": "2026-11-26T10:00:00Z", "beat": 99}')

    loop.stage.aws.s3.put_object(**marker, Body=b'{"startedAt": "2026-11-26T10:00:00Z", "beat": 98}')
    monkeypatch.setattr(markers.time, "sleep", beat)
    result = operator("smoke", "--yes")
    loop.stage.aws.s3.delete_object(**marker)

    assert (result.code, "of this stage is in progress" in result.message) == (1, True), result.err
    assert _contents(loop.stage) == before


def test_documented_permissions_are_sufficient_and_necessary(operator: Operator, loop: Loop, tmp_path: Path) -> None:
    """The emulator denies every call without a grant, and each granted action is called."""
    before, statements = _contents(loop.stage), _documented_statements(loop.stage)
    loop.stage.aws.s3.put_object(Bucket=loop.stage.bucket, Key=new_run().marker_key, Body=b"{}")

    with _finishing_jobs(loop), _recorded_actions() as actions:
        result = operator.restricted_to(tmp_path, statements)("smoke", "--yes", "--json", "--image-delivery", "s3")

    assert result.code == 0, result.err
    assert {action for statement in statements for action in statement["Action"]} == actions
    marker = [key for key in _contents(loop.stage) if key not in before]
    # A damaged marker keeps the time of its last write, so the run's request may still be in progress.
    assert [str(key).startswith("smoke/smoke-") for key in marker] == [True]
    loop.stage.aws.s3.delete_object(Bucket=loop.stage.bucket, Key=str(marker[0]))


@pytest.mark.parametrize(
    ("action", "key", "decision"),
    [
        ("s3:PutObject", "uploads/smoke-1/a.png", "allowed"),
        ("s3:PutObject", "uploads/user-1/a.png", "implicitDeny"),
        ("s3:DeleteObject", "uploads/user-1/a.png", "implicitDeny"),
        ("s3:DeleteObject", "processed/2026-11-26/smoke-1/a.png", "allowed"),
        ("s3:DeleteObject", "processed/2026-11-26/user-1/a.png", "implicitDeny"),
        ("s3:DeleteObject", "batch-input/intent-1/manifest.jsonl", "implicitDeny"),
        ("s3:GetObject", "uploads/user-1/a.png", "implicitDeny"),
        ("s3:DeleteObjectVersion", "uploads/smoke-1/a.png", "implicitDeny"),
    ],
)
def test_documented_permissions_exclude_real_users(loop: Loop, action: str, key: str, decision: str) -> None:
    document = {"Version": "2012-10-17", "Statement": _documented_statements(loop.stage)}

    [result] = loop.stage.aws.iam.simulate_custom_policy(
        PolicyInputList=[json.dumps(document)],
        ActionNames=[action],
        ResourceArns=[f"arn:aws:s3:::{loop.stage.bucket}/{key}"],
    )["EvaluationResults"]

    assert result["EvalDecision"] == decision
