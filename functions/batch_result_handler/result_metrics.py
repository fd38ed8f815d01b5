"""The metrics of a job's results, as log entries in CloudWatch's embedded metric format."""

from collections.abc import Mapping
from dataclasses import dataclass

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit

from yorutsuke_common.names import METRIC_NAMESPACE, RESULT_SERVICE, ResultMetric
from yorutsuke_common.schema import OutputStats


@dataclass(frozen=True)
class ResultMetrics:
    """Emits metrics with the dimensions `service` and `stage`. The job id or message id is searchable metadata."""

    stage: str

    def job_completed(self, job_id: str, stats: OutputStats, missing: int | None, milliseconds: float) -> None:
        """Emit the counts of a processed output file, and the time that its processing took.

        `missing` is the number of requested images without a record, or None if it is not known.
        """
        counts = {
            ResultMetric.SUCCESS_COUNT: stats.successCount,
            ResultMetric.FAILURE_COUNT: stats.failureCount,
            ResultMetric.MIGRATION_FAILED_COUNT: stats.migrationFailedCount,
        }
        if missing is not None:
            counts[ResultMetric.MISSING_COUNT] = missing
        self._emit(counts, milliseconds, jobId=job_id)

    def output_manifest_compared(self, job_id: str, difference: int, unprocessed: int) -> None:
        """Emit the difference between output manifest and output, and the number of model requests without a record."""
        counts = {ResultMetric.MANIFEST_DIFFERENCE: difference, ResultMetric.UNPROCESSED_COUNT: unprocessed}
        self._emit(counts, jobId=job_id)

    def job_failed(self, job_id: str) -> None:
        """Count a job that ended as Failed, Expired, Stopped or PartiallyCompleted."""
        self._emit({ResultMetric.JOB_FAILED: 1}, jobId=job_id)

    def redelivery_failed(self, message_id: str) -> None:
        """Count a message that failed at its second or a later receive."""
        self._emit({ResultMetric.REDELIVERY_FAILED: 1}, messageId=message_id)

    def _emit(self, counts: Mapping[ResultMetric, int], milliseconds: float | None = None, **metadata: str) -> None:
        metrics = Metrics(namespace=METRIC_NAMESPACE, service=RESULT_SERVICE)
        metrics.add_dimension(name="stage", value=self.stage)
        for name, value in counts.items():
            metrics.add_metric(name=name.value, unit=MetricUnit.Count, value=value)
        if milliseconds is not None:
            metrics.add_metric(
                name=ResultMetric.PROCESSING_TIME.value, unit=MetricUnit.Milliseconds, value=milliseconds
            )
        for key, value in metadata.items():
            metrics.add_metadata(key=key, value=value)
        metrics.flush_metrics()
