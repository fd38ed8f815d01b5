"""Tests of `demo --keep` and `demo --stop`, which need only the stage's file."""

import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import psutil
import pytest

from local.aws import Aws
from local.emulator import TEMPORARY_FOLDER, Emulator
from local.job_run import until
from local.receipts import make_receipts, simple_lines

from .conftest import OutputFile
from .demo_command import run_demo

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@pytest.fixture
def stage_file(tmp_path: Path) -> Generator[Path]:
    """The path of the test's stage file. Stops the test's stage at the end."""
    file = tmp_path / "stage.json"
    yield file
    run_demo("--stop", "--stage-file", str(file))


@pytest.fixture
def kept(stage_file: Path, output_file: OutputFile) -> dict[str, Any]:
    """The content of the file of a kept stage that holds one transaction."""
    output = output_file(*simple_lines(make_receipts(1)))
    done = run_demo("--keep", "--input", str(output), "--stage-file", str(stage_file))
    assert done.returncode == 0, done.stderr
    kept = json.loads(stage_file.read_text())
    table = done.stderr.partition("Local stage, still running\n\n")[2]
    assert ["".join(line.partition("./nox -s")[1:]) for line in table.splitlines()[:2]] == [
        "./nox -s yorutsuke -- doctor --stage local",
        f"./nox -s demo -- --stop --stage-file {stage_file}",
    ]
    assert f"export AWS_CA_BUNDLE={kept['caBundle']}\n" in done.stderr
    return kept


def test_stop_ends_only_the_kept_stage(emulator: Emulator, kept: dict[str, Any], stage_file: Path) -> None:
    assert stage_file.stat().st_mode & 0o777 == 0o600
    amount = str(make_receipts(1)[0].fields["amount"])
    transactions = _dynamodb(kept).scan(TableName="yorutsuke-transactions-local")["Items"]
    assert [(item["imageId"], item["amount"]) for item in transactions] == [({"S": "img-00001"}, {"N": amount})]

    running, unpacked = _processes(kept), (Path(kept["caBundle"]).parent / TEMPORARY_FOLDER).resolve(strict=True)
    again = run_demo("--keep", "--stage-file", str(stage_file))
    assert again.returncode == 1
    assert f"a kept stage has been running since {kept['startTime']} at {kept['endpoint']}" in again.stderr
    assert json.loads(stage_file.read_text()) == kept

    stopped = run_demo("--stop", "--json", "--stage-file", str(stage_file))
    assert stopped.returncode == 0, stopped.stderr
    assert json.loads(stopped.stdout) == {"stopped": True, "endpoint": kept["endpoint"], "pid": kept["pid"]}
    assert [process for process in running if not _has_ended(process)] == []
    assert not unpacked.exists()
    assert not Path(kept["caBundle"]).parent.exists()
    assert not stage_file.exists()
    assert Aws(emulator.endpoint, emulator.ca_bundle).sts.get_caller_identity()["Account"] == "000000000000"

    repeated = run_demo("--stop", "--json", "--stage-file", str(stage_file))
    assert (repeated.returncode, json.loads(repeated.stdout)) == (0, {"stopped": False})
    assert repeated.stderr == "A kept stage was not found. Nothing was stopped.\n"


def test_stop_spares_a_reused_pid(kept: dict[str, Any], stage_file: Path) -> None:
    running, unpacked = _processes(kept), (Path(kept["caBundle"]).parent / TEMPORARY_FOLDER).resolve(strict=True)
    running[0].kill()
    until(lambda: all(map(_has_ended, running)), 30, "the emulator to end")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        stage_file.write_text(json.dumps({**kept, "pid": other.pid}))
        stopped = run_demo("--stop", "--stage-file", str(stage_file))
        other.communicate(b"\n")

    assert stopped.returncode == 0
    emulator = f"the emulator at {kept['endpoint']} (process {other.pid}, since {kept['startTime']})"
    assert stopped.stderr == f"The stage had already ended: {emulator}. Its files were removed.\n"
    assert not unpacked.exists()
    assert not Path(kept["caBundle"]).parent.exists()
    assert not stage_file.exists()
    assert other.returncode == 0


def test_stop_rejects_keep() -> None:
    done = run_demo("--stop", "--keep")

    assert done.returncode == 2
    assert "--stop and --keep exclude each other: leave one of them out." in done.stderr


def _processes(kept: dict[str, Any]) -> list[psutil.Process]:
    """Return the emulator's process and the processes of its functions."""
    emulator = psutil.Process(kept["pid"])
    functions = emulator.children(recursive=True)
    assert functions
    return [emulator, *functions]


def _has_ended(process: psutil.Process) -> bool:
    """Return whether a process has ended. A zombie counts as ended: its parent may not have reaped it yet."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def _dynamodb(kept: dict[str, Any]) -> "DynamoDBClient":
    """Return a client that is configured only from the content of a kept stage's file."""
    session = boto3.Session(kept["accessKeyId"], kept["secretAccessKey"], region_name=kept["region"])
    return session.client("dynamodb", endpoint_url=kept["endpoint"], verify=kept["caBundle"])
