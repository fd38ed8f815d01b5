"""A request that took effect, and whose answer was lost, is sent again by botocore: that must not count against it."""

from collections.abc import Generator

import pytest

from batch_result_handler.dynamodb import from_item
from local.in_memory import Call, Fault
from tests.integration.stage import BATCH_JOBS

from .campaign import clean_run, no_faults
from .night import FaultyNight, faulty_night

OUTPUT = 0


@pytest.fixture
def night() -> Generator[FaultyNight]:
    with faulty_night() as night:
        yield night


@pytest.mark.parametrize("lost", [1, 2], ids=["claim", "completion"])
def test_an_update_whose_answer_was_lost_is_done_at_the_first_delivery(night: FaultyNight, lost: int) -> None:
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
