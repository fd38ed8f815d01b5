"""What happened to a job as CloudWatch metrics, in the embedded metric format: a log entry, no call."""

from dataclasses import dataclass

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit

from yorutsuke_common.schema import ResultStats

NAMESPACE = "BatchResult"


@dataclass(frozen=True)
class ResultMetrics:
    """Prints metrics with the dimensions `service` and `stage`; the job id is searchable metadata."""

    stage: str
    service: str

    def job_completed(self, job_id: str, stats: ResultStats, milliseconds: float) -> None:
        """Count the lines of an output that was taken in, and how long that took."""
        counts = {
            "SuccessCount": stats.successCount,
            "FailureCount": stats.failureCount,
            "MigrationFailedCount": stats.migrationFailedCount,
        }
        if stats.missingCount is not None:
            counts["MissingCount"] = stats.missingCount
        self._emit(job_id, counts, milliseconds)

    def manifest_compared(self, job_id: str, difference: int, unprocessed: int) -> None:
        """Count by how many records manifest and output differ, and how many records Bedrock has not processed."""
        self._emit(job_id, {"ManifestDifference": difference, "UnprocessedCount": unprocessed})

    def job_failed(self, job_id: str) -> None:
        """Count a job that Bedrock ended otherwise than completely."""
        self._emit(job_id, {"JobFailed": 1})

    def _emit(self, job_id: str, counts: dict[str, int], milliseconds: float | None = None) -> None:
        metrics = Metrics(namespace=NAMESPACE, service=self.service)
        metrics.add_dimension(name="stage", value=self.stage)
        for name, value in counts.items():
            metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
        if milliseconds is not None:
            metrics.add_metric(name="ProcessingTime", unit=MetricUnit.Milliseconds, value=milliseconds)
        metrics.add_metadata(key="jobId", value=job_id)
        metrics.flush_metrics()
