"""MiniStack, the AWS emulator, as a separate process on a free loopback port.

MiniStack runs in its own environment, because it pins botocore. Its AUTH setting is on, so every call is checked
against the policies that the stage declares. Its endpoint uses TLS, because those policies refuse other calls.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import trustme
import urllib3
from urllib3.exceptions import HTTPError

from yorutsuke_infra.stage_file import ROOT

from .errors import EmulatorError
from .interrupts import deferred_signals, stop_at_signal, stop_nothing_at_signal

REGION = "ap-northeast-1"
ACCESS_KEY_ID = SECRET_ACCESS_KEY = "test"  # noqa: S105 - the emulator's root has no others
EMULATOR_PYTHON_VARIABLE = "YORUTSUKE_EMULATOR_PYTHON"
COMPANION_VARIABLE = "YORUTSUKE_COMPANION"
PORT_VARIABLE = "GATEWAY_PORT"
HOST = "127.0.0.1"
START_SECONDS = 60
STOP_SECONDS = 10
"""Seconds after which a killed emulator must have ended."""
POLL_SECONDS = 0.05
KEEP_ALIVE_SECONDS = 75
"""Seconds that the emulator keeps an idle connection. Clients close theirs earlier, and never use a closed one."""
WORK_FOLDER = ROOT / ".local"
STOPPED = "Interrupted. The emulator was stopped and its files were removed."

# Files in the folder of an emulator.
CA_BUNDLE = "ca.pem"
SERVER_CERTIFICATE = "server.pem"
LOCK = "running.lock"
LOG = "emulator.log"
LOG_LINES = 20
"""Number of lines of the log that an error's note quotes."""
TEMPORARY_FOLDER = "tmp"
"""Name of the folder for unpacked functions and layers. It may be a link to a folder in memory."""
RAM_DISK = Path("/dev/shm")  # noqa: S108 - a random name is made below it
RAM_DISK_BYTES = 2 * 1024**3
"""Free bytes that RAM_DISK must have. Each cold start unpacks 15 MB there."""


@dataclass(frozen=True)
class Emulator:
    """A running emulator: its process, its URL, the folder with its files, and when it started."""

    process: "subprocess.Popen[bytes]"
    endpoint: str
    folder: Path
    started: datetime

    @property
    def ca_bundle(self) -> Path:
        """The certificate authority of the endpoint (PEM), which was made for this emulator."""
        return self.folder / CA_BUNDLE

    def discard(self) -> None:
        """Kill the emulator and its functions, and remove its files. May be repeated.

        Does not call `process.wait`: a signal's handler calls this method, and the interrupted code may hold the lock
        of `process`.
        """
        stop_process(self.process.pid, self.folder)
        remove_unpacked(self.folder)
        with suppress(FileNotFoundError):
            shutil.rmtree(self.folder)

    def last_log_lines(self) -> str:
        """Return the last lines of the emulator's log, for an error's note."""
        lines = (self.folder / LOG).read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join(["The last lines of the emulator's log:", *lines])


@contextmanager
def running_emulator(
    port: int | None = None, *, keep: bool = False, companion: Sequence[str] = ()
) -> Generator[Emulator]:
    """Start an emulator on a port, or on a free one. Stop it and delete its folder when the context is left.

    An error gets a note with the last lines of the log. With `keep` and without an error the emulator continues to
    run. Raises EmulatorError.

    Args:
        port: The port.
        keep: Whether the emulator continues to run.
        companion: The command of a process that starts and ends with the emulator. It receives the environment
            variables of the emulator, and must end when its input ends.
    """
    with deferred_signals():
        emulator = _start(port, companion)
        stop_at_signal(emulator.discard, STOPPED)
    try:
        _wait_until_ready(emulator)
        yield emulator
    except BaseException as error:
        keep = False
        error.add_note(emulator.last_log_lines())
        raise
    finally:
        if not keep:
            emulator.discard()
            emulator.process.wait()
        stop_nothing_at_signal()


def is_running(folder: Path) -> bool:
    """Return whether the emulator of a folder runs: it holds the folder's lock until it ends.

    Its process id is not enough, because the system may have given it to another process since.
    """
    with suppress(FileNotFoundError), (folder / LOCK).open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def stop_process(pid: int, folder: Path) -> None:
    """Kill the emulator of a folder and its functions, if it runs. Its data is lost.

    Raises EmulatorError if the emulator does not end.
    """
    deadline = time.monotonic() + STOP_SECONDS
    # The emulator may end by itself at any moment.
    with suppress(ProcessLookupError):
        if is_running(folder):
            # The emulator leads a process group, to which its functions belong.
            os.killpg(pid, signal.SIGKILL)
    while is_running(folder):
        if time.monotonic() > deadline:
            raise EmulatorError(
                f"process {pid} is still running {STOP_SECONDS} s after SIGKILL. Check its state with ps."
            )
        time.sleep(POLL_SECONDS)


