"""Tests of the operator's commands that read: `jobs`, `job` and `dead-letters`, and their errors."""

import json
import os
import stat
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import pytest

from local.emulator import Emulator
from local.job_run import JobRun
from local.receipts import simple_lines
from yorutsuke.app import main
from yorutsuke.local_stage import STAGE_FILE_VARIABLE
from yorutsuke_common.schema import DeadLetter, Reason, RecordCounts, iso_utc, serialize_json

from .conftest import own_receipts
from .operator_stage import Operator, delete_jobs, make_operator, put_job

JOB = "opjob0000001"
INTENT = f"intent-{JOB}"
OUTPUT_KEY = f"batch-output/{JOB}/output.jsonl"
HOSTILE = '{"customData": "\\u001b[31mred", "output": {"text": "no JSON"}}'


@pytest.fixture(scope="module")
def operator(emulator: Emulator, stage: JobRun, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """A stage with a completed job: 20 good records, two bad records, and one image without a record."""
    folder = tmp_path_factory.mktemp("operator")
    two_days_ago = iso_utc(datetime.now(UTC) - timedelta(days=2))
    job_run = JobRun(stage.aws, stage.outputs, job_id=JOB, submit_time=two_days_ago)
    operator = make_operator(emulator, job_run, folder)
    receipts = own_receipts(job_run, 20)
    image_ids = [receipt.image_id for receipt in receipts]
    job_run.seed_images(image_ids)
    job_run.seed_job([*image_ids, "img-unanswered"])
    output = folder / "output.jsonl"
    output.write_text("".join(f"{line}\n" for line in [*simple_lines(receipts), "{", HOSTILE]))
    job_run.drop_output(output)
    job_run.wait_until_completed()
    return operator


@pytest.fixture
def other_jobs(operator: Operator) -> Generator[None]:
    """A failed job of yesterday, a submission that started an hour ago, and an item that violates the schema."""
    now = datetime.now(UTC)
    failed = {"jobId": "failed000001", "status": "FAILED", "bedrockStatus": "Failed"}
    put_job(operator.job_run, "intent-failed", submitTime=(now - timedelta(days=1)).isoformat(), **failed)
    put_job(operator.job_run, "intent-begun", status="SUBMITTING", submitTime=(now - timedelta(hours=1)).isoformat())
    put_job(operator.job_run, "intent-broken", jobId="broken000001", resultStats="none")
    yield
    delete_jobs(operator.job_run, "intent-failed", "intent-begun", "intent-broken")


def test_jobs_prints_a_table(operator: Operator) -> None:
    result = operator.run_process("jobs")

    assert result.code == 0, result.err
    [row] = [line for line in result.out.splitlines() if JOB in line]
    assert [cell.strip() for cell in row.strip("│").split("│")][:3] == [JOB, INTENT, "COMPLETED"]
    assert [cell.strip() for cell in row.strip("│").split("│")][4:] == ["20", "2", "1", "0", "–"]


@pytest.mark.usefixtures("other_jobs")
def test_jobs_lists_the_newest_first_despite_invalid_items(operator: Operator) -> None:
    listed = operator("jobs", "--json").json["jobs"]

    intents = ["intent-begun", "intent-failed", INTENT, "intent-broken"]
    assert [job["intentId"] for job in listed] == intents
    assert [job["jobId"] for job in listed] == [None, "failed000001", JOB, "broken000001"]
    assert listed[-1]["status"] == "(unreadable)"


@pytest.mark.usefixtures("other_jobs")
@pytest.mark.parametrize(
    ("arguments", "intents"),
    [
        (["--limit", "1"], ["intent-begun"]),
        (["--status", "failed"], ["intent-failed"]),
        (["--since", "90m"], ["intent-begun"]),
        (["--since", "25h", "--status", "COMPLETED"], []),
    ],
)
def test_jobs_applies_its_filters(operator: Operator, arguments: list[str], intents: list[str]) -> None:
    assert [job["intentId"] for job in operator("jobs", "--json", *arguments).json["jobs"]] == intents


@pytest.mark.usefixtures("other_jobs")
def test_jobs_refuses_an_unknown_status(operator: Operator) -> None:
    result = operator("jobs", "--status", "nope")

    assert result.code == 1
    assert result.message.startswith(
        "NotFoundError: the status 'nope' does not exist. Use one of SUBMITTING, ABANDONED,"
    )


@pytest.mark.parametrize("command", ["jobs", "doctor"])
def test_empty_span_is_refused(operator: Operator, command: str) -> None:
    result = operator(command, "--since", "0d")

    assert result.code == 2
    assert "'0d' is an empty time span, in which no job was submitted. Write 1m or more." in " ".join(
        result.err.split()
    )


def test_job_prints_counts_outputs_and_log_queries(operator: Operator) -> None:
    result = operator.run_process("job", JOB)

    answer = operator("job", JOB, "--json").json
    assert result.code == 0, result.err
    shown = " ".join(result.out.split())
    assert "successCount=20 failureCount=2 totalCount=22 migrationFailedCount=0 missingCount=1" in shown
    assert "1: img-unanswered" in shown
    assert f"{OUTPUT_KEY} │" in shown
    assert "│ processed │" in shown
    assert "INVALID_JSON │ 1" in shown
    # The console of AWS does not show the local stage's log.
    assert "console" not in result.err + result.out
    assert answer["log"]["link"] is None
    # The command reaches the emulator from any environment.
    command = answer["log"]["command"]
    variables, _, query = command.partition(" aws ")
    assert {variable.partition("=")[0] for variable in variables.split()} == {
        "AWS_ENDPOINT_URL",
        "AWS_CA_BUNDLE",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    }
    assert query.startswith("logs start-query ")
    assert "Log entries with the AWS CLI:" in result.err.splitlines()
    assert any(line.startswith(f"{variables} aws logs start-query ") for line in result.err.splitlines())


def test_job_accepts_an_intent_and_prints_json(operator: Operator) -> None:
    answer = operator("job", INTENT, "--json").json

    assert (answer["jobId"], answer["status"], answer["isClaimed"]) == (JOB, "COMPLETED", False)
    assert answer["resultStats"] == {
        "successCount": 20,
        "failureCount": 2,
        "totalCount": 22,
        "migrationFailedCount": 0,
        "missingCount": 1,
    }
    [output] = answer["outputs"]
    assert (output["key"], output["state"]) == (OUTPUT_KEY, "processed")
    assert answer["deadLetters"] == {"INVALID_JSON": 1, "INVALID_AI_JSON": 1}
    assert answer["missingImages"] == {"count": 1, "first": ["img-unanswered"]}
    assert answer["messages"]["deadLetterQueue"] == {"waiting": 0, "inFlight": 0}


def test_job_distinguishes_its_objects(operator: Operator) -> None:
    s3, bucket = operator.job_run.aws.s3, operator.job_run.outputs["imagesBucket"]
    counts = RecordCounts(totalRecordCount=22, processedRecordCount=22, successRecordCount=22, errorRecordCount=0)
    operator.job_run.drop_output_manifest(counts)
    operator.job_run.wait_until(lambda job: "bedrockCounts" in job, "be reconciled")
    s3.put_object(Bucket=bucket, Key=f"batch-output/{JOB}/notes.txt", Body=b"a note")
    try:
        states = {output["key"]: output["state"] for output in operator("job", JOB, "--json").json["outputs"]}
    finally:
        s3.delete_object(Bucket=bucket, Key=f"batch-output/{JOB}/notes.txt")

    assert states == {
        OUTPUT_KEY: "processed",
        f"batch-output/{JOB}/manifest.json.out": "output manifest",
        f"batch-output/{JOB}/notes.txt": "not an output file",
    }


def test_dead_letters_show_reasons_without_records(operator: Operator) -> None:
    result = operator.run_process("dead-letters", JOB)

    assert result.code == 0, result.err
    assert "INVALID_AI_JSON" in result.out
    assert "no JSON at all" not in result.out
    answer = operator("dead-letters", JOB, "--json", "--reason", "INVALID_AI_JSON").json
    assert (answer["count"], answer["byReason"]) == (2, {"INVALID_JSON": 1, "INVALID_AI_JSON": 1})
    [letter] = answer["first"]
    assert (letter["line"], letter["reason"], "record" in letter) == (22, "INVALID_AI_JSON", False)


def test_dead_letters_escape_control_characters(operator: Operator) -> None:
    shown = operator("dead-letters", JOB).out

    assert "\x1b" not in shown
    assert "\\x1b[31mred" in shown


def test_export_copies_dead_letters_into_a_private_file(operator: Operator, tmp_path: Path) -> None:
    file = tmp_path / "letters.jsonl"

    result = operator("dead-letters", JOB, "--export", str(file))

    assert result.code == 0, result.err
    stored = operator.job_run.aws.s3.get_object(
        Bucket=operator.job_run.outputs["imagesBucket"], Key=f"dead-letters/{JOB}.jsonl"
    )["Body"].read()
    assert file.read_bytes() == stored
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [*tmp_path.iterdir()] == [file]


def test_export_asks_before_it_replaces_a_file(operator: Operator, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text("mine")
    export = ("dead-letters", JOB, "--reason", "INVALID_JSON", "--export", str(file))

    missing = operator("dead-letters", JOB, "--export", str(tmp_path / "no" / "file"))
    assert (missing.code, f"folder '{tmp_path / 'no'}' does not exist" in missing.message) == (1, True)
    assert operator(*export).code == 1
    assert operator(*export, answer="n\n").code == 0
    assert file.read_text() == "mine"
    assert operator(*export, answer="y\n").code == 0
    [letter] = [json.loads(line) for line in file.read_text().splitlines()]
    assert letter["reason"] == "INVALID_JSON"


def test_dead_letters_limits_its_output(operator: Operator) -> None:
    aws, outputs = operator.job_run.aws, operator.job_run.outputs
    key = f"dead-letters/{JOB}.jsonl"
    kept = aws.s3.get_object(Bucket=outputs["imagesBucket"], Key=key)["Body"].read()
    letter = DeadLetter(line=1, imageId="img", reason=Reason.MODEL_ERROR, detail="no", record=serialize_json("r" * 100))
    body = (letter.as_json() + b"\n") * 50_000
    aws.s3.put_object(Bucket=outputs["imagesBucket"], Key=key, Body=body)
    try:
        result = operator("dead-letters", JOB)
        answer = operator("dead-letters", JOB, "--json", "--limit", "3").json
    finally:
        aws.s3.put_object(Bucket=outputs["imagesBucket"], Key=key, Body=kept)

    assert result.out.count("│   ") > 0
    assert sum("MODEL_ERROR" in line for line in result.out.splitlines()) == 1 + 20
    assert (answer["count"], len(answer["first"])) == (50_000, 3)


@pytest.mark.parametrize("command", [["job"], ["dead-letters"]])
def test_unknown_job_is_a_one_line_error(operator: Operator, command: list[str]) -> None:
    result = operator(*command, "nowhere")

    assert (result.code, result.out) == (1, "")
    assert result.message == (
        "NotFoundError: stage 'local' does not have a job or an intent with the id 'nowhere'. `yorutsuke jobs --stage "
        "local` lists the jobs of the last 30 days."
    )


def test_missing_permission_is_a_one_line_error(operator: Operator, tmp_path: Path) -> None:
    statement = {"Effect": "Allow", "Action": ["lambda:GetFunctionConfiguration"], "Resource": ["*"]}

    result = operator.restricted_to(tmp_path, [statement])("jobs")

    assert (result.code, result.out) == (1, "")
    assert result.message.startswith("ClientError: Scan is not allowed (AccessDeniedException)")
    assert result.message.endswith("docs/operating.md lists the permissions.")


def test_missing_stage_option_is_a_usage_error(operator: Operator) -> None:
    with patch.dict(os.environ, operator.environment):
        os.environ.pop("YORUTSUKE_STAGE", None)
        assert main(["jobs"]) == 2


@pytest.mark.parametrize("span", ["2 days", "999999d"])
def test_invalid_time_span_is_a_usage_error(operator: Operator, span: str) -> None:
    result = operator("jobs", "--since", span)

    assert result.code == 2
    assert "Write a number and d, h or m, such as 2d or 12h" in result.message


def _emulated_aws(operator: Operator, **environment: str) -> dict[str, str]:
    """Return an environment in which the emulator takes the place of AWS."""
    stage = json.loads(Path(operator.environment[STAGE_FILE_VARIABLE]).read_text())
    return {
        "HOME": "/nowhere",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nowhere/config",
        "AWS_ENDPOINT_URL": stage["endpoint"],
        "AWS_CA_BUNDLE": stage["caBundle"],
        **environment,
    }


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (
            ["--region", "ap-northeast-1"],
            {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"},
            "StageError: the function 'yorutsuke-batch-result-handler-nowhere' of stage 'nowhere' does not exist",
        ),
        (["--region", "ap-northeast-1"], {}, "NoCredentialsError: AWS credentials were not found"),
        ([], {}, "NoRegionError: the AWS Region is not set"),
        (["--profile", "nobody"], {}, "ProfileNotFound: The config profile (nobody) could not be found"),
    ],
)
def test_unreachable_stage_is_a_one_line_error(
    operator: Operator,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    environment: dict[str, str],
    message: str,
) -> None:
    with patch.dict(os.environ, _emulated_aws(operator, **environment), clear=True):
        code = main(["jobs", "--stage", "nowhere", *arguments])

    output = capsys.readouterr()
    assert (code, output.out) == (1, "")
    assert " ".join(output.err.split()).startswith(message)
    assert len(output.err.splitlines()) == 1


def test_deployed_stage_uses_the_operators_own_credentials(
    operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "ap-northeast-1"}
    rename = patch("yorutsuke.stage.LOCAL_STAGE", "another")
    with (
        patch.dict(os.environ, _emulated_aws(operator, **keys, AWS_DEFAULT_REGION="ap-northeast-1"), clear=True),
        rename,
    ):
        code = main(["jobs", "--stage", "local", "--json"])

    output = capsys.readouterr()
    assert code == 0, output.err
    assert [job["jobId"] for job in json.loads(output.out)["jobs"]] == [JOB]


def test_missing_local_stage_error_names_the_remedy(operator: Operator, tmp_path: Path) -> None:
    stage_file = tmp_path / "stage.json"
    remedy = "run `./nox -s demo -- --keep` first."
    stage = json.loads(Path(operator.environment[STAGE_FILE_VARIABLE]).read_text())

    def error_with(content: str | None) -> str:
        if content is not None:
            stage_file.write_text(content)
        other_operator = Operator(operator.job_run, {**operator.environment, STAGE_FILE_VARIABLE: str(stage_file)})
        result = other_operator("jobs")
        assert (result.code, result.out) == (1, "")
        return result.message

    absent = (
        f"StageError: the local stage's file {stage_file} does not exist. Run the command in the repository's root. "
        "If the local stage is not running, "
    )
    assert error_with(None) == absent + remedy
    assert error_with("{}").endswith(
        f"endpoint: is missing; caBundle: is missing; region: is missing; accessKeyId: is missing; "
        f"secretAccessKey: is missing. Delete the file, then {remedy}"
    )
    stopped = json.dumps({**stage, "endpoint": "https://127.0.0.1:9"})
    assert (
        error_with(stopped)
        == f"StageError: stage 'local' does not answer at https://127.0.0.1:9. To start it, {remedy}"
    )
