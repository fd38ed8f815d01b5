"""Tests of a smoke run's data on moto's AWS: the checks find each fault, and the clean-up removes only its own data."""

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws

from local.emulator import REGION
from yorutsuke.clients import make_clients
from yorutsuke.errors import RefusedError, UnfinishedError
from yorutsuke.queues import Queue
from yorutsuke.smoke import markers, run
from yorutsuke.smoke.markers import Marker, beating, earlier_runs
from yorutsuke.smoke.prices import Tokens
from yorutsuke.smoke.receipts import make_receipts
from yorutsuke.smoke.remains import clean_up, clean_up_earlier, find_own_job, obstacle
from yorutsuke.smoke.result import SmokeResult, read_result
from yorutsuke.smoke.run import SmokeRun
from yorutsuke.smoke.uploads import upload
from yorutsuke.stage import Stage
from yorutsuke.stored_jobs import StoredJob
from yorutsuke_common.aws.dynamodb import from_item, to_item
from yorutsuke_common.object_keys import dead_letters_key, input_key, output_prefix, snapshot_key, submission_folder
from yorutsuke_common.schema import ImageDelivery, iso_utc
from yorutsuke_common.settings import ResultSettings, read_settings

BUCKET = "images"
TABLES = {"transactions": ("userId", "transactionId"), "batch-jobs": ("intentId",), "pending-images": ("imageId",)}
RUN, OTHER_RUN = SmokeRun("smoke-0123456789abcdef"), SmokeRun("smoke-0123456789abcdee")
JOB_ID = "smokejob0001"
RECEIPTS, FAILED = 10, 1
"""Numbers of receipts and of dead letters of a run."""
NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(hours=9)
TODAY = NOW.date().isoformat()
OUTPUT_KEY = f"{output_prefix(JOB_ID)}manifest.jsonl.out"
Contents = dict[str | tuple[str, ...], Any]


@dataclass(frozen=True)
class Data:
    """A stage with a bucket and tables only."""

    stage: Stage

    def put(self, key: str, body: bytes = b"x") -> str:
        return self.stage.clients.s3.put_object(Bucket=BUCKET, Key=key, Body=body)["ETag"].strip('"')

    def put_item(self, table: str, **attributes: Any) -> None:
        self.stage.clients.dynamodb.put_item(TableName=table, Item=to_item(attributes))

    def delete_item(self, table: str, **key: str) -> None:
        self.stage.clients.dynamodb.delete_item(TableName=table, Key=to_item(key))

    def contents(self) -> Contents:
        """Return the current objects, and the items by table and key."""
        objects = self.stage.clients.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        dynamodb: Any = self.stage.clients.dynamodb
        items = {
            (table, *(item[name]["S"] for name in keys)): item
            for table, keys in TABLES.items()
            for item in dynamodb.scan(TableName=table)["Items"]
        }
        return {**{entry.get("Key", ""): entry.get("ETag") for entry in objects}, **items}


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Generator[Data]:
    monkeypatch.setattr(markers, "SILENT_SECONDS", 0)
    monkeypatch.setattr(run, "RECEIPTS", RECEIPTS)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        clients = make_clients(boto3.Session(region_name=REGION))
        clients.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        for table, keys in TABLES.items():
            _create_table(clients.dynamodb, table, keys)
        variables = {"STAGE": "test", "IMAGES_BUCKET": BUCKET, "TRANSACTION_TTL_DAYS": "9", "TIMEZONE": "Asia/Tokyo"}
        variables |= {f"{table.upper().replace('-', '_')}_TABLE": table for table in TABLES}
        queue = Queue(clients.sqs, "queue")
        settings = read_settings(ResultSettings, variables)
        yield Data(Stage("test", clients, "arn:aws:lambda:r:1:function:f", settings, queue, queue, queue))


def _create_table(client: Any, table: str, keys: tuple[str, ...]) -> None:
    indexed = [*keys, "jobId"] if table == "batch-jobs" else [*keys]
    index = {
        "IndexName": "jobIdIndex",
        "KeySchema": [{"AttributeName": "jobId", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "ALL"},
    }
    client.create_table(
        TableName=table,
        KeySchema=[
            {"AttributeName": name, "KeyType": kind} for name, kind in zip(keys, ("HASH", "RANGE"), strict=False)
        ],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in indexed],
        BillingMode="PAY_PER_REQUEST",
        **({"GlobalSecondaryIndexes": [index]} if table == "batch-jobs" else {}),
    )


