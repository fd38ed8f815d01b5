"""Tests of a job with three output files: every order of its messages, with a crash at every call, has one result."""

import itertools
from collections.abc import Generator, Sequence
from typing import Any

import pytest

from tests.integration.stage import BATCH_JOBS
from yorutsuke_common.aws.dynamodb import from_item

from .campaign import MAX_DELIVERIES, crash_schedules, no_faults
from .faulty_job import PARTS, RECORDS, Faults, FaultyJob, serve_faulty_job

NUMBERS = range(len(PARTS) + 1)
"""Indexes of the messages about the output files and, at last, about the output manifest."""
ORDERS = [*itertools.permutations(NUMBERS)]


@pytest.fixture(scope="module")
def faulty_job() -> Generator[FaultyJob]:
    """A job on in-memory AWS."""
    with serve_faulty_job() as faulty_job:
        yield faulty_job


@pytest.fixture(scope="module")
def clean(faulty_job: FaultyJob) -> dict[str, Any]:
    """The state after one delivery of each message, in one order and without faults."""
    return _state_after(faulty_job, NUMBERS, no_faults)


def _state_after(faulty_job: FaultyJob, order: Sequence[int], faults: Faults) -> dict[str, Any]:
    """Deliver messages in an order until all of them have succeeded, and return the state.

    A failed message is delivered again after the others.
    """
    faulty_job.seed()
    faulty_job.split_output()
    messages = faulty_job.messages()
    waiting = [messages[number] for number in order]
    for _ in range(MAX_DELIVERIES):
        if not waiting:
            break
        message = waiting.pop(0)
        if not faulty_job.deliver(message, faults):
            waiting.append(message)
    faulty_job.expire_claims()
    assert waiting == []
    assert (faulty_job.violations.lost, faulty_job.violations.images_nowhere) == (set(), set())
    return faulty_job.state()


def test_clean_run_processes_every_output_file(clean: dict[str, Any]) -> None:
    [job] = map(from_item, clean["tables"][BATCH_JOBS].values())

    assert job["outputStats"].keys() == job["processedOutputs"].keys() == PARTS.keys()
    assert job["resultStats"]["totalCount"] == job["bedrockCounts"]["processedRecordCount"] == len(RECORDS)


@pytest.mark.parametrize("first", NUMBERS)
def test_messages_twice_in_any_order_end_alike(faulty_job: FaultyJob, clean: dict[str, Any], first: int) -> None:
    orders = [order for order in ORDERS if order[0] == first]

    different = [order for order in orders if _state_after(faulty_job, [*order, *order], no_faults) != clean]

    assert (len(orders), different) == (6, [])


def test_crash_at_every_call_ends_alike(faulty_job: FaultyJob, clean: dict[str, Any]) -> None:
    faulty_job.aws.calls.clear()
    _state_after(faulty_job, [*NUMBERS, *NUMBERS], no_faults)
    schedules = crash_schedules(faulty_job.aws.calls.total())

    different: list[str] = []
    for (name, faults), order in zip(schedules, itertools.cycle(ORDERS), strict=False):
        if _state_after(faulty_job, [*order, *order], faults) != clean:
            different.append(f"{name} in order {order}")

    assert different == []
