"""A stage on moto: the tables and the bucket that `infra/` declares, and the handler that works on them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
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

from .aws_calls import AwsCalls

EVENTS = Path(__file__).parents[1] / "events"
ACCOUNT = "123456789012"
BUCKET = f"yorutsuke-images-test-{ACCOUNT}"
TRANSACTIONS = "yorutsuke-transactions-test"
BATCH_JOBS = "yorutsuke-batch-jobs-test"
PENDING_IMAGES = "yorutsuke-pending-images-test"
JOB_ID = "abcdefgh1234"
OUTPUT_KEY = f"batch-output/{JOB_ID}/output.jsonl"
MANIFEST_KEY = f"batch-output/{JOB_ID}/manifest.json.out"
DEAD_LETTERS_KEY = f"dead-letters/{JOB_ID}.jsonl"
RECEIPT = {
    "amount": 1280,
    "type": "expense",
    "date": "2026-11-20",
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


def simple_line(image_id: str, **changes: object) -> str:
    """Return a line of the simple layout; `changes` are to the receipt."""
    text = json.dumps({**RECEIPT, **changes})
    return json.dumps({"customData": image_id, "output": {"text": text}})


def nova_line(image_id: str, **changes: object) -> str:
    """Return a line as Bedrock writes it for a Nova model."""
    text = json.dumps({**RECEIPT, **changes})
    message = {"role": "assistant", "content": [{"text": text}]}
    model_output = {"output": {"message": message}, "stopReason": "end_turn", "usage": {"inputTokens": 9}}
    model_input = {"messages": [{"role": "user", "content": [{"image": {"source": {"bytes": "aGVsbG8="}}}]}]}
    return json.dumps({"modelInput": model_input, "modelOutput": model_output, "recordId": image_id})


def s3_notification(key: str, etag: str, bucket: str = BUCKET) -> dict[str, Any]:
    """Return the S3 event notification of an object, from the real one in tests/events/."""
    event = json.loads((EVENTS / "s3_event.json").read_text())
    s3 = event["Records"][0]["s3"]
    s3["bucket"] = {**s3["bucket"], "name": bucket, "arn": f"arn:aws:s3:::{bucket}"}
    s3["object"] = {**s3["object"], "key": key, "eTag": etag}
    return event


def job_end(status: str, message: str = "", job_id: str = JOB_ID) -> str:
    """Return Bedrock's event of a job that ended otherwise than completely, from the one in tests/events/."""
    event = json.loads((EVENTS / "bedrock" / "job_state_change.json").read_text())
    arn = event["detail"]["batchJobArn"].replace(JOB_ID, job_id)
    event["detail"] |= {"batchJobArn": arn, "status": status, "failureMessage": message}
    return json.dumps(event)


def sqs_event(*bodies: str) -> dict[str, Any]:
    """Return an SQS event of messages message-0, message-1, …"""
    template = json.loads((EVENTS / "sqs_s3_event.json").read_text())["Records"][0]
    records = [{**template, "messageId": f"message-{number}", "body": body} for number, body in enumerate(bodies)]
    return {"Records": records}


def start_cold() -> None:
    """Forget what a warm execution environment keeps."""
    load_settings.cache_clear()
    use_cases.cache_clear()


