"""A kept stage is told from whatever else runs, and nothing is ended or removed that is not its own."""

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
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
STARTED = datetime(2026, 11, 24, 3, 2, 1, tzinfo=UTC)


@pytest.fixture
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where emulators have their folders here, and a kept one its file."""
    monkeypatch.setattr(kept_stage, "WORK_FOLDER", tmp_path)
    return tmp_path


@pytest.fixture
def start(work_folder: Path) -> Generator[Start]:
    """Return a function that starts a process which holds a folder's lock, as an emulator does."""
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
def stranger() -> Generator["subprocess.Popen[bytes]"]:
    """A process that has nothing to do with any of this."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_the_file_of_a_kept_stage_is_for_its_user_alone_and_whole(start: Start, work_folder: Path) -> None:
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


def test_a_second_stage_does_not_replace_the_first(start: Start, work_folder: Path) -> None:
    file = work_folder / "stage.json"
    emulator = start()
    kept = keep_stage(emulator, file)

    with pytest.raises(KeptStageError, match="Use its stage, or stop it with nox -s demo -- --stop"):
        keep_stage(emulator, file)
    with pytest.raises(KeptStageError, match=r"since 2026-11-24T03:02:01Z at https://127\.0\.0\.1:1 \(process \d+\)"):
        require_none_kept(file)

    assert read_kept_stage(file) == kept
    assert is_running(emulator.folder)


@pytest.mark.parametrize("first", ["", STUBBORN])
def test_stop_kills_the_process_and_leaves_nothing(
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
def test_of_one_that_ended_by_itself_the_remains_go_and_whoever_has_its_process_id_stays(
    start: Start, work_folder: Path, stranger: "subprocess.Popen[bytes]", remove: Callable[[Path], Any]
) -> None:
    emulator, file = start(), work_folder / "stage.json"
    keep_stage(emulator, file)
    emulator.process.kill()
    emulator.process.wait()
    file.write_text(json.dumps({**json.loads(file.read_text()), "pid": stranger.pid}))

    remove(file)

    stranger.communicate(b"\n")
    assert stranger.returncode == 0
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
def test_a_file_that_nobody_here_wrote_is_refused_and_nothing_is_touched(
    start: Start, work_folder: Path, change: dict[str, Any], problem: str
) -> None:
    emulator, file = start(), work_folder / "stage.json"
    keep_stage(emulator, file)
    changed = json.dumps({**json.loads(file.read_text()), **change})
    file.write_text(changed)

    # Read, and no more than that: what is wrong here would, were it taken for right, signal to every process.
    with pytest.raises(KeptStageError, match=problem):
        read_kept_stage(file)

    assert file.read_text() == changed
    assert is_running(emulator.folder)


def test_a_folder_that_is_no_emulators_is_not_removed(start: Start, work_folder: Path) -> None:
    emulator, file = start(), work_folder / "stage.json"
    keep_stage(emulator, file)
    own = work_folder / "somebodys-own"
    own.mkdir()
    (own / "notes").touch()
    file.write_text(json.dumps({**json.loads(file.read_text()), "caBundle": str(own / "ca.pem")}))

    _, was_running = end_kept_stage(file)

    assert not was_running
    assert (own / "notes").exists()
    assert not file.exists()


def test_where_none_is_kept_there_is_nothing_to_end(work_folder: Path) -> None:
    file = work_folder / "stage.json"

    assert end_kept_stage(file) == (None, False)
    require_none_kept(file)
    assert read_kept_stage(file) is None
