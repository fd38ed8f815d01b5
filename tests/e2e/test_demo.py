"""Tests of the demo's command line."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import OutputFile
from .demo_command import ROOT, run_demo

if TYPE_CHECKING:
    import subprocess

OPTION = re.compile(r"--[a-z][a-z-]+")
CLAUDE = "anthropic.claude-haiku-4-5-20251001-v1:0"
RECEIPT = {
    "amount": 1280,
    "type": "expense",
    "date": "2025-11-20",
    "merchant": "喫茶星",
    "category": "other",
    "description": "Coffee",
}


def _outcome(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    """Return the JSON object on the last line, without the duration."""
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome.pop("seconds") > 0
    return outcome


def _completed(success: int, dead_letters: dict[int, str]) -> dict[str, Any]:
    """Return the outcome of a completed job with these numbers of transactions and dead letters."""
    failure = len(dead_letters)
    return {
        "jobId": "nightly00001",
        "jobStatus": "COMPLETED",
        "resultStats": {
            "successCount": success,
            "failureCount": failure,
            "totalCount": success + failure,
            "migrationFailedCount": 0,
        },
        "transactions": success,
        "imagesProcessed": success,
        "imagesLeft": failure,
        "bedrockCounts": {},
        "deadLetters": [{"line": line, "reason": reason} for line, reason in dead_letters.items()],
        "dlqDepth": 0,
    }


def _nova(image_id: str, text: str, stop_reason: str = "end_turn") -> str:
    message = {"role": "assistant", "content": [{"text": text}]}
    model_output = {"output": {"message": message}, "stopReason": stop_reason}
    return json.dumps({"recordId": image_id, "modelInput": {"messages": []}, "modelOutput": model_output})


def _anthropic(image_id: str, text: str) -> str:
    model_output = {"type": "message", "content": [{"type": "text", "text": text}], "stop_reason": "end_turn"}
    return json.dumps({"modelOutput": model_output, "modelInput": {"messages": []}, "recordId": image_id})


def test_demo_creates_150_transactions() -> None:
    done = run_demo("--json")

    assert done.returncode == 0, done.stderr
    assert _outcome(done) == _completed(150, {48: "INVALID_JSON", 113: "INVALID_TRANSACTION"})
    assert "SuccessCount=150 FailureCount=2" in done.stderr
    assert done.stdout.count("\n") == 1


def test_demo_shows_and_draws_the_bedrock_layout(tmp_path: Path) -> None:
    done = run_demo("--bedrock", "--json", "--picture", str(tmp_path / "demo.svg"))

    assert done.returncode == 0, done.stderr
    counts = {
        "totalRecordCount": 152,
        "processedRecordCount": 152,
        "successRecordCount": 151,
        "errorRecordCount": 1,
        "inputTokenCount": 152,
        "outputTokenCount": 152,
    }
    completed = _completed(150, {48: "MODEL_ERROR", 113: "TRUNCATED_OUTPUT"})
    assert _outcome(done) == {**completed, "bedrockCounts": counts}
    assert "152 of 152 records processed, 1 with an error" in done.stderr
    picture = (tmp_path / "demo.svg").read_text()
    for shown in ("img-00001", "MODEL_ERROR", "152&#160;of&#160;152&#160;records&#160;processed"):
        assert shown in picture
    # Rich's default SVG template loads its fonts from a web server.
    assert "@font-face" not in picture


def test_loop_submitting_twice_creates_one_converse_job() -> None:
    """The loop with the default model, a Nova job, runs in test_loop.py."""
    done = run_demo("--loop", "--model", CLAUDE, "--json")

    assert done.returncode == 0, done.stderr
    outcome = _outcome(done)
    counts = outcome["bedrockCounts"]
    assert (counts["totalRecordCount"], counts["successRecordCount"], counts["errorRecordCount"]) == (150, 149, 1)
    assert (counts["inputTokenCount"] > 150_000, counts["outputTokenCount"] > 1_500) == (True, True)
    completed = _completed(146, dict.fromkeys(range(4), ""))
    del completed["deadLetters"]
    reasons = sorted(letter["reason"] for letter in outcome.pop("deadLetters"))
    assert reasons == ["INVALID_TRANSACTION", "INVALID_TRANSACTION", "MODEL_ERROR", "TRUNCATED_OUTPUT"]
    assert outcome == {
        **completed,
        "bedrockCounts": counts,
        "jobId": outcome["jobId"],
        "intentId": "demo-intent-1",
        "modelId": CLAUDE,
        "modelInvocationType": "Converse",
        "submittedImages": 150,
        "submissions": 2,
        "bedrockJobs": 1,
    }
    assert "Submitted → Validating → Scheduled → InProgress → Completed" in " ".join(done.stderr.split())


def test_scheduled_runs_end_with_a_transaction_or_reason() -> None:
    """The first run submits three jobs, of which the second fails; the next runs submit two and one."""
    done = run_demo("--schedule", "--json")

    assert done.returncode == 0, done.stderr
    assert _outcome(done) == {
        "users": 9,
        "images": 180,
        "runs": 3,
        "jobs": 6,
        "failedJobs": 1,
        "transactions": 171,
        "failedImages": 9,
        "failureReasons": {"INVALID_AI_JSON": 2, "INVALID_TRANSACTION": 3, "MODEL_ERROR": 3, "TRUNCATED_OUTPUT": 1},
        "lost": 0,
        "wrongOwner": 0,
        "doubled": 0,
    }
    assert "6, of which failed: 1" in done.stderr


def test_model_without_loop_is_refused() -> None:
    done = run_demo("--model", CLAUDE)

    assert done.returncode == 2
    assert "--model needs --loop: only the loop submits a job. Add --loop, or leave --model out." in done.stderr


@pytest.mark.parametrize(
    ("model_id", "rule"),
    [
        ("x", "must be the id of a foundation model, such as "),
        ("us.amazon.nova-lite-v1:0", "must be callable from ap-northeast-1, the Region of the local stage"),
    ],
)
def test_invalid_model_is_refused_at_once(model_id: str, rule: str) -> None:
    done = run_demo("--loop", "--model", model_id)

    assert done.returncode == 2
    assert f"error: argument --model: {model_id!r} {rule}" in done.stderr
    assert "Building" not in done.stderr


def test_help_and_documents_list_the_same_options() -> None:
    options = set(OPTION.findall(run_demo("--help").stdout))
    page, readme = ((ROOT / name).read_text() for name in ("docs/demo.md", "README.md"))
    table = page.partition("| option | effect |")[2].partition("\n\n")[0]
    session = re.search(r'def demo\(session.*?"""(.*?)"""', (ROOT / "noxfile.py").read_text(), re.DOTALL)

    first_cells = [row.split("|")[1] for row in table.splitlines() if "`" in row]
    assert {option for cell in first_cells for option in OPTION.findall(cell)} == options
    assert session
    named = [session[1], *re.findall(r"\./nox -s demo -- (.*)", page + readme)]
    assert {option for text in named for option in OPTION.findall(text)} <= options


def test_demo_processes_the_users_own_output(output_file: OutputFile) -> None:
    text = json.dumps(RECEIPT, ensure_ascii=False)
    lines = [
        _nova("a", text),
        _nova("b", f"```json\n{text}\n```"),
        _nova("c", text[:20], stop_reason="max_tokens"),
        json.dumps({"recordId": "d", "modelInput": {}, "error": {"errorCode": 400, "errorMessage": "bad request"}}),
        _anthropic("e", text),
        _anthropic("f", "I cannot read this receipt."),
        json.dumps({"recordId": "g", "modelInput": {}, "error": "ThrottlingException"}),
        json.dumps({"customData": "receipts/2026/é +&=", "output": {"text": text}}),
    ]

    done = run_demo("--input", str(output_file(*lines, name="mine.jsonl.out")), "--json")

    assert done.returncode == 0, done.stderr
    bad = {3: "TRUNCATED_OUTPUT", 4: "MODEL_ERROR", 6: "INVALID_AI_JSON", 7: "MODEL_ERROR"}
    assert _outcome(done) == _completed(4, bad)


def test_demo_fails_when_every_record_is_bad(output_file: OutputFile) -> None:
    lines = [_nova("a", "I cannot read this receipt."), "{"]

    done = run_demo("--input", str(output_file(*lines)), "--json")

    assert done.returncode == 1
    assert _outcome(done) == _completed(0, {1: "INVALID_AI_JSON", 2: "INVALID_JSON"}) | {"imagesLeft": 1}
    assert "has no usable record. A usable record becomes a transaction." in " ".join(done.stderr.split())


def test_demo_refuses_a_text_file_at_once() -> None:
    done = run_demo("--input", "CONTRIBUTING.md", "--json")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("InputFileError: input 'CONTRIBUTING.md' does not have a line with a JSON object.")
    assert done.stderr.count("\n") == 1


def test_missing_input_is_a_one_line_error() -> None:
    done = run_demo("--input", "nowhere.jsonl")

    assert done.returncode == 1
    assert "input 'nowhere.jsonl' cannot be read (No such file or directory)" in " ".join(done.stderr.split())
