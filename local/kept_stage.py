"""The local stage that `demo -- --keep` leaves running: a file describes it, and `demo -- --stop` ends it.

Only one can run at a time. The lock in its folder identifies its emulator, because a process id may be reused.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from rich.box import SIMPLE_HEAD
from rich.table import Table

from yorutsuke_common.schema import iso_utc
from yorutsuke_common.validation import describe_errors

from .emulator import (
    ACCESS_KEY_ID,
    LOCK,
    LOG,
    REGION,
    SECRET_ACCESS_KEY,
    WORK_FOLDER,
    Emulator,
    is_running,
    remove_unpacked,
    stop_process,
)
from .errors import KeptStageError

STAGE_FILE = WORK_FOLDER / "stage.json"
NOX = "./nox -s"


class KeptStage(BaseModel):
    """The content of the file, with keys in camelCase. `start_time` is the emulator's, in ISO 8601 UTC."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True, validate_by_name=True)

    endpoint: str
    ca_bundle: Path
    region: str = REGION
    access_key_id: str = ACCESS_KEY_ID
    secret_access_key: str = SECRET_ACCESS_KEY
    pid: Annotated[int, Field(gt=1)]
    """The emulator's process id. A signal to 1 or less reaches other processes."""
    start_time: str

    @property
    def folder(self) -> Path:
        """The emulator's folder."""
        return self.ca_bundle.parent


def keep_stage(emulator: Emulator, file: Path = STAGE_FILE) -> KeptStage:
    """Write the file of an emulator, readable for its user only, and return its content.

    Readers never see a part of the file. Raises KeptStageError if the file exists, because its stage would be orphaned.
    """
    stage = KeptStage(
        endpoint=emulator.endpoint,
        ca_bundle=emulator.ca_bundle,
        pid=emulator.process.pid,
        start_time=iso_utc(emulator.started),
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    # A temporary file has the mode 0600. A link, unlike a renaming, does not replace a file.
    with tempfile.NamedTemporaryFile("w", dir=file.parent) as draft:
        draft.write(json.dumps(stage.model_dump(mode="json", by_alias=True), indent=2) + "\n")
        draft.flush()
        try:
            os.link(draft.name, file)
        except FileExistsError as exc:
            raise KeptStageError(f"{file} exists. Use its stage, or stop it with {_stop_command(file)}") from exc
    return stage


def require_none_kept(file: Path = STAGE_FILE) -> None:
    """Raise KeptStageError if a stage is kept. Remove the remains of a stage that ended by itself."""
    stage = read_kept_stage(file)
    if stage and is_running(stage.folder):
        raise KeptStageError(
            f"a kept stage has been running since {stage.start_time} at {stage.endpoint} (process {stage.pid}). "
            f"Only one can run at a time. Use it, or stop it with {_stop_command(file)}"
        )
    if stage:
        _remove(stage, file)


def end_kept_stage(file: Path = STAGE_FILE) -> tuple[KeptStage | None, bool]:
    """End the kept stage, if any, and remove its files. Return it, and whether it was running."""
    stage = read_kept_stage(file)
    was_running = stage is not None and is_running(stage.folder)
    if stage:
        stop_process(stage.pid, stage.folder)
        _remove(stage, file)
    return stage, was_running


def read_kept_stage(file: Path = STAGE_FILE) -> KeptStage | None:
    """Return the content of the file, or None if the file does not exist.

    Raises KeptStageError if the content is invalid, or if its folder is not below WORK_FOLDER: it would be removed.
    """
    try:
        stage = KeptStage.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as exc:
        raise KeptStageError(
            f"{file} does not describe a kept stage: {describe_errors(exc)}. Delete the file."
        ) from exc
    if stage.folder.parent != WORK_FOLDER:
        raise KeptStageError(
            f"{file} names {stage.ca_bundle}, which is not in an emulator's folder below {WORK_FOLDER}. Delete {file}."
        )
    return stage


def kept_stage_table(stage: KeptStage, outputs: Mapping[str, str], file: Path = STAGE_FILE) -> Table:
    """Return the commands that check and stop a kept stage, and its addresses, as a table."""
    table = Table(title="Local stage, still running", title_justify="left", box=SIMPLE_HEAD, show_header=False)
    table.add_row("check it", f"{NOX} yorutsuke -- doctor --stage local")
    table.add_row("stop it", _stop_command(file))
    table.add_section()
    for name, value in {"endpoint": stage.endpoint, **outputs, "emulator log": stage.folder / LOG}.items():
        table.add_row(name, str(value))
    table.add_section()
    exports = {
        "AWS_ENDPOINT_URL": stage.endpoint,
        "AWS_CA_BUNDLE": stage.ca_bundle,
        "AWS_DEFAULT_REGION": stage.region,
        "AWS_ACCESS_KEY_ID": stage.access_key_id,
        "AWS_SECRET_ACCESS_KEY": stage.secret_access_key,
    }
    for number, (name, value) in enumerate(exports.items()):
        table.add_row("" if number else "for AWS tools", f"export {name}={value}")
    return table


def _stop_command(file: Path) -> str:
    return f"{NOX} demo -- --stop" + ("" if file == STAGE_FILE else f" --stage-file {file}")


def _remove(stage: KeptStage, file: Path) -> None:
    # A folder without a lock is not an emulator's, and a user may have removed the folder.
    if (stage.folder / LOCK).is_file():
        remove_unpacked(stage.folder)
        shutil.rmtree(stage.folder)
    file.unlink()
