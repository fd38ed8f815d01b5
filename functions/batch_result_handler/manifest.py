"""`manifest.json.out`: Bedrock's own count of a job's records, held against the output that was taken in."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from pydantic import ValidationError

from yorutsuke_common.errors import InvalidManifestError, NotReconciledError
from yorutsuke_common.logger import Event
from yorutsuke_common.schema import RecordCounts, ResultStats, problems

from .event import ManifestObject
from .job import BatchJobs
from .result_metrics import ResultMetrics

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MAX_MANIFEST_BYTES = 64 * 1024
"""Hundreds of times what six counts take."""


@dataclass(frozen=True)
class ManifestReconciler:
    """Holds manifests against what was taken in."""

    s3: "S3Client"
    jobs: BatchJobs
    metrics: ResultMetrics
    logger: Logger

    def reconcile(self, source: ManifestObject) -> None:
        """Record the manifest's counts in the job's record where the output taken in has just as many lines.

        Bedrock writes the manifest again while the job runs: a message that announced an earlier content than the
        object has is done, the later one has a message of its own. Records that Bedrock has not processed are no lines,
        and no difference; they are reported.

        Raises NotReconciledError where the counts differ, so that the message comes back when the rest may be there;
        InvalidManifestError; YorutsukeError or botocore's errors where something cannot be read or written.
        """
        job = self.jobs.find(source.job_id)
        etag, content = self._read(source)
        if source.etag not in (None, etag):
            self._skip("the manifest has been written again")
            return
        counts = parse_counts(content, source)
        lines = lines_taken_in(job.resultStats, job.processedOutputs)
        difference = abs(counts.processedRecordCount - lines)
        unprocessed = counts.totalRecordCount - counts.processedRecordCount
        self.metrics.manifest_compared(job.jobId, difference, unprocessed)
        if is_skipped(counts, job.processedOutputs):
            self._skip("Bedrock has processed nothing yet")
            return
        said: dict[str, Any] = {
            "processedRecords": counts.processedRecordCount,
            "unprocessedRecords": unprocessed,
            "lines": lines,
            "difference": difference,
        }
        if difference or not self.jobs.record_counts(job, counts):
            self.logger.warning("manifest and output differ", event=Event.BATCH_RESULT_NOT_RECONCILED, **said)
            raise NotReconciledError(
                f"{source.key!r} counts {counts.processedRecordCount} processed records, the output of job "
                f"{job.jobId!r} that was taken in has {lines} lines: the message comes back by itself when the rest may"
                " be there; if it ends in the dead-letter queue, look for the output's own message and redrive both."
            )
        self.logger.info("manifest and output agree", event=Event.BATCH_RESULT_RECONCILED, **said)

    def _skip(self, why: str) -> None:
        self.logger.info("manifest skipped", event=Event.BATCH_RESULT_MANIFEST_SKIPPED, why=why)

    def _read(self, source: ManifestObject) -> tuple[str, bytes]:
        """Return the manifest's ETag and its content, as they are now."""
        response = self.s3.get_object(Bucket=source.bucket, Key=source.key)
        with closing(response["Body"]) as body:
            return response["ETag"].strip('"'), body.read(MAX_MANIFEST_BYTES + 1)


def lines_taken_in(stats: ResultStats | None, processed_outputs: Mapping[str, str]) -> int:
    """Return how many lines a job's outputs had: none where its output is to be taken in again."""
    return stats.totalCount if stats and processed_outputs else 0


def is_skipped(counts: RecordCounts, processed_outputs: Mapping[str, str]) -> bool:
    """Tell whether there is nothing to compare yet: Bedrock has processed nothing, and nothing was taken in."""
    return not counts.processedRecordCount and not processed_outputs


def parse_counts(content: bytes, source: ManifestObject) -> RecordCounts:
    """Return what a manifest counts. Raises InvalidManifestError."""
    if len(content) > MAX_MANIFEST_BYTES:
        raise InvalidManifestError(
            f"{source.key!r} is larger than {MAX_MANIFEST_BYTES} bytes: only Bedrock's own manifest goes there."
        )
    try:
        return RecordCounts.model_validate_json(content)
    except ValidationError as exc:
        raise InvalidManifestError(
            f"{source.key!r} is not Bedrock's manifest ({problems(exc.errors(include_input=False))}): "
            "correct it, then redrive the message."
        ) from exc
