"""A job of the stand-in for Bedrock takes the course that Bedrock documents, and leaves what Bedrock would."""

import json
import random
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import boto3
import pytest

from local.bedrock import Kind, Limits, Mix, Model, running_bedrock
from local.emulator import REGION
from local.night import until
from local.receipts import SHOPS
from local.state_change import StateChange
from yorutsuke_common.schema import RecordCounts

from .conftest import INPUT, JOBS, LIMITS, OUTPUT, ROLE, Account, NewAccount, model_input, records

BEDROCK_EVENTS = Path(__file__).parents[3] / "events" / "bedrock"
ONLY_ERRORS = Mix(fenced=0, cut_short=0, prose=0, impossible_date=0, error=1)
ONLY_GOOD = Mix(fenced=0, cut_short=0, prose=0, impossible_date=0, error=0)
COURSE = ["Submitted", "Validating", "Scheduled", "InProgress"]


def _states(account: Account) -> list[str]:
    return [change.status for change in account.changes]


def _status(account: Account, job_id: str) -> tuple[str, str]:
    job: Any = account.client.get_model_invocation_job(jobIdentifier=job_id)
    return job["status"], job.get("message", "")


def test_a_job_goes_from_state_to_state_and_each_is_told(account: Account) -> None:
    job_id = account.create()

    for state in ("Validating", "Scheduled", "InProgress"):
        assert account.bedrock.advance(job_id) == state
        assert _status(account, job_id) == (state, "")
        assert account.keys(f"batch-output/{job_id}/") == []
    assert account.bedrock.advance(job_id) == "Completed"

    assert _states(account) == [*COURSE, "Completed"]
    assert {change.message for change in account.changes} == {""}
    assert account.bedrock.advance(job_id) == "Completed"
    assert _states(account) == [*COURSE, "Completed"]


def test_the_output_and_the_manifest_are_where_bedrock_writes_them(account: Account) -> None:
    job_id = account.create()
    account.bedrock.finish(job_id)

    folder = f"batch-output/{job_id}"
    assert account.keys(folder) == [f"{folder}/manifest.json.out", f"{folder}/manifest.jsonl.out"]
    [counts] = account.lines(f"{folder}/manifest.json.out")
    documented = json.loads((BEDROCK_EVENTS / "manifest.json.out").read_text())
    assert [*counts] == [*documented]
    lines = account.lines(f"{folder}/manifest.jsonl.out")
    usage = [line["modelOutput"]["usage"] for line in lines]
    assert counts == {
        "totalRecordCount": 3,
        "processedRecordCount": 3,
        "successRecordCount": 3,
        "errorRecordCount": 0,
        "inputTokenCount": sum(one["inputTokens"] for one in usage),
        "outputTokenCount": sum(one["outputTokens"] for one in usage),
    }
    job: Any = account.client.get_model_invocation_job(jobIdentifier=job_id)
    assert RecordCounts(**{name: job[name] for name in [*documented][:4]}) == RecordCounts(
        totalRecordCount=3, processedRecordCount=3, successRecordCount=3, errorRecordCount=0
    )
    assert job["endTime"] == job["lastModifiedTime"] >= job["submitTime"]


def test_a_line_has_the_form_and_the_key_order_that_is_documented(new_account: NewAccount) -> None:
    account = new_account(model=Model(mix=ONLY_GOOD), limits=Limits(minimum=1))
    account.put_input([{"modelInput": {**model_input("é\ud800"), "n": 1.50}, "recordId": "a", "ignored": 1}])
    job_id = account.create()
    account.bedrock.finish(job_id)

    [line] = account.lines(f"batch-output/{job_id}/manifest.jsonl.out")

    nova = json.loads((BEDROCK_EVENTS / "nova.json").read_text())
    assert _keys(line) == _keys({**nova, "modelInput": line["modelInput"]})
    assert line["modelInput"] == {**model_input("é\ud800"), "n": 1.5}
    assert line["modelOutput"]["stopReason"] == "end_turn"
    assert {*json.loads(line["modelOutput"]["output"]["message"]["content"][0]["text"])} == {
        *json.loads(nova["modelOutput"]["output"]["message"]["content"][0]["text"])
    }


