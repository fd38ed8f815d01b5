"""The stand-in for Bedrock refuses what Bedrock's model, or its documentation, refuses, in the model's errors."""

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.bedrock.api import Api
from local.bedrock.jobs import State

from .conftest import ACCOUNT, JOBS, ROLE, TRUST, Account, document


def _refusal(account: Account, operation: str, **parameters: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as refused:
        getattr(account.client, operation)(**parameters)
    error = refused.value.response.get("Error", {})
    status = refused.value.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status, error.get("Code", ""), error.get("Message", "")


def _s3(uri: object, **more: object) -> dict[str, Any]:
    return {"s3InputDataConfig": {"s3Uri": uri, **more}}


def _broken(value: object, at: str, must: str) -> str:
    """Return what AWS says of a value that the model does not allow."""
    return f"Value '{value}' at '{at}' failed to satisfy constraint: Member must {must}"


def _one(value: object, at: str, must: str) -> str:
    return f"1 validation error detected: {_broken(value, at, must)}"


PATTERN = "satisfy regular expression pattern:"
NAME_PATTERN = r"[a-zA-Z0-9]{1,63}(-*[a-zA-Z0-9\+\-\.]){0,63}"
ROLE_PATTERN = "arn:aws(-[^:]+)?:iam::([0-9]{12})?:role/.+"
URI_PATTERN = "s3://[a-z0-9][-.a-z0-9]{1,61}[a-z0-9](?:/[-!_*'().a-z0-9A-Z]+(?:/[-!_*'().a-z0-9A-Z]+)*)?/?"
REQUEST_PATTERN = "[a-zA-Z0-9]{1,256}(-*[a-zA-Z0-9]){0,256}"
TAG_PATTERN = r"[a-zA-Z0-9\s._:/=+@-]*"
JOB_PATTERN = "((arn:aws(-[^:]+)?:bedrock:[a-z0-9-]{1,20}:[0-9]{12}:model-invocation-job/)?[a-z0-9]{12})"
STATES = (
    "Submitted, InProgress, Completed, Failed, Stopping, Stopped, PartiallyCompleted, Expired, Validating, Scheduled"
)
GROUPS = [f"sg-{number}" for number in range(6)]
URI_AT = "inputDataConfig.s3InputDataConfig.s3Uri"

OF_THE_MODEL: list[tuple[dict[str, Any], str]] = [
    ({"roleArn": None}, 'Missing required parameter in input: "roleArn"'),
    ({"jobName": 7}, "Invalid type for parameter jobName, value: 7, type: <class 'int'>, valid types: <class 'str'>"),
    ({"jobName": ""}, "Invalid length for parameter jobName, value: 0, valid min length: 1"),
    (
        {"timeoutDurationInHours": 23},
        "Invalid value for parameter timeoutDurationInHours, value: 23, valid min value: 24",
    ),
    (
        {"inputDataConfig": {}},
        "Must set one of the following keys for tagged unionstructure inputDataConfig: s3InputDataConfig.",
    ),
    ({"vpcConfig": {"subnetIds": ["subnet-1"]}}, 'Missing required parameter in vpcConfig: "securityGroupIds"'),
    ({"jobName": "intent_1"}, _one("intent_1", "jobName", f"{PATTERN} {NAME_PATTERN}")),
    ({"jobName": "a" * 64}, _one("a" * 64, "jobName", "have length less than or equal to 63")),
    ({"timeoutDurationInHours": 169}, _one(169, "timeoutDurationInHours", "have value less than or equal to 168")),
    (
        {"modelInvocationType": "Chat"},
        _one("Chat", "modelInvocationType", "satisfy enum value set: [InvokeModel, Converse]"),
    ),
    ({"roleArn": "arn:aws:iam::12:role/r"}, _one("arn:aws:iam::12:role/r", "roleArn", f"{PATTERN} {ROLE_PATTERN}")),
    (
        {"inputDataConfig": _s3("s3://images/a b.jsonl")},
        _one("s3://images/a b.jsonl", URI_AT, f"{PATTERN} {URI_PATTERN}"),
    ),
    (
        {"vpcConfig": {"subnetIds": ["subnet-1"], "securityGroupIds": GROUPS}},
        _one(GROUPS, "vpcConfig.securityGroupIds", "have length less than or equal to 5"),
    ),
    (
        {"tags": [{"key": "a", "value": "b"}, {"key": "a;", "value": "b"}]},
        _one("a;", "tags.2.member.key", f"{PATTERN} {TAG_PATTERN}"),
    ),
    (
        {"inputDataConfig": _s3("s3://images/m.jsonl", s3InputFormat="CSV"), "clientRequestToken": "-"},
        "2 validation errors detected: "
        + _broken("-", "clientRequestToken", f"{PATTERN} {REQUEST_PATTERN}")
        + "; "
        + _broken("CSV", "inputDataConfig.s3InputDataConfig.s3InputFormat", "satisfy enum value set: [JSONL]"),
    ),
]
"""A change to a good request, and what Bedrock's own model has against it."""


@pytest.mark.parametrize(("changes", "message"), OF_THE_MODEL)
def test_what_the_model_does_not_allow_is_refused(account: Account, changes: dict[str, Any], message: str) -> None:
    request = {**account.request, **changes}
    if changes.get("roleArn", ROLE) is None:
        del request["roleArn"]

    refusal = _refusal(account, "create_model_invocation_job", **request)

    assert refusal == (400, "ValidationException", message)
    assert account.changes == []


THE_REMEDY = "another job takes another token."
CLAUDE = "anthropic.claude-3-haiku-20240307-v1:0"
ALL_THAT_IT_CAN = (
    "it takes Amazon's Nova, or any model in a job of modelInvocationType Converse, whose replies have the same form."
)
OF_THE_DOCUMENTATION: list[tuple[dict[str, Any], str]] = [
    (
        {"roleArn": "arn:aws:iam::210987654321:role/batch-inference"},
        f"roleArn 'arn:aws:iam::210987654321:role/batch-inference' is not of account {ACCOUNT}.",
    ),
    ({"roleArn": f"{ROLE}-2"}, f"roleArn '{ROLE}-2' is of no role that exists."),
    (
        {"roleArn": f"arn:aws:iam::{ACCOUNT}:role/elsewhere/batch-inference"},
        f"roleArn 'arn:aws:iam::{ACCOUNT}:role/elsewhere/batch-inference' is of no role that exists.",
    ),
    (
        {"modelId": CLAUDE},
        f"modelId '{CLAUDE}' is not one that this stand-in for Bedrock can reply as: {ALL_THAT_IT_CAN}",
    ),
]


@pytest.mark.parametrize(("changes", "message"), OF_THE_DOCUMENTATION)
def test_what_no_model_knows_is_refused_as_well(account: Account, changes: dict[str, Any], message: str) -> None:
    refusal = _refusal(account, "create_model_invocation_job", **{**account.request, **changes})

    assert refusal == (400, "ValidationException", message)
    assert account.changes == []


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
def test_a_role_that_does_not_trust_bedrock_is_refused(account: Account, trust: dict[str, Any]) -> None:
    account.aws.iam.update_assume_role_policy(RoleName="batch-inference", PolicyDocument=document(trust))

    assert _refusal(account, "create_model_invocation_job", **account.request) == (
        400,
        "ValidationException",
        f"roleArn '{ROLE}' is of a role that does not trust bedrock.amazonaws.com with a job of this account.",
    )


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
def test_a_role_that_trusts_bedrock_in_other_words_is_taken(account: Account, statements: list[dict[str, Any]]) -> None:
    account.aws.iam.update_assume_role_policy(RoleName="batch-inference", PolicyDocument=document(*statements))

    assert account.client.create_model_invocation_job(**account.request)["jobArn"].startswith(f"{JOBS}/")


def test_the_answer_is_the_arn_and_nothing_else(account: Account) -> None:
    answer = account.client.create_model_invocation_job(**account.request)

    assert answer.keys() == {"jobArn", "ResponseMetadata"}
    [change] = account.changes
    assert (answer["jobArn"], change.status) == (change.job_arn, "Submitted")
    assert len(change.job_id) == 12


def test_the_same_token_makes_the_same_job(account: Account) -> None:
    job_id = account.create(clientRequestToken="intent-1")

    assert account.create(clientRequestToken="intent-1") == job_id
    assert account.create(clientRequestToken="intent-2") != job_id
    assert [change.status for change in account.changes] == ["Submitted", "Submitted"]


def test_the_same_token_with_other_parameters_is_a_conflict(account: Account) -> None:
    job_id = account.create(clientRequestToken="intent-1")

    changed = {**account.request, "clientRequestToken": "intent-1", "jobName": "another"}
    assert _refusal(account, "create_model_invocation_job", **changed) == (
        400,
        "ConflictException",
        f"clientRequestToken 'intent-1' has made job {JOBS}/{job_id} of other parameters: {THE_REMEDY}",
    )


@pytest.mark.parametrize("operation", ["get_model_invocation_job", "stop_model_invocation_job"])
@pytest.mark.parametrize(
    ("identifier", "refusal"),
    [
        ("abcdefgh1234", (404, "ResourceNotFoundException", "There is no job 'abcdefgh1234'.")),
        (
            f"{JOBS}/abcdefgh1234",
            (404, "ResourceNotFoundException", f"There is no job '{JOBS}/abcdefgh1234'."),
        ),
        (
            "intent-1",
            (400, "ValidationException", _one("intent-1", "jobIdentifier", f"{PATTERN} {JOB_PATTERN}")),
        ),
    ],
)
def test_a_job_that_is_not_there_is_said_so(
    account: Account, operation: str, identifier: str, refusal: tuple[int, str, str]
) -> None:
    assert _refusal(account, operation, jobIdentifier=identifier) == refusal


def test_a_job_of_another_account_is_not_found_by_its_id(account: Account) -> None:
    arn = f"arn:aws:bedrock:ap-northeast-1:210987654321:model-invocation-job/{account.create()}"

    assert _refusal(account, "get_model_invocation_job", jobIdentifier=arn)[1] == "ResourceNotFoundException"


def test_a_job_that_has_ended_or_is_being_stopped_cannot_be_stopped(account: Account) -> None:
    ended, stopping = account.create(), account.create()
    account.bedrock.finish(ended)
    account.client.stop_model_invocation_job(jobIdentifier=stopping)

    for job_id, state in ((ended, "Completed"), (stopping, "Stopping")):
        assert _refusal(account, "stop_model_invocation_job", jobIdentifier=job_id) == (
            400,
            "ConflictException",
            f"Job {JOBS}/{job_id} is {state}: only a job that runs can be stopped.",
        )


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"statusEquals": "Done"}, _one("Done", "statusEquals", f"satisfy enum value set: [{STATES}]")),
        ({"maxResults": 0}, "Invalid value for parameter maxResults, value: 0, valid min value: 1"),
        ({"maxResults": "ten"}, "Invalid type for parameter maxResults, value: ten, valid types: integer"),
        ({"nextToken": "next"}, "nextToken 'next' is none that was given."),
    ],
)
def test_a_list_that_cannot_be_made_is_refused(account: Account, query: dict[str, Any], message: str) -> None:
    assert _refusal(account, "list_model_invocation_jobs", **query) == (400, "ValidationException", message)