@dataclass(frozen=True)
class Stage:
    """One user's job on a stage.

    `aws` are the test's own clients, `calls` the calls of the handler's clients. `elsewhere` is the session of another
    execution environment, whose calls are not recorded.
    """

    aws: Aws
    calls: AwsCalls
    elsewhere: boto3.Session

    def date_object(self, key: str, moment: datetime) -> None:
        """Let an object have been written at another time than now."""
        s3_backends[ACCOUNT]["aws"].buckets[BUCKET].keys[key].last_modified = moment

    def put_job(self, job_id: str = JOB_ID, **changes: object) -> None:
        """Write a submitted job's record."""
        job = {
            "intentId": f"intent-{job_id}",
            "jobId": job_id,
            "userId": "user-1",
            "status": "SUBMITTED",
            "submitTime": "2026-11-22T14:05:00Z",
            "modelId": "amazon.nova-lite-v1:0",
            "traceId": "trace-1",
        }
        self._put(BATCH_JOBS, {**job, **changes})

    def put_images(self, image_ids: Iterable[str], user_id: str = "user-1", prefix: str = "uploads/") -> None:
        """Put images into `uploads/` and into pending-images, whose s3Key begins with `prefix`."""
        for image_id in image_ids:
            key = f"{user_id}/{image_id}.png"
            self.aws.s3.put_object(Bucket=BUCKET, Key=f"uploads/{key}", Body=image_id.encode())
            item = {"imageId": image_id, "userId": user_id, "s3Key": prefix + key, "status": "pending", "md5": "m"}
            self._put(PENDING_IMAGES, item)

    def put_output(self, *lines: str, key: str = OUTPUT_KEY) -> str:
        """Put an output object and return the body of the message that says so."""
        body = "".join(f"{line}\n" for line in lines).encode()
        etag = self.aws.s3.put_object(Bucket=BUCKET, Key=key, Body=body)["ETag"].strip('"')
        return json.dumps(s3_notification(key, etag))

    def put_manifest(self, processed: int, total: int | None = None) -> str:
        """Put the job's manifest and return the body of the message that says so."""
        counts = json.loads((EVENTS / "bedrock" / "manifest.json.out").read_text())
        counts |= {"totalRecordCount": processed if total is None else total, "processedRecordCount": processed}
        return self.put_output(json.dumps(counts), key=MANIFEST_KEY)

    def deliver(self, *bodies: str) -> list[str]:
        """Deliver messages in one batch; return the ids of those that failed."""
        failures = self.invoke(sqs_event(*bodies))["batchItemFailures"]
        return [failure["itemIdentifier"] for failure in failures]

    def deliver_elsewhere(self, *bodies: str) -> list[str]:
        """Deliver messages to another execution environment."""
        use_cases.cache_clear()
        watched, boto3.DEFAULT_SESSION = boto3.DEFAULT_SESSION, self.elsewhere
        try:
            return self.deliver(*bodies)
        finally:
            use_cases.cache_clear()
            boto3.DEFAULT_SESSION = watched

    def invoke(self, event: dict[str, Any]) -> dict[str, Any]:
        """Invoke the handler with an event of any envelope."""
        return cast("dict[str, Any]", handler(event, CONTEXT))

    def transactions(self) -> dict[str, dict[str, Any]]:
        """Return the stored transactions by image id."""
        return {item["imageId"]: item for item in self.items(TRANSACTIONS)}

    def images(self) -> dict[str, dict[str, Any]]:
        """Return the items of pending-images by image id."""
        return {item["imageId"]: item for item in self.items(PENDING_IMAGES)}

    def job(self, job_id: str = JOB_ID) -> dict[str, Any]:
        """Return a job's record."""
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

    def everything(self) -> dict[str, Any]:
        """Return all that is stored, in an order of its own: for comparison before and after."""
        tables = (TRANSACTIONS, BATCH_JOBS, PENDING_IMAGES)
        return {"objects": self.objects(), **{table: sorted(self.items(table), key=repr) for table in tables}}

    def settled(self) -> dict[str, Any]:
        """Return everything that is stored, without the time of completion."""
        state = self.everything()
        for job in state[BATCH_JOBS]:
            job.pop("completedAt", None)
        return state

    def start_over(self, image_ids: Iterable[str], **changes: object) -> None:
        """Put everything back to how it was before the job's first delivery, except what Bedrock wrote."""
        for item in self.items(TRANSACTIONS):
            key = {name: {"S": item[name]} for name in ("userId", "transactionId")}
            self.aws.dynamodb.delete_item(TableName=TRANSACTIONS, Key=key)
        for key in self.objects():
            if not key.startswith("batch-output/"):
                self.aws.s3.delete_object(Bucket=BUCKET, Key=key)
        self.put_job(JOB_ID, **changes)
        self.put_images(image_ids)

    def clear(self) -> None:
        """Empty the tables and the bucket, and forget the recorded calls."""
        for table in (TRANSACTIONS, BATCH_JOBS, PENDING_IMAGES):
            dynamodb_backends[ACCOUNT][REGION].tables[table].items.clear()
        bucket = s3_backends[ACCOUNT]["aws"].buckets[BUCKET]
        bucket.keys.clear()
        bucket.multiparts.clear()
        self.calls.forget()

    def forget_processed_outputs(self, job_id: str = JOB_ID) -> None:
        """Let the next delivery be a replay instead of a duplicate."""
        self.aws.dynamodb.update_item(
            TableName=BATCH_JOBS,
            Key={"intentId": {"S": f"intent-{job_id}"}},
            UpdateExpression="REMOVE processedOutputs",
        )

    def outlive_claims(self, job_id: str = JOB_ID) -> None:
        """Let the time that a function may live have passed, whether or not one claimed the job."""
        self.aws.dynamodb.update_item(
            TableName=BATCH_JOBS,
            Key={"intentId": {"S": f"intent-{job_id}"}},
            UpdateExpression="SET claimedUntil = :past",
            ExpressionAttributeValues={":past": {"N": "0"}},
        )

    def _put(self, table: str, attributes: Mapping[str, object]) -> None:
        self.aws.dynamodb.put_item(TableName=table, Item=to_item(dict(attributes)))
