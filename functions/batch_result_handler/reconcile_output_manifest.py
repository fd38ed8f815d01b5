"""Compares the output manifest with the output that was processed."""

from dataclasses import dataclass
from typing import Any

from aws_lambda_powertools import Logger

from yorutsuke_common.aws.calls import RESERVED_SECONDS
from yorutsuke_common.aws.output_files import read_output_manifest
from yorutsuke_common.aws.stores import ResultStores
from yorutsuke_common.errors import NotReconciledError
from yorutsuke_common.events import OutputManifestObject
from yorutsuke_common.names import LogEvent
from yorutsuke_common.records.output_manifest import is_premature, parse_counts, processed_lines
from yorutsuke_common.schema import BatchJob

from .claims import claimed
from .release_images import NO_RECORD, ImageReleaser
from .result_metrics import ResultMetrics


@dataclass(frozen=True)
class OutputManifestReconciler:
    """Compares output manifests with the processed outputs."""

    stores: ResultStores
    releaser: ImageReleaser
    metrics: ResultMetrics
    logger: Logger

    def reconcile(self, job: BatchJob, source: OutputManifestObject, remaining_seconds: float) -> None:
        """Store the output manifest's counts in the job's item if they agree with the processed output.

        Bedrock writes the output manifest again while the job runs. A message about an earlier content is skipped,
        because the later content has its own message. Model requests that Bedrock has not processed do not have a
        record yet. They are not a difference, and a metric counts them. If no model request is left, the images without
        a record are released.

        Args:
            job: The job, as `jobIdIndex` has it.
            source: The output manifest.
            remaining_seconds: How long Lambda lets this function run from now on.

        Raises:
            JobClaimedError: Another invocation is processing the job's output.
            NotReconciledError: The counts differ, or the processed outputs have changed since the job was read. SQS
                delivers the message again later, when more output may have arrived.
            InvalidOutputManifestError: The object is not an output manifest.
            YorutsukeError, botocore's errors: Something could not be read or written.
        """
        self.stores.time_limit.start(remaining_seconds - RESERVED_SECONDS)
        etag, content = read_output_manifest(self.stores.s3, source.bucket, source.key)
        if source.etag not in (None, etag):
            self._skip("the output manifest was written again since its notification")
            return
        counts = parse_counts(content, source.key)
        lines = processed_lines(job)
        difference = abs(counts.processedRecordCount - lines)
        unprocessed = counts.totalRecordCount - counts.processedRecordCount
        self.metrics.output_manifest_compared(job.jobId, difference, unprocessed)
        if is_premature(counts, job):
            self._skip("Bedrock has not processed a model request yet")
            return
        comparison: dict[str, Any] = {
            "processedRecords": counts.processedRecordCount,
            "unprocessedRecords": unprocessed,
            "lines": lines,
            "difference": difference,
        }
        if difference:
            problem = (
                f"{source.key!r} counts {counts.processedRecordCount} records, but the processed output of job "
                f"{job.jobId!r} has {lines}"
            )
        elif not self.stores.jobs.record_counts(job, counts):
            problem = f"the processed outputs of job {job.jobId!r} have changed since the job was read"
        else:
            if not unprocessed and self.releaser.held(job):
                # The claim keeps other invocations from storing transactions of the images.
                with claimed(self.stores.jobs, job, remaining_seconds, self.logger):
                    self.releaser.release_all(job, NO_RECORD)
            self.logger.info("output manifest and output agree", event=LogEvent.BATCH_RESULT_RECONCILED, **comparison)
            return
        self.logger.warning(
            "output manifest not reconciled", event=LogEvent.BATCH_RESULT_NOT_RECONCILED, problem=problem, **comparison
        )
        raise NotReconciledError(
            f"{problem}. SQS delivers the message again later. If it reaches the dead-letter queue, redrive it "
            "together with the output's message."
        )

    def _skip(self, why: str) -> None:
        self.logger.info("output manifest skipped", event=LogEvent.BATCH_RESULT_MANIFEST_SKIPPED, why=why)