def _put_completed(data: Data, run: SmokeRun, job_id: str = JOB_ID) -> None:
    """Store the data of a run with a COMPLETED job and one dead letter."""
    receipts = make_receipts(run.run_id, run.image_ids)
    upload(data.stage, run.run_id, dict.fromkeys(run.image_ids, b"image"), lambda: None)
    data.put(run.marker_key, json.dumps({"startedAt": NOW.isoformat(), "requestedAt": LONG_AGO.isoformat()}).encode())
    folder = submission_folder(run.run_id, "0123456789abcdef")
    data.put(input_key(folder))
    data.put(snapshot_key(folder, run.image_ids[0], "etag", "png"))
    usage = {"modelOutput": {"usage": {"inputTokens": 7, "outputTokens": 2}}}
    key = f"{output_prefix(job_id)}manifest.jsonl.out"
    etag = data.put(key, b"\n".join([json.dumps(usage).encode()] * 2 + [b'{"error": {}}']))
    data.put(f"{output_prefix(job_id)}manifest.json.out")
    letters: list[str] = []
    for number, receipt in enumerate(receipts):
        if number < FAILED:
            letter = {"line": number, "imageId": receipt.image_id, "reason": "MODEL_ERROR", "detail": "d", "record": 1}
            letters.append(json.dumps(letter))
        else:
            _put_processed(data, run, receipt.image_id, {**receipt.fields(), "jobId": job_id})
    data.put(dead_letters_key(job_id), "\n".join(letters).encode())
    stats = {"successCount": 9, "failureCount": 1, "totalCount": 10, "migrationFailedCount": 0}
    counts = {"totalRecordCount": 10, "processedRecordCount": 10, "successRecordCount": 9, "errorRecordCount": 1}
    data.put_item(
        "batch-jobs",
        intentId=run.run_id,
        userId=run.run_id,
        jobId=job_id,
        status="COMPLETED",
        submitTime=iso_utc(NOW),
        completedAt=iso_utc(NOW),
        modelId="amazon.nova-lite-v1:0",
        resultStats=stats,
        bedrockCounts=counts,
        processedOutputs={key: etag},
    )


def _put_processed(data: Data, run: SmokeRun, image_id: str, transaction: dict[str, Any]) -> None:
    """Store a transaction, and move its image."""
    upload_key, processed_key = (
        f"uploads/{run.run_id}/{image_id}.png",
        f"processed/{TODAY}/{run.run_id}/d-{image_id}.png",
    )
    data.stage.clients.s3.delete_object(Bucket=BUCKET, Key=upload_key)
    data.put(processed_key)
    data.put_item("transactions", userId=run.run_id, transactionId=f"t-{image_id}", imageId=image_id, **transaction)
    data.put_item(
        "pending-images",
        imageId=image_id,
        userId=run.run_id,
        s3Key=upload_key,
        status="processed",
        processedKey=processed_key,
    )


def _put_real_user(data: Data) -> None:
    """Store data of a real user, some of it with names like those of a run."""
    for key in (
        "uploads/user-1/smoke-0123456789abcdef.png",
        f"uploads/{RUN.run_id}x/image.png",
        f"processed/{TODAY}/user-1/{RUN.run_id}.png",
        "batch-input/intent-1/manifest.jsonl",
        f"{output_prefix('realjob00001')}manifest.jsonl.out",
        dead_letters_key("realjob00001"),
        "smoke/notes.txt",
    ):
        data.put(key)
    data.put_item("transactions", userId="user-1", transactionId="t-1", jobId="realjob00001")
    data.put_item("pending-images", imageId="img-1", userId="user-1", s3Key="uploads/user-1/image.png")
    data.put_item("pending-images", imageId=f"{RUN.run_id}-011", userId="user-1", s3Key="uploads/user-1/image.png")
    data.put_item("batch-jobs", intentId="intent-1", userId="user-1", jobId="realjob00001", status="SUBMITTED")


def _clean_up(data: Data) -> None:
    job = find_own_job(data.stage, RUN)
    clean_up(data.stage, RUN, NOW, job and job.jobId)


def test_clean_up_removes_only_data_of_its_run(data: Data) -> None:
    _put_real_user(data)
    _put_completed(data, OTHER_RUN, "otherjob0001")
    others = data.contents()
    _put_completed(data, RUN)
    assert len(data.contents()) > len(others)

    _clean_up(data)

    assert data.contents() == others


