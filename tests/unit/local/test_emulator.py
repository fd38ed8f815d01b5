from pathlib import Path
from typing import Any

import pytest

from local import emulator
from local.emulator import TEMPORARY_FOLDER, remove_unpacked


@pytest.fixture
def ram_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "ram"
    folder.mkdir()
    monkeypatch.setattr(emulator, "RAM_DISK", folder)
    monkeypatch.setattr(emulator, "RAM_DISK_BYTES", 1)
    return folder


def test_functions_are_unpacked_in_memory(ram_disk: Path, tmp_path: Path) -> None:
    temporary = tmp_path / TEMPORARY_FOLDER
    emulator.make_temporary_folder(temporary)
    (temporary / "function.py").touch()

    assert [len(list(folder.iterdir())) for folder in ram_disk.iterdir()] == [1]

    remove_unpacked(tmp_path)

    assert list(ram_disk.iterdir()) == []


@pytest.mark.parametrize(("setting", "value"), [("RAM_DISK", Path("/absent")), ("RAM_DISK_BYTES", 1 << 62)])
def test_functions_are_unpacked_on_disk_without_memory(
    ram_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, value: Any
) -> None:
    monkeypatch.setattr(emulator, setting, value)
    temporary = tmp_path / TEMPORARY_FOLDER
    emulator.make_temporary_folder(temporary)

    assert temporary.is_dir()
    assert not temporary.is_symlink()

    remove_unpacked(tmp_path)

    assert not temporary.exists()
    assert list(ram_disk.iterdir()) == []
