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


def test_export_to_an_unwritable_folder_is_refused() -> None:
    with pytest.raises(
        UnfinishedError, match=r"^'/proc/letters' cannot be written \(.+\)\. Name a file in a writable folder"
    ):
        _export(Path("/proc/letters"))


def test_export_to_a_full_disk_removes_the_draft(tmp_path: Path) -> None:
    file = tmp_path / "letters.jsonl"

    with pytest.raises(UnfinishedError, match=r"letters.jsonl' cannot be written \(No space left on device\)"):
        _export(file, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    assert [*tmp_path.iterdir()] == []


def test_export_raises_other_errors_unchanged(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        _export(tmp_path / "letters.jsonl", KeyError("reason"))

    assert [*tmp_path.iterdir()] == []
