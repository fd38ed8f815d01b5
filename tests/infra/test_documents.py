"""The documents agree with the program: settings, outputs, alarms, commands and modules."""

import json
import re
from typing import Any

import pytest
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from batch_orchestrator.settings import Settings
from local.deployer import run_program
from tests.documented import (
    demos_arguments,
    documented_commands,
    operators_arguments,
    sessions_of_ci,
    unchecked_beginnings,
)
from yorutsuke_common.schema import Reason
from yorutsuke_common.settings import ResultSettings, StageSettings
from yorutsuke_infra.batch_models import GEOGRAPHIES
from yorutsuke_infra.config import StageConfig
from yorutsuke_infra.stage_file import ROOT

from .conftest import Program, RunProgram, stage_config
from .expected import SCHEDULE

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
DECISIONS = ROOT / "docs" / "decisions"
DEPLOYING = (ROOT / "docs" / "deploying.md").read_text()
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
COUNTED_REASONS = re.compile(r"\b(?:\d+|six|seven|eight|nine|ten|eleven|twelve) reasons\b", re.IGNORECASE)


def _section(text: str, heading: str) -> str:
    """Return the text of the section with a heading."""
    return text.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def _first_cells(section: str) -> set[str]:
    """Return the names in the first column of a section's table."""
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith(("| `", "| alarm"))]
    return {name for row in rows for name in re.findall(r"`([\w/-]+)`", row)}


def _rows(section: str) -> list[list[str]]:
    """Return the rows of a section's table, without the header rows."""
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def _default(field: FieldInfo) -> str:
    """Return the default of a field in the notation of the page."""
    value = field.get_default()
    if value is PydanticUndefined:
        return "required"
    if value in (None, ()):
        return "none"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _values(schema: dict[str, Any]) -> str | None:
    """Return the accepted values in the notation of the page, if a JSON schema lists values or has bounds."""
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "integer":
        return f"{schema.get('minimum', schema.get('exclusiveMinimum', -1) + 1)} to {schema['maximum']}"
    return None


def test_configuration_page_lists_every_stage_key_once() -> None:
    rows = _rows(_section(CONFIGURATION, "Stage"))

    keys = [(f"`{field.alias}`", _default(field)) for field in StageConfig.model_fields.values()]
    assert [(key, default) for key, _, default, _ in rows] == keys


def test_configuration_page_lists_values_of_stage_keys() -> None:
    listed = {key.strip("`"): values for key, values, *_ in _rows(_section(CONFIGURATION, "Stage"))}
    schemas = StageConfig.model_json_schema()["properties"]

    accepted = {key: values for key, schema in schemas.items() if (values := _values(schema))}
    assert {key: listed[key] for key in accepted} == accepted


def test_configuration_page_lists_every_environment_variable_once() -> None:
    rows = _rows(_section(CONFIGURATION, "Functions"))

    variables = {
        (f"`{field.alias}`", "both" if name in StageSettings.model_fields else function, _default(field))
        for function, settings in (("`batch_result_handler`", ResultSettings), ("`batch_orchestrator`", Settings))
        for name, field in settings.model_fields.items()
    }
    assert sorted((variable, function, default) for variable, function, default, _ in rows) == sorted(variables)


def test_program_sets_the_documented_environment_variables(run: RunProgram) -> None:
    program = run()
    documented = {
        variable.strip("`")
        for variable, _, _, value in _rows(_section(CONFIGURATION, "Functions"))
        if not value.startswith("not set")
    }

    names = program.names("Function")
    given = {name for function in names for name in program.inputs("Function", function)["environment"]["variables"]}
    assert given == {*documented, "POWERTOOLS_LOG_LEVEL"}


def test_deploying_page_lists_the_regions_of_geographies() -> None:
    rows = {ids.partition(",")[0]: regions for ids, regions in _rows(_section(DEPLOYING, "Regions"))}

    assert rows == {
        f"`{geography}.`": ", ".join(f"`{start}*`" if start.endswith("-") else f"`{start}`" for start in starts)
        for geography, starts in GEOGRAPHIES.items()
        if geography != "global"
    } | {"`global.`": "every Region"}


def test_every_stage_setting_has_a_docstring() -> None:
    assert [name for name, field in StageConfig.model_fields.items() if not field.description] == []


def test_runbook_sections_match_the_alarms(run: RunProgram) -> None:
    alarms = re.findall(r"^### ([a-z-]+)$", RUNBOOK, re.MULTILINE)

    assert sorted(alarms) == sorted(run(schedule=SCHEDULE).names("MetricAlarm"))


