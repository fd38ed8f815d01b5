"""Runs of the fuzz: many outputs each from a seed of its own, over all cores, counted in the order of their numbers."""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from .hostile_output import HostileOutput, hostile_outputs
from .promise import became, kept_promise

OUTPUTS_A_RUN = 100
FUZZ = settings(
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


@dataclass
class Tally:
    """What became of the lines so far; `case` is the smallest output that broke the promise, `why` what it broke."""

    outputs: int = 0
    became: Counter[str] = field(default_factory=Counter[str])
    case: dict[str, Any] | None = None
    why: str = ""

    @property
    def lines(self) -> int:
        """How many lines there were that are not blank."""
        return self.became.total()

    def add(self, other: "Tally") -> None:
        """Count another tally's outputs as well."""
        self.outputs += other.outputs
        self.became += other.became
        self.case, self.why = other.case, other.why

    def summary(self) -> dict[str, Any]:
        """Return the counts that the fuzz is judged by."""
        return {
            "lines": self.lines,
            "files": self.outputs,
            "transactions": self.became["transaction"],
            "dead_letters": {name: n for name, n in sorted(self.became.items()) if name != "transaction"},
            "escaped": 1 if self.case else 0,
        }


def fuzz(lines: int, first_seed: int, progress: Callable[[int], None]) -> Tally:
    """Try at least so many lines, and stop at the first that breaks the promise.

    The same seed tries the same lines, on however many cores.
    """
    tally = Tally()
    with ProcessPoolExecutor() as pool:
        for run in _in_order(pool, first_seed):
            tally.add(run)
            progress(tally.lines)
            if tally.case or tally.lines >= lines:
                pool.shutdown(cancel_futures=True)
                return tally
    raise AssertionError("the numbers of the runs do not end")


def _in_order(pool: ProcessPoolExecutor, first_seed: int) -> Iterator[Tally]:
    """Yield the tallies of run after run, while some are ahead."""
    ahead: deque[Future[Tally]] = deque()
    for number in count():
        ahead.append(pool.submit(one_run, f"{first_seed}-{number}"))
        if len(ahead) > 2 * (os.cpu_count() or 1):
            yield ahead.popleft().result()


def one_run(run_seed: str, outputs: int = OUTPUTS_A_RUN) -> Tally:
    """Try the outputs of one seed; of a failure, the smallest output that fails in the same way."""
    tally = Tally()
    tried = HostileOutput(b"")

    @seed(run_seed)
    @settings(FUZZ, max_examples=outputs)
    @given(hostile_outputs())
    def every_line_ends_well(output: HostileOutput) -> None:
        nonlocal tried
        tried = output
        tally.add(Tally(1, Counter(map(became, kept_promise(output)))))

    try:
        every_line_ends_well()
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # noqa: BLE001 - whatever escapes is what is looked for, a panic of Rust included
        # Hypothesis ends with the smallest one.
        tally.case, tally.why = tried.as_case(), f"{type(exc).__name__}: {exc}"
    return tally
