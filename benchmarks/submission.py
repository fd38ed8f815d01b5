"""The ways of submitting a job of many images that are measured side by side, each given the same modelled AWS."""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import boto3

from batch_orchestrator import handler as handler_module
from batch_orchestrator import images as images_module
from batch_orchestrator.handler import handler, job_submitter
from local.lambda_context import lambda_context
from yorutsuke_common.aws.calls import chunks

from .modelled_aws import BATCH_JOBS, BUCKET, CREDENTIALS, PENDING_IMAGES, USER_ID, ModelledAws

ENVIRONMENT = {
    **CREDENTIALS,
    "STAGE": "benchmark",
    "IMAGES_BUCKET": BUCKET,
    "BATCH_JOBS_TABLE": BATCH_JOBS,
    "PENDING_IMAGES_TABLE": PENDING_IMAGES,
    "BEDROCK_ROLE_ARN": "arn:aws:iam::123456789012:role/benchmark",
    "MODEL_IDS": "amazon.nova-lite-v1:0",
}
AT_ONCE = 16

_T = TypeVar("_T")
_R = TypeVar("_R")


@contextmanager
def the_orchestrator(aws: ModelledAws) -> Generator[Callable[[], None]]:
    """Let the real handler submit the job, from its event to the record of its job, in process."""
    image_ids = [f"img-{number:06}" for number in range(aws.records)]
    request = {"intentId": "benchmark", "pendingImageIds": image_ids, "userId": USER_ID}
    session = boto3.Session(region_name=CREDENTIALS["AWS_DEFAULT_REGION"])
    with (
        patch.dict(os.environ, ENVIRONMENT),
        patch.object(boto3, "DEFAULT_SESSION", session),
        Path(os.devnull).open("w", encoding="utf-8") as silence,
        redirect_stdout(silence),
        patch.object(handler_module.logger.registered_handler, "stream", silence),
    ):
        aws.serve(session)
        handler_module.load_settings.cache_clear()
        job_submitter.cache_clear()
        yield lambda: _submitted(request)


@contextmanager
def sixteen_at_a_time(aws: ModelledAws) -> Generator[Callable[[], None]]:
    """Read images sixteen at a time: the next sixteen start when the last of these is in the manifest."""
    with patch.object(images_module, "map_ahead", _by_sixteens), the_orchestrator(aws) as run:
        yield run


def _by_sixteens(executor: Executor, call: Callable[[_T], _R], items: Sequence[_T], *_: object) -> Iterator[_R]:
    for some in chunks(items, AT_ONCE):
        yield from executor.map(call, some)


def _submitted(request: object) -> None:
    handler(request, lambda_context(seconds=900))


SUBMISSION, SUBMISSION_BY_SIXTEENS = "submission", f"submission, {AT_ONCE} images at a time"
SUBMISSIONS = {SUBMISSION: the_orchestrator, SUBMISSION_BY_SIXTEENS: sixteen_at_a_time}
"""By the names that they are shown under."""