def test_runbook_lists_every_reason_once() -> None:
    table = RUNBOOK[RUNBOOK.index("| reason |") :].partition("\n\n")[0]

    named = [name for reasons, *_ in _rows(table) for name in re.findall(r"`(\w+)`", reasons)]
    assert sorted(named) == sorted(Reason)


def test_documents_do_not_count_the_reasons() -> None:
    """A count in words would be a second place to change with each new reason."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]

    counts = {page.name: found for page in pages if (found := COUNTED_REASONS.findall(page.read_text()))}
    assert counts == {}


@pytest.mark.parametrize("trigger", ["sqs", "s3"])
def test_deploying_page_lists_every_stack_output(trigger: str) -> None:
    outputs = run_program(Program(), "dev", stage_config(trigger=trigger))

    assert _first_cells(_section(DEPLOYING, "Stack outputs")) == set(outputs)


def _is_run(command: str) -> bool:
    """Return whether .ci/run contains a command, or a test in tests/e2e runs it on the emulator."""
    if operators_arguments(command) is not None:
        # test_broken_stage.py runs every documented command of the operator.
        return True
    if (arguments := demos_arguments(command)) is not None:
        tests = "".join(
            (ROOT / "tests" / "e2e" / f"test_{name}.py").read_text() for name in ("broken_stage", "demo", "kept_stage")
        )
        return all(f'"{argument}"' in tests for argument in arguments)
    session = re.fullmatch(r"\./nox -s (\w+)(?: -- tests/.*)?", command)
    return session is not None and session[1] in sessions_of_ci()


def test_every_documented_command_is_tested_or_listed() -> None:
    unchecked = unchecked_beginnings()
    commands = documented_commands()

    neither = {
        command: document
        for command, document in commands.items()
        if not _is_run(command) and not command.startswith(tuple(unchecked))
    }
    assert neither == {}
    assert [start for start in unchecked if not any(command.startswith(start) for command in commands)] == []
    assert [command for command in commands if _is_run(command) and command.startswith(tuple(unchecked))] == []


def test_documented_nox_sessions_exist() -> None:
    sessions = set(re.findall(r"^def (\w+)\(session: nox.Session\)", (ROOT / "noxfile.py").read_text(), re.MULTILINE))
    named = {name for command in documented_commands() for name in re.findall(r"\./nox -s (\w+)", command)}

    assert named
    assert named - sessions == set()


def test_decision_index_lists_every_decision() -> None:
    records = {path.name for path in DECISIONS.glob("[0-9]*.md")}
    rows = re.findall(r"^\| \d+ \| \[.+\]\((.+)\) \|", (DECISIONS / "README.md").read_text(), re.MULTILINE)

    assert sorted(rows) == sorted(records)


def test_architecture_page_names_only_existing_modules() -> None:
    absent: list[str] = []
    for section in ARCHITECTURE.split("\n## "):
        named = re.findall(r"`([\w/]+(?:\.py|/))`", section)
        folders = [ROOT, *(ROOT / name for name in named if name.endswith("/"))]
        modules = [name for name in named if name.endswith(".py")]
        absent += [name for name in modules if not any((folder / name).is_file() for folder in folders)]

    assert absent == []


def test_architecture_page_lists_every_source_folder() -> None:
    source = {
        f"{path.parent.relative_to(ROOT)}/"
        for part in ("layer", "functions", "infra", "yorutsuke", "local")
        for path in ROOT.glob(f"{part}/**/__init__.py")
        if path.parent.parent.name != "local"
    }

    assert source == _first_cells(ARCHITECTURE)


def test_cost_table_matches_alarms_and_dashboards(run: RunProgram) -> None:
    program = run()
    alarms = [program.inputs("MetricAlarm", name) for name in program.names("MetricAlarm")]
    metrics = sum("metric" in query for alarm in alarms for query in alarm["metricQueries"])
    dashboards = sum(resource.typ == "aws:cloudwatch/dashboard:Dashboard" for resource in program.resources)
    table = [line for line in _section(DEPLOYING, "Cost of an idle stage").splitlines() if line[:1] == "|"]
    rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in table[2:]]
    (item, quantity, _, cost), (_, boards, _, board_cost), *_, (_, _, _, total) = rows

    assert (item, quantity, cost) == ("alarms", f"{len(alarms)}, of {metrics} metrics", f"{metrics * 0.1:.2f}")
    assert (boards, board_cost) == (str(dashboards), f"{dashboards * 3:.2f}")
    assert f"{sum(float(row[-1]) for row in rows[:-1]):.2f}" == total
