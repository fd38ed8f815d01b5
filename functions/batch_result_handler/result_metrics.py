"""The job's counts as CloudWatch metrics, in the embedded metric format: a log entry, no call."""

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit

from yorutsuke_common.schema import ResultStats

NAMESPACE = "BatchResult"


def emit_metrics(stats: ResultStats, milliseconds: float, job_id: str, stage: str, service: str) -> None:
    """Print the metrics of one job, with the dimensions `service` and `stage`; the job id is searchable metadata."""
    metrics = Metrics(namespace=NAMESPACE, service=service)
    metrics.add_dimension(name="stage", value=stage)
    metrics.add_metric(name="SuccessCount", unit=MetricUnit.Count, value=stats.successCount)
    metrics.add_metric(name="FailureCount", unit=MetricUnit.Count, value=stats.failureCount)
    metrics.add_metric(name="MigrationFailedCount", unit=MetricUnit.Count, value=stats.migrationFailedCount)
    metrics.add_metric(name="ProcessingTime", unit=MetricUnit.Milliseconds, value=milliseconds)
    metrics.add_metadata(key="jobId", value=job_id)
    metrics.flush_metrics()
