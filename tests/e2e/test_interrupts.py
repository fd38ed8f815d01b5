"""Signals at each moment of the demo: everything that was started is stopped, and no file is left."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import psutil
import pytest

from local.emulator import LOG, TEMPORARY_FOLDER
from local.job_run import until

from .demo_command import ROOT

SOURCES = ("infra", "layer", "functions", "local", "yorutsuke", "requirements")
NOTHING_RUNS = "Interrupted. Nothing that this command started is running.\n"
STOPPED = "Interrupted. The emulator was stopped and its files were removed.\n"
SECONDS = 120
CHUNK_BYTES = 4096
INTERRUPT_AT_LINK = """
import os, signal, sys
sys.addaudithook(lambda event, arguments: os.killpg(0, signal.SIGINT) if event == "os.link" else None)
"""
"""A module that Python imports at its start. It interrupts the demo when the demo writes the file of a kept stage."""

Demo = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources. Its folder .local belongs to these tests."""
    copy = tmp_path_factory.mktemp("repository")
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name)
    for file in ROOT.glob("Pulumi*.yaml"):
        shutil.copy(file, copy)
    (copy / "temporary").mkdir()
    return copy


@pytest.fixture
def demo(repository: Path) -> Generator[Demo]:
    """Return a function that starts the demo in a process group of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(
        *arguments: str, stderr: int = subprocess.PIPE, options: tuple[str, ...] = (), modules: Path = repository
    ) -> "subprocess.Popen[str]":
        paths = os.pathsep.join(map(str, (repository / "infra", repository / "layer", repository, modules)))
        environment = {**os.environ, "PYTHONPATH": paths, "TMPDIR": str(repository / "temporary")}
        command = [sys.executable, *options, "-m", "local", "demo", *arguments]
        process = subprocess.Popen(
            command, cwd=repository, env=environment, stderr=stderr, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
    # A failed test may leave an emulator.
    for process in _emulator_processes(repository):
        process.kill()
    shutil.rmtree(repository / ".local", ignore_errors=True)


def _interrupt(process: "subprocess.Popen[str]", *numbers: signal.Signals) -> str:
    """Send signals to a process group, SIGINT by default. Return the rest of the process's standard error."""
    for number in numbers or (signal.SIGINT,):
        os.killpg(process.pid, number)
    return process.communicate(timeout=SECONDS)[1]


def _emulator(repository: Path) -> Path | None:
    """Return the folder of the emulator, if it exists."""
    return next((repository / ".local").glob("emulator-*"), None)


def _log_contains(repository: Path, text: str) -> bool:
    folder = _emulator(repository)
    return folder is not None and (folder / LOG).exists() and text in (folder / LOG).read_text()


