"""Stopping a kept stage ends only its own process and removes only its own files."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from local import kept_stage
from local.emulator import Emulator, is_running
from local.errors import KeptStageError
from local.kept_stage import end_kept_stage, keep_stage, read_kept_stage, require_none_kept

Start = Callable[..., Emulator]
IGNORE_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
STARTED = datetime(2026, 11, 24, 3, 2, 1, tzinfo=UTC)


@pytest.fixture
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the emulators' folders and of the kept stage's file."""
    monkeypatch.setattr(kept_stage, "WORK_FOLDER", tmp_path)
    return tmp_path


@pytest.fixture
def start(work_folder: Path) -> Generator[Start]:
    """Return a function that starts a process. The process holds a folder's lock, as an emulator does."""
    with ExitStack() as clean_up:

        def started(first: str = "") -> Emulator:
            folder = work_folder / "emulator-1"
            folder.mkdir()
            lock = str(folder / "running.lock")
            hold = f"import fcntl; lock = open({lock!r}, 'w'); fcntl.flock(lock, fcntl.LOCK_EX); print(); input()"
            process = subprocess.Popen(
                [sys.executable, "-c", f"{first}\n{hold}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            clean_up.enter_context(process)
            clean_up.callback(process.kill)
            assert process.stdout
            assert process.stdout.readline() == b"\n"
            return Emulator(process, "https://127.0.0.1:1", folder, STARTED)

        yield started


@pytest.fixture
def unrelated_process() -> Generator["subprocess.Popen[bytes]"]:
    """A process that does not belong to a stage."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_stage_file_is_complete_and_private(start: Start, work_folder: Path) -> None:
    emulator, file = start(), work_folder / "stage.json"

    kept = keep_stage(emulator, file)

    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text()) == {
        "endpoint": "https://127.0.0.1:1",
        "caBundle": str(work_folder / "emulator-1" / "ca.pem"),
        "region": "ap-northeast-1",
        "accessKeyId": "test",
        "secretAccessKey": "test",
        "pid": emulator.process.pid,
        "startTime": "2026-11-24T03:02:01Z",
    }
    assert read_kept_stage(file) == kept
    assert sorted(path.name for path in work_folder.iterdir()) == ["emulator-1", "stage.json"]


def test_second_stage_does_not_replace_the_first(start: Start, work_folder: Path) -> None:
    file = work_folder / "stage.json"
    emulator = start()
    kept = keep_stage(emulator, file)

    with pytest.raises(KeptStageError, match=r"Use its stage, or stop it with \./nox -s demo -- --stop"):
        keep_stage(emulator, file)
    with pytest.raises(KeptStageError, match=r"since 2026-11-24T03:02:01Z at https://127\.0\.0\.1:1 \(process \d+\)"):
        require_none_kept(file)

    assert read_kept_stage(file) == kept
    assert is_running(emulator.folder)


@pytest.mark.parametrize("first", ["", IGNORE_SIGTERM])
def test_stop_kills_the_process_and_removes_files(
    start: Start, work_folder: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    monkeypatch.setattr("local.emulator.STOP_SECONDS", 1)
    emulator, file = start(first), work_folder / "stage.json"
    keep_stage(emulator, file)

    _, was_running = end_kept_stage(file)

    assert was_running
    assert emulator.process.wait() == -signal.SIGKILL
    assert list(work_folder.iterdir()) == []
    assert end_kept_stage(file) == (None, False)


@pytest.mark.parametrize("remove", [end_kept_stage, require_none_kept])
def test_stop_spares_a_reused_pid(
    start: Start, work_folder: Path, unrelated_process: "subprocess.Popen[bytes]", remove: Callable[[Path], Any]
) -> None:
    emulator, file = start(), work_folder / "stage.json"
    keep_stage(emulator, file)
    emulator.process.kill()
    emulator.process.wait()
    file.write_text(json.dumps({**json.loads(file.read_text()), "pid": unrelated_process.pid}))

    remove(file)

    unrelated_process.communicate(b"\n")
    assert unrelated_process.returncode == 0
    assert list(work_folder.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"pid": -1}, "pid: must be greater than 1"),
        ({"pid": "12"}, "pid: must be a whole number, not text"),
        ({"caBundle": "/etc/ssl/ca.pem"}, "names /etc/ssl/ca.pem, which is not in an emulator's folder"),
        ({"extra": 1}, "extra: is not a known field"),
    ],
)
def test_invalid_stage_file_is_refused_without_changes(
    start: Start, work_folder: Path, change: dict[str, Any], problem: str
) -> None:
    emulator, file = start(), work_folder / "stage.json"
    keep_stage(emulator, file)
    changed = json.dumps({**json.loads(file.read_text()), **change})
    file.write_text(changed)

    # The test only reads the file. Stopping the stage could signal all processes if the check were missing.
    with pytest.raises(KeptStageError, match=problem):
        read_kept_stage(file)

    assert file.read_text() == changed
    assert is_running(emulator.folder)


def test_stop_keeps_a_folder_without_a_lock(start: Start, work_folder: Path) -> None:
    emulator, file = start(), work_folder / "stage.json"
    keep_stage(emulator, file)
    other_folder = work_folder / "of-the-user"
    other_folder.mkdir()
    (other_folder / "notes").touch()
    file.write_text(json.dumps({**json.loads(file.read_text()), "caBundle": str(other_folder / "ca.pem")}))

    _, was_running = end_kept_stage(file)

    assert not was_running
    assert (other_folder / "notes").exists()
    assert not file.exists()


def test_stop_without_a_kept_stage_does_nothing(work_folder: Path) -> None:
    file = work_folder / "stage.json"

    assert end_kept_stage(file) == (None, False)
    require_none_kept(file)
    assert read_kept_stage(file) is None
