"""Single faults that random schedules may miss: lost responses and a stale index."""

from collections.abc import Generator

import pytest

from local.in_memory import Call, Fault
from tests.integration.stage import BATCH_JOBS
from yorutsuke_common.aws.dynamodb import from_item

from .campaign import no_faults, run_without_faults
from .faulty_job import FaultyJob, serve_faulty_job

OUTPUT = 0
"""Index of the output file's message in `FaultyJob.messages`."""
ATTEMPTS = 5
"""Number of times that botocore attempts a call."""


@pytest.fixture
def faulty_job() -> Generator[FaultyJob]:
    """A job on in-memory AWS."""
    with serve_faulty_job() as faulty_job:
        yield faulty_job


@pytest.mark.parametrize("lost", [1, 2], ids=["claim", "completion"])
def test_update_with_lost_response_completes_first_delivery(faulty_job: FaultyJob, lost: int) -> None:
    clean = run_without_faults(faulty_job)
    faulty_job.seed()
    updates = 0

    def faults(_: int, call: Call) -> Fault | None:
        nonlocal updates
        updates += call.operation == "UpdateItem"
        return Fault("timeout", after=True) if call.operation == "UpdateItem" and updates == lost else None

    assert faulty_job.deliver(faulty_job.messages()[OUTPUT], faults)

    assert updates == 3
    [job] = map(from_item, faulty_job.aws.tables[BATCH_JOBS].items.values())
    assert job["status"] == "COMPLETED"
    assert {"claimedBy", "claimedUntil"}.isdisjoint(job)
    assert all(faulty_job.deliver(message, no_faults) for message in faulty_job.messages())
    assert faulty_job.state() == clean.state


def test_claim_without_any_response_is_released(faulty_job: FaultyJob) -> None:
    faulty_job.seed()
    updates = 0

    def faults(_: int, call: Call) -> Fault | None:
        nonlocal updates
        updates += call.operation == "UpdateItem"
        return Fault("timeout", after=True) if call.operation == "UpdateItem" and updates <= ATTEMPTS else None

    assert not faulty_job.deliver(faulty_job.messages()[OUTPUT], faults)

    assert updates == ATTEMPTS + 1
    [job] = map(from_item, faulty_job.aws.tables[BATCH_JOBS].items.values())
    assert {"claimedBy", "claimedUntil"}.isdisjoint(job)


def test_duplicate_hidden_by_stale_index_preserves_edit(faulty_job: FaultyJob) -> None:
    faulty_job.seed()
    output = faulty_job.messages()[OUTPUT]
    assert faulty_job.deliver(output, no_faults)
    faulty_job.edit_transactions()
    edited = faulty_job.state()

    def stale_query(_: int, call: Call) -> Fault | None:
        return Fault("stale") if call.operation == "Query" else None

    assert faulty_job.deliver(output, stale_query)

    assert faulty_job.state() == edited
