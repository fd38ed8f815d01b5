"""What the runs say beside one another, and what is wanted of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from .cold_start import ColdStart
from .measure import Measured
from .modelled_aws import PENDING_IMAGES, TRANSACTIONS
from .submission import SUBMISSION, SUBMISSION_BY_SIXTEENS
from .ways import HANDLER, PLAN, READS, READS_JSON_LOADS, WRITES, WRITES_BATCH_WRITER, WRITES_ONE_BY_ONE


@dataclass(frozen=True)
class Comparison:
    """A figure, and the bound that it is to keep: the least that it may be, or else the most."""

    what: str
    seen: float
    bound: float
    unit: str = "x"
    least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the bound is kept."""
        return self.seen >= self.bound if self.least else self.seen <= self.bound


def compared(measured: Sequence[Measured], cold: ColdStart) -> list[Comparison]:
    """Return what the runs of one go amount to: those of the handler, from its smallest, and one of each other way."""
    last = {one.way: one for one in measured}
    plan = last[PLAN]
    handler = sorted((one for one in measured if one.way == HANDLER), key=lambda one: (one.line_bytes, one.records))
    smallest, largest, large_lines = handler[0], handler[-2], handler[-1]
    [beside_plan] = [one for one in handler if one.records == plan.records]
    more = f"MiB more than {smallest.records}"
    of_large_lines = f"{large_lines.records:,} lines of {large_lines.line_bytes // 1000} kB"
    read, loaded = last[READS], last[READS_JSON_LOADS]
    submitted, by_sixteens = last[SUBMISSION], last[SUBMISSION_BY_SIXTEENS]
    of_images = f"{submitted.records:,} images of {submitted.line_bytes // 1000} kB submitted"
    return [
        Comparison(f"{plan.records:,} records: as fast as the plan", _times(plan, beside_plan), 40, least=True),
        Comparison("writes: as fast as one by one", _times(last[WRITES_ONE_BY_ONE], last[WRITES]), 20, least=True),
        Comparison("writes: as fast as batch_writer", _times(last[WRITES_BATCH_WRITER], last[WRITES]), 1, least=True),
        Comparison("large lines read: as fast as json.loads", _times(loaded, read), 5, least=True),
        Comparison(f"{largest.records:,} records", largest.seconds, 60, "s"),
        Comparison(f"{largest.records:,} records: calls more than the fewest", _more_calls(largest), 0, "calls"),
        Comparison(f"{largest.records:,} records: left undone", _undone(largest), 0, "records"),
        Comparison(f"{largest.records:,} records: peak memory", _more(largest, smallest), 64, more),
        Comparison(f"{of_large_lines}: peak memory", _more(large_lines, smallest), 64, more),
        Comparison(f"{of_images}: as fast as sixteen at a time", _times(by_sixteens, submitted), 1, least=True),
        Comparison(f"{of_images}: peak memory", submitted.peak_mib, 512, "MiB"),
        Comparison("a cold start: as long as boto3 and its clients alone", cold.handler / cold.bare, 1.5),
    ]


def fewest_calls(records: int) -> dict[str, int]:
    """Return the fewest calls that take in a job of so many records, all of them good.

    Besides reading, looking up, writing and moving: one PutObject for its dead letters, of which an earlier run may
    have left some, and one UpdateItem that claims the job before the one that completes it.
    """
    return {
        "Query": 1,
        "UpdateItem": 2,
        "GetObject": 1,
        "BatchGetItem": ceil(records / 100),
        "BatchWriteItem": 2 * ceil(records / 25),
        "CopyObject": records,
        "DeleteObjects": ceil(records / 1000),
        "PutObject": 1,
    }


def _times(slower: Measured, faster: Measured) -> float:
    return slower.seconds / faster.seconds


def _more_calls(one: Measured) -> int:
    return (Counter(one.calls) - Counter(fewest_calls(one.records))).total()


def _undone(one: Measured) -> int:
    return sum(one.records - one.written.get(what, 0) for what in (TRANSACTIONS, "copied", "deleted", PENDING_IMAGES))


def _more(one: Measured, other: Measured) -> float:
    return one.peak_mib - other.peak_mib