def _keys(value: Any) -> Any:
    """Return a value's keys, in order, at every depth."""
    if isinstance(value, dict):
        return [(name, _keys(part)) for name, part in cast("dict[str, Any]", value).items()]
    if isinstance(value, list):
        return [_keys(item) for item in cast("list[Any]", value)]
    return None


def test_an_error_stands_in_place_of_the_output(new_account: NewAccount) -> None:
    account = new_account(model=Model(mix=ONLY_ERRORS))
    account.put_input([*records("a", "b"), {"recordId": "c", "modelInput": {"inputText": "Titan's"}}])
    job_id = account.create()
    assert account.bedrock.finish(job_id) == "Completed"

    lines = account.lines(f"batch-output/{job_id}/manifest.jsonl.out")

    failed = {"errorCode": 500, "errorMessage": "The model could not process the request."}
    malformed = {
        "errorCode": 400,
        "errorMessage": "Malformed input request: #: required key [messages] not found.",
    }
    assert {line["recordId"]: line["error"] for line in lines} == {"a": failed, "b": failed, "c": malformed}
    assert {tuple(line) for line in lines} == {("recordId", "modelInput", "error")}
    [counts] = account.lines(f"batch-output/{job_id}/manifest.json.out")
    assert (counts["successRecordCount"], counts["errorRecordCount"], counts["outputTokenCount"]) == (0, 3, 0)


def test_the_order_of_the_input_is_not_kept_and_no_record_is_lost(new_account: NewAccount) -> None:
    account = new_account(limits=Limits())
    names = [f"img-{number:03}" for number in range(200)]
    account.put_input(records(*names))
    job_id = account.create()
    account.bedrock.finish(job_id)

    written = [line["recordId"] for line in account.lines(f"batch-output/{job_id}/manifest.jsonl.out")]

    assert written != names
    assert sorted(written) == names


def test_a_record_without_an_id_is_given_one(account: Account) -> None:
    account.put_input([{"modelInput": model_input()}, *records("a", "b")])
    job_id = account.create()
    account.bedrock.finish(job_id)

    ids = {line["recordId"] for line in account.lines(f"batch-output/{job_id}/manifest.jsonl.out")}

    [made_up] = ids - {"a", "b"}
    assert len(made_up) == 11
    assert made_up.isalnum()


def test_an_output_uri_without_a_slash_at_its_end_is_a_folder_all_the_same(account: Account) -> None:
    job_id = account.create(outputDataConfig={"s3OutputDataConfig": {"s3Uri": OUTPUT.removesuffix("/")}})
    account.bedrock.finish(job_id)

    assert len(account.keys(f"batch-output/{job_id}/")) == 2


UNUSABLE: list[tuple[list[object], str]] = [
    ([], "contains less records (0) than the required minimum of: 3"),
    (list[object](records("a", "b")), "contains less records (2) than the required minimum of: 3"),
    (list[object](records(*"abcdef")), "contains more records (6) than the allowed maximum of: 5"),
    (["", "{"], "has an input whose line 2 is no JSON."),
    (['{"recordId": "a", "modelInput": {"n": NaN}}'], "has an input whose line 1 is no JSON."),
    (["[" * 100_000], "has an input whose line 1 is no JSON."),
    ([[1]], "has an input whose line 1 has no JSON object as modelInput."),
    ([{"recordId": "a"}], "has an input whose line 1 has no JSON object as modelInput."),
    ([{"recordId": 1, "modelInput": {}}], "has an input whose line 1 has a recordId that is no string."),
]
"""What a manifest has, and what a job with it says at its end."""


@pytest.mark.parametrize(("lines", "message"), UNUSABLE)
def test_a_job_with_an_unusable_manifest_fails_when_it_is_validated(
    account: Account, lines: list[object], message: str
) -> None:
    account.put_input(lines)
    job_id = account.create()

    assert account.bedrock.finish(job_id) == "Failed"

    said = f"Batch job {JOBS}/{job_id} {message}"
    assert _status(account, job_id) == ("Failed", said)
    assert [(change.status, change.message) for change in account.changes] == [
        ("Submitted", ""),
        ("Validating", ""),
        ("Failed", said),
    ]
    assert account.keys(f"batch-output/{job_id}/") == []


