"""docs/data-model.md lists exactly the attributes, keys, statuses and reasons of the code."""

import re
from collections.abc import Iterable
from typing import Any

import pytest
from pydantic import BaseModel

from yorutsuke_common.schema import (
    BatchJob,
    DeadLetter,
    ImageStatus,
    JobStatus,
    OutputStats,
    PendingImage,
    Reason,
    RecordCounts,
    ResultStats,
    Submission,
    Transaction,
    TransactionStatus,
)
from yorutsuke_infra.images_bucket import EXPIRES_AFTER_DAYS
from yorutsuke_infra.stage_file import ROOT

from .conftest import RunProgram

PAGE = (ROOT / "docs" / "data-model.md").read_text()


def _rows(marker: str) -> list[list[str]]:
    """Return the rows of the first table after a marker, without the header rows."""
    table = re.search(r"(?:^\|.*\n)+", PAGE.partition(marker)[2], re.MULTILINE)
    assert table
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table[0].splitlines()[2:]]


def _names(cells: Iterable[str]) -> list[str]:
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize(
    ("marker", "models"),
    [
        ("## An item of `transactions`", [Transaction]),
        ("## An item of `batch-jobs`", [Submission, BatchJob]),
        ("\n`resultStats`:", [ResultStats]),
        ("\nThe counts of each output file in `outputStats`", [OutputStats]),
        ("\n`bedrockCounts` has", [RecordCounts]),
        ("## An item of `pending-images`", [PendingImage]),
        ("## A line of `dead-letters/{jobId}.jsonl`", [DeadLetter]),
    ],
)
def test_page_lists_every_stored_attribute_once(marker: str, models: list[type[BaseModel]]) -> None:
    stored = {name for model in models for name in model.model_fields}

    assert sorted(row[0] for row in _rows(marker)) == sorted(f"`{name}`" for name in stored)


def test_page_lists_the_keys_of_every_table(run: RunProgram) -> None:
    program = run()
    declared = {name: program.inputs("Table", name) for name in program.names("Table")}

    assert {row[0]: row[1:] for row in _rows("## The tables")} == {
        f"`{name}`": [
            f"`{table['hashKey']}`",
            f"`{table['rangeKey']}`" if "rangeKey" in table else "",
            ", ".join(_index(index) for index in table.get("globalSecondaryIndexes", [])),
            f"`{table['ttl']['attributeName']}`" if "ttl" in table else "",
        ]
        for name, table in declared.items()
    }


def _index(index: dict[str, Any]) -> str:
    keys = [f"`{key['attributeName']}`" for key in index["keySchemas"]]
    return f"`{index['name']}` ({', '.join(keys)})"


def test_page_lists_the_expiry_of_every_prefix() -> None:
    expiring = {row[0]: row[-1] for row in _rows("## The bucket `images`") if row[-1] != "never"}

    assert expiring == {f"`{prefix}`": f"{days} days" for prefix, days in EXPIRES_AFTER_DAYS.items()}


def test_page_lists_every_reason_once() -> None:
    assert _names(row[0] for row in _rows("| `record` | JSON |")) == [reason.value for reason in Reason]


@pytest.mark.parametrize(
    ("owner", "statuses"), [("job", JobStatus), ("transaction", TransactionStatus), ("image", ImageStatus)]
)
def test_page_lists_every_status_once(
    owner: str, statuses: type[JobStatus] | type[TransactionStatus] | type[ImageStatus]
) -> None:
    rows = [row for row in _rows("```mermaid\nstateDiagram-v2") if row[1] == owner]

    assert sorted(_names(row[0] for row in rows)) == sorted(status.value for status in statuses)


def test_diagram_has_every_job_status() -> None:
    drawn = set(re.findall(r"--> (\w+):", PAGE))

    assert drawn == {status.value for status in JobStatus}
