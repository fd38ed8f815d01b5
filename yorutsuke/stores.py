"""The handler's own stores, over an operator's clients: what it reads and writes is read and written the same way.

Its log is not for a terminal: it goes nowhere, or to who wants to know why an image stayed.
"""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property

from aws_lambda_powertools import Logger

from batch_result_handler.images import ImageStore, PendingImages
from batch_result_handler.job import BatchJobs
from batch_result_handler.object_copier import ObjectCopier
from yorutsuke_common.dynamodb import BatchClient
from yorutsuke_common.logger import Event
from yorutsuke_common.overlap import CONCURRENCY, Overlap

from .stage import Stage

SERVICE = "yorutsuke"


@cache
def _quiet_logger() -> Logger:
    # Once: Powertools keeps the handler of the first logger of a name.
    logger = Logger(service=SERVICE, logger_handler=logging.NullHandler())
    # Powertools' level is the environment's, which is that of whoever's shell this is.
    logging.getLogger(SERVICE).setLevel(logging.WARNING)
    return logger


@dataclass(frozen=True)
class Stores:
    """What a job's results are read from and written to, of one stage."""

    stage: Stage

    @cached_property
    def overlap(self) -> Overlap:
        """Calls that overlap."""
        return Overlap()

    @cached_property
    def jobs(self) -> BatchJobs:
        """The records of jobs, as the handler has them."""
        return BatchJobs(self.stage.clients.dynamodb, self.stage.settings.batch_jobs_table, _quiet_logger())

    @cached_property
    def batch(self) -> BatchClient:
        """Batches of items."""
        return BatchClient(self.stage.clients.dynamodb, self.overlap, _quiet_logger())

    @cached_property
    def pending(self) -> PendingImages:
        """What is known of the images."""
        return PendingImages(self.batch, self.stage.settings.pending_images_table)

    @cached_property
    def images(self) -> ImageStore:
        """The images in the bucket."""
        bucket, s3 = self.stage.settings.images_bucket, self.stage.clients.s3
        copier = ObjectCopier(s3, bucket, CONCURRENCY, _quiet_logger())
        return ImageStore(s3, bucket, copier, self.pending, self.overlap, _quiet_logger())

    @contextmanager
    def reasons(self) -> Generator[dict[str, str]]:
        """Give what the image store says, by image id, of those that it could not move meanwhile."""
        said = _Reasons()
        # Powertools' logger stands on the standard one of its name.
        log = logging.getLogger(SERVICE)
        log.addHandler(said)
        try:
            yield said.by_image
        finally:
            log.removeHandler(said)


class _Reasons(logging.Handler):
    """Keeps of each image that was not moved what failed."""

    def __init__(self) -> None:
        super().__init__()
        self.by_image: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        # What the entry says beside its message, Powertools makes attributes of the record.
        entry = vars(record)
        if entry.get("event") == Event.BATCH_RESULT_IMAGE_MIGRATION_FAILED:
            self.by_image[entry["imageId"]] = f"{entry['operation']}: {entry['code']}"
