"""Records the end of a job that Bedrock did not complete, in the job's item, the log and the metrics."""

from dataclasses import dataclass

from aws_lambda_powertools import Logger

from yorutsuke_common.aws.stores import ResultStores
from yorutsuke_common.events import JobEnd
from yorutsuke_common.names import LogEvent
from yorutsuke_common.schema import BatchJob

from .result_metrics import ResultMetrics


@dataclass(frozen=True)
class JobEndRecorder:
    """Records the ends of jobs that Bedrock did not complete."""

    stores: ResultStores
    metrics: ResultMetrics
    logger: Logger

    def record(self, job: BatchJob, end: JobEnd) -> None:
        """Report the end and store it in the job's item, unless the item has this end.

        The report comes first: a crash in between leads to two reports and not to a missing one. Bedrock's message is
        stored in the job's item and not logged, because Bedrock's API marks it as sensitive.

        Raises botocore's errors, and RetryableError if the item was deleted.
        """
        if job.bedrockStatus == end.status:
            self.logger.info(
                "job end already recorded", event=LogEvent.BATCH_RESULT_DUPLICATE, bedrockStatus=end.status.value
            )
            return
        self.metrics.job_failed(job.jobId)
        self.logger.error(
            "Bedrock did not complete the job",
            event=LogEvent.BATCH_RESULT_JOB_FAILED,
            bedrockStatus=end.status.value,
            jobStatus=job.status,
        )
        self.stores.jobs.record_end(job, end.status, end.message)
