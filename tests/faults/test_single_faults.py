"""Single faults that a campaign meets by chance: answers that are lost, and an index that lags behind."""

from collections.abc import Generator

import pytest

from local.in_memory import Call, Fault
from tests.integration.stage import BATCH_JOBS
from yorutsuke_common.aws.dynamodb import from_item

from .campaign import clean_run, no_faults
from .faulty_job import FaultyJob, serve_faulty_job

OUTPUT = 0
ATTEMPTS = 5
"""Of a call, by botocore."""


@pytest.fixture
def faulty_job() -> Generator[FaultyJob]:
    with serve_faulty_job() as faulty_job:
        yield faulty_job


@pytest.mark.parametrize("lost", [1, 2], ids=["claim", "completion"])
def test_an_update_that_is_sent_again_is_done_at_the_first_delivery(faulty_job: FaultyJob, lost: int) -> None:
    clean = clean_run(faulty_job)
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


def test_a_claim_of_which_every_answer_was_lost_is_given_up(faulty_job: FaultyJob) -> None:
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


def test_a_duplicate_that_a_lagging_index_hides_undoes_no_edit(faulty_job: FaultyJob) -> None:
    faulty_job.seed()
    output = faulty_job.messages()[OUTPUT]
    assert faulty_job.deliver(output, no_faults)
    faulty_job.edit()
    edited = faulty_job.state()

    def lagging(_: int, call: Call) -> Fault | None:
        return Fault("stale") if call.operation == "Query" else None

    assert faulty_job.deliver(output, lagging)

    assert faulty_job.state() == edited
