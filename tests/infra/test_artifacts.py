"""The build is reproducible, and the layer has the wheels of the target and the AWS SDK that the tests use."""

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ways import ENVIRONMENT
from yorutsuke_infra import artifacts
from yorutsuke_infra import build as build_module
from yorutsuke_infra.artifacts import Target, function_zip, layer_zip, stage_target, this_machine
from yorutsuke_infra.build import build
from yorutsuke_infra.errors import BuildError
from yorutsuke_infra.stage_file import ROOT, read_stage_file

from .conftest import RunProgram

FUNCTIONS = ["batch_orchestrator", "batch_result_handler"]
STAGE_TARGET = Target("3.13", "arm64")
MAX_LAYER_BYTES = 8_000_000
"""Maximum size of the layer's zip, in bytes. The complete AWS SDK would add 16 MB."""
SDK = ("boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "urllib3")
"""boto3 and its dependencies that the functions load."""
SDK_DATA = {"_retry.json", "endpoints.json", "partitions.json", "sdk-default-configuration.json"}
"""botocore's data that does not belong to a service."""
AARCH64 = 183
"""Value of e_machine in an ELF file for AArch64. Source: ELF for the Arm 64-bit Architecture."""


@pytest.fixture(scope="module", autouse=True)
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary dist/ with the zips of a stage, and the layer for this machine."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("dist")
        patch.setattr(artifacts, "DIST", folder)
        build(STAGE_TARGET)
        build(this_machine())
    return folder


def _names(path: Path) -> list[str]:
    return zipfile.ZipFile(path).namelist()


def test_build_is_reproducible(dist: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(artifacts, "DIST", tmp_path)
    again = build(STAGE_TARGET)

    def digests(folder: Path) -> dict[str, str]:
        return {path.name: hashlib.sha256((folder / path.name).read_bytes()).hexdigest() for path in again}

    assert digests(tmp_path) == digests(dist)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small sources of a layer and a function, without requirements, and a temporary dist/."""
    for name in ("layer/common", "functions/function"):
        package = tmp_path / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text('"""A package."""\n')
    (tmp_path / "layer.txt").touch()
    monkeypatch.setattr(artifacts, "DIST", tmp_path / "dist")
    monkeypatch.setattr(build_module, "LAYER_PACKAGE", tmp_path / "layer" / "common")
    monkeypatch.setattr(build_module, "LAYER_REQUIREMENTS", tmp_path / "layer.txt")
    monkeypatch.setattr(build_module, "FUNCTIONS", tmp_path / "functions")
    return tmp_path


def _times(zips: list[Path]) -> list[int]:
    return [path.stat().st_mtime_ns for path in zips]


def test_build_keeps_the_layer_when_nothing_changed(sources: Path) -> None:
    zips = build(STAGE_TARGET)
    before = _times(zips)

    assert [path.parent for path in zips] == [sources / "dist"] * 2
    assert _times(build(STAGE_TARGET))[0] == before[0]


@pytest.mark.parametrize("changed", ["layer/common/__init__.py", "functions/function/__init__.py"])
def test_build_repeats_when_a_source_changed(sources: Path, changed: str) -> None:
    build(STAGE_TARGET)
    (sources / changed).write_text('"""A changed package."""\n')

    [layer, function] = build(STAGE_TARGET)

    assert b"A changed package." in b"".join(
        archive.read(name)
        for archive in (zipfile.ZipFile(layer), zipfile.ZipFile(function))
        for name in archive.namelist()
    )


def test_build_repeats_when_the_layer_is_corrupt(sources: Path) -> None:
    [layer, _] = build(STAGE_TARGET)
    content = layer.read_bytes()
    layer.write_bytes(content[:-1])

    build(STAGE_TARGET)

    assert (layer.read_bytes(), sources in layer.parents) == (content, True)


def test_build_repeats_when_a_zip_is_missing(sources: Path) -> None:
    zips = build(STAGE_TARGET)
    for path in zips:
        path.unlink()

    build(STAGE_TARGET)

    assert sorted(path for path in (sources / "dist").glob("*.zip")) == sorted(zips)


def test_build_packs_current_function_after_another_target(sources: Path) -> None:
    source = sources / "functions" / "function" / "__init__.py"
    before = source.read_text()
    build(STAGE_TARGET)
    source.write_text('"""A changed package."""\n')
    build(Target("3.12", "x86_64"))
    source.write_text(before)

    [_, function] = build(STAGE_TARGET)

    assert zipfile.ZipFile(function).read("function/__init__.py").decode() == before


def test_failed_build_names_the_target(
    sources: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (sources / "layer.txt").write_text("unhashed==1.0\n")

    message = "uv cannot install requirements/layer.txt for python3.13 on arm64. Correct this problem"
    with pytest.raises(BuildError, match=message):
        build(STAGE_TARGET)

    monkeypatch.setattr(sys, "argv", ["build", "dev"])
    assert build_module.main() == 1
    assert capsys.readouterr().err.startswith(message)


def test_build_repeats_when_the_lock_file_changed(sources: Path) -> None:
    before = _times(build(STAGE_TARGET))
    (sources / "layer.txt").write_text("# changed\n")

    assert _times(build(STAGE_TARGET))[0] != before[0]


def test_layer_contains_wheels_of_the_target(dist: Path) -> None:
    layer = dist / layer_zip(STAGE_TARGET).name

    [core] = [name for name in _names(layer) if "_pydantic_core." in name and name.endswith(".so")]

    assert "cpython-313-aarch64" in core
    header = zipfile.ZipFile(layer).read(core)[:20]
    assert header[:4] == b"\x7fELF"
    assert int.from_bytes(header[18:20], "little") == AARCH64


def test_layer_files_are_below_python(dist: Path) -> None:
    names = _names(dist / layer_zip(STAGE_TARGET).name)

    assert {name.split("/")[0] for name in names} == {"python"}
    assert {"python/yorutsuke_common/schema.py", "python/aws_lambda_powertools/__init__.py"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]


def _used_services() -> set[str]:
    """Return the AWS services that the source of the functions and the layer creates clients for."""
    sources = [file.read_text() for part in ("functions", "layer") for file in (ROOT / part).rglob("*.py")]
    return {service for source in sources for service in re.findall(r'boto3\.client\("([a-z0-9-]+)"', source)}


def test_layer_has_data_of_used_services_only(dist: Path) -> None:
    folder = "python/botocore/data/"
    names = [
        name.removeprefix(folder) for name in _names(dist / layer_zip(STAGE_TARGET).name) if name.startswith(folder)
    ]

    assert {name.split("/")[0] for name in names} == _used_services() | SDK_DATA
    assert _used_services() == {"bedrock", "dynamodb", "s3"}


@pytest.fixture(scope="module")
def deployed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked zips for this machine: the functions, and the layer's packages in `python/`."""
    folder = tmp_path_factory.mktemp("deployed")
    for path in (layer_zip(this_machine()), *map(function_zip, FUNCTIONS)):
        zipfile.ZipFile(dist / path.name).extractall(folder)
    return folder


IMPORTS_OF_FUNCTIONS = """
import importlib.metadata, json, sys
sys.path[:0] = sys.argv[1:]
from batch_orchestrator.handler import job_submitter
from batch_result_handler.handler import use_cases
job_submitter(), use_cases()
import boto3
clients = {service: boto3.client(service) for service in %r}
inputs = clients["bedrock"].meta.service_model.operation_model("CreateModelInvocationJob").input_shape.members
print(json.dumps({
    "versions": {name: importlib.metadata.version(name) for name in %r},
    "files": [module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)],
    "invocationTypes": inputs["modelInvocationType"].enum,
}))
"""
"""Imports the functions from the folders in the arguments, and makes their clients."""


@pytest.fixture(scope="module")
def imported(deployed: Path) -> dict[str, Any]:
    """The report of a process that has only the deployed packages."""
    code = IMPORTS_OF_FUNCTIONS % (sorted(_used_services()), SDK)
    # -I and -S keep the variables and the packages of this environment out of the process.
    command = [sys.executable, "-I", "-S", "-c", code, str(deployed), str(deployed / "python")]
    process = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_functions_run_from_the_deployed_zips_alone(imported: dict[str, Any], deployed: Path) -> None:
    packages = [file for file in imported["files"] if "site-packages" in file or file.startswith(str(deployed))]

    assert not [file for file in packages if not file.startswith(str(deployed))]
    assert {"boto3", "botocore", "urllib3"} <= {Path(file).relative_to(deployed).parts[1] for file in packages}


def test_layer_has_the_tested_sdk(imported: dict[str, Any]) -> None:
    assert imported["versions"] == {name: version(name) for name in SDK}


def test_layer_knows_both_invocation_types(imported: dict[str, Any]) -> None:
    assert imported["invocationTypes"] == ["InvokeModel", "Converse"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_function_zip_contains_only_its_package(dist: Path, function: str) -> None:
    names = _names(dist / function_zip(function).name)

    assert {name.split("/")[0] for name in names} == {function}
    assert f"{function}/handler.py" in names


@pytest.mark.parametrize("function", FUNCTIONS)
def test_zip_entries_have_fixed_metadata_and_order(dist: Path, function: str) -> None:
    entries = zipfile.ZipFile(dist / function_zip(function).name).infolist()

    assert {(entry.date_time, entry.external_attr >> 16) for entry in entries} == {((1980, 1, 1, 0, 0, 0), 0o100644)}
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)


def test_both_functions_use_the_same_layer(run: RunProgram) -> None:
    program = run()

    assert program.names("LayerVersion") == ["common"]
    assert sorted(program.names("Function")) == ["batch-orchestrator", "batch-result-handler"]
    for name in program.names("Function"):
        assert program.inputs("Function", name)["layers"] == ["arn:LayerVersion:yorutsuke-common"]


def test_stage_target_is_this_machine_when_local() -> None:
    assert stage_target("dev", read_stage_file("dev")) == STAGE_TARGET
    assert stage_target("local", read_stage_file("local")) == this_machine()


def test_zips_stay_below_their_size_limits(dist: Path) -> None:
    assert (dist / layer_zip(STAGE_TARGET).name).stat().st_size < MAX_LAYER_BYTES
    for function in FUNCTIONS:
        assert (dist / function_zip(function).name).stat().st_size < 60_000
