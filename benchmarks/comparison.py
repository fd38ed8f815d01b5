"""Figures that compare the runs. Each figure has a required bound."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from yorutsuke_common.names import MAX_FUNCTION_SECONDS

from . import ways
from .cold_start import ColdStart
from .measure import Measured
from .modelled_aws import PARTITION_UNITS, PENDING_IMAGES, TRANSACTIONS

SPEED_UP_IN_S3 = {ways.SUBMISSION_BY_REFERENCE: 5, ways.USERS_BY_REFERENCE: 1}
"""Required speed-up of a submission with images in S3. With one image per user, each image needs a listing."""
MAX_ADDED_MIB = 64
"""Maximum memory that more records may add, in MiB."""


@dataclass(frozen=True)
class Comparison:
    """A figure and its bound. The bound is a minimum if `least` is true, otherwise a maximum."""

    what: str
    seen: float
    bound: float
    unit: str = "x"
    least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the figure is within its bound."""
        return self.seen >= self.bound if self.least else self.seen <= self.bound


def compare_runs(measured: Sequence[Measured], cold: ColdStart) -> list[Comparison]:
    """Return the figures that compare the handler's runs with the last run of each other way."""
    last = {one.way: one for one in measured}
    limited = [one for one in measured if one.way in ways.LIMITED]
    baseline = last[ways.BASELINE]
    handler = sorted(
        (one for one in measured if one.way == ways.HANDLER), key=lambda one: (one.line_bytes, one.records)
    )
    smallest, largest, large_lines = handler[0], handler[-2], handler[-1]
    [beside_baseline] = [one for one in handler if one.records == baseline.records]
    excess_calls = Counter(largest.calls) - Counter(fewest_calls(largest.records))
    submitted = last[ways.SUBMISSION]
    of_large_lines = f"{large_lines.records:,} lines of {large_lines.line_bytes // 1000} kB"
    of_images = f"{submitted.records:,} images of {submitted.line_bytes // 1000} kB submitted"
    hostile = last[ways.HOSTILE]
    of_hostile = f"{hostile.records:,} hostile records of {hostile.line_bytes // 1000} kB"
    writes, reads = last[ways.WRITES], last[ways.READS]
    return [
        _speed_up(f"{baseline.records:,} records: speed-up over the baseline", baseline, beside_baseline, 40),
        _speed_up("writes: speed-up over one PutItem each", last[ways.WRITES_ONE_BY_ONE], writes, 20),
        _speed_up("writes: speed-up over batch_writer", last[ways.WRITES_BATCH_WRITER], writes, 1),
        _speed_up("reading large lines: speed-up over json.loads", last[ways.READS_JSON_LOADS], reads, 5),
        Comparison(f"{largest.records:,} records: time", largest.seconds, 60, "s"),
        Comparison(f"{largest.records:,} records: calls above the minimum", excess_calls.total(), 0, "calls"),
        Comparison(f"{largest.records:,} records: missing writes", _missing_writes(largest), 0, "writes"),
        _added_memory(f"{largest.records:,} records", smallest, largest),
        _added_memory(of_large_lines, smallest, large_lines),
        Comparison(f"{of_hostile}: peak memory", hostile.peak_mib, 256, "MiB"),
        _speed_up(f"{of_images}: speed-up over sixteen at a time", last[ways.SUBMISSION_BY_SIXTEENS], submitted, 1),
        Comparison(f"{of_images}: peak memory", submitted.peak_mib, 512, "MiB"),
        *(comparison for one in measured if one.way in ways.BESIDE for comparison in _deliveries(measured, one)),
        *_schedule_comparisons(last[ways.SCHEDULE]),
        *(
            Comparison(f"{one.way}: time relative to the limit", one.seconds / _fewest_seconds(one, largest), 1.1)
            for one in limited
        ),
        Comparison("cold start: time relative to boto3 and its clients", cold.handler / cold.bare, 1.5),
    ]


def seconds_of_limit(one: Measured) -> float:
    """Return the minimum time in which a partition takes the transactions of a run."""
    return ways.LIMITED[one.way] * one.written[TRANSACTIONS] / PARTITION_UNITS


def _fewest_seconds(one: Measured, without_limit: Measured) -> float:
    """Return the larger of the partition's time and the CPU's, which a run without the limit shows."""
    cpu_seconds = without_limit.seconds * one.written[TRANSACTIONS] / without_limit.records
    return max(seconds_of_limit(one), cpu_seconds)


def fewest_calls(records: int) -> dict[str, int]:
    """Return the minimum number of calls, by operation, that process a job of valid records.

    One PutObject replaces the dead letters of an earlier run. One UpdateItem claims the job, another completes it.
    """
    return {
        "Query": 1,
        "UpdateItem": 2,
        "GetObject": 1,
        "BatchGetItem": ceil(records / 100),
        "BatchExecuteStatement": 2 * ceil(records / 25),
        "CopyObject": records,
        "DeleteObjects": ceil(records / 1000),
        "PutObject": 1,
    }


def _speed_up(figure: str, slower: Measured, faster: Measured, bound: float) -> Comparison:
    return Comparison(figure, slower.seconds / faster.seconds, bound, least=True)


def _added_memory(what: str, smaller: Measured, larger: Measured) -> Comparison:
    unit = f"MiB more than with {smaller.records:,} records"
    return Comparison(f"{what}: added peak memory", larger.peak_mib - smaller.peak_mib, MAX_ADDED_MIB, unit)


def _deliveries(measured: Sequence[Measured], by_reference: Measured) -> Iterator[Comparison]:
    """Yield the figures that compare a submission with images in S3 with the same images in the manifest."""
    beside = ways.BESIDE[by_reference.way], by_reference.records, by_reference.line_bytes
    [inline] = [one for one in measured if (one.way, one.records, one.line_bytes) == beside]
    smallest = min((one for one in measured if one.way == by_reference.way), key=lambda one: one.records)
    what = f"{by_reference.way}, {by_reference.records:,} of {by_reference.line_bytes // 1000} kB"
    # The index limits the holds of both deliveries. 50,000 holds take longer than a fifth of the other delivery.
    bound = SPEED_UP_IN_S3[by_reference.way] if by_reference is smallest else 1
    yield _speed_up(f"{what}: speed-up over the manifest", inline, by_reference, bound)
    if by_reference is not smallest:
        least = by_reference.records / PARTITION_UNITS
        yield Comparison(f"{what}: time relative to the limit of the index", by_reference.seconds / least, 1.5)
        yield _added_memory(what, smallest, by_reference)
    yield Comparison(f"{what}: missing copies", by_reference.records - by_reference.written["copied"], 0, "copies")
    yield Comparison(f"{what}: peak memory", by_reference.peak_mib, 320, "MiB")


def _schedule_comparisons(scheduled: Measured) -> Iterator[Comparison]:
    """Yield the figures of a scheduled run."""
    what = f"{scheduled.records:,} images scheduled"
    yield Comparison(f"{what}: time", scheduled.seconds, MAX_FUNCTION_SECONDS, "s")
    yield Comparison(f"{what}: peak memory", scheduled.peak_mib, 320, "MiB")
    # Each image is held, and then marked with its ETag.
    missing = scheduled.records - scheduled.written[PENDING_IMAGES] / 2
    yield Comparison(f"{what}: images that still wait", missing, 0, "images")


def _missing_writes(one: Measured) -> int:
    return sum(
        one.records - one.written.get(effect, 0) for effect in (TRANSACTIONS, "copied", "deleted", PENDING_IMAGES)
    )
