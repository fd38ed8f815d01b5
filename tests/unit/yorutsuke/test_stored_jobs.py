from datetime import UTC, datetime
from decimal import Decimal

import pytest

from yorutsuke.stored_jobs import read_job
from yorutsuke_common.aws.dynamodb import to_item


@pytest.mark.parametrize(
    "submit_time", ["2026-11-22T14:05:00", "2026-11-22T14:05:00Z", "1795356300", Decimal(1_795_356_300)]
)
def test_job_has_the_time_of_its_submission(submit_time: object) -> None:
    job = read_job(to_item({"intentId": "intent-1", "status": "SUBMITTED", "submitTime": submit_time}))

    assert job.submitted == datetime(2026, 11, 22, 14, 5, tzinfo=UTC)


def test_job_may_lack_its_times() -> None:
    job = read_job(to_item({"intentId": "intent-1", "status": "SUBMITTED", "submitTime": "tonight"}))

    assert (job.submitted, job.completed) == (None, None)
