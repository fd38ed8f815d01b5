"""docs/configuration.md: what a stage may choose, and what its functions are told in consequence."""

import json
from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel

from batch_orchestrator.settings import Settings as OrchestratorSettings
from local.recording import MARK, record
from yorutsuke_common.names import PROJECT
from yorutsuke_common.settings import ResultSettings as ResultHandlerSettings
from yorutsuke_infra.config import CONFIG_KEY, StageConfig
from yorutsuke_infra.stage_file import ROOT

from .fields import default, takes

PAGE = ROOT / "docs" / "configuration.md"
STAGE = "dev"
SETTINGS: Mapping[str, type[BaseModel]] = {
    "batch-result-handler": ResultHandlerSettings,
    "batch-orchestrator": OrchestratorSettings,
}
"""By the name that the program gives the function."""

INTRODUCTION = f"""\
# Configuration

What a stage may choose, and what its functions are told. Written from the models that check both: `nox -s reference`.

## A stage

Under `{PROJECT}:{CONFIG_KEY}` in `Pulumi.{{stage}}.yaml`. All keys have defaults; a key that is unknown, and a value of
another type or out of its range, are refused by name before anything is declared. [Deploying](deploying.md) has what
goes with it.
"""
FUNCTIONS = f"""
## The functions

The environment variables of each function, and what they are on a stage `{STAGE}` that chooses nothing. A function
refuses an environment that is not as here at its first invocation, by the variable's name.
"""


def page() -> str:
    """Return the page as it has to be."""
    return "".join([INTRODUCTION, _table(_choices()), FUNCTIONS, *_environments()])


def _choices() -> Iterator[Sequence[str]]:
    yield "key", "takes", "default", "what for"
    for name, field in StageConfig.model_fields.items():
        yield f"`{field.alias or name}`", takes(field), default(field), " ".join((field.description or "").split())


def _environments() -> Iterator[str]:
    told = _told()
    for function, settings in SETTINGS.items():
        yield f"\n### {function}\n"
        yield _table(_variables(settings, told[function]))


def _variables(settings: type[BaseModel], told: Mapping[str, str]) -> Iterator[Sequence[str]]:
    fields = {field.alias or name: field for name, field in settings.model_fields.items()}
    yield "variable", "takes", "default", f"on `{STAGE}`"
    for name in [*fields, *sorted(told.keys() - fields.keys())]:
        rules = [takes(fields[name]), default(fields[name])] if name in fields else ["what Powertools takes", ""]
        yield f"`{name}`", *rules, _value(told.get(name))


def _told() -> Mapping[str, Mapping[str, str]]:
    """Return the environment of each function as the program of `infra/` declares it."""
    config = {"aws:region": "ap-northeast-1", f"{PROJECT}:{CONFIG_KEY}": json.dumps({})}
    return {
        declared.key.name: declared.inputs["environment"]["variables"]
        for declared in record(STAGE, config)
        if declared.key.kind == "Function"
    }


def _value(told: str | None) -> str:
    if told is None:
        return "the default"
    resource = MARK.fullmatch(told)
    if not resource:
        return f"`{told}`"
    kind = resource[1].rsplit(":", 1)[-1].lower()
    return f"the {kind} `{resource[2]}`"


def _table(rows: Iterator[Sequence[str]]) -> str:
    """Return rows as a table, the first of them being its head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in cells)
