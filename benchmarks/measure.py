"""Measures the calls, time and memory of one run of one way."""

import json
import re
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from math import ceil
from pathlib import Path

from local.receipts import make_receipts, nova_output
from yorutsuke_common.schema import MAX_DESCRIPTION_CHARACTERS, MAX_MERCHANT_CHARACTERS

from .modelled_aws import FIRST_IMAGES, ModelledAws
from .ways import HOSTILE, IMAGES_PER_USER, LIMITED, SUBMISSIONS, WAYS, session

LINUX_STATUS = Path("/proc/self/status")
NESTED = '{"":' * 150 + "0" + "}" * 150
"""Objects in objects, which take forty times the memory of their text when they are parsed."""
WIDE = "\U0001f600"
"""A character that makes each character of a Python string take four bytes."""


@dataclass(frozen=True)
class Measured:
    """The figures of one run.

    `calls` counts requests and `written` counts their effects. Both include the preparation of the run. `peak_mib` is
    the peak memory of the complete process. `line_bytes` is the mean length of a line, or the size of a submitted
    image.
    """

    way: str
    records: int
    line_bytes: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    calls: dict[str, int]
    written: dict[str, int]


LARGE_DESCRIPTION = "d" * 1_024
"""A description that makes a transaction larger than one write unit."""


def output_lines(records: int, line_bytes: int, units: int = 1) -> Iterator[bytes]:
    """Yield the lines of an output file in Bedrock's layout.

    Args:
        records: Number of lines.
        line_bytes: Length to which the image in each line pads it.
        units: Write units of each transaction, 1 or 2.
    """
    fields = make_receipts(1)[0].fields
    text = json.dumps(fields if units == 1 else {**fields, "description": LARGE_DESCRIPTION})
    reply = {"output": {"message": {"role": "assistant", "content": [{"text": text}]}}, "stopReason": "end_turn"}
    for number in range(records):
        record = {"modelInput": {"image": ""}, "modelOutput": reply, "recordId": f"{FIRST_IMAGES}{number:06}"}
        line = json.dumps(record)
        image = "A" * max(0, line_bytes - len(line) - 1)
        yield line.replace('"image": ""', f'"image": "{image}"').encode() + b"\n"


def hostile_lines(records: int, line_bytes: int) -> Iterator[bytes]:
    """Yield records that take the most memory. Every second one becomes a dead letter, the others transactions.

    Each record has many small values, up to `line_bytes`. A transaction has the longest texts.
    """
    [receipt] = make_receipts(1)
    texts = {"merchant": MAX_MERCHANT_CHARACTERS, "description": MAX_DESCRIPTION_CHARACTERS}
    fields = {**receipt.fields, **{name: WIDE.rjust(length, "x") for name, length in texts.items()}}
    reply = nova_output(json.dumps(fields), "end_turn")
    outcomes: list[dict[str, object]] = [{"modelOutput": {**reply, "values": "VALUES"}}, {"error": ["VALUES"]}]
    for number in range(records):
        line = json.dumps({**outcomes[number % 2], "recordId": f"{FIRST_IMAGES}{number:06}"})
        values = ",".join([NESTED] * ((line_bytes - len(line)) // len(NESTED + ",")))
        yield line.replace('"VALUES"', f"[{values}]").encode() + b"\n"


def measure(way: str, records: int, line_bytes: int) -> Measured:
    """Run a way once in this process and return its figures."""
    if way in SUBMISSIONS:
        users = ceil(records / IMAGES_PER_USER.get(way, records))
        aws = ModelledAws(records, lambda: [bytes(line_bytes)], line_bytes, is_limited=True, users=users)
        mean = line_bytes
    else:
        lines = partial(output_lines, records, line_bytes, LIMITED.get(way, 1))
        if way == HOSTILE:
            lines = partial(hostile_lines, records, line_bytes)
        size = sum(map(len, lines()))
        mean, aws = size // records, ModelledAws(records, lines, size, is_limited=way in LIMITED)
    with session(aws):
        run = WAYS[way](aws)
        started, started_cpu = time.perf_counter(), time.process_time()
        run()
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    return Measured(way, records, mean, seconds, cpu_seconds, _peak_mib(), dict(aws.calls), dict(aws.written))


def _peak_mib() -> float:
    if LINUX_STATUS.exists():
        # On Linux, getrusage starts at the peak memory of the parent process.
        [peak] = re.findall(r"VmHWM:\s+(\d+) kB", LINUX_STATUS.read_text())
        return int(peak) / 1024
    # On macOS, getrusage reports bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


if __name__ == "__main__":
    print(json.dumps(asdict(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
