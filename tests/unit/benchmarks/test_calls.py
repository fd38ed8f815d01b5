"""A job makes the minimum number of AWS calls for its number of records."""

import pytest

from benchmarks.comparison import fewest_calls
from benchmarks.measure import output_lines
from benchmarks.modelled_aws import ModelledAws
from benchmarks.ways import HANDLER, SUBMISSIONS, WAYS, session


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


@pytest.mark.parametrize("way", SUBMISSIONS)
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
