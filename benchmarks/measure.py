"""Measures the calls, time and memory of one run of one way."""

import json
import re
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from local.receipts import make_receipts

from .modelled_aws import ModelledAws
from .ways import SUBMISSIONS, WAYS, session

LINUX_STATUS = Path("/proc/self/status")


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


def output_lines(records: int, line_bytes: int) -> Iterator[bytes]:
    """Yield the lines of an output file in Bedrock's layout. The image in each line pads it to `line_bytes`."""
    text = json.dumps(make_receipts(1)[0].fields)
    reply = {"output": {"message": {"role": "assistant", "content": [{"text": text}]}}, "stopReason": "end_turn"}
    for number in range(records):
        record = {"modelInput": {"image": ""}, "modelOutput": reply, "recordId": f"img-{number:06}"}
        line = json.dumps(record)
        image = "A" * max(0, line_bytes - len(line) - 1)
        yield line.replace('"image": ""', f'"image": "{image}"').encode() + b"\n"


def measure(way: str, records: int, line_bytes: int) -> Measured:
    """Run a way once in this process and return its figures."""
    if way in SUBMISSIONS:
        mean, aws = line_bytes, ModelledAws(records, lambda: [bytes(line_bytes)], line_bytes)
    else:
        size = sum(map(len, output_lines(records, line_bytes)))
        mean, aws = size // records, ModelledAws(records, lambda: output_lines(records, line_bytes), size)
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
