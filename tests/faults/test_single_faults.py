"""Single faults that a campaign meets by chance: answers that are lost, and an index that lags behind."""

from collections.abc import Generator

import pytest

from local.in_memory import Call, Fault
from tests.integration.stage import BATCH_JOBS
from yorutsuke_common.aws.dynamodb import from_item

from .campaign import clean_run, no_faults
from .night import FaultyNight, faulty_night

OUTPUT = 0
ATTEMPTS = 5
"""Of a call, by botocore."""


@pytest.fixture
def night() -> Generator[FaultyNight]:
    with faulty_night() as night:
        yield night


@pytest.mark.parametrize("lost", [1, 2], ids=["claim", "completion"])
def test_an_update_that_is_sent_again_is_done_at_the_first_delivery(night: FaultyNight, lost: int) -> None:
    clean = clean_run(night)
    night.seed()
    updates = 0

    def faults(_: int, call: Call) -> Fault | None:
        nonlocal updates
        updates += call.operation == "UpdateItem"
        return Fault("timeout", after=True) if call.operation == "UpdateItem" and updates == lost else None

    assert night.deliver(night.messages()[OUTPUT], faults)

    assert updates == 3
    [job] = map(from_item, night.aws.tables[BATCH_JOBS].items.values())
    assert job["status"] == "COMPLETED"
    assert {"claimedBy", "claimedUntil"}.isdisjoint(job)
    assert all(night.deliver(message, no_faults) for message in night.messages())
    assert night.state() == clean.state


def test_a_claim_of_which_every_answer_was_lost_is_given_up(night: FaultyNight) -> None:
    night.seed()
    updates = 0

    def faults(_: int, call: Call) -> Fault | None:
        nonlocal updates
        updates += call.operation == "UpdateItem"
        return Fault("timeout", after=True) if call.operation == "UpdateItem" and updates <= ATTEMPTS else None

    assert not night.deliver(night.messages()[OUTPUT], faults)

    assert updates == ATTEMPTS + 1
    [job] = map(from_item, night.aws.tables[BATCH_JOBS].items.values())
    assert {"claimedBy", "claimedUntil"}.isdisjoint(job)


def test_a_duplicate_that_a_lagging_index_hides_undoes_no_edit(night: FaultyNight) -> None:
    night.seed()
    output = night.messages()[OUTPUT]
    assert night.deliver(output, no_faults)
    night.edit()
    edited = night.state()

    def lagging(_: int, call: Call) -> Fault | None:
        return Fault("stale") if call.operation == "Query" else None

    assert night.deliver(output, lagging)

    assert night.state() == edited