def test_interrupted_clean_up_can_be_repeated(data: Data) -> None:
    """A clean-up ends after each number of calls, and the next one, which finds the run by its marker, finishes."""
    calls = 0
    limit: float = 0

    def count(**_: object) -> None:
        nonlocal calls
        calls += 1
        if calls > limit:
            raise KeyboardInterrupt

    clients = data.stage.clients
    for client in (clients.s3, clients.dynamodb):
        client.meta.events.register("before-call", count)
    for stop in (*range(1, 25, 6), *range(25, 40)):
        limit = float("inf")
        _put_completed(data, RUN)
        calls, limit = 0, stop
        try:
            _clean_up(data)
        except KeyboardInterrupt:
            limit = float("inf")
            assert RUN.marker_key in data.contents()
        limit = float("inf")
        clean_up_earlier(data.stage, earlier_runs(data.stage, lambda _: None))
        assert data.contents() == {}, stop


@pytest.mark.parametrize("table", ["pending-images", "batch-jobs"])
def test_clean_up_refuses_items_of_other_users(data: Data, table: str) -> None:
    key = TABLES[table][0]
    name = RUN.run_id if table == "batch-jobs" else RUN.image_ids[0]
    data.put_item(table, **{key: name}, userId="user-1")

    with pytest.raises(UnfinishedError, match="belongs to another user, so it was not deleted"):
        _clean_up(data)

    assert (table, name) in data.contents()


def test_clean_up_ignores_a_job_of_another_user(data: Data) -> None:
    data.put_item("batch-jobs", intentId=RUN.run_id, userId="user-1", jobId=JOB_ID, status="COMPLETED")
    data.put(OUTPUT_KEY)

    assert find_own_job(data.stage, RUN) is None
    with pytest.raises(UnfinishedError):
        _clean_up(data)
    assert OUTPUT_KEY in data.contents()


def test_denied_deletion_keeps_the_marker(data: Data) -> None:
    _put_completed(data, RUN)

    def refuse(parsed: dict[str, Any], **_: object) -> None:
        parsed["Errors"] = [{"Key": "k", "Code": "AccessDenied"}]

    data.stage.clients.s3.meta.events.register("after-call.s3.DeleteObjects", refuse)

    with pytest.raises(UnfinishedError, match=r"objects that were not deleted: 1 \(AccessDenied\), such as 'k'"):
        _clean_up(data)

    assert RUN.marker_key in data.contents()


def _job(**attributes: Any) -> StoredJob:
    given = {"intentId": RUN.run_id, "userId": RUN.run_id, "jobId": JOB_ID, "submitTime": iso_utc(NOW), **attributes}
    return StoredJob.model_validate(given)


COUNTS = dict.fromkeys(("totalRecordCount", "processedRecordCount", "successRecordCount", "errorRecordCount"), 1)


@pytest.mark.parametrize(
    ("job", "requested", "reason"),
    [
        (None, None, None),
        (None, NOW, "the request for its job may still be in progress"),
        (None, LONG_AGO, None),
        (_job(jobId=None, status="SUBMITTING"), NOW, "its job may be at Bedrock"),
        (
            _job(jobId=None, status="SUBMITTING", submitTime=iso_utc(NOW - timedelta(days=7))),
            LONG_AGO,
            "its job may be",
        ),
        (_job(jobId=None, status="SUBMITTING", submitTime=iso_utc(NOW - timedelta(days=8))), LONG_AGO, None),
        (_job(status="SUBMITTED", submitTime=iso_utc(LONG_AGO)), LONG_AGO, "its job smokejob0001 is SUBMITTED"),
        (_job(status="COMPLETED", completedAt=iso_utc(NOW)), NOW, "its job smokejob0001 is COMPLETED"),
        (_job(status="COMPLETED", completedAt=iso_utc(LONG_AGO)), LONG_AGO, None),
        (_job(status="COMPLETED", bedrockCounts=COUNTS), NOW, None),
        (_job(status="COMPLETED", bedrockCounts=COUNTS, claimedUntil=2**40), NOW, "its job smokejob0001 is COMPLETED"),
        (_job(status="FAILED", bedrockStatus="Failed"), NOW, None),
    ],
)
def test_data_stays_while_messages_may_arrive(
    data: Data, job: StoredJob | None, requested: datetime | None, reason: str | None
) -> None:
    found = obstacle(data.stage, job, requested)

    assert (found or "").startswith(reason or "")
    assert bool(found) == bool(reason)


