"""microburst, a proxy before the emulator that fails AWS's calls in AWS's own words, as a process of our own."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from local.emulator import Emulator, free_port

START_SECONDS = 30
CONTROL_SECONDS = 60
"""The proxy answers nobody while it reads its models of AWS's services."""
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class FaultyEndpoint:
    """A running proxy, which lets every call through until it has rules. `earlier` counts the faults of other tests."""

    url: str
    earlier: int = 0

    def renewed(self) -> "FaultyEndpoint":
        """Return the proxy without rules and without earlier faults."""
        self.recover()
        return FaultyEndpoint(self.url, self.earlier + len(self.fired()))

    def fail(self, *rules: dict[str, Any]) -> None:
        """Fail calls by these rules alone, in microburst's terms."""
        self._control("POST", "rules", list(rules))

    def recover(self) -> None:
        """Let every call through from now on."""
        self.fail()

    def fired(self) -> list[tuple[str, str]]:
        """Return service and operation of each call that met a rule."""
        faults = self._control("GET", "fired")[self.earlier :]
        return [(fault["service"], fault["operation"]) for fault in faults]

    def answers(self) -> bool:
        """Tell whether the proxy is up."""
        try:
            self._control("GET", "health")
        except (urllib.error.URLError, TimeoutError):
            return False
        return True

    def _control(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_microburst/{path}", data, method=method)  # noqa: S310 - our own
        with DIRECT.open(request, timeout=CONTROL_SECONDS) as answer:
            return json.load(answer)


@contextmanager
def running_faulty_endpoint(upstream: Emulator) -> Generator[FaultyEndpoint]:
    """Start a proxy before an emulator on a free loopback port, and end it on the way out.

    A request's host is signed, and is another behind the proxy: it signs again, as the emulator's root. What the role
    may do is not for tests through it to say.
    """
    port = free_port()
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "SSL_CERT_FILE": str(upstream.ca_bundle),
    }
    command = [sys.executable, "-m", "microburst", "--upstream", upstream.endpoint, "--port", str(port), "--resign"]
    nowhere = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdin=nowhere, stdout=nowhere, stderr=nowhere) as process:
        try:
            endpoint = FaultyEndpoint(f"http://127.0.0.1:{port}")
            deadline = time.monotonic() + START_SECONDS
            while not endpoint.answers():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the proxy does not answer (status {process.returncode})")
                time.sleep(0.1)
            yield endpoint
        finally:
            # Asked to stop, it would first wait for every call that it holds up.
            process.kill()
