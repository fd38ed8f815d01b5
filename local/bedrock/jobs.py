"""Batch inference jobs, from the request to the output file.

The input of a job is a manifest, or a folder that is named with a slash at its end. Bedrock reads each manifest below a
folder, and writes an output file for each.

In the state `Validating`, Bedrock checks the manifests and the access of the role to the buckets. A job that fails
these checks ends as Failed. Bedrock checks everything else when it receives the request.

Sources: Amazon Bedrock API reference, CreateModelInvocationJob and GetModelInvocationJob; Amazon Bedrock user guide,
"Format and upload your batch inference data", "View the results of a batch inference job" and "Create a custom service
role for batch inference".
"""

import hashlib
import json
import secrets
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from pydantic import BaseModel, ValidationError

from local.aws import Aws
from local.emulator import REGION
from local.errors import LocalStageError
from local.receipts import record_counts
from yorutsuke_common.names import BEDROCK_MIN_RECORDS, JOB_STATE_CHANGE, MAX_RECORDS, OUTPUT_MANIFEST_NAME, BedrockEnd
from yorutsuke_common.validation import describe_errors

from .model_requests import INVOKE_MODEL
from .replies import error_reply, reply, seeded_dice
from .s3_images import UnreadableImageError, with_content
from .s3_uris import origin
from .service_role import PRINCIPAL, acting_as, is_assumable

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_s3 import S3Client


class RequestRefusedError(Exception):
    """A request that the stand-in refuses. `code` is the API's name of the error."""

    def __init__(self, message: str, code: str = "ValidationException") -> None:
        super().__init__(message)
        self.code = code


class UnusableInputError(Exception):
    """A job's manifest breaks a rule of Bedrock."""


class Record(BaseModel):
    """One line of a manifest."""

    recordId: str = ""
    modelInput: dict[str, Any]


@dataclass(frozen=True)
class StateChange:
    """The event that Bedrock sends when a job changes its status. `message` is empty unless the job failed.

    Source: Amazon Bedrock user guide, "How EventBridge for Amazon Bedrock works".
    """

    job_arn: str
    job_name: str
    model_id: str
    status: str
    message: str
    created: datetime

    @property
    def job_id(self) -> str:
        """The last part of the job's ARN."""
        return self.job_arn.rpartition("/")[2]

    def detail(self) -> dict[str, str]:
        """Return the event's detail."""
        return {
            "version": "0.0",
            "accountId": self.job_arn.split(":")[4],
            "batchJobName": self.job_name,
            "batchJobArn": self.job_arn,
            "batchModelId": self.model_id,
            "status": self.status,
            "failureMessage": self.message,
            "creationTime": f"{self.created:%b %-d, %Y, %-I:%M:%S %p}",
        }

    def put(self, events: "EventBridgeClient", source: str) -> None:
        """Put the event on the default bus. Raises LocalStageError if the bus refuses it.

        `source` cannot be Bedrock's own, `aws.bedrock`: only AWS sends events from `aws.` sources. Source: EventBridge
        API reference, PutEvents.
        """
        event: Any = {"DetailType": JOB_STATE_CHANGE, "Detail": json.dumps(self.detail()), "Resources": [self.job_arn]}
        [result] = events.put_events(Entries=[event | {"Source": source}])["Entries"]
        if "EventId" not in result:
            raise LocalStageError(
                f"the event bus refused the event from {source!r} that job {self.job_id!r} is {self.status}: "
                f"{result.get('ErrorMessage')}"
            )


