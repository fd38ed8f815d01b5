from datetime import UTC, datetime
from decimal import Decimal

import pytest

from yorutsuke.job_images import requested_ids
from yorutsuke.stored_jobs import UNREADABLE, read_job
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


@pytest.mark.parametrize("value", [b"2026-11-22T14:05:00Z", ["2026-11-22T14:05:00Z"], True])
def test_job_with_time_of_another_type_is_unreadable(value: object) -> None:
    job = read_job(to_item({"intentId": "intent-1", "status": "SUBMITTED", "submitTime": value}))

    assert (job.status, job.intentId) == (UNREADABLE, "intent-1")


@pytest.mark.parametrize(
    ("value", "ids"),
    [(["a", "b"], ["a", "b"]), ("abc", None), (7, None), (b"a", None), ({"a"}, None), ([None, 7], None)],
)
def test_images_of_another_type_are_unknown(value: object, ids: list[str] | None) -> None:
    assert requested_ids(to_item({"pendingImageIds": value})) == ids
