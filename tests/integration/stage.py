"""A stage on moto: the tables and the bucket that `infra/` declares, and the result handler."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import boto3
from moto.dynamodb.models import dynamodb_backends
from moto.s3.models import s3_backends

from batch_result_handler.handler import handler, load_settings, use_cases
from local.aws import Aws
from local.emulator import REGION
from local.lambda_context import lambda_context
from yorutsuke_common.aws.dynamodb import from_item, to_item
from yorutsuke_common.schema import iso_utc

from .aws_calls import AwsCalls

EVENTS = Path(__file__).parents[1] / "events"
ACCOUNT = "123456789012"
BUCKET = f"yorutsuke-images-test-{ACCOUNT}"
TRANSACTIONS = "yorutsuke-transactions-test"
BATCH_JOBS = "yorutsuke-batch-jobs-test"
PENDING_IMAGES = "yorutsuke-pending-images-test"
JOB_ID = "abcdefgh1234"
OUTPUT_KEY = f"batch-output/{JOB_ID}/output.jsonl"
OUTPUT_MANIFEST_KEY = f"batch-output/{JOB_ID}/manifest.json.out"
DEAD_LETTERS_KEY = f"dead-letters/{JOB_ID}.jsonl"
RECEIPT = {
    "amount": 1280,
    "type": "expense",
    "date": "2025-11-20",
    "merchant": "Kissa Hoshi",
    "category": "other",
    "description": "Coffee with a client",
}
ENVIRONMENT = {
    "STAGE": "test",
    "IMAGES_BUCKET": BUCKET,
    "TRANSACTIONS_TABLE": TRANSACTIONS,
    "BATCH_JOBS_TABLE": BATCH_JOBS,
    "PENDING_IMAGES_TABLE": PENDING_IMAGES,
    "TRANSACTION_TTL_DAYS": "730",
    "TIMEZONE": "Asia/Tokyo",
}
CONTEXT = lambda_context(seconds=60)
KEYS = {TRANSACTIONS: ("userId", "transactionId"), BATCH_JOBS: ("intentId",), PENDING_IMAGES: ("imageId",)}
"""The key attributes of each table."""


def simple_record(image_id: str, **changes: object) -> str:
    """Return a record in the simple layout, with changes to the receipt."""
    text = json.dumps({**RECEIPT, **changes})
    return json.dumps({"customData": image_id, "output": {"text": text}})


def nova_record(image_id: str, **changes: object) -> str:
    """Return a record in the Bedrock layout, as Bedrock writes it for a Nova model."""
    text = json.dumps({**RECEIPT, **changes})
    message = {"role": "assistant", "content": [{"text": text}]}
    model_output = {"output": {"message": message}, "stopReason": "end_turn", "usage": {"inputTokens": 9}}
    model_input = {"messages": [{"role": "user", "content": [{"image": {"source": {"bytes": "aGVsbG8="}}}]}]}
    return json.dumps({"modelInput": model_input, "modelOutput": model_output, "recordId": image_id})


def s3_notification(key: str, etag: str, bucket: str = BUCKET) -> dict[str, Any]:
    """Return an S3 event notification about an object, based on the real one in tests/events/."""
    event = json.loads((EVENTS / "s3_event.json").read_text())
    s3 = event["Records"][0]["s3"]
    s3["bucket"] = {**s3["bucket"], "name": bucket, "arn": f"arn:aws:s3:::{bucket}"}
    s3["object"] = {**s3["object"], "key": key, "eTag": etag}
    return event


def job_end(status: str, message: str = "", job_id: str = JOB_ID) -> str:
    """Return Bedrock's event about a job that ended with this status, based on the one in tests/events/."""
    event = json.loads((EVENTS / "bedrock" / "job_state_change.json").read_text())
    arn = event["detail"]["batchJobArn"].replace(JOB_ID, job_id)
    event["detail"] |= {"batchJobArn": arn, "status": status, "failureMessage": message}
    return json.dumps(event)


def sqs_event(*bodies: str, receives: int = 1) -> dict[str, Any]:
    """Return an SQS event with these bodies, each received this often. The message ids are message-0, message-1, …"""
    template = json.loads((EVENTS / "sqs_s3_event.json").read_text())["Records"][0]
    template["attributes"]["ApproximateReceiveCount"] = str(receives)
    records = [{**template, "messageId": f"message-{number}", "body": body} for number, body in enumerate(bodies)]
    return {"Records": records}


def clear_handler_caches() -> None:
    """Clear the caches of the execution environment, as a cold start does."""
    load_settings.cache_clear()
    use_cases.cache_clear()


