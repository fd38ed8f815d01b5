"""Stateful test: random deliveries, faults, output versions and changes of users keep the job's invariants."""

from contextlib import ExitStack
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from local.in_memory import Call, Fault
from tests.integration.stage import BATCH_JOBS, DEAD_LETTERS_KEY, OUTPUT_KEY, TRANSACTIONS
from yorutsuke_common.aws.dynamodb import from_item

from .campaign import (
    FAULTS,
    MESSAGES,
    PARTIAL_FAULT_KINDS,
    migration_failures,
    no_faults,
    run_without_faults,
    with_changes,
)
from .faulty_job import (
    RECORDS,
    REDELIVERY_DELAYS,
    VALID_IMAGE_IDS,
    ChangeByUser,
    Faults,
    UserChange,
    serve_faulty_job,
)

MAX_ROUNDS = 20
"""Maximum number of times that all messages are delivered at the end of an example."""
CALL_NUMBERS = st.integers(1, 20)
"""The numbers of the calls within one delivery that can have a fault."""
FAILURES = [fault for fault in FAULTS if not isinstance(fault, ChangeByUser)]
CHANGES = [UserChange.EDIT, UserChange.DELETE, UserChange.TAG_IMAGE]
"""The changes of users that do not replace an image, so that the final state can be compared with a clean run."""
PARTIAL_FAULTS = [Fault(kind) for kind in dict.fromkeys(PARTIAL_FAULT_KINDS.values())]


def _faults_at(planned: dict[int, Fault]) -> Faults:
    """Return the faults of a delivery, given each fault by the number of its call."""
    calls = 0

    def faults(_: int, call: Call) -> Fault | None:
        nonlocal calls
        calls += 1
        found = planned.get(calls)
        # AWS returns each kind of partial fault for certain operations only.
        return None if found in PARTIAL_FAULTS and PARTIAL_FAULT_KINDS.get(call.operation) != found.kind else found

    return faults


class JobUnderFaults(RuleBasedStateMachine):
    """A job with deliveries in any order, faults at any call, a growing output file, changes by users, and replays."""

    def __init__(self) -> None:
        super().__init__()
        self.resources = ExitStack()
        self.faulty_job = self.resources.enter_context(serve_faulty_job())
        self.clean = run_without_faults(self.faulty_job)
        self.faulty_job.seed()
        self.version = 0
        self.write_output(records=1)

    @rule(
        message=st.integers(0, MESSAGES - 1),
        delay=st.sampled_from(REDELIVERY_DELAYS),
        planned=st.dictionaries(CALL_NUMBERS, st.sampled_from([*FAILURES, *PARTIAL_FAULTS]), max_size=4),
    )
    def deliver(self, message: int, delay: int, planned: dict[int, Fault]) -> None:
        """Deliver a message to a function with faults."""
        self.faulty_job.deliver(self.faulty_job.messages()[message], _faults_at(planned), delay)

    @rule(records=st.integers(1, len(RECORDS)))
    def write_output(self, records: int) -> None:
        """Write another version of the output file, as Bedrock does."""
        self.version += 1
        self.faulty_job.write_output(records, self.version)

    @rule(change=st.sampled_from(CHANGES), image_id=st.sampled_from(VALID_IMAGE_IDS))
    def change(self, change: UserChange, image_id: str) -> None:
        """Change a transaction or an image's item, as the app does for a user."""
        self.faulty_job.change(change, image_id)

    @rule()
    def replay(self) -> None:
        """Replay the output, as an operator does."""
        self.faulty_job.replay()

    @invariant()
    def images_exist_and_move_after_their_transactions(self) -> None:
        """Check the violations that were recorded after each write so far."""
        assert not self.faulty_job.violations.images_nowhere
        assert not self.faulty_job.violations.lost

    @invariant()
    def counts_add_up(self) -> None:
        """Check that successes and failures add up to the total."""
        stats = self.job().get("resultStats")
        assert not stats or stats["successCount"] + stats["failureCount"] == stats["totalCount"]

    @invariant()
    def dead_letters_match_failure_count(self) -> None:
        """Check that a processed output has one dead letter per failure."""
        if self.is_output_processed():
            letters = self.faulty_job.aws.objects[DEAD_LETTERS_KEY].body
            assert len(letters.splitlines()) == self.job()["resultStats"]["failureCount"]

    @invariant()
    def transactions_match_clean_run(self) -> None:
        """Check that each transaction has the same key and merchant as in the clean run."""
        expected = self.clean.state["tables"][TRANSACTIONS]
        for key, item in self.faulty_job.aws.tables[TRANSACTIONS].items.items():
            assert item["merchant"] == expected[key]["merchant"]

    @invariant()
    def changes_of_users_persist(self) -> None:
        """Check that the changes of users last through redeliveries, longer outputs and replays."""
        assert self.faulty_job.lost_changes() == set()

    def teardown(self) -> None:
        """Write all records, deliver without faults, and compare the state with a clean run."""
        try:
            self.faulty_job.write_output(len(RECORDS))
            self._deliver_all()
            if migration_failures(self.faulty_job.state()) > migration_failures(self.clean.state):
                self.faulty_job.replay()
                self._deliver_all()
            assert self.faulty_job.state() == with_changes(self.clean.state, self.faulty_job)
        finally:
            self.resources.close()

    def is_output_processed(self) -> bool:
        """Return whether the current version of the output has been processed."""
        etag = self.faulty_job.aws.objects[OUTPUT_KEY].etag
        return self.job().get("processedOutputs") == {OUTPUT_KEY: etag}

    def job(self) -> dict[str, Any]:
        """Return the job's item."""
        [job] = map(from_item, self.faulty_job.aws.tables[BATCH_JOBS].items.values())
        return job

    def _deliver_all(self) -> None:
        for _ in range(MAX_ROUNDS):
            if len(self.faulty_job.messages()) == sum(
                self.faulty_job.deliver(message, no_faults) for message in self.faulty_job.messages()
            ):
                return
        raise AssertionError(f"Messages still fail after {MAX_ROUNDS} rounds without faults.")


TestFaultyJob = JobUnderFaults.TestCase
TestFaultyJob.settings = settings(
    max_examples=25,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
