"""One way of taking in an output or submitting a job, measured: what it calls, how long it takes, what it holds."""

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
from .submission import SUBMISSIONS
from .ways import WAYS

LINUX_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Measured:
    """What one run took.

    `calls` counts requests and `written` what they did, those included that got the run ready. `peak_mib` is of the
    whole process, with all that it has loaded; `line_bytes` is a mean, and an image's where a job is submitted.
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
    """Yield an output in Bedrock's layout, each line padded to a length by the image that it echoes."""
    text = json.dumps(make_receipts(1)[0].fields)
    reply = {"output": {"message": {"role": "assistant", "content": [{"text": text}]}}, "stopReason": "end_turn"}
    for number in range(records):
        record = {"modelInput": {"image": ""}, "modelOutput": reply, "recordId": f"img-{number:06}"}
        line = json.dumps(record)
        image = "A" * max(0, line_bytes - len(line) - 1)
        yield line.replace('"image": ""', f'"image": "{image}"').encode() + b"\n"


def measure(way: str, records: int, line_bytes: int) -> Measured:
    """Run one way, once, in this process."""
    if way in SUBMISSIONS:
        mean, aws = line_bytes, ModelledAws(records, lambda: iter([bytes(line_bytes)]), line_bytes)
    else:
        size = sum(map(len, output_lines(records, line_bytes)))
        mean, aws = size // records, ModelledAws(records, lambda: output_lines(records, line_bytes), size)
    with {**WAYS, **SUBMISSIONS}[way](aws) as run:
        started, started_cpu = time.perf_counter(), time.process_time()
        run()
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    return Measured(way, records, mean, seconds, cpu_seconds, _peak_mib(), dict(aws.calls), dict(aws.written))


def _peak_mib() -> float:
    if LINUX_STATUS.exists():
        # Of this program alone: getrusage goes on from the peak of the process that started it.
        [peak] = re.findall(r"VmHWM:\s+(\d+) kB", LINUX_STATUS.read_text())
        return int(peak) / 1024
    # Bytes, on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


if __name__ == "__main__":
    print(json.dumps(asdict(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
