"""The stand-in for Bedrock refuses the same requests as Bedrock, and its jobs end as Bedrock documents.

moto does not enforce policies. tests/e2e/test_least_privilege.py tests the permissions of the job's role.
"""

import base64
import json
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import boto3
import pytest
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import get_session
from botocore.validate import ParamValidator
from moto import mock_aws

from local.aws import Aws, forget_own_account
from local.bedrock import jobs
from local.bedrock.api import serving
from local.bedrock.jobs import Bedrock, StateChange
from local.bedrock.replies import SHARES, Kind, kind_of, reply
from local.emulator import REGION
from local.receipts import SHOPS, make_readable_image, make_receipts
from yorutsuke.smoke.drawing import draw
from yorutsuke.smoke.receipts import make_receipts as make_smoke_receipts

if TYPE_CHECKING:
    from botocore.model import Shape
    from mypy_boto3_bedrock import BedrockClient

EVENTS = Path(__file__).parents[2] / "events" / "bedrock"
BUCKET = "images"
ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/batch-inference"
JOBS = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:model-invocation-job"
MANIFEST_KEY = "batch-input/intent-1/manifest.jsonl"
TRUST = {
    "Effect": "Allow",
    "Principal": {"Service": "bedrock.amazonaws.com"},
    "Action": "sts:AssumeRole",
    "Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}, "ArnEquals": {"aws:SourceArn": f"{JOBS}/*"}},
}
"""The statement in the user guide, "Create a custom service role for batch inference"."""
NOVA = "amazon.nova-lite-v1:0"
CLAUDE = "anthropic.claude-haiku-4-5-20251001-v1:0"
REQUEST: dict[str, Any] = {
    "clientRequestToken": "intent-1",
    "jobName": "yorutsuke-local.intent-1",
    "roleArn": ROLE,
    "modelId": NOVA,
    "inputDataConfig": {"s3InputDataConfig": {"s3Uri": f"s3://{BUCKET}/{MANIFEST_KEY}"}},
    "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/batch-output/"}},
}
MODEL_INPUT = {"messages": [{"role": "user", "content": [{"text": "レシートを読み取ってください。"}]}]}


@dataclass(frozen=True)
class Account:
    """A stand-in that requires three records per job, its client, and the AWS that it uses."""

    aws: Aws
    bedrock: Bedrock
    client: "BedrockClient"

    def trust(self, *statements: dict[str, Any]) -> None:
        """Set the trust policy of the role."""
        document = json.dumps({"Version": "2012-10-17", "Statement": [*statements]})
        self.aws.iam.update_assume_role_policy(RoleName="batch-inference", PolicyDocument=document)

    def put_manifest(self, *lines: object) -> None:
        """Put a manifest. Lines that are not strings are written as JSON."""
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        self.aws.s3.put_object(Bucket=BUCKET, Key=MANIFEST_KEY, Body="\n".join(texts).encode())

    def create(self, **changes: Any) -> str:
        """Create a job and return its id."""
        return self.client.create_model_invocation_job(**{**REQUEST, **changes})["jobArn"].removeprefix(f"{JOBS}/")

    def refusal(self, **changes: Any) -> tuple[str, str]:
        """Return the code and the message of a refused request."""
        with pytest.raises(ClientError) as refused:
            self.create(**changes)
        error = refused.value.response.get("Error", {})
        return error.get("Code", ""), error.get("Message", "")

    def lines(self, key: str) -> list[Any]:
        """Return the JSON lines of an object."""
        body = self.aws.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return [json.loads(line) for line in body.splitlines()]


@pytest.fixture(scope="module")
def aws() -> Generator[Aws]:
    """An AWS in memory. The tests share it, because creating clients takes a long time."""
    forget_own_account()
    with mock_aws():
        aws = Aws(None)
        aws.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        aws.iam.create_role(RoleName="batch-inference", AssumeRolePolicyDocument="{}")
        yield aws


@pytest.fixture(scope="module")
def session() -> boto3.Session:
    return boto3.Session("test", "test", region_name=REGION)


@pytest.fixture
def account(aws: Aws, session: boto3.Session) -> Generator[Account]:
    bedrock = Bedrock(aws, "drill", min_records=3)
    with serving(bedrock) as url:
        # The stand-in must refuse requests that a validating client would not send.
        config = Config(parameter_validation=False, proxies={}, retries={"max_attempts": 0})
        account = Account(aws, bedrock, session.client("bedrock", endpoint_url=url, config=config))
        account.trust(TRUST)
        account.put_manifest(*records("a", "b", "c"))
        yield account


def records(*record_ids: str) -> list[dict[str, Any]]:
    """Return the lines of a manifest with these record ids."""
    return [{"recordId": record_id, "modelInput": MODEL_INPUT} for record_id in record_ids]


def _violation(value: object, at: str, constraint: str) -> str:
    return f"Value '{value}' at '{at}' failed to satisfy constraint: Member must {constraint}"


def _one(value: object, at: str, constraint: str) -> str:
    return f"1 validation error detected: {_violation(value, at, constraint)}"


NAME_PATTERN = r"satisfy regular expression pattern: [a-zA-Z0-9]{1,63}(-*[a-zA-Z0-9\+\-\.]){0,63}"
GROUPS = [f"sg-{number}" for number in range(6)]
INVALID_REQUESTS: list[tuple[dict[str, Any], str]] = [
    (
        {"inputDataConfig": {"s3InputDataConfig": {}}},
        'Missing required parameter in inputDataConfig.s3InputDataConfig: "s3Uri"',
    ),
    ({"jobName": 7}, "Invalid type for parameter jobName, value: 7, type: <class 'int'>, valid types: <class 'str'>"),
    ({"jobName": ""}, "Invalid length for parameter jobName, value: 0, valid min length: 1"),
    ({"jobName": "intent_1"}, _one("intent_1", "jobName", NAME_PATTERN)),
    ({"jobName": "a" * 64}, _one("a" * 64, "jobName", "have length less than or equal to 63")),
    (
        {"timeoutDurationInHours": 23},
        "Invalid value for parameter timeoutDurationInHours, value: 23, valid min value: 24",
    ),
    ({"timeoutDurationInHours": 169}, _one(169, "timeoutDurationInHours", "have value less than or equal to 168")),
    (
        {"vpcConfig": {"subnetIds": ["subnet-1"], "securityGroupIds": GROUPS}},
        _one(GROUPS, "vpcConfig.securityGroupIds", "have length less than or equal to 5"),
    ),
    (
        {"tags": [{"key": "a", "value": "b"}, {"key": "a;", "value": "b"}]},
        _one("a;", "tags.2.member.key", r"satisfy regular expression pattern: [a-zA-Z0-9\s._:/=+@-]*"),
    ),
    (
        {"jobName": "intent_1", "modelInvocationType": "Chat"},
        "2 validation errors detected: "
        + _violation("intent_1", "jobName", NAME_PATTERN)
        + "; "
        + _violation("Chat", "modelInvocationType", "satisfy enum value set: [InvokeModel, Converse]"),
    ),
]
"""Changes to a valid request, and the error that botocore's model of Bedrock implies."""


@pytest.mark.parametrize(("changes", "message"), INVALID_REQUESTS)
def test_request_is_refused_when_it_is_invalid(account: Account, changes: dict[str, Any], message: str) -> None:
    assert account.refusal(**changes) == ("ValidationException", message)
    assert account.bedrock.changes == {}


@pytest.mark.parametrize("role", [f"{ROLE}-2", f"arn:aws:iam::{ACCOUNT}:role/elsewhere/batch-inference"])
def test_request_is_refused_when_the_role_is_missing(account: Account, role: str) -> None:
    code, message = account.refusal(roleArn=role)

    assert code == "ValidationException"
    assert message.startswith(f"roleArn '{role}' does not trust bedrock.amazonaws.com with {JOBS}/")


@pytest.mark.parametrize(
    "trust",
    [
        {**TRUST, "Principal": {"Service": "lambda.amazonaws.com"}},
        {**TRUST, "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}},
        {**TRUST, "Action": "sts:TagSession"},
        {**TRUST, "Condition": {"StringEquals": {"aws:SourceAccount": "210987654321"}}},
        {**TRUST, "Condition": {"ArnEquals": {"aws:SourceArn": f"{JOBS}/abcdefgh1234"}}},
        {**TRUST, "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}},
        {**TRUST, "Condition": {"StringNotEquals": {"aws:SourceAccount": "210987654321"}}},
        {**TRUST, "Effect": "Deny"},
    ],
)
def test_request_is_refused_when_role_distrusts_bedrock(account: Account, trust: dict[str, Any]) -> None:
    account.trust(trust)

    code, message = account.refusal()

    assert code == "ValidationException"
    assert message.startswith(f"roleArn '{ROLE}' does not trust bedrock.amazonaws.com with {JOBS}/")
    assert account.bedrock.changes == {}


@pytest.mark.parametrize(
    "statements",
    [
        [{**TRUST, "Condition": {}}],
        [{**TRUST, "Action": ["sts:TagSession", "sts:AssumeRole"]}],
        [{**TRUST, "Principal": {"Service": ["ec2.amazonaws.com", "bedrock.amazonaws.com"]}}],
        [{**TRUST, "Condition": {"StringLike": {"AWS:SourceArn": ["arn:aws:s3:::b", f"{JOBS}/*"]}}}],
        [{**TRUST, "Principal": {"Service": "ec2.amazonaws.com"}, "Effect": "Deny"}, TRUST],
    ],
)
def test_request_is_accepted_when_the_role_trusts_bedrock(account: Account, statements: list[dict[str, Any]]) -> None:
    account.trust(*statements)

    assert len(account.create()) == 12


def test_repeated_token_returns_the_same_job(account: Account) -> None:
    job_id = account.create()

    assert account.create() == job_id
    assert account.create(clientRequestToken="intent-2") != job_id
    assert [[change.status for change in changes] for changes in account.bedrock.changes.values()] == [
        ["Submitted"]
    ] * 2


@pytest.mark.parametrize("hours", [24, 168])
def test_request_accepts_the_limits_of_the_timeout(account: Account, hours: int) -> None:
    assert len(account.create(timeoutDurationInHours=hours)) == 12


@pytest.mark.parametrize("changes", [{"jobName": "another"}, {"timeoutDurationInHours": 48}, {}])
def test_repeated_token_is_refused_when_the_parameters_differ(account: Account, changes: dict[str, Any]) -> None:
    job_id = account.create(timeoutDurationInHours=72)

    assert account.refusal(**changes) == (
        "ConflictException",
        f"Token 'intent-1' created {JOBS}/{job_id} with other parameters.",
    )


def test_request_fails_when_the_event_bus_refuses(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> dict[str, Any]:
        return {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "Throttling", "ErrorMessage": "too many"}]}

    with monkeypatch.context() as patch:
        patch.setattr(account.aws.events, "put_events", refuse)
        code, message = account.refusal()
    account.create(jobName="another")

    assert code == "InternalServerException"
    assert message.startswith("LocalStageError: the event bus refused the event from 'drill' that job '")
    assert message.endswith("' is Submitted: too many")


def test_other_operations_are_refused(account: Account) -> None:
    with pytest.raises(ClientError, match=r"\(404\)"):
        account.client.list_model_invocation_jobs()
    with pytest.raises(ClientError, match=r"\(404\)"):
        account.client.stop_model_invocation_job(jobIdentifier="abcdefgh1234")


def test_job_writes_its_output_and_manifest(account: Account) -> None:
    account.put_manifest("", {"modelInput": {"inputText": "Titan's"}}, *records("a", "b"))
    job_id = account.create()

    assert account.bedrock.finish(job_id).status == "Completed"

    states = ["Submitted", "Validating", "Scheduled", "InProgress", "Completed"]
    assert [(change.status, change.message) for change in account.bedrock.changes[job_id]] == [
        (state, "") for state in states
    ]
    lines = account.lines(f"batch-output/{job_id}/manifest.jsonl.out")
    malformed = {"errorCode": 400, "errorMessage": "Malformed input request: #: required key [messages] not found."}
    assert sorted(lines, key=lambda line: line["recordId"]) == [
        {"recordId": "00000000002", "modelInput": {"inputText": "Titan's"}, "error": malformed},
        *({**record, **reply(record["recordId"], MODEL_INPUT, NOVA)} for record in records("a", "b")),
    ]
    [counts] = account.lines(f"batch-output/{job_id}/manifest.json.out")
    assert [*counts] == [*json.loads((EVENTS / "manifest.json.out").read_text())]
    usages = [line["modelOutput"]["usage"] for line in lines if "modelOutput" in line]
    tokens = [sum(usage[name] for usage in usages) for name in ("inputTokens", "outputTokens")]
    assert [*counts.values()] == [3, 3, 2, 1, *tokens]
    assert min(tokens) > len(usages)
    roles = [role["RoleName"] for role in account.aws.iam.list_roles()["Roles"]]
    assert roles == ["batch-inference"]


def test_states_of_every_job_are_served(account: Account) -> None:
    job_id = account.create(clientRequestToken=uuid4().hex)

    waiting = account.bedrock.waiting()
    account.bedrock.finish(job_id)

    answer = urllib3.request("GET", f"{account.client.meta.endpoint_url}/states").json()
    assert answer[job_id] == ["Submitted", "Validating", "Scheduled", "InProgress", "Completed"]
    assert (job_id in waiting, account.bedrock.waiting()) == (True, [])


def test_job_changes_the_order_of_the_records(account: Account) -> None:
    record_ids = [f"img-{number:03}" for number in range(100)]
    account.put_manifest(*records(*record_ids))
    job_id = account.create()
    account.bedrock.finish(job_id)

    written = [line["recordId"] for line in account.lines(f"batch-output/{job_id}/manifest.jsonl.out")]

    assert written != record_ids
    assert sorted(written) == record_ids


UNUSABLE_MANIFESTS: list[tuple[list[object], str]] = [
    ([], "contains less records (0) than the required minimum of: 3"),
    ([*records("a", "b")], "contains less records (2) than the required minimum of: 3"),
    ([*records(*"abcdef")], "contains more records (6) than the allowed maximum of: 5"),
    (["", "7"], "has an input file with an invalid record in line 2: it must be an object, not a number."),
    ([{"recordId": "a"}], "has an input file with an invalid record in line 1: modelInput: is missing."),
    (
        [{"recordId": 1, "modelInput": {}}],
        "has an input file with an invalid record in line 1: recordId: must be text, not a number.",
    ),
]


@pytest.mark.parametrize(("lines", "message"), UNUSABLE_MANIFESTS)
def test_job_fails_when_its_manifest_is_unusable(
    account: Account, monkeypatch: pytest.MonkeyPatch, lines: list[object], message: str
) -> None:
    monkeypatch.setattr(jobs, "MAX_RECORDS", 5)
    account.put_manifest(*lines)
    job_id = account.create(clientRequestToken=uuid4().hex)

    end = account.bedrock.finish(job_id)

    assert (end.status, end.message) == ("Failed", f"Batch job {JOBS}/{job_id} {message}")
    assert [change.status for change in account.bedrock.changes[job_id]] == ["Submitted", "Validating", "Failed"]
    assert account.aws.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"batch-output/{job_id}/")["KeyCount"] == 0


def test_job_fails_without_output_on_request(account: Account) -> None:
    job_id = account.create(clientRequestToken=uuid4().hex)

    end = account.bedrock.finish(job_id, failure="The model could not be reached.")

    assert (end.status, end.message) == ("Failed", "The model could not be reached.")
    assert [change.status for change in account.bedrock.changes[job_id]][-2:] == ["InProgress", "Failed"]
    assert account.aws.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"batch-output/{job_id}/")["KeyCount"] == 0


FAILED = "An error occurred"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://images/nowhere.jsonl"}}},
            f"{FAILED} (NoSuchKey) when calling the GetObject operation: The specified key does not exist.",
        ),
        (
            {"inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://images/manifest.json"}}},
            "has input s3://images/manifest.json, which is not a .jsonl file.",
        ),
        (
            {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://nowhere/o"}}},
            f"{FAILED} (NoSuchBucket) when calling the ListObjectsV2 operation: The specified bucket does not exist",
        ),
    ],
)
def test_job_fails_when_a_place_is_unreachable(account: Account, config: dict[str, Any], message: str) -> None:
    job_id = account.create(**config)

    end = account.bedrock.finish(job_id)

    assert (end.status, end.message) == ("Failed", f"Batch job {JOBS}/{job_id} {message}")


def test_event_has_the_documented_form() -> None:
    detail = json.loads((EVENTS / "job_state_change.json").read_text())["detail"]

    change = StateChange(
        job_arn=detail["batchJobArn"],
        job_name=detail["batchJobName"],
        model_id=detail["batchModelId"],
        status=detail["status"],
        message=detail["failureMessage"],
        created=datetime.fromisoformat("2026-11-22T14:05:00Z"),
    )

    assert [*change.detail().items()] == [*detail.items()]


def test_every_kind_of_reply_has_its_share() -> None:
    record_ids = [f"img-{number:05}" for number in range(5_000)]
    replies: dict[Kind, list[dict[str, Any]]] = {kind: [] for kind in Kind}
    for record_id in record_ids:
        replies[kind_of(record_id)].append(reply(record_id, MODEL_INPUT, NOVA))

    assert sum(SHARES.values()) == pytest.approx(1)
    shares = {kind: len(of_kind) / len(record_ids) for kind, of_kind in replies.items()}
    assert shares == pytest.approx(SHARES, abs=0.01)
    texts = {kind: [_text(one) for one in of_kind] for kind, of_kind in replies.items() if kind is not Kind.ERROR}
    assert {json.loads(text)["merchant"] for text in texts[Kind.GOOD]} == {*SHOPS}
    assert all(text.startswith("```json\n{") and text.endswith("}\n```") for text in texts[Kind.FENCED])
    assert {json.loads(text)["date"] for text in texts[Kind.IMPOSSIBLE_DATE]} == {"2026-02-30"}
    assert Counter(texts[Kind.PROSE]).keys() == {
        "この画像はレシートではないようです。",
        "I cannot read this receipt: the image is blurred.",
    }
    assert {one["modelOutput"]["stopReason"] for one in replies[Kind.CUT_SHORT]} == {"max_tokens"}
    assert not any(text.endswith("}") for text in texts[Kind.CUT_SHORT])
    failed = {"error": {"errorCode": 500, "errorMessage": "The model could not process the request."}}
    assert all(one == failed for one in replies[Kind.ERROR])


def test_reply_to_a_drawn_receipt_is_the_receipt() -> None:
    receipts = make_smoke_receipts("run", [f"img-{number}" for number in range(100)])

    replies = [reply(receipt.image_id, _image_input(draw(receipt)), NOVA) for receipt in receipts]

    assert [json.loads(_text(one)) for one in replies] == [receipt.fields() for receipt in receipts]
    assert {one["modelOutput"]["usage"]["inputTokens"] for one in replies} == {1_600}


def test_reply_to_a_readable_image_is_its_receipt() -> None:
    receipts = make_receipts(20)

    replies = [reply(receipt.image_id, _image_input(make_readable_image(receipt)), NOVA) for receipt in receipts]

    assert [json.loads(_text(one)) for one in replies] == [receipt.fields for receipt in receipts]


@pytest.mark.parametrize("cut", [4, 40, -1])
def test_damaged_image_receives_a_seeded_reply(cut: int) -> None:
    [receipt] = make_smoke_receipts("run", ["a"])
    content = draw(receipt)
    assert cut < content.index(b"yorutsuke-receipt")

    text = _text(reply("a", _image_input(content[:cut] if cut > 0 else b"x" + content), NOVA))

    assert json.loads(text) != receipt.fields()


def _image_input(content: bytes) -> dict[str, Any]:
    image = {"format": "png", "source": {"bytes": base64.b64encode(content).decode()}}
    return {"messages": [{"role": "user", "content": [{"image": image}]}]}


def _text(output: dict[str, Any]) -> str:
    return output["modelOutput"]["output"]["message"]["content"][0]["text"]


def test_good_reply_has_the_documented_form() -> None:
    nova = json.loads((EVENTS / "nova.json").read_text())["modelOutput"]

    output = reply("a", MODEL_INPUT, NOVA)["modelOutput"]

    assert kind_of("a") is Kind.GOOD
    assert _keys(output) == _keys(nova)
    assert output["stopReason"] == "end_turn"


def _keys(value: Any) -> Any:
    """Return the keys of a value, in order, at every depth."""
    if isinstance(value, dict):
        return [(name, _keys(part)) for name, part in cast("dict[str, Any]", value).items()]
    if isinstance(value, list):
        return [_keys(item) for item in cast("list[Any]", value)]
    return None


IMAGE = {"format": "png", "source": {"bytes": base64.b64encode(b"image").decode()}}
CONVERSE_INPUT = {
    "system": [{"text": "Read."}],
    "messages": [{"role": "user", "content": [{"image": IMAGE}, {"text": "レシート"}]}],
    "inferenceConfig": {"maxTokens": 1_000},
}


def _converse_message(**image: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"image": {**IMAGE, **image}}]}]}


@pytest.mark.parametrize("model_id", [CLAUDE, NOVA])
def test_converse_reply_has_the_documented_form(model_id: str) -> None:
    operation = get_session().get_service_model("bedrock-runtime").operation_model("Converse")

    output = reply("a", CONVERSE_INPUT, model_id, "Converse")["modelOutput"]

    report = ParamValidator().validate(output, cast("Shape", operation.output_shape))
    assert not report.has_errors(), report.generate_report()
    assert output["stopReason"] == "end_turn"


@pytest.mark.parametrize(
    ("model_input", "message"),
    [
        ({"schemaVersion": "messages-v1", **CONVERSE_INPUT}, 'Unknown parameter in input: "schemaVersion"'),
        ({"modelId": CLAUDE, **CONVERSE_INPUT}, "extraneous key [modelId] is not permitted"),
        ({"toolConfig": {"tools": []}, **CONVERSE_INPUT}, "batch inference does not support toolConfig"),
        ({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9}, "required key [messages] not found"),
        ({"messages": []}, "required key [messages] not found"),
        ({"messages": [{"role": "user", "content": "text"}]}, "Invalid type for parameter messages[0].content"),
        ({**MODEL_INPUT, "inferenceConfig": {"max_new_tokens": 9}}, "Unknown parameter in inferenceConfig"),
        (_converse_message(format="jpg"), "satisfy enum value set: [png, jpeg, gif, webp]"),
        (_converse_message(source={"bytes": "no base64"}), "the bytes of an image are not base64"),
        (_converse_message(source={"bytes": ""}), "The image has 0 bytes"),
        (
            _converse_message(source={"bytes": base64.b64encode(bytes(3_750_001)).decode()}),
            "The image has 3750001 bytes, but a Converse request takes 1 to 3750000.",
        ),
    ],
)
def test_converse_refuses_requests_of_other_forms(model_input: dict[str, Any], message: str) -> None:
    error = reply("a", model_input, CLAUDE, "Converse")["error"]

    assert error["errorCode"] == 400
    assert message in error["errorMessage"]


def test_invoke_model_refuses_models_without_known_form() -> None:
    assert reply("a", CONVERSE_INPUT, CLAUDE)["error"] == {
        "errorCode": 400,
        "errorMessage": f"The stand-in does not have the InvokeModel form of {CLAUDE}, only that of Amazon Nova.",
    }
    assert "modelOutput" in reply("a", CONVERSE_INPUT, f"apac.{NOVA}")


def test_job_answers_in_the_form_of_its_type(account: Account) -> None:
    lines: dict[str, list[Any]] = {}
    for name, changes in {"invoke": {}, "converse": {"modelId": CLAUDE, "modelInvocationType": "Converse"}}.items():
        account.put_manifest(*({"recordId": record_id, "modelInput": CONVERSE_INPUT} for record_id in "abc"))
        job_id = account.create(clientRequestToken=uuid4().hex, **changes)
        assert account.bedrock.finish(job_id).status == "Completed"
        lines[name] = account.lines(f"batch-output/{job_id}/manifest.jsonl.out")

    assert {name: {"metrics" in line["modelOutput"] for line in found} for name, found in lines.items()} == {
        "invoke": {False},
        "converse": {True},
    }


def test_repeated_token_is_refused_with_another_type(account: Account) -> None:
    account.create()

    code, _ = account.refusal(modelInvocationType="Converse")

    assert code == "ConflictException"


FOLDER = f"s3://{BUCKET}/batch-input/intent-1/"
FOLDER_INPUT: dict[str, Any] = {"inputDataConfig": {"s3InputDataConfig": {"s3Uri": FOLDER}}}


def _s3_record(record_id: str, uri: str) -> dict[str, Any]:
    """Return a record that names its image by an S3 URI."""
    image = {"format": "png", "source": {"s3Location": {"uri": uri}}}
    return {"recordId": record_id, "modelInput": {"messages": [{"role": "user", "content": [{"image": image}]}]}}


def _finish(account: Account, **changes: Any) -> tuple[StateChange, dict[str, dict[str, Any]]]:
    """Run a job, and return its end and the output lines by record id."""
    job_id = account.create(clientRequestToken=uuid4().hex, **changes)
    end = account.bedrock.finish(job_id)
    lines = account.lines(f"batch-output/{job_id}/manifest.jsonl.out") if end.status == "Completed" else []
    return end, {line["recordId"]: line for line in lines}


def test_nova_reads_images_from_the_input_folder(account: Account) -> None:
    receipts = make_smoke_receipts("run", [f"img-{number}" for number in range(3)])
    for receipt in receipts:
        key = f"batch-input/intent-1/images/{receipt.image_id}.png"
        account.aws.s3.put_object(Bucket=BUCKET, Key=key, Body=draw(receipt))
    records_in_s3 = [_s3_record(each.image_id, f"{FOLDER}images/{each.image_id}.png") for each in receipts]
    account.put_manifest(*records_in_s3)

    _, lines = _finish(account, **FOLDER_INPUT)

    assert [json.loads(_text(lines[receipt.image_id])) for receipt in receipts] == [
        receipt.fields() for receipt in receipts
    ]
    assert [lines[record["recordId"]]["modelInput"] for record in records_in_s3] == [
        record["modelInput"] for record in records_in_s3
    ]


@pytest.mark.parametrize(
    ("uri", "changes", "message"),
    [
        (f"s3://{BUCKET}/uploads/a.png", FOLDER_INPUT, "do not match the folder prefix specified"),
        ("s3://other/batch-input/intent-1/a.png", FOLDER_INPUT, "do not match the folder prefix specified"),
        (f"s3://{BUCKET}/batch-input/intent-10/a.png", FOLDER_INPUT, "do not match the folder prefix specified"),
        (f"{FOLDER}manifest.jsonl", {}, "not an individual .jsonl file"),
        (f"{FOLDER}missing.png", FOLDER_INPUT, f"The S3 object {FOLDER}missing.png cannot be read (NoSuchKey)."),
        (
            f"{FOLDER}manifest.jsonl",
            {**FOLDER_INPUT, "modelInvocationType": "Converse"},
            "only in InvokeModel jobs of Amazon Nova",
        ),
        (f"{FOLDER}manifest.jsonl", {**FOLDER_INPUT, "modelId": CLAUDE}, "only that of Amazon Nova"),
    ],
)
def test_image_outside_the_folder_is_an_error(
    account: Account, uri: str, changes: dict[str, Any], message: str
) -> None:
    account.put_manifest(_s3_record("a", uri), *records("b", "c"))

    end, lines = _finish(account, **changes)

    assert end.status == "Completed"
    assert lines["a"]["error"]["errorCode"] == 400
    assert message in lines["a"]["error"]["errorMessage"]
    assert ("error" in lines["b"]) is (changes.get("modelId") == CLAUDE)


def test_input_folder_may_have_several_manifests(account: Account) -> None:
    account.put_manifest(*records("a", "b"))
    nested = "batch-input/intent-1/more/nested.jsonl"
    account.aws.s3.put_object(Bucket=BUCKET, Key=nested, Body=json.dumps(records("c")[0]).encode())
    job_id = account.create(clientRequestToken=uuid4().hex, **FOLDER_INPUT)

    end = account.bedrock.finish(job_id)
    account.aws.s3.delete_object(Bucket=BUCKET, Key=nested)

    assert end.status == "Completed"
    output = f"batch-output/{job_id}"
    assert sorted(line["recordId"] for line in account.lines(f"{output}/manifest.jsonl.out")) == ["a", "b"]
    assert [line["recordId"] for line in account.lines(f"{output}/nested.jsonl.out")] == ["c"]
    [counts] = account.lines(f"{output}/manifest.json.out")
    assert counts["totalRecordCount"] == 3


def test_job_fails_when_its_folder_has_no_manifest(account: Account) -> None:
    uri = f"s3://{BUCKET}/batch-input/empty/"

    end, _ = _finish(account, inputDataConfig={"s3InputDataConfig": {"s3Uri": uri}})

    assert end.status == "Failed"
    assert end.message.endswith(f"has input folder {uri}, which does not have a .jsonl file.")
