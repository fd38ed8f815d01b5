"""One way of taking in one output, measured: what it called, how long it took, and what it held at most."""

import json
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from .modelled_aws import ModelledAws
from .ways import WAYS

RECEIPT = {
    "amount": 1280,
    "type": "expense",
    "date": "2026-11-20",
    "merchant": "Kissa Hoshi",
    "category": "other",
    "description": "Coffee with a client",
}


@dataclass(frozen=True)
class Measured:
    """What one run took. `peak_mib` is the process's own, all that it has loaded included; `line_bytes` is a mean."""

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
    text = json.dumps(RECEIPT)
    reply = {"output": {"message": {"role": "assistant", "content": [{"text": text}]}}, "stopReason": "end_turn"}
    for number in range(records):
        record = {"modelInput": {"image": ""}, "modelOutput": reply, "recordId": f"img-{number:06}"}
        line = json.dumps(record)
        image = "A" * max(0, line_bytes - len(line) - 1)
        yield line.replace('"image": ""', f'"image": "{image}"').encode() + b"\n"


def measure(way: str, records: int, line_bytes: int) -> Measured:
    """Run one way, once, in this process."""
    size = sum(map(len, output_lines(records, line_bytes)))
    aws = ModelledAws(lambda: output_lines(records, line_bytes), size)
    started, started_cpu = time.perf_counter(), time.process_time()
    WAYS[way](aws)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    # Kibibytes, on Linux.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    mean = size // records
    return Measured(way, records, mean, seconds, cpu_seconds, peak, dict(aws.calls), dict(aws.written))


if __name__ == "__main__":
    print(json.dumps(asdict(measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
