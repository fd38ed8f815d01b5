"""A stage on moto, the orchestrator that works on it, and the Bedrock that it asks."""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import boto3

from batch_orchestrator.handler import handler, job_submitter
from batch_orchestrator.prompt import model_input
from batch_orchestrator.settings import load_settings

from .bedrock import Bedrock, BedrockJob
from .stage import BATCH_JOBS, BUCKET, CONTEXT, Stage

ORCHESTRATOR_ENVIRONMENT = {
    "BEDROCK_ROLE_ARN": "arn:aws:iam::123456789012:role/yorutsuke-bedrock-test",
    "MODEL_IDS": "amazon.nova-lite-v1:0,apac.amazon.nova-pro-v1:0",
    "MIN_RECORDS": "3",
}
IMAGE_IDS = ["img-1", "img-2", "img-3"]
MANIFEST = "batch-input/intent-1/manifest.jsonl"


def request(image_ids: Iterable[str] = IMAGE_IDS, **changes: object) -> dict[str, Any]:
    """Return a request for images of user-1."""
    return {"intentId": "intent-1", "pendingImageIds": list(image_ids), "userId": "user-1", **changes}


def manifest_of(image_ids: Iterable[str] = IMAGE_IDS) -> bytes:
    """Return the manifest of images as `Stage.put_images` puts them."""
    lines: list[str] = []
    for image_id in image_ids:
        encoded = base64.b64encode(image_id.encode()).decode()
        record = {"recordId": image_id, "modelInput": model_input("png", encoded)}
        lines.append(json.dumps(record, ensure_ascii=False, separators=(",", ":")))
    return "".join(f"{line}\n" for line in lines).encode()


def forget_environment() -> None:
    """Forget what a warm execution environment keeps."""
    load_settings.cache_clear()
    job_submitter.cache_clear()


@dataclass(frozen=True)
class Orchestrator:
    """The orchestrator on a stage."""

    stage: Stage
    bedrock: Bedrock

    def invoke(self, event: object, context: Any = CONTEXT) -> dict[str, Any]:
        """Invoke the function."""
        return handler(event, context)

    def invoke_elsewhere(self, event: dict[str, Any]) -> dict[str, Any]:
        """Invoke it in another execution environment."""
        watched, boto3.DEFAULT_SESSION = boto3.DEFAULT_SESSION, self.stage.elsewhere
        job_submitter.cache_clear()
        try:
            return self.invoke(event)
        finally:
            job_submitter.cache_clear()
            boto3.DEFAULT_SESSION = watched

    def record(self, intent_id: str = "intent-1") -> dict[str, Any]:
        """Return an intent's record."""
        [record] = [item for item in self.stage.items(BATCH_JOBS) if item["intentId"] == intent_id]
        return record

    def job(self) -> BedrockJob:
        """Return Bedrock's one job."""
        [job] = self.bedrock.jobs.values()
        return job

    def manifests(self) -> dict[str, bytes]:
        """Return every object in `batch-input/`."""
        return {key: body for key, body in self.stage.objects().items() if key.startswith("batch-input/")}

    def uploads(self) -> int:
        """Return how many uploads are neither completed nor aborted."""
        return len(self.stage.aws.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []))

    def start_over(self) -> None:
        """Forget every intent, its manifest and its job, and what was injected."""
        s3, dynamodb = self.stage.aws.s3, self.stage.aws.dynamodb
        for item in self.stage.items(BATCH_JOBS):
            dynamodb.delete_item(TableName=BATCH_JOBS, Key={"intentId": {"S": item["intentId"]}})
        for key in self.manifests():
            s3.delete_object(Bucket=BUCKET, Key=key)
        for upload in s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
            s3.abort_multipart_upload(Bucket=BUCKET, Key=upload.get("Key", ""), UploadId=upload.get("UploadId", ""))
        self.bedrock.jobs.clear()
        self.stage.calls.forget()