IN_ITS_ROLE = f"got no further in its role {ROLE}:"
UNREACHABLE: list[tuple[dict[str, Any], str]] = [
    ({"s3Uri": "s3://images/nowhere.jsonl"}, f"{IN_ITS_ROLE} GetObject: NoSuchKey: The specified key does not exist."),
    (
        {"s3Uri": "s3://nowhere/manifest.jsonl"},
        f"{IN_ITS_ROLE} ListObjectsV2: NoSuchBucket: The specified bucket does not exist",
    ),
    ({"s3Uri": "s3://images/manifest.json"}, "has input s3://images/manifest.json, which is no .jsonl file."),
    ({"s3Uri": "s3://images"}, "has input s3://images, which is no .jsonl file."),
    ({"s3Uri": INPUT, "s3BucketOwner": "210987654321"}, f"names {INPUT}, which does not belong to 210987654321."),
]


@pytest.mark.parametrize(("place", "message"), UNREACHABLE)
def test_a_job_whose_input_cannot_be_reached_fails_when_it_is_validated(
    account: Account, place: dict[str, Any], message: str
) -> None:
    job_id = account.create(inputDataConfig={"s3InputDataConfig": place})

    assert account.bedrock.finish(job_id) == "Failed"

    assert _status(account, job_id) == ("Failed", f"Batch job {JOBS}/{job_id} {message}")


