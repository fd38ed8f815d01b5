"""Tests of the policies in docs/policies: a user with only these permissions deploys a stage on the emulator.

The emulator authorizes the calls of the local deployer. The real AWS provider makes more calls, which no test covers.
"""

import copy
import json
import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore import xform_name
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from policy_sentry.querying.actions import get_action_data

from local.aws import Aws
from local.deployer import deploy
from local.emulator import REGION, Emulator
from yorutsuke_common.names import LOCAL_STAGE
from yorutsuke_infra.stage_file import ROOT

from .conftest import emulator_with_artifacts
from .policy_evaluator import decide
from .policy_grants import Document
from .policy_lint import problems

ACCOUNT = "000000000000"
POLICIES = ROOT / "docs" / "policies"
MAX_POLICY_CHARACTERS = 6144
"""Maximum size of a managed policy, without white space. Source: IAM user guide, "IAM and AWS STS quotas"."""
LONGEST_STAGE = "s" * 27
SETTINGS: dict[str, Any] = {"trigger": "s3", "alarmEmails": ["oncall@example.com"], "schedule": "rate(365 days)"}
"""The settings with the most different calls: a function's permission, a subscription by email and a schedule."""
UNLOCATED = {
    "cloudwatch:PutDashboard",
    "events:PutRule",
    "events:PutTargets",
    "lambda:CreateEventSourceMapping",
    "lambda:CreateFunction",
    "logs:CreateLogGroup",
    "logs:PutRetentionPolicy",
}
"""Actions that the emulator authorizes on other resources than AWS: on `*`, with the name of the default event bus, or
without the :* at the end of a log group's ARN.

Nor does it provide the condition key lambda:FunctionArn. The policy evaluator checks these resources instead.
"""
MISNAMED = {"lambda:UpdateFunctionCode"}
"""Actions by which the emulator authorizes another call, here PutFunctionEventInvokeConfig."""
HANDLER = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:yorutsuke-batch-result-handler-local"
MAPPINGS = f"arn:aws:lambda:{REGION}:{ACCOUNT}:event-source-mapping:4a5b"
LOG_GROUP = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/yorutsuke-batch-orchestrator-local"
SCHEDULES = f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/yorutsuke-batch"


@dataclass(frozen=True)
class Call:
    """A call of the local deployer: the name of the client in `Aws`, the operation and its parameters."""

    client: str
    operation: str
    params: dict[str, Any]


@dataclass(frozen=True)
class Deployer:
    """A user of the emulator with one policy. `root` are the clients that change the policy."""

    emulator: Emulator
    root: Aws
    aws: Aws
    name: str

    def allow(self, document: Document) -> None:
        """Replace the user's policy."""
        self.root.iam.put_user_policy(UserName=self.name, PolicyName="deploying", PolicyDocument=json.dumps(document))

    def denied_action(self, call: Call) -> str | None:
        """Make a call again and return the action that the emulator denies, or None."""
        try:
            getattr(getattr(self.aws, call.client), xform_name(call.operation))(**call.params)
        except ClientError as error:
            found = re.search(r"is not authorized to perform: (\S+)", str(error))
            return found and found[1]
        return None


@dataclass(frozen=True)
class Deployment:
    """The deployer of a stage, the stage's outputs, and one recorded call for each action that the emulator checks."""

    deployer: Deployer
    outputs: dict[str, str]
    calls: dict[str, Call]


def _policy(name: str, stage: str = LOCAL_STAGE) -> Document:
    """Return a policy of docs/policies for a stage."""
    text = (POLICIES / f"{name}.json").read_text()
    return json.loads(text.replace("STAGE", stage).replace("ACCOUNT", ACCOUNT).replace("REGION", REGION))


def _deploying_policy() -> Document:
    """Return the permissions of the deploying role as one policy."""
    changes, reads = _policy("deploy"), _policy("preview")
    return {**changes, "Statement": [*changes["Statement"], *reads["Statement"]]}


def _actions(document: Document) -> set[str]:
    return {action for statement in document["Statement"] for action in statement["Action"]}


def _without(document: Document, action: str) -> Document:
    """Return a policy without an action."""
    statements = [
        {**statement, "Action": [kept for kept in statement["Action"] if kept != action]}
        for statement in document["Statement"]
    ]
    return {**document, "Statement": [statement for statement in statements if statement["Action"]]}


