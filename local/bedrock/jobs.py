"""Batch inference jobs, from the request to the output file.

Bedrock checks the role's access to the buckets and the manifest in the state `Validating`; a job that fails these
checks ends as Failed. Bedrock checks everything else when it receives the request.

Sources: Amazon Bedrock API reference, CreateModelInvocationJob and GetModelInvocationJob; Amazon Bedrock user guide,
"Format and upload your batch inference data", "View the results of a batch inference job" and "Create a custom service
role for batch inference".
"""

import hashlib
import json
import secrets
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from pydantic import BaseModel, ValidationError

from local.aws import Aws
from local.emulator import REGION
from local.state_change import StateChange
from yorutsuke_common.names import BEDROCK_MIN_RECORDS, MAX_RECORDS, OUTPUT_MANIFEST_NAME, BedrockEnd
from yorutsuke_common.schema import RecordCounts, problems

from .replies import reply, seeded_dice
from .request import Parameters, RequestRefusedError
from .service_role import acting_as, require_assumable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

JOB_ID_DIGITS = 12


class UnusableInputError(Exception):
    """A job's manifest breaks a rule of Bedrock."""


class Record(BaseModel):
    """One line of a manifest."""

    recordId: str = ""
    modelInput: dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A job: its ARN, its request and the time of its submission."""

    arn: str
    request: Parameters
    submitted: datetime

    @property
    def input_uri(self) -> str:
        """The S3 URI of the job's manifest."""
        return self.request["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]

    @property
    def output_uri(self) -> str:
        """The S3 URI of the job's output folder."""
        folder = self.request["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"].removesuffix("/")
        return f"{folder}/{self.arn.rpartition('/')[2]}/"


class Bedrock:
    """The batch inference jobs of the emulator's account.

    Each change of a job's state goes to the event bus, from `event_source`. `changes` keeps them in order, by job id.
    """

    def __init__(self, aws: Aws, event_source: str, min_records: int = BEDROCK_MIN_RECORDS) -> None:
        self.changes: dict[str, list[StateChange]] = {}
        self._aws = aws
        self._event_source = event_source
        self._min_records = min_records
        self._account = aws.sts.get_caller_identity()["Account"]
        self._jobs: dict[str, Job] = {}
        self._creating = threading.Lock()

    def create(self, request: Parameters) -> str:
        """Create a job, unless an earlier request with the same token did, and return its ARN.

        Raises:
            RequestRefusedError: Bedrock may not assume the role, or the token came with other parameters.
            LocalStageError: The event bus refused the job's first event. The job does not exist then.
        """
        token = request.get("clientRequestToken") or secrets.token_hex()
        job_id = hashlib.sha256(token.encode()).hexdigest()[:JOB_ID_DIGITS]
        with self._creating:
            job = self._jobs.get(job_id)
            if job is None:
                arn = f"arn:aws:bedrock:{REGION}:{self._account}:model-invocation-job/{job_id}"
                job = Job(arn, request, datetime.now(UTC))
                require_assumable(self._aws, request["roleArn"], arn)
                self._change(job, "Submitted")
                self._jobs[job_id] = job
        if job.request != request:
            raise RequestRefusedError(
                "ConflictException", f"clientRequestToken {token!r} created job {job.arn} with other parameters."
            )
        return job.arn

    def finish(self, job_id: str) -> StateChange:
        """Run a job to its end and return the last change of its state."""
        job = self._jobs[job_id]
        try:
            self._change(job, "Validating")
            with acting_as(self._aws, job.request["roleArn"], job_id) as s3:
                records = self._read_manifest(s3, job)
                self._change(job, "Scheduled")
                self._change(job, "InProgress")
                _write_output(s3, job, records)
        except (UnusableInputError, ClientError) as error:
            return self._change(job, BedrockEnd.FAILED, f"Batch job {job.arn} {error}")
        return self._change(job, "Completed")

    def _change(self, job: Job, status: str, message: str = "") -> StateChange:
        change = StateChange(
            job.arn, job.request["jobName"], job.request["modelId"], status, message, created=job.submitted
        )
        change.put(self._aws.events, self._event_source)
        self.changes.setdefault(change.job_id, []).append(change)
        return change

    def _read_manifest(self, s3: "S3Client", job: Job) -> list[Record]:
        """Return the records of a job's manifest. Raises UnusableInputError, and ClientError if the role lacks a right.

        Bedrock's wording of the first message is known from public issues.
        """
        for uri in (job.output_uri, job.input_uri):
            bucket, key = _bucket_and_key(uri)
            s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
        if not key.endswith(".jsonl"):
            raise UnusableInputError(f"has input {job.input_uri}, which is not a .jsonl file.")
        lines = s3.get_object(Bucket=bucket, Key=key)["Body"].read().splitlines()
        records = [_record(number, line) for number, line in enumerate(lines, 1) if line.strip()]
        count = len(records)
        if count < self._min_records:
            raise UnusableInputError(
                f"contains less records ({count}) than the required minimum of: {self._min_records}"
            )
        if count > MAX_RECORDS:
            raise UnusableInputError(f"contains more records ({count}) than the allowed maximum of: {MAX_RECORDS}")
        return records


def _write_output(s3: "S3Client", job: Job, records: list[Record]) -> None:
    """Write the output file and its manifest. The order of the records changes: Bedrock does not guarantee it."""
    bucket, folder = _bucket_and_key(job.output_uri)
    lines = [{**record.model_dump(), **reply(record.recordId, record.modelInput)} for record in records]
    seeded_dice(folder).shuffle(lines)
    usage = [line["modelOutput"]["usage"] for line in lines if "modelOutput" in line]
    counts = RecordCounts(
        totalRecordCount=len(lines),
        processedRecordCount=len(lines),
        successRecordCount=len(usage),
        errorRecordCount=len(lines) - len(usage),
        inputTokenCount=sum(tokens["inputTokens"] for tokens in usage),
        outputTokenCount=sum(tokens["outputTokens"] for tokens in usage),
    )
    output = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    name = f"{job.input_uri.rpartition('/')[2]}.out"
    for key, body in ((name, output), (OUTPUT_MANIFEST_NAME, counts.model_dump_json())):
        s3.put_object(Bucket=bucket, Key=folder + key, Body=body.encode())


def _record(number: int, line: bytes) -> Record:
    """Return the record of a line. Bedrock makes up a missing `recordId`. Raises UnusableInputError."""
    try:
        record = Record.model_validate_json(line)
    except ValidationError as exc:
        message = problems(exc.errors(include_input=False))
        raise UnusableInputError(f"has an input whose line {number} is not a record ({message}).") from exc
    return record if record.recordId else record.model_copy(update={"recordId": f"{number:011}"})


def _bucket_and_key(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