def _emulator_processes(repository: Path) -> list[psutil.Process]:
    """Return the emulator's process and the processes of its functions."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter(["environ"]):
        environment: dict[str, str] = process.info["environ"] or {}
        if environment.get("AWS_CA_BUNDLE", "").startswith(f"{repository}/"):
            found.append(process)
    return found


def _assert_nothing_is_left(repository: Path) -> None:
    assert [path.name for path in (repository / ".local").glob("*")] == []
    assert [path.name for path in (repository / "temporary").iterdir()] == []
    assert [path.name for path in (repository / "dist").glob("tmp*")] == []
    until(lambda: not _emulator_processes(repository), SECONDS, "the emulator and its functions to end")


def test_ctrl_c_during_the_imports_is_quiet(repository: Path, demo: Demo) -> None:
    process = demo(options=("-v",))
    assert process.stderr
    for line in process.stderr:
        if line.startswith("import 'boto3"):
            break

    rest = _interrupt(process)

    assert process.returncode == 130
    assert NOTHING_RUNS in rest
    assert "Traceback" not in rest
    _assert_nothing_is_left(repository)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_during_the_build_removes_files(repository: Path, demo: Demo, number: signal.Signals) -> None:
    shutil.rmtree(repository / "dist", ignore_errors=True)
    process = demo()
    until(lambda: psutil.Process(process.pid).children(recursive=True), SECONDS, "uv to start")

    rest = _interrupt(process, number)

    assert process.returncode == 128 + number
    # The build takes less than a second, and may end before the signal arrives.
    assert rest.endswith((NOTHING_RUNS, STOPPED))
    assert "Traceback" not in rest
    _assert_nothing_is_left(repository)


def test_ctrl_c_while_the_emulator_starts_stops_it(repository: Path, demo: Demo) -> None:
    process = demo()
    # The process is started within milliseconds after the folder is made. `until` would miss this time.
    while not _emulator(repository):
        assert process.poll() is None

    rest = _interrupt(process)

    assert (process.returncode, rest.splitlines()[-1:]) == (130, [STOPPED.strip()])
    assert "Traceback" not in rest
    _assert_nothing_is_left(repository)


@pytest.mark.parametrize(
    "numbers", [(signal.SIGINT,), (signal.SIGTERM,), (signal.SIGINT, signal.SIGINT, signal.SIGTERM)]
)
def test_signals_during_the_deployment_stop_it(
    repository: Path, demo: Demo, numbers: tuple[signal.Signals, ...]
) -> None:
    process = demo("--keep")
    until(lambda: _log_contains(repository, "S3 bucket created"), SECONDS, "the bucket")

    rest = _interrupt(process, *numbers)

    assert process.returncode - 128 in numbers
    assert rest.endswith(STOPPED)
    assert "Traceback" not in rest
    _assert_nothing_is_left(repository)


def test_ctrl_c_during_the_processing_stops_the_functions(repository: Path, demo: Demo) -> None:
    process = demo()
    until(lambda: len(_emulator_processes(repository)) > 1, SECONDS, "a function to start")
    folder = _emulator(repository)
    assert folder
    unpacked = (folder / TEMPORARY_FOLDER).resolve(strict=True)

    rest = _interrupt(process)

    assert process.returncode == 130
    assert rest.endswith(STOPPED)
    assert not unpacked.exists()
    _assert_nothing_is_left(repository)


def test_ctrl_c_while_keeping_stops_the_stage(repository: Path, demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPT_AT_LINK)

    process = demo("--keep", modules=tmp_path)
    printed = process.communicate(timeout=SECONDS)[1]

    assert process.returncode == 130
    assert printed.endswith(STOPPED)
    assert "Local stage, still running" not in printed
    _assert_nothing_is_left(repository)


def test_ctrl_c_while_stopping_completes_the_stop(repository: Path, demo: Demo) -> None:
    """The pipe is full, so the demo waits when it prints that the stage has been stopped."""
    keep = demo("--keep")
    assert (keep.communicate(timeout=SECONDS), keep.returncode)[1] == 0
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    filled = 0
    while filled % CHUNK_BYTES == 0:
        try:
            filled += os.write(writer, b" " * CHUNK_BYTES)
        except BlockingIOError:
            break
    os.set_blocking(writer, True)
    with os.fdopen(reader) as printed:
        process = demo("--stop", stderr=writer)
        os.close(writer)
        until(lambda: not (repository / ".local" / "stage.json").exists(), SECONDS, "the stage to end")

        os.killpg(process.pid, signal.SIGINT)
        rest = printed.read()

    assert process.wait(SECONDS) == 130
    assert rest.endswith(NOTHING_RUNS)
    _assert_nothing_is_left(repository)


def test_failed_deployment_leaves_no_files(repository: Path, demo: Demo) -> None:
    process = demo("--keep")
    until(lambda: _log_contains(repository, "S3 bucket created"), SECONDS, "the bucket")
    _emulator_processes(repository)[0].kill()

    rest = process.communicate(timeout=SECONDS)[1]

    assert process.returncode == 1
    assert "The last lines of the emulator's log:" in rest
    _assert_nothing_is_left(repository)
