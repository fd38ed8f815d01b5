"""Batch inference jobs: what a request for one has to keep to, and the course that a job then takes.

What the API reference says of the status `Validating` is looked at there, and a job that breaks it ends as Failed:
access of the role to the buckets, files that are .jsonl, the form and the number of the records. Everything else is
refused when the job is asked for.

Sources: Amazon Bedrock API reference, CreateModelInvocationJob and GetModelInvocationJob; Amazon Bedrock user guide,
"Format and upload your batch inference data", "View the results of a batch inference job" and "Create a custom service
role for batch inference".
"""

import json
import random
import secrets
import tempfile
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import IO, Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from local.aws import Aws
from local.emulator import REGION
from local.state_change import StateChange
from yorutsuke_common.schema import RecordCounts

from .api import Parameters, RequestRefusedError
from .records import ALPHANUMERIC, Records, UnusableInputError, read_records
from .replies import Model
from .service_role import acting_as, may_assume, said, trust_policy

JOB_ID_CHARACTERS = 12
INPUT_SUFFIX = ".jsonl"
NOVA = "amazon.nova-"
COUNTS = ("totalRecordCount", "processedRecordCount", "successRecordCount", "errorRecordCount")
NO_COUNTS = RecordCounts(totalRecordCount=0, processedRecordCount=0, successRecordCount=0, errorRecordCount=0)
PAGE = 100
UPLOAD = TransferConfig(use_threads=False)


class State(StrEnum):
    """The states of a job. Source: Amazon Bedrock API reference, GetModelInvocationJob."""

    SUBMITTED = "Submitted"
    VALIDATING = "Validating"
    SCHEDULED = "Scheduled"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    PARTIALLY_COMPLETED = "PartiallyCompleted"
    FAILED = "Failed"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    EXPIRED = "Expired"

    @property
    def is_end(self) -> bool:
        """Whether nothing comes after it."""
        return self in {
            State.COMPLETED,
            State.PARTIALLY_COMPLETED,
            State.FAILED,
            State.STOPPED,
            State.EXPIRED,
        }


CHANGES = 4
"""How often a job changes its state, from Submitted to its end."""


@dataclass(frozen=True)
class Limits:
    """How many records a job has, at least and at most: quotas of an account, which differ by model and region.

    `unprocessed` is the share of them that a job has no time for.
    """

    minimum: int = 100
    maximum: int = 50_000
    unprocessed: float = 0


@dataclass
class Job:
    """A job, and what has become of it. `request` is what it was asked for with."""

    arn: str
    request: Parameters
    submitted: datetime
    state: State = State.SUBMITTED
    message: str = ""
    counts: RecordCounts = NO_COUNTS
    modified: datetime | None = None
    course: Generator[State] | None = None
    running: threading.Lock = field(default_factory=threading.Lock)

    @property
    def job_id(self) -> str:
        """The last part of the ARN."""
        return self.arn.rpartition("/")[2]

    @property
    def input(self) -> Parameters:
        """Where the input is."""
        return self.request["inputDataConfig"]["s3InputDataConfig"]

    @property
    def output(self) -> Parameters:
        """Below what the output goes."""
        return self.request["outputDataConfig"]["s3OutputDataConfig"]

    def described(self) -> Parameters:
        """Return what GetModelInvocationJob says of the job."""
        named = ("clientRequestToken", "vpcConfig", "timeoutDurationInHours", "modelInvocationType")
        hours = self.request.get("timeoutDurationInHours")
        times = {
            "submitTime": self.submitted,
            "lastModifiedTime": self.modified,
            "endTime": self.modified if self.state.is_end else None,
            "jobExpirationTime": self.submitted + timedelta(hours=hours) if hours else None,
        }
        return {
            "jobArn": self.arn,
            **{name: self.request[name] for name in ("jobName", "modelId", "roleArn")},
            "status": self.state,
            **({"message": self.message} if self.message else {}),
            **{name: time for name, time in times.items() if time},
            **{name: self.request[name] for name in ("inputDataConfig", "outputDataConfig")},
            **{name: self.request[name] for name in named if name in self.request},
            **self.counts.model_dump(include={*COUNTS}),
        }