class Bedrock:
    """The batch inference jobs of the emulator's account.

    Each change of a job's state goes to the event bus, from `event_source`. `changes` keeps them in order, and
    `requests` keeps the request that created each job, both by job id.
    """

    def __init__(self, aws: Aws, event_source: str, min_records: int = BEDROCK_MIN_RECORDS) -> None:
        self.changes: dict[str, list[StateChange]] = {}
        self.requests: dict[str, dict[str, Any]] = {}
        self._aws = aws
        self._event_source = event_source
        self._min_records = min_records
        self._creating = threading.Lock()

    @cached_property
    def _jobs(self) -> str:
        """The beginning of the jobs' ARNs. The emulator may start later than the stand-in."""
        return f"arn:aws:bedrock:{REGION}:{self._aws.sts.get_caller_identity()['Account']}:model-invocation-job"

    def create(self, request: dict[str, Any]) -> str:
        """Create a job, unless an earlier request with the same token did, and return its ARN.

        Raises RequestRefusedError. Raises LocalStageError, without creating a job, if the event bus refuses its event.
        """
        token = request.get("clientRequestToken") or secrets.token_hex()
        job_id = hashlib.sha256(token.encode()).hexdigest()[:12]
        arn = f"{self._jobs}/{job_id}"
        with self._creating:
            if job_id not in self.requests:
                if not is_assumable(self._aws, request["roleArn"], arn):
                    raise RequestRefusedError(f"roleArn {request['roleArn']!r} does not trust {PRINCIPAL} with {arn}.")
                name, model = request["jobName"], request["modelId"]
                self._announce(StateChange(arn, name, model, "Submitted", "", created=datetime.now(UTC)))
                self.requests[job_id] = request
        if self.requests[job_id] != request:
            raise RequestRefusedError(f"Token {token!r} created {arn} with other parameters.", "ConflictException")
        return arn

    def waiting(self) -> list[str]:
        """Return the ids of the jobs that were not started."""
        return [job_id for job_id in [*self.requests] if len(self.changes[job_id]) == 1]

    def finish(self, job_id: str, pause: float = 0, failure: str = "") -> StateChange:
        """Run a job to its end and return the last change of its state.

        Args:
            job_id: The job.
            pause: Seconds between the output file and the output manifest.
            failure: The message with which the job ends as Failed, without an output. An empty message does not end it.
        """
        request = self.requests[job_id]
        input_uri: str = request["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]
        output_uri: str = request["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"].removesuffix("/")
        try:
            self._change(job_id, "Validating")
            with acting_as(self._aws, request["roleArn"], job_id) as s3:
                for uri in (output_uri, input_uri):
                    s3.list_objects_v2(**origin(uri, "Prefix"), MaxKeys=1)
                manifests = self._read_input(s3, input_uri)
                self._change(job_id, "Scheduled")
                self._change(job_id, "InProgress")
                if failure:
                    return self._change(job_id, BedrockEnd.FAILED, failure)
                outputs = {
                    f"{name}.out": [_answer(record, request, s3, input_uri) for record in records]
                    for name, records in manifests.items()
                }
                _write_output(s3, f"{output_uri}/{job_id}", outputs, pause)
        except (UnusableInputError, ClientError) as error:
            return self._change(job_id, BedrockEnd.FAILED, f"Batch job {self._jobs}/{job_id} {error}")
        return self._change(job_id, "Completed")

    def _change(self, job_id: str, status: str, message: str = "") -> StateChange:
        return self._announce(replace(self.changes[job_id][-1], status=status, message=message))

    def _announce(self, change: StateChange) -> StateChange:
        change.put(self._aws.events, self._event_source)
        self.changes.setdefault(change.job_id, []).append(change)
        return change

    def _read_input(self, s3: "S3Client", uri: str) -> dict[str, list[Record]]:
        """Return the records of each manifest of an input, by the name of the manifest.

        Raises UnusableInputError, and ClientError if the role lacks a right. The message about too few records is
        Bedrock's, as public issues quote it.
        """
        manifests: dict[str, list[Record]] = {}
        for manifest_uri in _manifest_uris(s3, uri):
            lines = s3.get_object(**origin(manifest_uri))["Body"].read().splitlines()
            records = [_record(number, line) for number, line in enumerate(lines, 1) if line.strip()]
            # Two nested folders may have manifests with the same name.
            manifests.setdefault(manifest_uri.rpartition("/")[2], []).extend(records)
        count, minimum = sum(map(len, manifests.values())), self._min_records
        if count < minimum:
            raise UnusableInputError(f"contains less records ({count}) than the required minimum of: {minimum}")
        if count > MAX_RECORDS:
            raise UnusableInputError(f"contains more records ({count}) than the allowed maximum of: {MAX_RECORDS}")
        return manifests


def _manifest_uris(s3: "S3Client", uri: str) -> list[str]:
    """Return the URIs of the manifests of an input. Raises UnusableInputError."""
    if not uri.endswith("/"):
        if not uri.endswith(".jsonl"):
            raise UnusableInputError(f"has input {uri}, which is not a .jsonl file.")
        return [uri]
    folder = origin(uri, "Prefix")
    pages = s3.get_paginator("list_objects_v2").paginate(**folder)
    keys = [entry.get("Key", "") for page in pages for entry in page.get("Contents", [])]
    if found := [f"s3://{folder['Bucket']}/{key}" for key in keys if key.endswith(".jsonl")]:
        return found
    raise UnusableInputError(f"has input folder {uri}, which does not have a .jsonl file.")


def _record(number: int, line: bytes) -> Record:
    """Return the record of a line. Bedrock makes up a missing `recordId`. Raises UnusableInputError."""
    try:
        record = Record.model_validate_json(line)
    except ValidationError as exc:
        message = describe_errors(exc)
        raise UnusableInputError(f"has an input file with an invalid record in line {number}: {message}.") from exc
    return record if record.recordId else record.model_copy(update={"recordId": f"{number:011}"})


def _answer(record: Record, request: dict[str, Any], s3: "S3Client", input_uri: str) -> dict[str, Any]:
    """Return the output line of a record. `request` created the job, and `s3` has the rights of its role."""
    invocation_type, model_input = request.get("modelInvocationType", INVOKE_MODEL), record.modelInput
    try:
        if invocation_type == INVOKE_MODEL:
            model_input = with_content(model_input, s3, input_uri)
        answer = reply(record.recordId, model_input, request["modelId"], invocation_type)
    except UnreadableImageError as error:
        answer = error_reply(400, str(error))
    return {**record.model_dump(), **answer}


def _write_output(s3: "S3Client", folder_uri: str, outputs: dict[str, list[dict[str, Any]]], pause: float) -> None:
    """Write the output files and the output manifest. Shuffle the records: Bedrock does not guarantee their order."""
    lines = [line for output in outputs.values() for line in output]
    usages = [line["modelOutput"]["usage"] for line in lines if "modelOutput" in line]
    counts = record_counts(
        len(lines),
        errors=sum("error" in line for line in lines),
        tokens=(sum(usage["inputTokens"] for usage in usages), sum(usage["outputTokens"] for usage in usages)),
    )
    for name, output in outputs.items():
        seeded_dice(folder_uri).shuffle(output)
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in output)
        s3.put_object(**origin(f"{folder_uri}/{name}"), Body=text.encode())
    time.sleep(pause)
    s3.put_object(**origin(f"{folder_uri}/{OUTPUT_MANIFEST_NAME}"), Body=counts.model_dump_json().encode())