def remove_unpacked(folder: Path) -> None:
    """Remove the files that the emulator of a folder unpacked. The emulator must have ended."""
    # A restart of the machine empties RAM_DISK, and leaves a link to a missing folder.
    with suppress(FileNotFoundError):
        shutil.rmtree((folder / TEMPORARY_FOLDER).resolve())


def free_port() -> int:
    """Return a free loopback port."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def _start(port: int | None, companion: Sequence[str]) -> Emulator:
    python = os.environ.get(EMULATOR_PYTHON_VARIABLE)
    if not python or not Path(python).exists():
        raise EmulatorError(
            f"{EMULATOR_PYTHON_VARIABLE} is {python!r}, not the Python of the emulator's environment: "
            "run this through nox, which makes that environment (./nox -s demo, ./nox -s tests)."
        )
    with socket.socket() as probe:
        if port and probe.connect_ex((HOST, port)) == 0:
            raise EmulatorError(f"port {port} is in use. Stop the process that uses it, or select a port with --port.")
    port = port or free_port()
    WORK_FOLDER.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="emulator-", dir=WORK_FOLDER))
    try:
        process = _start_process(folder, python, port, companion)
    except BaseException:
        remove_unpacked(folder)
        shutil.rmtree(folder)
        raise
    return Emulator(process, f"https://{HOST}:{port}", folder, datetime.now(UTC))


def _start_process(folder: Path, python: str, port: int, companion: Sequence[str]) -> "subprocess.Popen[bytes]":
    make_temporary_folder(folder / TEMPORARY_FOLDER)
    certificate = str(_make_certificate(folder))
    # MiniStack's own command would also listen on port 443 if it may.
    # -P keeps the program's folder out of the emulator's imports.
    command = [python, "-P", str(Path(__file__).with_name("emulator_app.py")), "ministack.app:app"]
    command += ["--workers", "0", "--bind", f"{HOST}:{port}"]
    command += ["--certfile", certificate, "--keyfile", certificate, "--keep-alive", str(KEEP_ALIVE_SECONDS)]
    with (folder / LOG).open("wb") as output, (folder / LOCK).open("wb") as lock:
        # The process holds the lock until it ends for any reason. Its functions do not inherit the lock.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return subprocess.Popen(
            command,
            env={**_environment(port, folder), COMPANION_VARIABLE: json.dumps(companion) if companion else ""},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock.fileno()],
        )


def make_temporary_folder(path: Path) -> None:
    """Make a folder, in memory if the system allows it: each cold start unpacks the layer's 1,400 files."""
    try:
        system = os.statvfs(RAM_DISK)
    except FileNotFoundError:
        system = None
    # A process can import compiled modules only from a file system that allows execution.
    if system and system.f_bavail * system.f_frsize >= RAM_DISK_BYTES and not system.f_flag & os.ST_NOEXEC:
        path.symlink_to(tempfile.mkdtemp(prefix="yorutsuke-", dir=RAM_DISK))
    else:
        path.mkdir()


def _make_certificate(folder: Path) -> Path:
    """Write a certificate authority, and the endpoint's certificate with its key. Return the certificate's file."""
    authority, file = trustme.CA(), folder / SERVER_CERTIFICATE
    authority.cert_pem.write_to_path(folder / CA_BUNDLE)
    file.touch(mode=0o600)
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(file)
    return file


def _environment(port: int, folder: Path) -> dict[str, str]:
    # The functions must not receive the user's own AWS variables, and a proxy cannot reach a loopback port.
    own = {name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy")}
    return {
        **{name: value for name, value in os.environ.items() if name not in own},
        PORT_VARIABLE: str(port),
        "USE_SSL": "true",
        # The functions inherit this variable.
        "AWS_CA_BUNDLE": str(folder / CA_BUNDLE),
        "AUTH": "true",
        "MINISTACK_REGION": REGION,
        "TMPDIR": str(folder / TEMPORARY_FOLDER),
    }


def _wait_until_ready(emulator: Emulator) -> None:
    deadline = time.monotonic() + START_SECONDS
    with urllib3.PoolManager(ca_certs=str(emulator.ca_bundle), timeout=1, retries=False) as connections:
        while time.monotonic() < deadline:
            if (status := emulator.process.poll()) is not None:
                raise EmulatorError(f"the emulator ended with status {status} during its start.")
            try:
                if connections.request("GET", f"{emulator.endpoint}/_ministack/ready").status == HTTPStatus.OK:
                    return
            except HTTPError:
                pass
            time.sleep(POLL_SECONDS)
    raise EmulatorError(f"the emulator did not answer within {START_SECONDS} s.")