def test_what_no_operation_answers_to_is_unknown(account: Account) -> None:
    assert _refusal(account, "list_foundation_models") == (
        404,
        "UnknownOperationException",
        "GET /foundation-models is nothing that this stand-in for Bedrock does.",
    )


def test_a_job_is_described_with_what_it_was_asked_for_with(account: Account) -> None:
    before = datetime.now(UTC)
    job_id = account.create(clientRequestToken="intent-1", timeoutDurationInHours=24, modelInvocationType="Converse")

    described: Any = account.client.get_model_invocation_job(jobIdentifier=f"{JOBS}/{job_id}")

    submitted = described.pop("submitTime")
    assert before <= submitted <= datetime.now(UTC)
    assert (described.pop("jobExpirationTime") - submitted).total_seconds() == 24 * 3600
    del described["ResponseMetadata"]
    assert described == {
        "jobArn": f"{JOBS}/{job_id}",
        **account.request,
        "clientRequestToken": "intent-1",
        "timeoutDurationInHours": 24,
        "modelInvocationType": "Converse",
        "status": "Submitted",
        "totalRecordCount": 0,
        "processedRecordCount": 0,
        "successRecordCount": 0,
        "errorRecordCount": 0,
    }


def test_jobs_are_listed_by_what_is_asked(account: Account) -> None:
    first, second, third = (account.create(jobName=name) for name in ("local.1", "local.2", "other.3"))
    account.bedrock.finish(second)

    def listed(**query: Any) -> list[str]:
        pages = account.client.get_paginator("list_model_invocation_jobs").paginate(**query)
        return [job["jobArn"].rpartition("/")[2] for page in pages for job in page["invocationJobSummaries"]]

    assert listed() == [third, second, first]
    assert listed(sortOrder="Ascending", sortBy="CreationTime") == [first, second, third]
    assert listed(statusEquals="Completed") == [second]
    assert listed(nameContains="local.", maxResults=1) == [second, first]
    submitted = account.client.get_model_invocation_job(jobIdentifier=second)["submitTime"]
    assert listed(submitTimeAfter=submitted) == [third]
    assert listed(submitTimeBefore=submitted) == [first]


