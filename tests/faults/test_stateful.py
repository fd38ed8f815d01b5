"""Whatever happens to a night, in whatever order: what must hold at every step, and how it must end."""

from contextlib import ExitStack
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from local.in_memory import Call, Fault
from tests.integration.stage import BATCH_JOBS, DEAD_LETTERS_KEY, OUTPUT_KEY, TRANSACTIONS
from yorutsuke_common.aws.dynamodb import from_item

from .campaign import FAULTS, MESSAGES, PARTIAL, clean_run, migration_failures, no_faults
from .faulty_job import CORRECTED, LINES, WAITS, Faults, serve_faulty_job

MAX_DELIVERIES = 20
CALLS_OF_A_DELIVERY = 20
HALVES = [Fault(kind) for kind in dict.fromkeys(PARTIAL.values())]
OUTPUT = 0


def _at_calls(planned: dict[int, Fault]) -> Faults:
    """Return the faults of a delivery by the numbers of its calls."""
    calls = 0

    def faults(_: int, call: Call) -> Fault | None:
        nonlocal calls
        calls += 1
        found = planned.get(calls)
        # Half of what other operations do is nothing that AWS does.
        return None if found in HALVES and PARTIAL.get(call.operation) != found.kind else found

    return faults


class JobUnderFaults(RuleBasedStateMachine):
    """A job, its messages in any order and number, faults at any call, an output that grows, a person, an operator."""

    def __init__(self) -> None:
        super().__init__()
        self.resources = ExitStack()
        self.faulty_job = self.resources.enter_context(serve_faulty_job())
        self.clean = clean_run(self.faulty_job)
        self.faulty_job.seed()
        self.editions = 0
        self.show(lines=1)

    @rule(
        message=st.integers(0, MESSAGES - 1),
        waited=st.sampled_from(WAITS),
        planned=st.dictionaries(st.integers(1, CALLS_OF_A_DELIVERY), st.sampled_from([*FAULTS, *HALVES]), max_size=4),
    )
    def deliver(self, message: int, waited: int, planned: dict[int, Fault]) -> None:
        """Deliver a message to a function that meets some faults."""
        self.faulty_job.deliver(self.faulty_job.messages()[message], _at_calls(planned), waited)

    @rule(lines=st.integers(1, len(LINES)))
    def show(self, lines: int) -> None:
        """Let Bedrock write the output anew."""
        self.editions += 1
        self.faulty_job.show(lines, self.editions)
        self.corrected = False

    @precondition(lambda self: self.taken_in())
    @rule()
    def correct(self) -> None:
        """Let a person correct what was taken in."""
        self.faulty_job.edit()
        self.corrected = True

    @rule()
    def replay(self) -> None:
        """Let an operator ask for the output to be taken in again."""
        self.faulty_job.replay()
        self.corrected = False

    @invariant()
    def an_image_is_always_somewhere_and_moves_after_its_transaction(self) -> None:
        """Of every instant so far."""
        assert not self.faulty_job.broken.images_nowhere
        assert not self.faulty_job.broken.lost

    @invariant()
    def counts_are_of_all_lines(self) -> None:
        """Successes and failures are all there is."""
        stats = self.job().get("resultStats")
        assert not stats or stats["successCount"] + stats["failureCount"] == stats["totalCount"]

    @invariant()
    def dead_letters_are_of_the_output_taken_in(self) -> None:
        """As many as failures, also where there are none."""
        if self.taken_in():
            letters = self.faulty_job.aws.objects[DEAD_LETTERS_KEY].body
            assert len(letters.splitlines()) == self.job()["resultStats"]["failureCount"]

    @invariant()
    def a_transaction_is_one_of_the_clean_run(self) -> None:
        """Under no other id, and with no other amount."""
        expected = self.clean.state["tables"][TRANSACTIONS]
        for key, item in self.faulty_job.aws.tables[TRANSACTIONS].items.items():
            assert item["amount"] == expected[key]["amount"]

    @invariant()
    def what_a_person_corrected_stays(self) -> None:
        """Until there is another output to take in."""
        if self.corrected:
            items = self.faulty_job.aws.tables[TRANSACTIONS].items.values()
            assert all(item["merchant"] == CORRECTED for item in items)

    def teardown(self) -> None:
        """Let every line be there in the end, and AWS be well: the night ends as a clean one."""
        try:
            self.faulty_job.show(len(LINES))
            self._settle()
            if self.corrected or migration_failures(self.faulty_job.state()) > migration_failures(self.clean.state):
                self.faulty_job.replay()
                self._settle()
            assert self.faulty_job.state() == self.clean.state
        finally:
            self.resources.close()

    def taken_in(self) -> bool:
        """Tell whether the output as it is now has been taken in."""
        etag = self.faulty_job.aws.objects[OUTPUT_KEY].etag
        return self.job().get("processedOutputs") == {OUTPUT_KEY: etag}

    def job(self) -> dict[str, Any]:
        """Return the job's record."""
        [job] = map(from_item, self.faulty_job.aws.tables[BATCH_JOBS].items.values())
        return job

    def _settle(self) -> None:
        for _ in range(MAX_DELIVERIES):
            if len(self.faulty_job.messages()) == sum(
                self.faulty_job.deliver(message, no_faults) for message in self.faulty_job.messages()
            ):
                return
        raise AssertionError("it does not settle")


TestFaultyJob = JobUnderFaults.TestCase
TestFaultyJob.settings = settings(
    max_examples=25,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