UPLOADED_AT = datetime(2026, 11, 22, 9, 12, 44, tzinfo=UTC)
"""The time of each upload, before the submission of the job."""
SUBMIT_TIME = "2026-11-22T14:05:00Z"


@dataclass(frozen=True)
class Stage:
    """One user's job on a stage.

    `aws` contains the test's own clients, and `calls` records the calls of the handler's clients. `second_session` is
    the session of a second execution environment. Its calls are not recorded.
    """

    aws: Aws
    calls: AwsCalls
    second_session: boto3.Session

    def set_last_modified(self, key: str, moment: datetime) -> None:
        """Set the time at which an object was last modified."""
        s3_backends[ACCOUNT]["aws"].buckets[BUCKET].keys[key].last_modified = moment

    def put_job(self, job_id: str = JOB_ID, **changes: object) -> None:
        """Write a submitted job's item."""
        job = {
            "intentId": f"intent-{job_id}",
            "jobId": job_id,
            "userId": "user-1",
            "status": "SUBMITTED",
            "submitTime": SUBMIT_TIME,
            "modelId": "amazon.nova-lite-v1:0",
            "traceId": "trace-1",
        }
        self._put(BATCH_JOBS, {**job, **changes})

    def put_images(
        self, image_ids: Iterable[str], user_id: str = "user-1", prefix: str = "uploads/", job_id: str = JOB_ID
    ) -> None:
        """Store images in `uploads/`, and add them to pending-images as they are after the submission of a job.

        Their keys begin with `prefix`.
        """
        for image_id in image_ids:
            key = f"{user_id}/{image_id}.png"
            etag = self.aws.s3.put_object(Bucket=BUCKET, Key=f"uploads/{key}", Body=image_id.encode())["ETag"]
            self.set_last_modified(f"uploads/{key}", UPLOADED_AT)
            item = {"imageId": image_id, "userId": user_id, "s3Key": prefix + key, "md5": "m"}
            item |= {"status": "submitted", "uploadedAt": iso_utc(UPLOADED_AT), "attempts": 1}
            hold = {"intentId": f"intent-{job_id}", "submittedAt": SUBMIT_TIME}
            self._put(PENDING_IMAGES, {**item, **hold, "uploadETag": etag})

    def remove_holds(self) -> None:
        """Change the items of the images to those of a program that does not use the schedule."""
        for image_id in self.images():
            self.aws.dynamodb.update_item(
                TableName=PENDING_IMAGES,
                Key={"imageId": {"S": image_id}},
                UpdateExpression="SET #status = :pending REMOVE uploadedAt, submittedAt, attempts",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues={":pending": {"S": "pending"}},
            )

    def put_output(self, *records: str, key: str = OUTPUT_KEY) -> str:
        """Write an output file, and return the body of its message."""
        body = "".join(f"{record}\n" for record in records).encode()
        etag = self.aws.s3.put_object(Bucket=BUCKET, Key=key, Body=body)["ETag"].strip('"')
        return json.dumps(s3_notification(key, etag))

    def put_output_manifest(self, processed: int, total: int | None = None) -> str:
        """Write the job's output manifest, and return the body of its message."""
        counts = json.loads((EVENTS / "bedrock" / "manifest.json.out").read_text())
        counts |= {"totalRecordCount": processed if total is None else total, "processedRecordCount": processed}
        return self.put_output(json.dumps(counts), key=OUTPUT_MANIFEST_KEY)

    def change(self, table: str, item: Mapping[str, object], **attributes: object) -> None:
        """Set attributes of an item, as the app does."""
        self.aws.dynamodb.update_item(
            TableName=table,
            Key=to_item({name: item[name] for name in KEYS[table]}),
            UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in attributes),
            ExpressionAttributeNames={f"#{name}": name for name in attributes},
            ExpressionAttributeValues=to_item({f":{name}": value for name, value in attributes.items()}),
        )

    def delete(self, table: str, item: Mapping[str, object]) -> None:
        """Delete an item, as the app does."""
        self.aws.dynamodb.delete_item(TableName=table, Key=to_item({name: item[name] for name in KEYS[table]}))

    def statements(self, table: str) -> list[list[str]]:
        """Return the statements of each recorded call of BatchExecuteStatement to a table, without parameters."""
        calls = self.calls.parameters_of("BatchExecuteStatement")
        texts = [[statement["Statement"] for statement in call["Statements"]] for call in calls]
        return [statements for statements in texts if f'"{table}"' in statements[0]]

    def deliver(self, *bodies: str, receives: int = 1, seconds: float = 60) -> list[str]:
        """Deliver messages in one invocation with this timeout, and return the ids of those that failed."""
        failures = self.invoke(sqs_event(*bodies, receives=receives), lambda_context(seconds))["batchItemFailures"]
        return [failure["itemIdentifier"] for failure in failures]

    def deliver_to_second_environment(self, *bodies: str) -> list[str]:
        """Deliver messages to the second execution environment."""
        use_cases.cache_clear()
        first_session, boto3.DEFAULT_SESSION = boto3.DEFAULT_SESSION, self.second_session
        try:
            return self.deliver(*bodies)
        finally:
            use_cases.cache_clear()
            boto3.DEFAULT_SESSION = first_session

    def invoke(self, event: dict[str, Any], context: Any = CONTEXT) -> dict[str, Any]:
        """Invoke the handler with an event in any envelope."""
        return cast("dict[str, Any]", handler(event, context))

    def transactions(self) -> dict[str, dict[str, Any]]:
        """Return the stored transactions by image id."""
        return {item["imageId"]: item for item in self.items(TRANSACTIONS)}

    def images(self) -> dict[str, dict[str, Any]]:
        """Return the items of pending-images by image id."""
        return {item["imageId"]: item for item in self.items(PENDING_IMAGES)}

    def job(self, job_id: str = JOB_ID) -> dict[str, Any]:
        """Return a job's item."""
        return next(item for item in self.items(BATCH_JOBS) if item["jobId"] == job_id)

    def dead_letters(self) -> list[dict[str, Any]]:
        """Return the job's dead letters."""
        body = self.aws.s3.get_object(Bucket=BUCKET, Key=DEAD_LETTERS_KEY)["Body"].read()
        return [json.loads(line) for line in body.splitlines()]

    def objects(self) -> dict[str, bytes]:
        """Return every object of the bucket."""
        listed = self.aws.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        keys = [entry.get("Key", "") for entry in listed]
        return {key: self.aws.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}

    def items(self, table: str) -> list[dict[str, Any]]:
        """Return every item of a table."""
        pages = self.aws.dynamodb.get_paginator("scan").paginate(TableName=table)
        return [from_item(item) for page in pages for item in page["Items"]]

    def state(self) -> dict[str, Any]:
        """Return all objects and items, in a stable order."""
        tables = (TRANSACTIONS, BATCH_JOBS, PENDING_IMAGES)
        return {"objects": self.objects(), **{table: sorted(self.items(table), key=repr) for table in tables}}

    def comparable_state(self) -> dict[str, Any]:
        """Return all objects and items, without the times and the tokens of completions."""
        state = self.state()
        for job in state[BATCH_JOBS]:
            job.pop("completedAt", None)
            job.pop("completedBy", None)
        return state

    def restore_inputs(self, image_ids: Iterable[str], **changes: object) -> None:
        """Restore the state before the job's first delivery. Bedrock's files stay as they are."""
        for item in self.items(TRANSACTIONS):
            self.delete(TRANSACTIONS, item)
        for key in self.objects():
            if not key.startswith("batch-output/"):
                self.aws.s3.delete_object(Bucket=BUCKET, Key=key)
        self.put_job(JOB_ID, **changes)
        self.put_images(image_ids)

    def clear(self) -> None:
        """Empty the tables and the bucket, and delete the recorded calls."""
        for table in (TRANSACTIONS, BATCH_JOBS, PENDING_IMAGES):
            dynamodb_backends[ACCOUNT][REGION].tables[table].items.clear()
        bucket = s3_backends[ACCOUNT]["aws"].buckets[BUCKET]
        bucket.keys.clear()
        bucket.multiparts.clear()
        self.calls.reset()

    def remove_processed_outputs(self, job_id: str = JOB_ID) -> None:
        """Remove the job's processed outputs, so that the next delivery is a replay and not a duplicate."""
        self.aws.dynamodb.update_item(
            TableName=BATCH_JOBS,
            Key={"intentId": {"S": f"intent-{job_id}"}},
            UpdateExpression="REMOVE processedOutputs, outputStats",
        )

    def expire_claims(self, job_id: str = JOB_ID) -> None:
        """Set an expired claim on the job, even if the job is not claimed."""
        self.aws.dynamodb.update_item(
            TableName=BATCH_JOBS,
            Key={"intentId": {"S": f"intent-{job_id}"}},
            UpdateExpression="SET claimedUntil = :past",
            ExpressionAttributeValues={":past": {"N": "0"}},
        )

    def _put(self, table: str, attributes: Mapping[str, object]) -> None:
        self.aws.dynamodb.put_item(TableName=table, Item=to_item(dict(attributes)))
