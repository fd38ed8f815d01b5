"""The metrics of a scheduled run, as a log entry in CloudWatch's embedded metric format."""

from dataclasses import dataclass

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit

from yorutsuke_common.names import METRIC_NAMESPACE, ORCHESTRATOR_SERVICE, ScheduleMetric


@dataclass(frozen=True)
class ScheduleMetrics:
    """Emits metrics with the dimensions `service` and `stage`."""

    stage: str

    def run_ended(self, waiting: int, oldest_age: float) -> None:
        """Emit the number of waiting images after a run, and the age of the oldest one in seconds."""
        metrics = Metrics(namespace=METRIC_NAMESPACE, service=ORCHESTRATOR_SERVICE)
        metrics.add_dimension(name="stage", value=self.stage)
        metrics.add_metric(name=ScheduleMetric.WAITING_IMAGES.value, unit=MetricUnit.Count, value=waiting)
        metrics.add_metric(name=ScheduleMetric.OLDEST_WAITING_AGE.value, unit=MetricUnit.Seconds, value=oldest_age)
        metrics.flush_metrics()
