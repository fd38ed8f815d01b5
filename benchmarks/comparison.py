"""The figures that the runs are judged by, each with its bound."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from . import ways
from .cold_start import ColdStart
from .measure import Measured
from .modelled_aws import PENDING_IMAGES, TRANSACTIONS


@dataclass(frozen=True)
class Comparison:
    """A figure, and its bound: the minimum if `least`, otherwise the maximum."""

    what: str
    seen: float
    bound: float
    unit: str = "x"
    least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the figure is within its bound."""
        return self.seen >= self.bound if self.least else self.seen <= self.bound


def compared(measured: Sequence[Measured], cold: ColdStart) -> list[Comparison]:
    """Return the figures of the handler's runs and of the last run of each other way."""
    last = {one.way: one for one in measured}
    baseline = last[ways.BASELINE]
    handler = sorted(
        (one for one in measured if one.way == ways.HANDLER), key=lambda one: (one.line_bytes, one.records)
    )
    smallest, largest, large_lines = handler[0], handler[-2], handler[-1]
    [beside_baseline] = [one for one in handler if one.records == baseline.records]
    excess_calls = Counter(largest.calls) - Counter(fewest_calls(largest.records))
    submitted = last[ways.SUBMISSION]
    more = f"MiB more than {smallest.records}"
    of_large_lines = f"{large_lines.records:,} lines of {large_lines.line_bytes // 1000} kB"
    of_images = f"{submitted.records:,} images of {submitted.line_bytes // 1000} kB submitted"
    writes, reads = last[ways.WRITES], last[ways.READS]
    return [
        _speed(f"{baseline.records:,} records: as fast as the baseline", baseline, beside_baseline, 40),
        _speed("writes: as fast as one by one", last[ways.WRITES_ONE_BY_ONE], writes, 20),
        _speed("writes: as fast as batch_writer", last[ways.WRITES_BATCH_WRITER], writes, 1),
        _speed("large lines read: as fast as json.loads", last[ways.READS_JSON_LOADS], reads, 5),
        Comparison(f"{largest.records:,} records", largest.seconds, 60, "s"),
        Comparison(f"{largest.records:,} records: calls more than the fewest", excess_calls.total(), 0, "calls"),
        Comparison(f"{largest.records:,} records: left undone", _undone(largest), 0, "records"),
        Comparison(f"{largest.records:,} records: peak memory", largest.peak_mib - smallest.peak_mib, 64, more),
        Comparison(f"{of_large_lines}: peak memory", large_lines.peak_mib - smallest.peak_mib, 64, more),
        _speed(f"{of_images}: as fast as sixteen at a time", last[ways.SUBMISSION_BY_SIXTEENS], submitted, 1),
        Comparison(f"{of_images}: peak memory", submitted.peak_mib, 512, "MiB"),
        Comparison("a cold start: as long as boto3 and its clients alone", cold.handler / cold.bare, 1.5),
    ]


def fewest_calls(records: int) -> dict[str, int]:
    """Return the minimum number of calls that process a job of good records.

    One PutObject replaces the dead letters of an earlier run. One UpdateItem claims the job, another completes it.
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


def _speed(what: str, slower: Measured, faster: Measured, bound: float) -> Comparison:
    return Comparison(what, slower.seconds / faster.seconds, bound, least=True)


def _undone(one: Measured) -> int:
    return sum(one.records - one.written.get(what, 0) for what in (TRANSACTIONS, "copied", "deleted", PENDING_IMAGES))
