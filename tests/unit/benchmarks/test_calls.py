"""A job makes the minimum number of AWS calls for its number of records."""

import pytest

from batch_orchestrator.handler import job_submitter
from benchmarks.comparison import fewest_calls
from benchmarks.measure import output_lines
from benchmarks.modelled_aws import ModelledAws, waiting_image
from benchmarks.ways import (
    HANDLER,
    SCHEDULE,
    SUBMISSION,
    SUBMISSION_BY_REFERENCE,
    SUBMISSION_BY_SIXTEENS,
    SUBMISSIONS,
    USERS_BY_REFERENCE,
    WAYS,
    session,
)
from tests.faults.invocations import InlineExecutor


@pytest.mark.parametrize("records", [1, 1_000, 2_026])
def test_job_makes_the_fewest_calls(records: int) -> None:
    size = sum(map(len, output_lines(records, 0)))
    aws = ModelledAws(records, lambda: output_lines(records, 0), size, latencies={})

    with session(aws):
        WAYS[HANDLER](aws)()

    assert dict(aws.calls) == fewest_calls(records)
    effects = dict.fromkeys(("transactions", "copied", "deleted", "pending-images"), records)
    assert aws.written == effects


def test_fewest_calls_of_the_largest_job() -> None:
    assert fewest_calls(50_000) == {
        "Query": 1,
        "UpdateItem": 2,
        "GetObject": 1,
        "BatchGetItem": 500,
        "BatchExecuteStatement": 4_000,
        "CopyObject": 50_000,
        "DeleteObjects": 50,
        "PutObject": 1,
    }


@pytest.mark.parametrize("way", [SUBMISSION, SUBMISSION_BY_SIXTEENS])
def test_submission_makes_the_fewest_calls(way: str) -> None:
    images, image_bytes = 100, 145_000
    aws = ModelledAws(images, lambda: iter([bytes(image_bytes)]), image_bytes, latencies={})

    with session(aws):
        SUBMISSIONS[way](aws)()

    assert dict(aws.calls) == {
        "GetItem": 1,
        "BatchGetItem": 1,
        "GetObject": images,
        "CreateMultipartUpload": 1,
        "UploadPart": 3,
        "PutItem": 1,
        "CompleteMultipartUpload": 1,
        # The images are held, and then marked with their ETags.
        "BatchExecuteStatement": 8,
        "UpdateItem": 3,
        "CreateModelInvocationJob": 1,
    }
    # Each image is in base64, with a prompt of about 2 kB.
    assert 4 / 3 * images * image_bytes < aws.written["uploaded"] < 4 / 3 * images * image_bytes + 2_100 * images


def test_delivery_by_s3_makes_the_fewest_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The uploads are listed before the first image is held."""
    monkeypatch.setattr("batch_orchestrator.image_copies.ThreadPoolExecutor", InlineExecutor)
    images = 2_500
    aws = ModelledAws(images, lambda: iter([b"image"]), 145_000, latencies={})

    with session(aws):
        SUBMISSIONS[SUBMISSION_BY_REFERENCE](aws)()

    assert dict(aws.calls) == {
        "GetItem": 1,
        "BatchGetItem": 25,
        "ListObjectsV2": 3,
        "CopyObject": images,
        "PutItem": 1,
        "PutObject": 1,
        "BatchExecuteStatement": 100,
        "UpdateItem": 3,
        "CreateModelInvocationJob": 1,
    }
    assert (aws.written["copied"], aws.written["uploaded"]) == (images, 0)


def test_delivery_by_s3_lists_each_user_folder() -> None:
    images, users = 1_000, 100
    aws = ModelledAws(images, lambda: iter([b"image"]), 145_000, latencies={}, users=users)

    with session(aws):
        SUBMISSIONS[USERS_BY_REFERENCE](aws)()

    assert (aws.calls["ListObjectsV2"], aws.calls["CopyObject"]) == (users, images)
    assert (aws.written["copied"], aws.written["uploaded"]) == (images, 0)


def test_scheduled_run_makes_the_fewest_calls() -> None:
    images, jobs = 5_002, 2
    aws = ModelledAws(images, lambda: iter([b"image"]), 5, latencies={}, users=501)

    with session(aws):
        SUBMISSIONS[SCHEDULE](aws)()

    assert len(aws.jobs) == jobs
    assert dict(aws.calls) == {
        # A page of the held images, which is empty, and one of the waiting images.
        "Query": 2,
        "GetItem": jobs,
        "BatchGetItem": jobs * 26,
        "PutItem": jobs,
        # The images are held, and then marked with their ETags.
        "BatchExecuteStatement": jobs * 2 * 101,
        "GetObject": images,
        "PutObject": jobs,
        "UpdateItem": jobs * 3,
        "CreateModelInvocationJob": jobs,
    }
    assert aws.written["pending-images"] == 2 * images


def test_index_of_waiting_images_has_pages() -> None:
    aws = ModelledAws(30_000, lambda: iter([b"image"]), 5, latencies={})

    with session(aws):
        pending = job_submitter().pending
        waiting = pending.waiting()

    assert [image_id for image_id, _ in waiting] == [waiting_image(number) for number in range(30_000)]
    assert aws.calls["Query"] == 3


def test_index_takes_a_thousand_holds_a_second() -> None:
    aws = ModelledAws(1_001, lambda: iter([b"image"]), 5, latencies={}, is_limited=True)
    table = aws.tables["pending-images"]
    table.clock = lambda: 0.0
    images = [table.get({"imageId": {"S": waiting_image(number)}}) or {} for number in range(1_001)]

    accepted = [table.accepts({**image, "status": {"S": "submitted"}}, image) for image in images]

    assert accepted == [*[True] * 1_000, False]