def test_unprocessed_output_keeps_data_of_failed_job(data: Data) -> None:
    data.put(OUTPUT_KEY)

    assert obstacle(data.stage, _job(status="STOPPED", bedrockStatus="Stopped"), NOW)


def test_live_run_is_not_disturbed(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    with beating(data.stage, RUN) as heartbeat:

        def beat(_: float) -> None:
            heartbeat.write()

        monkeypatch.setattr(markers.time, "sleep", beat)

        with pytest.raises(RefusedError, match=f"smoke run {RUN.run_id} of this stage is in progress"):
            earlier_runs(data.stage, lambda _: None)


def test_dead_run_is_found_by_its_marker(data: Data) -> None:
    told: list[str] = []
    with beating(data.stage, RUN) as heartbeat:
        heartbeat.announce_request()
        heartbeat.announce_job(JOB_ID)
    heartbeat.write()
    data.put("smoke/notes.txt")

    assert earlier_runs(data.stage, told.append) == [Marker(RUN, heartbeat.started, heartbeat.requested, JOB_ID)]
    assert told == [f"Found data of {RUN.run_id}. Waiting 0 s to see whether the run is in progress."]


def test_files_of_a_job_without_item_are_removed(data: Data) -> None:
    _put_real_user(data)
    before = data.contents()
    _put_completed(data, RUN)
    table = data.stage.settings.batch_jobs_table
    data.stage.clients.dynamodb.delete_item(TableName=table, Key={"intentId": {"S": RUN.run_id}})

    assert clean_up_earlier(data.stage, [Marker(RUN, NOW, LONG_AGO, JOB_ID)]) == ([RUN.run_id], {})

    assert data.contents() == before


def test_damaged_marker_still_names_its_run(data: Data) -> None:
    data.put(RUN.marker_key, b"{")

    [marker] = earlier_runs(data.stage, lambda _: None)

    assert (marker.run, marker.started) == (RUN, marker.requested)


def test_stopped_heartbeat_does_not_write(data: Data) -> None:
    with beating(data.stage, RUN) as heartbeat:
        heartbeat.stop()
        data.stage.clients.s3.delete_object(Bucket=BUCKET, Key=RUN.marker_key)
        heartbeat.write()

    assert data.contents() == {}


def test_running_job_of_a_dead_run_is_kept(data: Data) -> None:
    _put_completed(data, RUN)
    _put_completed(data, OTHER_RUN, "otherjob0001")
    item = data.contents()["batch-jobs", RUN.run_id]
    data.put_item("batch-jobs", **{**from_item(item), "status": "SUBMITTED"})
    before = data.contents()

    removed, kept = clean_up_earlier(data.stage, earlier_runs(data.stage, lambda _: None))

    assert (removed, [*kept]) == ([OTHER_RUN.run_id], [RUN.run_id])
    left = data.contents()
    assert {key: left[key] for key in before if RUN.run_id in str(key)} == {
        key: before[key] for key in before if RUN.run_id in str(key)
    }
    assert not [key for key in left if OTHER_RUN.run_id in str(key)]


def _result(data: Data) -> SmokeResult:
    job = find_own_job(data.stage, RUN)
    assert job
    return read_result(data.stage, RUN, job, make_receipts(RUN.run_id, RUN.image_ids))


def test_complete_result_passes(data: Data) -> None:
    _put_completed(data, RUN)

    result = _result(data)

    assert (result.problems, result.passed) == ([], True)
    assert (result.transactions, dict(result.dead_letters)) == (9, {"MODEL_ERROR": 1})
    assert (result.agreement.amount, result.agreement.date, result.agreement.both) == (9, 9, 9)
    assert result.tokens == Tokens(14, 4)


def test_agreement_counts_amount_and_date_apart(data: Data) -> None:
    _put_completed(data, RUN)
    receipts = make_receipts(RUN.run_id, RUN.image_ids)
    for number, changes in ((3, {"amount": 1}), (4, {"date": "2024-01-01"}), (5, {"amount": 1, "date": "2024-01-01"})):
        fields = {**receipts[number].fields(), **changes, "jobId": JOB_ID}
        _put_processed(data, RUN, receipts[number].image_id, fields)

    result = _result(data)

    assert (result.agreement.amount, result.agreement.date, result.agreement.both) == (7, 7, 6)
    assert result.passed


@pytest.mark.parametrize(("failed", "passed"), [(10, True), (11, False)])
def test_nine_tenths_must_become_transactions(data: Data, failed: int, passed: bool) -> None:  # noqa: FBT001
    _put_completed(data, RUN)

    result = _result(data)

    result = replace(result, receipts=100, transactions=100 - failed)
    assert result.passed is passed


@pytest.mark.parametrize(
    ("attributes", "requested", "problems"),
    [
        ({}, None, []),
        ({}, "inline", []),
        ({"inputUri": "s3://images/batch-input/run/"}, None, []),
        ({"inputUri": "s3://images/batch-input/run/"}, "s3", []),
        ({}, "s3", ["the images were delivered inline, not s3. Deploy the stage again"]),
    ],
)
def test_other_delivery_than_requested_is_a_problem(
    data: Data, attributes: dict[str, str], requested: ImageDelivery | None, problems: list[str]
) -> None:
    _put_completed(data, RUN)
    data.put_item("batch-jobs", **{**from_item(data.contents()["batch-jobs", RUN.run_id]), **attributes})
    job = find_own_job(data.stage, RUN)
    assert job

    result = read_result(data.stage, RUN, job, make_receipts(RUN.run_id, RUN.image_ids), requested)

    assert (result.image_delivery, result.problems) == ("s3" if attributes else "inline", problems)


READ, UNREAD = f"{RUN.run_id}-010", f"{RUN.run_id}-001"


def _rename(data: Data, **changes: Any) -> None:
    [transaction] = [
        from_item(item) for key, item in data.contents().items() if key == ("transactions", RUN.run_id, f"t-{READ}")
    ]
    data.put_item("transactions", **{**transaction, **changes})


FAULTS: list[tuple[Callable[[Data], object], str]] = [
    (
        lambda data: data.delete_item("transactions", userId=RUN.run_id, transactionId=f"t-{READ}"),
        f"{READ} has 0 results instead of one transaction or one dead letter",
    ),
    (lambda data: data.put(dead_letters_key(JOB_ID), b""), f"{UNREAD} has 0 results"),
    (lambda data: _rename(data, transactionId="second"), f"{READ} has 2 results"),
    (lambda data: _rename(data, imageId="foreign"), "a result belongs to 'foreign', which is not an image"),
    (lambda data: _rename(data, jobId="otherjob"), f"the transaction of {READ} belongs to job otherjob"),
    (lambda data: data.put(f"uploads/{RUN.run_id}/{READ}.png"), f"{READ} is still in uploads/ although it has a"),
    (
        lambda data: data.stage.clients.s3.delete_object(
            Bucket=BUCKET, Key=f"processed/{TODAY}/{RUN.run_id}/d-{READ}.png"
        ),
        f"{READ} has a transaction, but its image is not below processed/",
    ),
    (
        lambda data: data.stage.clients.s3.delete_object(Bucket=BUCKET, Key=f"uploads/{RUN.run_id}/{UNREAD}.png"),
        f"{UNREAD} is not in uploads/ although it has no transaction",
    ),
    (lambda data: data.delete_item("pending-images", imageId=READ), f"{READ} is not in pending-images"),
]


@pytest.mark.parametrize(("change", "problem"), FAULTS)
def test_every_fault_is_a_problem(data: Data, change: Callable[[Data], object], problem: str) -> None:
    _put_completed(data, RUN)

    change(data)

    result = _result(data)
    assert [found for found in result.problems if found.startswith(problem)] != []
    assert not result.passed


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"status": "FAILED", "bedrockMessage": "why"}, f"job {JOB_ID} is FAILED, not COMPLETED: why"),
        ({"resultStats": None}, "the job's item does not have counts"),
        (
            {"resultStats": {"successCount": 8, "failureCount": 2, "totalCount": 10, "migrationFailedCount": 1}},
            "the job counts 8 successes and 2 failures of 10 records, but there are 9 transactions and 1 dead letters",
        ),
    ],
)
def test_wrong_job_is_the_first_problem(data: Data, changes: dict[str, Any], problem: str) -> None:
    _put_completed(data, RUN)
    item = from_item(data.contents()["batch-jobs", RUN.run_id])
    data.put_item("batch-jobs", **{name: value for name, value in {**item, **changes}.items() if value is not None})

    assert _result(data).problems[0].startswith(problem)
