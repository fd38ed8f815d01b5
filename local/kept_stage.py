"""A local stage that was left running: written down for whoever uses it next, and ended by what was written.

It is one at a time. Its emulator is told from whatever else runs by the lock that it holds, not by its process id.
"""

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from yorutsuke_common.schema import iso_utc, problems

from .emulator import (
    ACCESS_KEY_ID,
    REGION,
    SECRET_ACCESS_KEY,
    WORK_FOLDER,
    Emulator,
    is_emulators,
    is_running,
)
from .errors import KeptStageError

STAGE_FILE = WORK_FOLDER / "stage.json"
STOP_SECONDS = 10
"""Seconds after which a killed emulator must have ended."""
POLL_SECONDS = 0.05
NOX = "python3 -m nox -s"


class KeptStage(BaseModel):
    """The object in `.local/stage.json`, its keys in camelCase. `start_time` is the emulator's, ISO 8601 UTC."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True, validate_by_name=True)

    endpoint: str
    ca_bundle: Path
    region: str
    access_key_id: str
    secret_access_key: str
    pid: Annotated[int, Field(gt=1)]
    """Signals to 1 and below are for others, or for many."""
    start_time: str

    @property
    def folder(self) -> Path:
        """Where the emulator keeps what it needs while it runs."""
        return self.ca_bundle.parent

    def environment(self) -> dict[str, str]:
        """Return what AWS's own tools have to be told to reach it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_CA_BUNDLE": str(self.ca_bundle),
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
        }


@dataclass(frozen=True)
class Ending:
    """What was ended: a stage that ran, or the remains of one that had ended by itself."""

    stage: KeptStage
    was_running: bool


def keep_stage(emulator: Emulator, file: Path = STAGE_FILE) -> KeptStage:
    """Write down how to reach and to end an emulator, for its user alone, and return that.

    Whoever reads the file finds it whole. Raises KeptStageError where there is one already: what it names would be
    orphaned.
    """
    stage = KeptStage(
        endpoint=emulator.endpoint,
        ca_bundle=emulator.ca_bundle,
        region=REGION,
        access_key_id=ACCESS_KEY_ID,
        secret_access_key=SECRET_ACCESS_KEY,
        pid=emulator.process.pid,
        start_time=iso_utc(emulator.started),
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    # A temporary file is readable for its owner alone (0600), and a link, other than a renaming, replaces nothing.
    with tempfile.NamedTemporaryFile("w", dir=file.parent) as draft:
        draft.write(json.dumps(stage.model_dump(mode="json", by_alias=True), indent=2) + "\n")
        draft.flush()
        try:
            os.link(draft.name, file)
        except FileExistsError as exc:
            raise KeptStageError(f"{file} has come into being meanwhile: {_remedy(file)}") from exc
    return stage


def require_none_kept(file: Path = STAGE_FILE) -> None:
    """Make sure that no stage is kept; what one that has ended by itself left is removed. Raises KeptStageError."""
    stage = read_kept_stage(file)
    if stage is None:
        return
    if is_running(stage.folder):
        raise KeptStageError(
            f"a stage has been kept since {stage.start_time} at {stage.endpoint} (process {stage.pid}), and there is "
            f"one at a time: {_remedy(file)}"
        )
    _remove(stage, file)


def end_kept_stage(file: Path = STAGE_FILE) -> Ending | None:
    """End the kept stage and leave nothing of it; None where none is kept. Raises KeptStageError."""
    stage = read_kept_stage(file)
    if stage is None:
        return None
    ending = Ending(stage, was_running=is_running(stage.folder))
    if ending.was_running:
        _end(stage)
    _remove(stage, file)
    return ending


def read_kept_stage(file: Path = STAGE_FILE) -> KeptStage | None:
    """Return what is written of the kept stage, or None where none is. Raises KeptStageError where it is no such file.

    A folder elsewhere than emulators have theirs is not taken for one's: it would be removed.
    """
    try:
        stage = KeptStage.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as exc:
        raise KeptStageError(
            f"{file} is not as demo -- --keep writes it ({problems(exc.errors())}): delete it."
        ) from exc
    if stage.folder.parent != WORK_FOLDER:
        raise KeptStageError(
            f"{file} names {stage.ca_bundle}, which is in no emulator's folder below {WORK_FOLDER}: delete the file."
        )
    return stage


def how_to_reach(stage: KeptStage, outputs: Mapping[str, str], file: Path = STAGE_FILE) -> Table:
    """Return the way to a kept stage, and what to do with it next, ready to be copied."""
    table = Table(title="Left running", title_justify="left", box=SIMPLE_HEAD, show_header=False)
    log = stage.folder / "emulator.log"
    for name, value in {"endpoint": stage.endpoint, **outputs, "its own log": log}.items():
        table.add_row(name, escape(str(value)))
    table.add_section()
    for number, (name, value) in enumerate(stage.environment().items()):
        table.add_row("" if number else "for AWS's tools", escape(f"export {name}={value}"))
    table.add_section()
    table.add_row("look at it", f"{NOX} yorutsuke -- doctor --stage local")
    table.add_row("end it", escape(_stop_command(file)))
    return table


def _remedy(file: Path) -> str:
    return f"use that one, or end it with {_stop_command(file)}"


def _stop_command(file: Path) -> str:
    return f"{NOX} demo -- --stop" + ("" if file == STAGE_FILE else f" --stage-file {file}")


def _end(stage: KeptStage) -> None:
    # The emulator leads a process group that includes its functions. It may end by itself at this moment.
    with suppress(ProcessLookupError):
        os.killpg(stage.pid, signal.SIGKILL)
        if not _has_ended(stage):
            raise KeptStageError(f"process {stage.pid} does not end, not even killed: see what it waits for.")


def _has_ended(stage: KeptStage) -> bool:
    """Wait until the emulator has ended, and tell whether it has."""
    deadline = time.monotonic() + STOP_SECONDS
    while running := is_running(stage.folder):
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    return not running


def _remove(stage: KeptStage, file: Path) -> None:
    # Somebody may have removed it by hand.
    if is_emulators(stage.folder):
        shutil.rmtree(stage.folder)
    file.unlink()
