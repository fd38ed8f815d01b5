"""Stored text with control characters, markup and emoji codes, in the output of the local stage."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from local.broken_stage import broken_stage_table
from local.demo_result import DemoResult, LoopAnswers
from local.kept_stage import KeptStage, kept_stage_table
from local.terminal import say, show, show_whole, step
from tests.unit.hostile_text import SURROGATE, harmful_characters, hostile, shown

TRANSACTION = ("transactionId", "imageId", "date", "merchant", "category", "amount")
LETTER = ("imageId", "reason", "detail")


class _Terminal(io.StringIO):
    """Standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _wide_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make tables wider than each value, so that a value is in one line."""
    monkeypatch.setattr("local.terminal.WIDTH", 50_000)


def _job_run() -> Any:
    """Return a processed job with hostile text in its items and objects."""

    def object_keys(prefix: str) -> list[str]:
        return [f"{prefix}{hostile('folder')}/{hostile('file')}"]

    return SimpleNamespace(
        job_id=hostile("jobId"),
        intent_id=hostile("intentId"),
        wait_for_entry=str,
        job=lambda: {"status": hostile("status"), "traceId": hostile("traceId"), "resultStats": {"successCount": 1}},
        transactions=lambda: [{name: hostile(name) for name in TRANSACTION}],
        object_keys=object_keys,
        dead_letters=lambda: [{"line": 1, **{name: hostile(f"letter-{name}") for name in LETTER}}],
        log_entries=list,
        dlq_depth=lambda: 0,
    )


def _require_shown(text: str, *attributes: str) -> None:
    assert [name for name in attributes if shown(name) not in text] == []
    assert harmful_characters(text) == set()


def test_demo_result_escapes_stored_text(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    loop = LoopAnswers([{"imageCount": 1}], {hostile("bedrockJob"): [hostile("state")]})
    picture = tmp_path / "demo.svg"

    show(picture, *DemoResult(_job_run(), 1.0, loop).tables())

    names = [*TRANSACTION, *(f"letter-{name}" for name in LETTER), "jobId", "status", "traceId", "intentId"]
    _require_shown(capsys.readouterr().err, *names, "file", "state", "bedrockJob")
    assert "\x1b" not in picture.read_text()


def test_broken_stage_escapes_stored_text(capsys: pytest.CaptureFixture[str]) -> None:
    counts = dict.fromkeys(("transactions", "migrationFailed", "imagesProcessed", "imagesLeft", "deadMessages"), 1)
    texts = {name: hostile(name) for name in ("jobId", "status", "broke", "command")}

    show(None, broken_stage_table({"jobs": [{**counts, **texts, "deadLetters": {hostile("reason"): 1}}]}))

    printed = capsys.readouterr().err
    _require_shown(printed, *texts, "reason")
    assert sum("./nox -s yorutsuke" in line or "docs/submitting.md" in line for line in printed.splitlines()) == 1


def test_kept_stage_escapes_stored_text(capsys: pytest.CaptureFixture[str]) -> None:
    stage = KeptStage(endpoint=hostile("endpoint"), ca_bundle=Path(hostile("folder"), "ca"), pid=2, start_time="")

    show_whole(kept_stage_table(stage, {hostile("output"): hostile("value") + SURROGATE}, Path(hostile("stageFile"))))

    _require_shown(capsys.readouterr().err, "endpoint", "folder", "output", "value", "stageFile")


def test_message_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    say(hostile("message") + SURROGATE, style="red")

    _require_shown(capsys.readouterr().err, "message")


def test_step_title_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("local.terminal._console.width", 1000)

    with step(hostile("title")) as progress:
        progress(hostile("progress"))

    assert f"{shown('title')}: {shown('progress')}" in terminal.getvalue()
