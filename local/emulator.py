"""MiniStack, the AWS emulator, as a process of our own on a free loopback port.

It runs in an environment of its own, since it pins its botocore, with AUTH on, so that every call is checked against
the policies that the stage declares, and over TLS, since they refuse any other call.
"""

import fcntl
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import trustme

from yorutsuke_infra.stage_file import ROOT

from .errors import EmulatorError

REGION = "ap-northeast-1"
ACCESS_KEY_ID = SECRET_ACCESS_KEY = "test"  # noqa: S105 - the emulator's root, who has no others
EMULATOR_PYTHON_VARIABLE = "YORUTSUKE_EMULATOR_PYTHON"
HOST = "127.0.0.1"
START_SECONDS = 60
KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep an idle connection: they would meet one that has just been closed."""
WORK_FOLDER = ROOT / ".local"


@dataclass(frozen=True)
class Emulator:
    """A running emulator: `endpoint` is its URL, `folder` where it keeps what it needs while it runs."""

    process: "subprocess.Popen[bytes]"
    endpoint: str
    folder: Path
    started: datetime

    @property
    def log(self) -> Path:
        """What the emulator writes about itself; it stays when the emulator is gone."""
        return self.folder / "emulator.log"

    @property
    def ca_bundle(self) -> Path:
        """The authority that vouches for the endpoint, made for this emulator alone (PEM)."""
        return _ca_bundle(self.folder)

    def server_tls(self) -> ssl.SSLContext:
        """Return what another server on this machine can answer TLS with: whoever trusts the emulator trusts it."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(_certificate(self.folder), _key(self.folder))
        return context

    def stop(self) -> None:
        """Kill the emulator and its functions, which are in its process group. Their data is not needed any more."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(_temporary(self.folder))

    def discard(self) -> None:
        """End the emulator and leave nothing of it, not even its log."""
        self.stop()
        shutil.rmtree(self.folder)


@contextmanager
def running_emulator(port: int | None = None) -> Generator[Emulator]:
    """Start an emulator and end it on the way out; its log stays where something went wrong."""
    emulator = start_emulator(port)
    with ExitStack() as on_failure:
        on_failure.callback(emulator.stop)
        yield emulator
        on_failure.pop_all()
    emulator.discard()


def start_emulator(port: int | None = None) -> Emulator:
    """Start an emulator on a port, or on a free one, and wait until it answers. Raises EmulatorError."""
    if port and not _is_free(port):
        raise EmulatorError(f"port {port} is in use: end what listens there, or name another port.")
    port = port or free_port()
    WORK_FOLDER.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="emulator-", dir=WORK_FOLDER))
    _temporary(folder).mkdir()
    certificate, key = _make_certificate(folder)
    # MiniStack's own command would listen on port 443 as well, where it may.
    command = [_python(), "-m", "hypercorn", "ministack.app:app", "--workers", "0", "--bind", f"{HOST}:{port}"]
    command += ["--certfile", str(certificate), "--keyfile", str(key), "--keep-alive", str(KEEP_ALIVE_SECONDS)]
    with (folder / "emulator.log").open("wb") as output, _lock(folder).open("wb") as lock:
        # It holds the lock from here on until it has ended, however it ends: its functions do not inherit it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            command,
            env=_environment(port, folder),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )
    emulator = Emulator(process, f"https://{HOST}:{port}", folder, datetime.now(UTC))
    with ExitStack() as on_failure:
        on_failure.callback(emulator.stop)
        _wait_until_ready(emulator)
        on_failure.pop_all()
    return emulator


def is_emulators(folder: Path) -> bool:
    """Tell whether a folder is one that an emulator made, and nothing else is lost with it."""
    return _lock(folder).is_file()


def is_running(folder: Path) -> bool:
    """Tell whether the emulator of a folder still runs: only that very process has the folder's lock.

    By that its process id is known to be still its own: a system gives the id of a process that has ended to another.
    """
    try:
        with _lock(folder).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _python() -> str:
    python = os.environ.get(EMULATOR_PYTHON_VARIABLE)
    if not python or not Path(python).exists():
        raise EmulatorError(
            f"{EMULATOR_PYTHON_VARIABLE} is {python!r}, not the Python of the emulator's environment: "
            "run this through nox, which makes that environment (nox -s demo, nox -s tests)."
        )
    return python


def _environment(port: int, folder: Path) -> dict[str, str]:
    # A person's own AWS variables must not reach the functions, and no proxy stands between here and here.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AWS_") and not name.lower().endswith("_proxy")
    }
    return {
        **inherited,
        "GATEWAY_PORT": str(port),
        "USE_SSL": "true",
        # Functions inherit it.
        "AWS_CA_BUNDLE": str(_ca_bundle(folder)),
        "AUTH": "true",
        "MINISTACK_REGION": REGION,
        "TMPDIR": str(_temporary(folder)),
    }


def _wait_until_ready(emulator: Emulator) -> None:
    deadline = time.monotonic() + START_SECONDS
    trusted = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=emulator.ca_bundle))
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), trusted)
    while time.monotonic() < deadline:
        if emulator.process.poll() is not None:
            raise EmulatorError(
                f"the emulator ended with status {emulator.process.returncode} before it answered: see {emulator.log}."
            )
        try:
            with direct.open(f"{emulator.endpoint}/_ministack/ready", timeout=1):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.1)
    raise EmulatorError(f"the emulator did not answer within {START_SECONDS} s: see {emulator.log}.")


def _make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write an authority, a certificate of it for the endpoint, and the certificate's key; return the latter two."""
    authority = trustme.CA()
    issued = authority.issue_cert(HOST)
    certificate, key = _certificate(folder), _key(folder)
    authority.cert_pem.write_to_path(_ca_bundle(folder))
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.touch(mode=0o600)
    issued.private_key_pem.write_to_path(key)
    return certificate, key


def _ca_bundle(folder: Path) -> Path:
    return folder / "ca.pem"


def _certificate(folder: Path) -> Path:
    return folder / "certificate.pem"


def _key(folder: Path) -> Path:
    return folder / "key.pem"


def _lock(folder: Path) -> Path:
    return folder / "running.lock"


def _temporary(folder: Path) -> Path:
    """Return where the emulator unpacks the functions and layers that it runs."""
    return folder / "tmp"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]
