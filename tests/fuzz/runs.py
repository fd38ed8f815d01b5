"""Runs of the fuzz campaign on all cores. Each run has its own seed, and the runs are counted in order."""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from .hostile_output import HostileOutput, hostile_outputs
from .invariants import check_output, result_name

OUTPUTS_PER_RUN = 100
"""Number of output files in one run."""
FUZZ = settings(
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


@dataclass
class Tally:
    """The number of results of each kind.

    `case` is the smallest output file that violates an invariant, and `failure` is the error.
    """

    outputs: int = 0
    results: Counter[str] = field(default_factory=Counter[str])
    case: dict[str, Any] | None = None
    failure: str = ""

    @property
    def lines(self) -> int:
        """The number of lines that are not blank."""
        return self.results.total()

    def add(self, other: "Tally") -> None:
        """Add the counts and the failure of another tally."""
        self.outputs += other.outputs
        self.results += other.results
        self.case, self.failure = other.case, other.failure

    def summary(self) -> dict[str, Any]:
        """Return the counts for the JSON output."""
        return {
            "lines": self.lines,
            "files": self.outputs,
            "transactions": self.results["transaction"],
            "dead_letters": {name: n for name, n in sorted(self.results.items()) if name != "transaction"},
            "escaped": 1 if self.case else 0,
        }


def fuzz(lines: int, first_seed: int, progress: Callable[[int], None]) -> Tally:
    """Test hostile records and stop at the first violation of an invariant.

    The same seed generates the same records on any number of cores.

    Args:
        lines: Minimum number of records.
        first_seed: Seed of the campaign.
        progress: Called after each run with the number of records so far.
    """
    tally = Tally()
    with ProcessPoolExecutor() as pool:
        for run in _tallies_in_order(pool, first_seed):
            tally.add(run)
            progress(tally.lines)
            if tally.case or tally.lines >= lines:
                pool.shutdown(cancel_futures=True)
                return tally
    raise AssertionError("the numbers of the runs are endless")


def _tallies_in_order(pool: ProcessPoolExecutor, first_seed: int) -> Iterator[Tally]:
    """Yield the tallies in the order of their runs, while later runs already execute."""
    ahead: deque[Future[Tally]] = deque()
    for number in count():
        ahead.append(pool.submit(execute_run, f"{first_seed}-{number}"))
        if len(ahead) > 2 * (os.cpu_count() or 1):
            yield ahead.popleft().result()


def execute_run(run_seed: str, outputs: int = OUTPUTS_PER_RUN) -> Tally:
    """Test the output files of one seed. After a failure, keep the smallest output file with the same failure."""
    tally = Tally()
    last_output = HostileOutput(b"")

    @seed(run_seed)
    @settings(FUZZ, max_examples=outputs)
    @given(hostile_outputs())
    def check_generated_output(output: HostileOutput) -> None:
        nonlocal last_output
        last_output = output
        tally.add(Tally(1, Counter(map(result_name, check_output(output)))))

    try:
        check_generated_output()
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # noqa: BLE001 - the campaign looks for all exceptions, also Rust panics
        # Hypothesis tests the smallest failing output file last.
        tally.case, tally.failure = last_output.as_case(), f"{type(exc).__name__}: {exc}"
    return tally
