"""Compares Bedrock's manifest with the output that was processed."""

from dataclasses import dataclass
from typing import Any

from aws_lambda_powertools import Logger

from yorutsuke_common.aws.output_files import read_manifest
from yorutsuke_common.aws.stores import ResultStores
from yorutsuke_common.errors import NotReconciledError
from yorutsuke_common.events import ManifestObject
from yorutsuke_common.names import LogEvent
from yorutsuke_common.records.manifest import is_premature, parse_counts, processed_lines
from yorutsuke_common.schema import BatchJob

from .result_metrics import ResultMetrics


@dataclass(frozen=True)
class ManifestReconciler:
    """Compares manifests with the processed outputs."""

    stores: ResultStores
    metrics: ResultMetrics
    logger: Logger

    def reconcile(self, job: BatchJob, source: ManifestObject) -> None:
        """Store the manifest's counts in the job's item if the processed output has as many records.

        Bedrock writes the manifest again while the job runs. A message about an earlier content is skipped, because the
        later content has its own message. Requests that Bedrock has not processed do not have a record
        yet. They are reported, and are not a difference.

        Raises:
            NotReconciledError: The counts differ, or an output file was processed during the comparison. SQS delivers
                the message again when more output may have arrived.
            InvalidManifestError: The object is not Bedrock's manifest.
            YorutsukeError, botocore's errors: Something could not be read or written.
        """
        etag, content = read_manifest(self.stores.s3, source.bucket, source.key)
        if source.etag not in (None, etag):
            self._skip("the manifest was written again since its notification")
            return
        counts = parse_counts(content, source.key)
        lines = processed_lines(job)
        difference = abs(counts.processedRecordCount - lines)
        unprocessed = counts.totalRecordCount - counts.processedRecordCount
        self.metrics.manifest_compared(job.jobId, difference, unprocessed)
        if is_premature(counts, job):
            self._skip("Bedrock has not processed a record yet")
            return
        comparison: dict[str, Any] = {
            "processedRecords": counts.processedRecordCount,
            "unprocessedRecords": unprocessed,
            "lines": lines,
            "difference": difference,
        }
        if difference or not self.stores.jobs.record_counts(job, counts):
            self.logger.warning("manifest and output differ", event=LogEvent.BATCH_RESULT_NOT_RECONCILED, **comparison)
            raise NotReconciledError(
                f"{source.key!r} counts {counts.processedRecordCount} records, but the processed output of job "
                f"{job.jobId!r} has {lines}. SQS delivers the message again later. If it reaches the dead-letter "
                "queue, redrive it together with the output's message."
            )
        self.logger.info("manifest and output agree", event=LogEvent.BATCH_RESULT_RECONCILED, **comparison)

    def _skip(self, why: str) -> None:
        self.logger.info("manifest skipped", event=LogEvent.BATCH_RESULT_MANIFEST_SKIPPED, why=why)
