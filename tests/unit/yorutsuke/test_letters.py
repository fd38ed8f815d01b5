import errno
import os
from pathlib import Path

import pytest

from yorutsuke.errors import UnfinishedError
from yorutsuke.letters import exported


def _export(file: Path, failure: Exception | None = None) -> None:
    with exported(file) as draft:
        draft.write(b"half")
        if failure:
            raise failure


def test_a_folder_that_nobody_may_write_to_is_one_clear_line() -> None:
    with pytest.raises(
        UnfinishedError, match=r"^'/proc/letters' cannot be written \(.+\)\. Name a file in a writable folder"
    ):
        _export(Path("/proc/letters"))


def test_a_disk_that_is_full_is_one_clear_line_and_nothing_is_left(tmp_path: Path) -> None:
    file = tmp_path / "letters.jsonl"

    with pytest.raises(UnfinishedError, match=r"letters.jsonl' cannot be written \(No space left on device\)"):
        _export(file, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    assert [*tmp_path.iterdir()] == []


def test_what_fails_for_another_reason_fails_for_that(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        _export(tmp_path / "letters.jsonl", KeyError("reason"))

    assert [*tmp_path.iterdir()] == []
