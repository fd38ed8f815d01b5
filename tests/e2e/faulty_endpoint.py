"""The proxy microburst, a child process in front of the emulator that returns AWS's own error responses."""

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
"""Seconds in which the proxy must start to respond."""
CONTROL_SECONDS = 60
"""Timeout of a control request, in seconds. The proxy does not respond while it loads its models of AWS's services."""
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class FaultyEndpoint:
    """A running proxy, which forwards every call until it has rules. `earlier` counts the faults of earlier tests."""

    url: str
    earlier: int = 0

    def reset(self) -> "FaultyEndpoint":
        """Remove all rules and return the proxy with an empty list of faults."""
        self.remove_rules()
        return FaultyEndpoint(self.url, self.earlier + len(self.failed_calls()))

    def fail(self, *rules: dict[str, Any]) -> None:
        """Replace the rules that make calls fail. Each rule is one of microburst's."""
        self._control("POST", "rules", list(rules))

    def remove_rules(self) -> None:
        """Remove all rules."""
        self.fail()

    def failed_calls(self) -> list[tuple[str, str]]:
        """Return service and operation of each call that matched a rule."""
        faults = self._control("GET", "fired")[self.earlier :]
        return [(fault["service"], fault["operation"]) for fault in faults]

    def is_up(self) -> bool:
        """Return whether the proxy responds."""
        try:
            self._control("GET", "health")
        except (urllib.error.URLError, TimeoutError):
            return False
        return True

    def _control(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_microburst/{path}", data, method=method)  # noqa: S310 - a loopback URL
        with DIRECT.open(request, timeout=CONTROL_SECONDS) as response:
            return json.load(response)


@contextmanager
def running_faulty_endpoint(upstream: Emulator) -> Generator[FaultyEndpoint]:
    """Start a proxy in front of an emulator, on a free loopback port, and stop it at the end.

    A request's signature covers the host, which the proxy changes. The proxy therefore signs each request again with
    the emulator's root credentials, so tests with the proxy do not check the role's permissions.
    """
    port = free_port()
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "SSL_CERT_FILE": str(upstream.ca_bundle),
    }
    command = [sys.executable, "-m", "microburst", "--upstream", upstream.endpoint, "--port", str(port), "--resign"]
    null = subprocess.DEVNULL
    with subprocess.Popen(command, env=environment, stdin=null, stdout=null, stderr=null) as process:
        try:
            endpoint = FaultyEndpoint(f"http://127.0.0.1:{port}")
            deadline = time.monotonic() + START_SECONDS
            while not endpoint.is_up():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the proxy does not respond (status {process.returncode})")
                time.sleep(0.1)
            yield endpoint
        finally:
            # On SIGTERM, the proxy would first wait for every call that it delays.
            process.kill()