class Jobs:
    """The jobs of an account, and the operations on them.

    `changed` is called at each change of a job's state, `submitted` with each new job's id.
    """

    def __init__(
        self,
        aws: Aws,
        model: Model,
        limits: Limits,
        changed: Callable[[StateChange], object],
        submitted: Callable[[str], object],
    ) -> None:
        self._aws = aws
        self._model = model
        self._limits = limits
        self._changed = changed
        self._submitted = submitted
        self._account = aws.sts.get_caller_identity()["Account"]
        self._jobs: dict[str, Job] = {}
        self._tokens: dict[str, Job] = {}
        self._creating = threading.Lock()
        self._moving = threading.RLock()

    def create(self, request: Parameters) -> Parameters:
        """Take a job, or find the one that the same token made. Raises RequestRefusedError."""
        token = request.get("clientRequestToken")
        with self._creating:
            if token and (made := self._tokens.get(token)):
                return {"jobArn": self._same(made, request).arn}
            job = Job(self._new_arn(), request, datetime.now(UTC))
            _require_known_model(request)
            self._require_assumable_role(job)
            job.course = self._course(job)
            # First of all: where that fails, the client asks again, and is not to find a job.
            self._tell(job)
            self._jobs[job.job_id] = job
            if token:
                self._tokens[token] = job
        self._submitted(job.job_id)
        return {"jobArn": job.arn}

    def get(self, request: Parameters) -> Parameters:
        """Describe a job. Raises RequestRefusedError."""
        return self.job(request["jobIdentifier"]).described()

    def list(self, request: Parameters) -> Parameters:
        """Describe the jobs that are asked for, the latest first unless asked otherwise. Raises RequestRefusedError."""
        after, before = request.get("submitTimeAfter"), request.get("submitTimeBefore")
        found = [
            job.described()
            for job in [*self._jobs.values()]
            if request.get("statusEquals") in {None, job.state}
            and request.get("nameContains", "") in job.request["jobName"]
            and (after is None or job.submitted > after)
            and (before is None or job.submitted < before)
        ]
        if request.get("sortOrder") != "Ascending":
            found.reverse()
        token = request.get("nextToken", "0")
        if not token.isdecimal():
            raise RequestRefusedError("ValidationException", f"nextToken {token!r} is none that was given.")
        end = int(token) + request.get("maxResults", PAGE)
        more = {"nextToken": str(end)} if end < len(found) else {}
        return {"invocationJobSummaries": found[int(token) : end], **more}

    def stop(self, request: Parameters) -> Parameters:
        """Have a job stopped. Raises RequestRefusedError."""
        job = self.job(request["jobIdentifier"])
        with self._moving:
            if job.state.is_end or job.state is State.STOPPING:
                raise RequestRefusedError(
                    "ConflictException", f"Job {job.arn} is {job.state}: only a job that runs can be stopped."
                )
            self._move(job, State.STOPPING)
        return {}

    def job(self, identifier: str) -> Job:
        """Return a job by its id or its ARN. Raises RequestRefusedError."""
        job = self._jobs.get(identifier.rpartition("/")[2])
        if job is None or identifier not in {job.arn, job.job_id}:
            raise RequestRefusedError("ResourceNotFoundException", f"There is no job {identifier!r}.")
        return job

    def advance(self, identifier: str) -> State:
        """Take a job to its next state, and return that; one that has ended stays as it is."""
        job = self.job(identifier)
        with job.running:
            if job.course is None:
                return job.state
            state = job.state if job.state is State.STOPPING else next(job.course)
            with self._moving:
                # Whoever stopped it meanwhile was told so.
                self._move(job, State.STOPPED if job.state is State.STOPPING else state)
            if job.state.is_end:
                job.course.close()
                job.course = None
            return job.state

    def _move(self, job: Job, state: State) -> None:
        job.state, job.modified = state, datetime.now(UTC)
        self._tell(job)

    def _tell(self, job: Job) -> None:
        self._changed(
            StateChange(
                job_arn=job.arn,
                job_name=job.request["jobName"],
                model_id=job.request["modelId"],
                status=job.state.value,
                message=job.message,
                created=job.submitted,
            )
        )

    # What a job is refused for

    def _new_arn(self) -> str:
        job_id = "".join(secrets.choice(ALPHANUMERIC) for _ in range(JOB_ID_CHARACTERS))
        return f"arn:aws:bedrock:{REGION}:{self._account}:model-invocation-job/{job_id}"

    def _same(self, made: Job, request: Parameters) -> Job:
        if made.request != request:
            raise RequestRefusedError(
                "ConflictException",
                f"clientRequestToken {request['clientRequestToken']!r} has made job {made.arn} of other parameters: "
                "another job takes another token.",
            )
        return made

    def _require_assumable_role(self, job: Job) -> None:
        role = job.request["roleArn"]
        if role.split(":")[4] != self._account:
            raise RequestRefusedError("ValidationException", f"roleArn {role!r} is not of account {self._account}.")
        trust = trust_policy(self._aws.iam, role)
        if trust is None:
            raise RequestRefusedError("ValidationException", f"roleArn {role!r} is of no role that exists.")
        if not may_assume(trust, {"aws:sourceaccount": self._account, "aws:sourcearn": job.arn}):
            raise RequestRefusedError(
                "ValidationException",
                f"roleArn {role!r} is of a role that does not trust bedrock.amazonaws.com with a job of this account.",
            )

    # The course of a job

    def _course(self, job: Job) -> Generator[State]:
        try:
            yield from self._good_course(job)
        except UnusableInputError as error:
            job.message = f"Batch job {job.arn} {error}"
            yield State.FAILED
        except ClientError as error:
            job.message = f"Batch job {job.arn} got no further in its role {job.request['roleArn']}: {said(error)}"
            yield State.FAILED

    def _good_course(self, job: Job) -> Generator[State]:
        yield State.VALIDATING
        with read_records(self._input(job)) as records:
            self._require_number(len(records))
            job.counts = NO_COUNTS.model_copy(update={"totalRecordCount": len(records)})
            yield State.SCHEDULED
            yield State.IN_PROGRESS
            self._write_output(job, records)
        if job.counts.processedRecordCount == job.counts.totalRecordCount:
            yield State.COMPLETED
            return
        job.message = "Not all records could be processed in time."
        yield State.PARTIALLY_COMPLETED

    def _input(self, job: Job) -> Any:
        """Return the body of the input, once both places are known to be open to the role."""
        with acting_as(self._aws, job.request["roleArn"], job.job_id) as s3:
            for place in (job.input, job.output):
                if place.get("s3BucketOwner", self._account) != self._account:
                    raise UnusableInputError(
                        f"names {place['s3Uri']}, which does not belong to {place['s3BucketOwner']}."
                    )
                bucket, prefix = _bucket_and_key(place["s3Uri"])
                s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
            bucket, key = _bucket_and_key(job.input["s3Uri"])
            if not key.endswith(INPUT_SUFFIX):
                raise UnusableInputError(f"has input {job.input['s3Uri']}, which is no {INPUT_SUFFIX} file.")
            return s3.get_object(Bucket=bucket, Key=key)["Body"]

    def _require_number(self, count: int) -> None:
        """Hold the number of records to the quotas. The first message is Bedrock's own, met in public issue reports."""
        limits = self._limits
        if count < limits.minimum:
            raise UnusableInputError(f"contains less records ({count}) than the required minimum of: {limits.minimum}")
        if count > limits.maximum:
            raise UnusableInputError(f"contains more records ({count}) than the allowed maximum of: {limits.maximum}")

    def _write_output(self, job: Job, records: Records) -> None:
        """Write the output and the manifest; nothing where the job is stopped before that."""
        bucket, folder = _bucket_and_key(job.output["s3Uri"].removesuffix("/") + f"/{job.job_id}/")
        name = job.input["s3Uri"].rpartition("/")[2]
        with tempfile.TemporaryFile() as file:
            if not self._write_lines(job, records, file):
                return
            file.seek(0)
            with acting_as(self._aws, job.request["roleArn"], job.job_id) as s3:
                s3.upload_fileobj(file, bucket, f"{folder}{name}.out", Config=UPLOAD)
                s3.put_object(
                    Bucket=bucket, Key=f"{folder}manifest.json.out", Body=job.counts.model_dump_json().encode()
                )

    def _write_lines(self, job: Job, records: Records, file: IO[bytes]) -> bool:
        """Write a line for each record there is time for; return whether the job was let go on."""
        dice = random.Random(f"{self._model.seed}:{job.job_id}")  # noqa: S311 - sample data
        processed = len(records) - round(len(records) * self._limits.unprocessed)
        errors, tokens = 0, {"inputTokens": 0, "outputTokens": 0}
        for record in islice(records.shuffled(dice), processed):
            if job.state is State.STOPPING:
                return False
            outcome = self._model.outcome(record["recordId"], record["modelInput"])
            errors += "error" in outcome
            for name in tokens:
                tokens[name] += outcome.get("modelOutput", {}).get("usage", {}).get(name, 0)
            line = json.dumps({**record, **outcome}, ensure_ascii=False)
            # A lone surrogate, which UTF-8 cannot hold, is escaped as JSON has it.
            file.write(line.encode(errors="backslashreplace") + b"\n")
        job.counts = RecordCounts(
            totalRecordCount=len(records),
            processedRecordCount=processed,
            successRecordCount=processed - errors,
            errorRecordCount=errors,
            inputTokenCount=tokens["inputTokens"],
            outputTokenCount=tokens["outputTokens"],
        )
        return True


def _require_known_model(request: Parameters) -> None:
    if NOVA not in request["modelId"] and request.get("modelInvocationType") != "Converse":
        raise RequestRefusedError(
            "ValidationException",
            f"modelId {request['modelId']!r} is not one that this stand-in for Bedrock can reply as: it takes Amazon's "
            "Nova, or any model in a job of modelInvocationType Converse, whose replies have the same form.",
        )


def _bucket_and_key(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