def _on_emulator(document: Document) -> Document:
    """Return a policy that allows its UNLOCATED actions on every resource."""
    unlocated = sorted({*UNLOCATED} & _actions(document))
    added = [{"Effect": "Allow", "Action": unlocated, "Resource": "*"}] if unlocated else []
    return {**document, "Statement": [*document["Statement"], *added]}


def _deployer(emulator: Emulator, name: str) -> Deployer:
    """Create a user without permissions."""
    root = Aws(emulator.endpoint, emulator.ca_bundle)
    root.iam.create_user(UserName=name)
    key = root.iam.create_access_key(UserName=name)["AccessKey"]
    aws = Aws(emulator.endpoint, emulator.ca_bundle, (key["AccessKeyId"], key["SecretAccessKey"]))
    return Deployer(emulator, root, aws, name)


def _record_calls(aws: Aws) -> list[Call]:
    """Return a list that receives each call of the clients."""
    calls: list[Call] = []
    for name, client in list(vars(aws).items()):
        if isinstance(client, BaseClient):

            def record(params: dict[str, Any], model: Any, name: str = name, **_: object) -> None:
                calls.append(Call(name, model.name, copy.deepcopy(params)))

            client.meta.events.register("provide-client-params", record)
    return calls


@pytest.fixture(scope="module")
def deployment() -> Generator[Deployment]:
    """A stage that a user with the policies deploy.json and preview.json has deployed."""
    with emulator_with_artifacts() as emulator:
        deployer = _deployer(emulator, "deployer")
        deployer.allow(_on_emulator(_deploying_policy()))
        calls = _record_calls(deployer.aws)
        outputs = deploy(deployer.aws, **SETTINGS)
        recorded = {call.operation: call for call in calls}
        unprivileged = _deployer(emulator, "unprivileged")
        denied = {unprivileged.denied_action(call): call for call in recorded.values()}
        yield Deployment(deployer, outputs, {action: call for action, call in denied.items() if action})


