"""The rate of writes after DynamoDB has throttled some of them.

All transactions of a job have the same key in the index `jobId-extractedAt`, and all of a user the same partition key.
Each key takes about 1,000 write units a second, however the writes are spread over calls. Writes above this rate only
use up the time of the function.

Source: Amazon DynamoDB developer guide, "Best practices for designing and using partition keys effectively".
"""

import math
import threading
import time
from dataclasses import dataclass, field

INITIAL_RATE = 1_000.0
"""Rate after the first throttled write, in writes per second: the limit of one partition for items of up to 1 KB."""
MIN_RATE = 50.0
"""Minimum rate, in writes per second. Keeps a rate that was measured in a bad second from stopping the job."""
MEASURED_SECONDS = 1.0
"""Seconds over which writes are counted before the rate follows them."""
GROWTH = 1.25
"""The rate after a measured second without a throttled write, per accepted write. The limit may have risen."""
DECREASE = 0.7
"""Minimum factor of one decrease. In a measured second with few writes, the partition may accept more than it was sent.
"""


@dataclass
class WriteRate:
    """The number of writes per second that all threads together may send. It is unlimited until a write is throttled.

    A second with throttled writes lowers the rate towards that of its accepted writes. Other seconds may raise it.
    """

    _rate: float = math.inf
    _free_at: float = 0.0
    _since: float = 0.0
    _accepted: int = 0
    _throttled: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reserve(self, count: int) -> float:
        """Reserve `count` writes, and return the seconds until they may be sent."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._free_at)
            self._free_at = start + count / self._rate
        return start - now

    def adjust(self, accepted: int, throttled: int) -> None:
        """Adjust the rate to the result of a call: the numbers of accepted and of throttled writes."""
        with self._lock:
            self._accepted += accepted
            self._throttled += throttled
            now = time.monotonic()
            seconds = now - self._since
            if self._rate == math.inf:
                self._rate = INITIAL_RATE if throttled else math.inf
            elif seconds < MEASURED_SECONDS:
                return
            elif self._throttled:
                self._rate = max(MIN_RATE, self._accepted / seconds, self._rate * DECREASE)
            else:
                self._rate = max(self._rate, self._accepted / seconds * GROWTH)
            self._since, self._accepted, self._throttled = now, 0, 0