def test_a_job_whose_output_has_no_bucket_fails_when_it_is_validated(account: Account) -> None:
    job_id = account.create(outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://nowhere/o/"}})

    assert account.bedrock.finish(job_id) == "Failed"

    assert _states(account) == ["Submitted", "Validating", "Failed"]
    assert _status(account, job_id)[1].endswith("ListObjectsV2: NoSuchBucket: The specified bucket does not exist")


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_a_job_that_is_stopped_writes_nothing(account: Account, steps: int) -> None:
    job_id = account.create()
    for _ in range(steps):
        account.bedrock.advance(job_id)

    account.client.stop_model_invocation_job(jobIdentifier=job_id)

    assert _status(account, job_id) == ("Stopping", "")
    assert account.bedrock.finish(job_id) == "Stopped"
    assert _states(account) == [*COURSE[: steps + 1], "Stopping", "Stopped"]
    assert account.keys(f"batch-output/{job_id}/") == []


def test_a_job_that_is_stopped_at_its_work_writes_nothing_either(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = account.create()
    reply = Model.outcome

    def stopped_meanwhile(model: Model, record_id: str, asked: dict[str, Any]) -> dict[str, Any]:
        monkeypatch.undo()
        account.client.stop_model_invocation_job(jobIdentifier=job_id)
        return reply(model, record_id, asked)

    monkeypatch.setattr(Model, "outcome", stopped_meanwhile)

    assert account.bedrock.finish(job_id) == "Stopped"
    assert _states(account) == [*COURSE, "Stopping", "Stopped"]
    assert account.keys(f"batch-output/{job_id}/") == []


def test_records_there_was_no_time_for_make_a_partially_completed_job(new_account: NewAccount) -> None:
    account = new_account(model=Model(mix=ONLY_GOOD), limits=Limits(minimum=3, maximum=5, unprocessed=0.4))
    account.put_input(records(*"abcde"))
    job_id = account.create()

    assert account.bedrock.finish(job_id) == "PartiallyCompleted"

    assert _status(account, job_id)[1] == "Not all records could be processed in time."
    assert account.changes[-1].message == "Not all records could be processed in time."
    [counts] = account.lines(f"batch-output/{job_id}/manifest.json.out")
    assert (counts["totalRecordCount"], counts["processedRecordCount"], counts["successRecordCount"]) == (5, 3, 3)
    assert len(account.lines(f"batch-output/{job_id}/manifest.jsonl.out")) == 3


def test_time_passes_by_itself_where_it_is_let(new_account: NewAccount) -> None:
    account = new_account(seconds=0.1)
    job_ids = [account.create(), account.create()]

    def have_ended() -> bool:
        return _states(account).count("Completed") == len(job_ids)

    until(have_ended, 30, "the jobs to end")
    assert [account.bedrock.advance(job_id) for job_id in job_ids] == ["Completed", "Completed"]


def test_what_a_job_breaks_off_with_is_raised_at_the_end(account: Account) -> None:
    told: list[str] = []

    def refuse_one(change: StateChange) -> None:
        told.append(change.status)
        if change.status == "Scheduled":
            raise RuntimeError("nobody wants to know")

    def run() -> None:
        with running_bedrock(
            account.aws, event_source="drill", seconds=0, limits=LIMITS, changed=refuse_one
        ) as bedrock:
            client = boto3.Session("test", "test", region_name=REGION).client("bedrock", endpoint_url=bedrock.url)
            client.create_model_invocation_job(**account.request)
            until(lambda: "Scheduled" in told, 30, "the job to be scheduled")

    with pytest.raises(RuntimeError, match="nobody wants to know"):
        run()
    assert told == ["Submitted", "Validating", "Scheduled"]


def test_the_event_is_bedrocks_own() -> None:
    documented = json.loads((BEDROCK_EVENTS / "job_state_change.json").read_text())
    detail = documented["detail"]

    change = StateChange(
        job_arn=detail["batchJobArn"],
        job_name=detail["batchJobName"],
        model_id=detail["batchModelId"],
        status=detail["status"],
        message=detail["failureMessage"],
        created=datetime.fromisoformat("2026-11-22T14:05:00Z"),
    )

    assert change.detail() == detail
    assert [*change.detail()] == [*detail]


def test_replies_follow_from_the_seed_and_the_record_alone() -> None:
    names = [f"img-{number:05}" for number in range(50)]

    def replies(seed: int, order: list[str]) -> dict[str, Any]:
        return {name: Model(seed).outcome(name, model_input()) for name in order}

    assert replies(1, names) == replies(1, random.Random(0).sample(names, len(names)))  # noqa: S311 - an order
    assert replies(1, names) != replies(2, names)


def test_every_kind_of_reply_has_its_share() -> None:
    mix = Mix(fenced=0.1, cut_short=0.1, prose=0.1, impossible_date=0.1, error=0.1)
    model = Model(mix=mix)
    names = [f"img-{number:05}" for number in range(2_000)]
    replies: dict[Kind, list[dict[str, Any]]] = {kind: [] for kind in Kind}
    for name in names:
        replies[model.kind_of(name)].append(model.outcome(name, model_input()))

    shares = {kind: len(outcomes) / len(names) for kind, outcomes in replies.items()}
    assert shares[Kind.GOOD] == pytest.approx(0.5, abs=0.05)
    assert [shares[kind] for kind in Kind if kind is not Kind.GOOD] == pytest.approx([0.1] * 5, abs=0.03)

    texts = {kind: [_text(outcome) for outcome in outcomes] for kind, outcomes in replies.items()}
    good = [json.loads(text) for text in texts[Kind.GOOD]]
    assert {receipt["merchant"] for receipt in good} == {*SHOPS}
    assert all(text.startswith("```json\n{") and text.endswith("}\n```") for text in texts[Kind.FENCED])
    assert {json.loads(text)["date"] for text in texts[Kind.IMPOSSIBLE_DATE]} == {"2026-02-30"}
    assert Counter(texts[Kind.PROSE]).keys() == {
        "この画像はレシートではないようです。",
        "I cannot read this receipt: the image is blurred.",
    }
    assert {outcome["modelOutput"]["stopReason"] for outcome in replies[Kind.CUT_SHORT]} == {"max_tokens"}
    assert all(not text.endswith("}") for text in texts[Kind.CUT_SHORT])
    assert {*map(str, replies[Kind.ERROR])} == {
        str({"error": {"errorCode": 500, "errorMessage": "The model could not process the request."}})
    }


def _text(outcome: dict[str, Any]) -> str:
    return outcome["modelOutput"]["output"]["message"]["content"][0]["text"] if "modelOutput" in outcome else ""
