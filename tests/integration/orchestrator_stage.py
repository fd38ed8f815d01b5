"""A stage on moto, the orchestrator, and a fake of Bedrock."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import boto3
import pytest

from batch_orchestrator.handler import handler, job_submitter, scheduled_run
from batch_orchestrator.prompt import model_input
from batch_orchestrator.settings import load_settings
from local.lambda_context import lambda_context
from yorutsuke_common.schema import InvocationType

from .bedrock import Bedrock, BedrockJob
from .stage import BATCH_JOBS, BUCKET, PENDING_IMAGES, Stage

CLAUDE = "jp.anthropic.claude-haiku-4-5-20251001-v1:0"
APPLICATION_PROFILE = "arn:aws:bedrock:ap-northeast-1:123456789012:application-inference-profile/abcdefgh1234"
ORCHESTRATOR_ENVIRONMENT = {
    "BEDROCK_ROLE_ARN": "arn:aws:iam::123456789012:role/yorutsuke-bedrock-test",
    "MODEL_IDS": f"amazon.nova-lite-v1:0,apac.amazon.nova-pro-v1:0,{CLAUDE},{APPLICATION_PROFILE}",
    "MIN_RECORDS": "3",
    "JOB_TIMEOUT_HOURS": "48",
}
IMAGE_IDS = ["img-1", "img-2", "img-3"]
ORCHESTRATOR_CONTEXT = lambda_context(seconds=900)
MANIFEST = "batch-input/intent-1/manifest.jsonl"
"""The key of the manifest, without the folder of the submission."""


def request(image_ids: Iterable[str] = IMAGE_IDS, **changes: object) -> dict[str, Any]:
    """Return a request for images of user-1."""
    return {"intentId": "intent-1", "pendingImageIds": list(image_ids), "userId": "user-1", **changes}


def manifest_of(image_ids: Iterable[str] = IMAGE_IDS, invocation_type: InvocationType | None = None) -> bytes:
    """Return the manifest of a job of this type, for images that `Stage.put_images` stored."""
    lines: list[str] = []
    for image_id in image_ids:
        encoded = base64.b64encode(image_id.encode()).decode()
        record = {"recordId": image_id, "modelInput": model_input("png", {"bytes": encoded}, invocation_type)}
        lines.append(json.dumps(record, ensure_ascii=False, separators=(",", ":")))
    return "".join(f"{line}\n" for line in lines).encode()


def without_folder(text: str) -> str:
    """Return keys or URIs without the folder of the submission, whose name differs between two submissions."""
    return re.sub(r"(batch-input/[^/]+/)[0-9a-f]{16}/", r"\1", text)


def submissions_of(image_ids: Iterable[str] = IMAGE_IDS) -> dict[str, tuple[str | None, str | None]]:
    """Return the intent and the ETag that the items name after the submission of images from `Stage.put_images`."""
    digests = {image_id: hashlib.md5(image_id.encode(), usedforsecurity=False) for image_id in image_ids}
    return {image_id: ("intent-1", f'"{digest.hexdigest()}"') for image_id, digest in digests.items()}


def clear_orchestrator_caches() -> None:
    """Clear the caches of the execution environment, as a cold start does."""
    load_settings.cache_clear()
    _clear_clients()


def _clear_clients() -> None:
    job_submitter.cache_clear()
    scheduled_run.cache_clear()


class Clock:
    """The clock of the orchestrator. Only a test advances it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)

        class _Datetime(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:
                return self.now.astimezone(tz)

        for module in ("submit_job", "scheduled_run"):
            monkeypatch.setattr(f"batch_orchestrator.{module}.datetime", _Datetime)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Orchestrator:
    """The orchestrator on a stage."""

    stage: Stage
    bedrock: Bedrock

    def invoke(self, event: object, context: Any = ORCHESTRATOR_CONTEXT) -> dict[str, Any]:
        """Invoke the orchestrator."""
        return handler(event, context)

    def invoke_in_second_environment(self, event: dict[str, Any]) -> dict[str, Any]:
        """Invoke the orchestrator in the second execution environment."""
        first_session, boto3.DEFAULT_SESSION = boto3.DEFAULT_SESSION, self.stage.second_session
        _clear_clients()
        try:
            return self.invoke(event)
        finally:
            _clear_clients()
            boto3.DEFAULT_SESSION = first_session

    def run(self, scheduled_time: str = "2026-11-26T02:00:00Z") -> dict[str, Any]:
        """Invoke the orchestrator as the schedule does."""
        return self.invoke({"scheduledTime": scheduled_time})

    def image_statuses(self) -> dict[str, str]:
        """Return the status of each image."""
        return {image_id: item["status"] for image_id, item in self.stage.images().items()}

    def item(self, intent_id: str = "intent-1") -> dict[str, Any]:
        """Return an intent's item."""
        [found] = [item for item in self.stage.items(BATCH_JOBS) if item["intentId"] == intent_id]
        return found

    def put_unsubmitted_images(self, image_ids: Iterable[str], user_id: str = "user-1") -> None:
        """Store images, and add them to pending-images as they are before the submission of a job."""
        new = [*image_ids]
        self.stage.put_images(new, user_id)
        self._remove_submissions(new)

    def submissions(self) -> dict[str, tuple[str | None, str | None]]:
        """Return the intent and the ETag that each image's item names."""
        return {
            image_id: (item.get("intentId"), item.get("uploadETag")) for image_id, item in self.stage.images().items()
        }

    def job(self) -> BedrockJob:
        """Return Bedrock's only job."""
        [job] = self.bedrock.jobs.values()
        return job

    def manifests(self) -> dict[str, bytes]:
        """Return every object in `batch-input/`, by key without the folder of the submission."""
        inputs = self._inputs()
        return {without_folder(key): without_folder(body.decode()).encode() for key, body in inputs.items()}

    def _inputs(self) -> dict[str, bytes]:
        return {key: body for key, body in self.stage.objects().items() if key.startswith("batch-input/")}

    def open_uploads(self) -> int:
        """Return the number of multipart uploads that are neither completed nor aborted."""
        return len(self.stage.aws.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []))

    def reset(self) -> None:
        """Delete all intents, manifests, uploads and jobs, their traces in pending-images, and the recorded calls."""
        s3 = self.stage.aws.s3
        for item in self.stage.items(BATCH_JOBS):
            self.stage.delete(BATCH_JOBS, item)
        self._remove_submissions(self.stage.images())
        for key in self._inputs():
            s3.delete_object(Bucket=BUCKET, Key=key)
        for upload in s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
            s3.abort_multipart_upload(Bucket=BUCKET, Key=upload.get("Key", ""), UploadId=upload.get("UploadId", ""))
        self.bedrock.jobs.clear()
        self.stage.calls.reset()

    def _remove_submissions(self, image_ids: Iterable[str]) -> None:
        """Restore the items of images as the app wrote them."""
        for image_id in image_ids:
            self.stage.aws.dynamodb.update_item(
                TableName=PENDING_IMAGES,
                Key={"imageId": {"S": image_id}},
                UpdateExpression="SET #status = :pending REMOVE intentId, uploadETag, submittedAt, attempts",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues={":pending": {"S": "pending"}},
            )