def test_members_that_the_model_does_not_know_are_passed_over() -> None:
    body = (
        b'{"jobName": "j", "roleArn": "arn:aws:iam::123456789012:role/r", "modelId": "amazon.nova-lite-v1:0",'
        b' "priority": 1, "vpcConfig": null,'
        b' "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://bucket/m", "n": 1}},'
        b' "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bucket/o"}}}'
    )

    assert Api().read("POST", "/model-invocation-job", body) == (
        "CreateModelInvocationJob",
        {
            "jobName": "j",
            "roleArn": "arn:aws:iam::123456789012:role/r",
            "modelId": "amazon.nova-lite-v1:0",
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://bucket/m"}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bucket/o"}},
        },
    )


def test_the_states_are_those_of_the_model() -> None:
    assert {state.value for state in State} == {*Api().enum("ModelInvocationJobStatus")}


def test_what_the_event_bus_does_not_take_makes_no_job(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "Throttling", "ErrorMessage": "too many"}]}

    def refuse(**_: object) -> dict[str, Any]:
        return refused

    monkeypatch.setattr(account.aws.events, "put_events", refuse)

    status, code, message = _refusal(account, "create_model_invocation_job", **account.request)

    assert (status, code) == (500, "InternalServerException")
    assert message.startswith("LocalStageError: the event bus refused to hear from 'drill' that job '")
    assert message.endswith("' is Submitted: too many")
    assert account.client.list_model_invocation_jobs()["invocationJobSummaries"] == []
