"""What a job asks of AWS, counted: as few calls as there can be, however many records it has."""

import pytest

from benchmarks.comparison import fewest_calls
from benchmarks.measure import output_lines
from benchmarks.modelled_aws import LATENCY_SECONDS, ModelledAws
from benchmarks.ways import HANDLER, WAYS


@pytest.mark.parametrize("records", [1, 1_000, 2_026])
def test_a_job_takes_the_fewest_calls(records: int) -> None:
    size = sum(map(len, output_lines(records, 0)))
    aws = ModelledAws(lambda: output_lines(records, 0), size, latencies=dict.fromkeys(LATENCY_SECONDS, 0.0))

    with WAYS[HANDLER](aws) as run:
        run()

    assert dict(aws.calls) == fewest_calls(records)
    done = dict.fromkeys(("transactions", "copied", "deleted", "pending-images"), records)
    assert {what: count for what, count in aws.written.items() if what} == done


def test_the_fewest_calls_of_the_largest_job() -> None:
    assert fewest_calls(50_000) == {
        "Query": 1,
        "UpdateItem": 2,
        "GetObject": 1,
        "BatchGetItem": 500,
        "BatchWriteItem": 4_000,
        "CopyObject": 50_000,
        "DeleteObjects": 50,
        "PutObject": 1,
    }
