"""Records the end of a job that Bedrock did not complete, in the job's item, the log and the metrics."""

from dataclasses import dataclass

from aws_lambda_powertools import Logger

from yorutsuke_common.aws.calls import RESERVED_SECONDS
from yorutsuke_common.aws.stores import ResultStores
from yorutsuke_common.events import JobEnd
from yorutsuke_common.names import LogEvent
from yorutsuke_common.schema import BatchJob, JobStatus

from .claims import claimed
from .release_images import ImageReleaser
from .result_metrics import ResultMetrics


@dataclass(frozen=True)
class JobEndRecorder:
    """Records the ends of jobs that Bedrock did not complete."""

    stores: ResultStores
    releaser: ImageReleaser
    metrics: ResultMetrics
    logger: Logger

    def record(self, found: BatchJob, end: JobEnd, remaining_seconds: float) -> None:
        """Report the end, release the job's images and store the end in the job's item, unless the item has this end.

        The claim makes sure that no other invocation is processing an output of the job. An output that arrives later
        still counts for the images that no other job holds by then. The report comes before the other steps: a crash
        in between leads to two reports and not to a missing one. Bedrock's message is stored in the job's item and not
        logged, because Bedrock's API marks it as sensitive.

        Args:
            found: The job, as `jobIdIndex` has it.
            end: The end.
            remaining_seconds: How long Lambda lets this function run from now on.

        Raises:
            JobClaimedError: Another invocation is processing the job's output.
            RetryableError, botocore's errors: The item was deleted, or a call failed.
        """
        if found.bedrockStatus == end.status:
            self.logger.info(
                "job end already recorded", event=LogEvent.BATCH_RESULT_DUPLICATE, bedrockStatus=end.status.value
            )
            return
        self.stores.time_limit.start(remaining_seconds - RESERVED_SECONDS)
        with claimed(self.stores.jobs, found, remaining_seconds, self.logger) as job:
            self.metrics.job_failed(job.jobId)
            self.logger.error(
                "Bedrock did not complete the job",
                event=LogEvent.BATCH_RESULT_JOB_FAILED,
                bedrockStatus=end.status.value,
                jobStatus=job.status,
            )
            self.releaser.release_all(job, JobStatus[end.status.name].value)
            self.stores.jobs.record_end(job, end.status, end.message)
