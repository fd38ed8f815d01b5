"""What the operator's command shows of a stage: its jobs, one of them, and its dead letters."""

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
from yorutsuke_common.schema import DeadLetter, Reason, RecordCounts, iso_utc

from .conftest import own_receipts
from .operator_stage import Operator, forget_jobs, operator_of, put_job

JOB = "opjob0000001"
INTENT = f"intent-{JOB}"
OUTPUT_KEY = f"batch-output/{JOB}/output.jsonl"
HOSTILE = '{"customData": "\\u001b[31mred", "output": {"text": "no JSON"}}'


@pytest.fixture(scope="module")
def operator(emulator: Emulator, stage: JobRun, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """A stage with one completed job of 20 good lines and two bad ones, of which one image has no line."""
    folder = tmp_path_factory.mktemp("operator")
    two_days_ago = iso_utc(datetime.now(UTC) - timedelta(days=2))
    job_run = JobRun(stage.aws, stage.outputs, job_id=JOB, submit_time=two_days_ago)
    operator = operator_of(emulator, job_run, folder)
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
    """A job of a day ago that Bedrock failed, a submission of an hour ago, and a record that breaks the schema."""
    now = datetime.now(UTC)
    failed = {"jobId": "failed000001", "status": "FAILED", "bedrockStatus": "Failed"}
    put_job(operator.job_run, "intent-failed", submitTime=(now - timedelta(days=1)).isoformat(), **failed)
    put_job(operator.job_run, "intent-begun", status="SUBMITTING", submitTime=(now - timedelta(hours=1)).isoformat())
    put_job(operator.job_run, "intent-broken", jobId="broken000001", resultStats="none")
    yield
    forget_jobs(operator.job_run, "intent-failed", "intent-begun", "intent-broken")


def test_jobs_are_listed_as_a_person_would_ask(operator: Operator) -> None:
    ran = operator.spawned("jobs")

    assert ran.code == 0, ran.err
    [row] = [line for line in ran.out.splitlines() if JOB in line]
    assert [cell.strip() for cell in row.strip("│").split("│")][:3] == [JOB, INTENT, "COMPLETED"]
    assert [cell.strip() for cell in row.strip("│").split("│")][4:] == ["20", "2", "1", "0", "–"]


@pytest.mark.usefixtures("other_jobs")
def test_jobs_come_newest_first_and_a_broken_record_hides_no_other(operator: Operator) -> None:
    listed = operator("jobs", "--json").answer["jobs"]

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
def test_jobs_are_narrowed_down(operator: Operator, arguments: list[str], intents: list[str]) -> None:
    assert [job["intentId"] for job in operator("jobs", "--json", *arguments).answer["jobs"]] == intents


def test_a_job_is_shown_with_everything_about_it(operator: Operator) -> None:
    ran = operator.spawned("job", JOB)

    assert ran.code == 0, ran.err
    said = " ".join(ran.out.split())
    assert "successCount=20 failureCount=2 totalCount=22 migrationFailedCount=0 missingCount=1" in said
    assert "1: img-unanswered" in said
    assert f"{OUTPUT_KEY} │" in said
    assert "│ processed │" in said
    assert "INVALID_JSON │ 1" in said
    assert "logs-insights$3FqueryDetail$3D~(" in ran.err
    assert "aws logs start-query" in ran.err


def test_a_job_is_found_by_its_intent_and_answers_in_json(operator: Operator) -> None:
    answer = operator("job", INTENT, "--json").answer

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


def test_a_job_s_other_objects_are_told_apart(operator: Operator) -> None:
    s3, bucket = operator.job_run.aws.s3, operator.job_run.outputs["imagesBucket"]
    counts = RecordCounts(totalRecordCount=22, processedRecordCount=22, successRecordCount=22, errorRecordCount=0)
    operator.job_run.drop_manifest(counts)
    operator.job_run.wait_until(lambda job: "bedrockCounts" in job, "be reconciled")
    s3.put_object(Bucket=bucket, Key=f"batch-output/{JOB}/notes.txt", Body=b"a note")
    try:
        states = {output["key"]: output["state"] for output in operator("job", JOB, "--json").answer["outputs"]}
    finally:
        s3.delete_object(Bucket=bucket, Key=f"batch-output/{JOB}/notes.txt")

    assert states == {
        OUTPUT_KEY: "processed",
        f"batch-output/{JOB}/manifest.json.out": "manifest",
        f"batch-output/{JOB}/notes.txt": "not an output file",
    }


def test_dead_letters_are_shown_with_their_reason_and_without_their_record(operator: Operator) -> None:
    ran = operator.spawned("dead-letters", JOB)

    assert ran.code == 0, ran.err
    assert "INVALID_AI_JSON" in ran.out
    assert "no JSON at all" not in ran.out
    answer = operator("dead-letters", JOB, "--json", "--reason", "INVALID_AI_JSON").answer
    assert (answer["count"], answer["byReason"]) == (2, {"INVALID_JSON": 1, "INVALID_AI_JSON": 1})
    [letter] = answer["first"]
    assert (letter["line"], letter["reason"], "record" in letter) == (22, "INVALID_AI_JSON", False)


def test_what_a_model_wrote_cannot_move_the_cursor(operator: Operator) -> None:
    shown = operator("dead-letters", JOB).out

    assert "\x1b" not in shown
    assert "\\x1b[31mred" in shown


def test_dead_letters_are_exported_as_they_are_for_their_owner_alone(operator: Operator, tmp_path: Path) -> None:
    file = tmp_path / "letters.jsonl"

    ran = operator("dead-letters", JOB, "--export", str(file))

    assert ran.code == 0, ran.err
    stored = operator.job_run.aws.s3.get_object(
        Bucket=operator.job_run.outputs["imagesBucket"], Key=f"dead-letters/{JOB}.jsonl"
    )["Body"].read()
    assert file.read_bytes() == stored
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [*tmp_path.iterdir()] == [file]


def test_a_file_that_is_there_is_replaced_only_where_somebody_says_so(operator: Operator, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text("mine")
    export = ("dead-letters", JOB, "--reason", "INVALID_JSON", "--export", str(file))

    nowhere = operator("dead-letters", JOB, "--export", str(tmp_path / "no" / "file"))
    assert (nowhere.code, f"folder '{tmp_path / 'no'}' does not exist" in nowhere.told) == (1, True)
    assert operator(*export).code == 1
    assert operator(*export, answer="n\n").code == 1
    assert file.read_text() == "mine"
    assert operator(*export, answer="y\n").code == 0
    [letter] = [json.loads(line) for line in file.read_text().splitlines()]
    assert letter["reason"] == "INVALID_JSON"


def test_50_000_dead_letters_fill_neither_the_screen_nor_the_answer(operator: Operator) -> None:
    aws, outputs = operator.job_run.aws, operator.job_run.outputs
    key = f"dead-letters/{JOB}.jsonl"
    kept = aws.s3.get_object(Bucket=outputs["imagesBucket"], Key=key)["Body"].read()
    letter = DeadLetter(line=1, imageId="img", reason=Reason.MODEL_ERROR, detail="no", record="r" * 100)
    body = (letter.model_dump_json() + "\n").encode() * 50_000
    aws.s3.put_object(Bucket=outputs["imagesBucket"], Key=key, Body=body)
    try:
        ran = operator("dead-letters", JOB)
        answer = operator("dead-letters", JOB, "--json", "--limit", "3").answer
    finally:
        aws.s3.put_object(Bucket=outputs["imagesBucket"], Key=key, Body=kept)

    assert ran.out.count("│   ") > 0
    assert sum("MODEL_ERROR" in line for line in ran.out.splitlines()) == 1 + 20
    assert (answer["count"], len(answer["first"])) == (50_000, 3)


@pytest.mark.parametrize("command", [["job"], ["dead-letters"]])
def test_an_unknown_job_is_one_clear_line(operator: Operator, command: list[str]) -> None:
    ran = operator(*command, "nowhere")

    assert (ran.code, ran.out) == (1, "")
    assert ran.told == (
        "NotFoundError: stage 'local' does not have a job or an intent with the id 'nowhere'. `jobs` lists the jobs of "
        "the last 30 days."
    )


def test_a_missing_permission_is_one_clear_line_that_names_it(operator: Operator, tmp_path: Path) -> None:
    may = {"Effect": "Allow", "Action": ["lambda:GetFunctionConfiguration"], "Resource": ["*"]}

    ran = operator.restricted_to(tmp_path, [may])("jobs")

    assert (ran.code, ran.out) == (1, "")
    assert ran.told.startswith("ClientError: Scan is not allowed (AccessDeniedException)")
    assert ran.told.endswith("docs/operating.md lists the permissions.")


def test_without_a_stage_the_command_is_called_wrongly(operator: Operator) -> None:
    with patch.dict(os.environ, operator.environment):
        os.environ.pop("YORUTSUKE_STAGE", None)
        assert main(["jobs"]) == 2


@pytest.mark.parametrize("span", ["2 days", "999999d"])
def test_a_span_that_is_none_is_called_wrongly(operator: Operator, span: str) -> None:
    ran = operator("jobs", "--since", span)

    assert ran.code == 2
    assert "Write a number and d, h or m, such as 2d or 12h" in ran.told


def _elsewhere(operator: Operator, **environment: str) -> dict[str, str]:
    """Return the environment of somebody whose AWS is the emulator, as if it were the real one."""
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
    ("arguments", "environment", "told"),
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
def test_a_stage_that_cannot_be_reached_is_one_clear_line(
    operator: Operator,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    environment: dict[str, str],
    told: str,
) -> None:
    with patch.dict(os.environ, _elsewhere(operator, **environment), clear=True):
        code = main(["jobs", "--stage", "nowhere", *arguments])

    said = capsys.readouterr()
    assert (code, said.out) == (1, "")
    assert " ".join(said.err.split()).startswith(told)
    assert len(said.err.splitlines()) == 1


def test_a_deployed_stage_is_read_with_a_person_s_own_credentials(
    operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "ap-northeast-1"}
    rename = patch("yorutsuke.stage.LOCAL_STAGE", "another")
    with patch.dict(os.environ, _elsewhere(operator, **keys, AWS_DEFAULT_REGION="ap-northeast-1"), clear=True), rename:
        code = main(["jobs", "--stage", "local", "--json"])

    said = capsys.readouterr()
    assert code == 0, said.err
    assert [job["jobId"] for job in json.loads(said.out)["jobs"]] == [JOB]


def test_a_local_stage_that_does_not_run_says_how_to_start_one(operator: Operator, tmp_path: Path) -> None:
    nowhere = tmp_path / "stage.json"
    remedy = "run `nox -s demo -- --keep`."
    stage = json.loads(Path(operator.environment[STAGE_FILE_VARIABLE]).read_text())

    def told(content: str | None) -> str:
        if content is not None:
            nowhere.write_text(content)
        alone = Operator(operator.job_run, {**operator.environment, STAGE_FILE_VARIABLE: str(nowhere)})
        ran = alone("jobs")
        assert (ran.code, ran.out) == (1, "")
        return ran.told

    absent = f"StageError: the local stage's file {nowhere} does not exist. Run the command in the repository's root. "
    assert told(None) == f"{absent}If the local stage is not running, {remedy}"
    assert told("{}").endswith(
        "endpoint: is missing; caBundle: is missing; region: is missing; accessKeyId: is missing; "
        f"secretAccessKey: is missing. Delete the file, then {remedy}"
    )
    gone = json.dumps({**stage, "endpoint": "https://127.0.0.1:9"})
    assert told(gone) == f"StageError: stage 'local' does not answer at https://127.0.0.1:9. To start it, {remedy}"