def _documented(column: int) -> list[str]:
    """Return the actions in a column of the table in docs/deploying.md: 1 for checked actions, 2 for all others."""
    section = (ROOT / "docs" / "deploying.md").read_text().partition("## Permissions\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return [f"{row[0].strip(' `')}:{name}" for row in rows for name in re.findall(r"`(\w+)`", row[column])]


def test_deploying_policies_suffice_for_a_deployment(deployment: Deployment) -> None:
    assert deployment.outputs["functionName"] == "yorutsuke-batch-result-handler-local"


def test_page_lists_the_checked_actions(deployment: Deployment) -> None:
    checked = {*deployment.calls} - MISNAMED

    assert _documented(1) == sorted(checked)
    assert _documented(2) == sorted(_actions(_deploying_policy()) - checked)


@pytest.mark.parametrize("action", _documented(1))
def test_deployment_needs_each_checked_action(deployment: Deployment, action: str) -> None:
    deployment.deployer.allow(_on_emulator(_without(_deploying_policy(), action)))

    assert deployment.deployer.denied_action(deployment.calls[action]) == action


def test_deployment_fails_without_a_statement() -> None:
    document = _deploying_policy()
    statements = [statement for statement in document["Statement"] if statement["Sid"] != "Topics"]
    with emulator_with_artifacts() as emulator:
        deployer = _deployer(emulator, "deployer")
        deployer.allow(_on_emulator({**document, "Statement": statements}))

        with pytest.raises(ClientError, match="not authorized to perform: sns:CreateTopic"):
            deploy(deployer.aws, **SETTINGS)


def test_preview_policy_denies_each_change(deployment: Deployment) -> None:
    preview = _policy("preview")
    deployment.deployer.allow(preview)

    denied = {action for action, call in deployment.calls.items() if deployment.deployer.denied_action(call)}
    assert denied == {*deployment.calls} - _actions(preview)


def test_policies_separate_reads_from_changes() -> None:
    """A destruction alone lists the versions of objects."""
    assert {_access_level(action) for action in _actions(_policy("preview"))} == {"List", "Read"}
    reads = {action for action in _actions(_policy("deploy")) if _access_level(action) in {"List", "Read"}}
    assert reads == {"s3:ListBucketVersions"}


def _access_level(action: str) -> str:
    service, _, name = action.partition(":")
    return get_action_data(service, name)[service][0]["access_level"]


@pytest.mark.parametrize(
    ("action", "resource", "context", "decision"),
    [
        ("iam:PassRole", f"{ROLE}-result-handler-local", {"passedTo": "lambda.amazonaws.com"}, "Allow"),
        ("iam:PassRole", f"{ROLE}-result-handler-local", {"passedTo": "ec2.amazonaws.com"}, "ImplicitDeny"),
        ("iam:PassRole", f"{ROLE}-result-handler-prod", {"passedTo": "lambda.amazonaws.com"}, "ImplicitDeny"),
        ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/Admin", {"passedTo": "lambda.amazonaws.com"}, "ImplicitDeny"),
        ("iam:PassRole", f"{ROLE}-schedule-local", {"passedTo": "scheduler.amazonaws.com"}, "Allow"),
        ("iam:PassRole", f"{ROLE}-schedule-local", {"passedTo": "lambda.amazonaws.com"}, "ImplicitDeny"),
        ("iam:PassRole", f"{ROLE}-orchestrator-local", {"passedTo": "scheduler.amazonaws.com"}, "ImplicitDeny"),
        ("scheduler:CreateSchedule", f"{SCHEDULES}/yorutsuke-batch-schedule-local", {}, "Allow"),
        ("scheduler:CreateSchedule", f"{SCHEDULES}/other-local", {}, "ImplicitDeny"),
        ("scheduler:DeleteSchedule", f"{SCHEDULES}/yorutsuke-batch-schedule-prod", {}, "ImplicitDeny"),
        ("lambda:CreateFunction", HANDLER, {}, "Allow"),
        ("lambda:CreateFunction", HANDLER.replace("yorutsuke", "other"), {}, "ImplicitDeny"),
        ("lambda:CreateEventSourceMapping", MAPPINGS, {"functionArn": HANDLER}, "Allow"),
        ("lambda:CreateEventSourceMapping", MAPPINGS, {"functionArn": f"{HANDLER}-2"}, "ImplicitDeny"),
        ("lambda:DeleteEventSourceMapping", MAPPINGS, {"functionArn": f"{HANDLER}-2"}, "ImplicitDeny"),
        # AWS ends the ARN of a log group with :*, except for tags. The emulator omits it.
        ("logs:CreateLogGroup", f"{LOG_GROUP}:*", {}, "Allow"),
        ("logs:DeleteLogGroup", f"{LOG_GROUP}:*", {}, "Allow"),
        ("logs:PutRetentionPolicy", f"{LOG_GROUP}:*", {}, "Allow"),
        ("logs:TagResource", LOG_GROUP, {}, "Allow"),
        ("logs:CreateLogGroup", LOG_GROUP.replace("yorutsuke", "other") + ":*", {}, "ImplicitDeny"),
        ("events:PutRule", f"arn:aws:events:{REGION}:{ACCOUNT}:rule/yorutsuke-batch-output-local", {}, "Allow"),
        ("events:PutTargets", f"arn:aws:events:{REGION}:{ACCOUNT}:rule/other-local", {}, "ImplicitDeny"),
        ("cloudwatch:PutDashboard", f"arn:aws:cloudwatch::{ACCOUNT}:dashboard/yorutsuke-jobs-local", {}, "Allow"),
        ("cloudwatch:PutDashboard", f"arn:aws:cloudwatch::{ACCOUNT}:dashboard/other-local", {}, "ImplicitDeny"),
    ],
)
def test_deploying_policy_allows_resources_of_the_stage(
    action: str, resource: str, context: dict[str, str], decision: str
) -> None:
    question = {"policy": _policy("deploy"), "action": action, "resource": resource, **context}

    assert decide(question) == decision


@pytest.mark.parametrize("name", ["deploy", "preview", "state", "state-changes"])
def test_linter_accepts_every_documented_statement(name: str) -> None:
    assert [problem for statement in _policy(name)["Statement"] for problem in problems(statement)] == []


@pytest.mark.parametrize("name", ["deploy", "preview", "state", "state-changes"])
def test_documented_policies_fit_into_a_managed_policy(name: str) -> None:
    written = json.dumps(_policy(name, LONGEST_STAGE), separators=(",", ":"))

    assert len(written) <= MAX_POLICY_CHARACTERS
