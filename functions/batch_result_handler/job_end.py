"""The end of a job that Bedrock did not complete: into the job's record, the log and the metrics."""

from dataclasses import dataclass

from aws_lambda_powertools import Logger

from yorutsuke_common.logger import Event

from .event import JobEnd
from .job import BatchJobs
from .result_metrics import ResultMetrics


@dataclass(frozen=True)
class JobEndRecorder:
    """Records how jobs ended, as far as Bedrock says so: its events are sent at best effort."""

    jobs: BatchJobs
    metrics: ResultMetrics
    logger: Logger

    def record(self, end: JobEnd) -> None:
        """Report the end and write it into the job's record, once for each way in which the job ended.

        Reported first: a function that dies in between reports twice, rather than never. The message is for the record
        alone; Bedrock's API marks it as sensitive.

        Raises YorutsukeError or botocore's errors where the record cannot be read or written.
        """
        job = self.jobs.find(end.job_id)
        if job.bedrockStatus == end.status.value:
            self.logger.info(
                "job end already recorded", event=Event.BATCH_RESULT_DUPLICATE, bedrockStatus=end.status.value
            )
            return
        self.metrics.job_failed(job.jobId)
        self.logger.error(
            "Bedrock did not complete the job",
            event=Event.BATCH_RESULT_JOB_FAILED,
            bedrockStatus=end.status.value,
            jobStatus=job.status,
        )
        self.jobs.record_end(job, end)
