"""Whether the operator's command finds what is wrong with a stage, one broken thing at a time."""

import json
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local.emulator import Emulator
from local.night import Night
from yorutsuke.checks import announcements, storage
from yorutsuke.checks.finding import Finding
from yorutsuke.checks.roles import roles
from yorutsuke.stage import open_stage
from yorutsuke_common.schema import ResultStats
from yorutsuke_infra import output_notification

from .operator_stage import Operator, forget_jobs, operator_of, put_job
from .policy_grants import Grant, grants_of, policies_of, without

Undo = Callable[[], object]
Break = Callable[[Night], Undo]
SUBMIT_DLQ = "yorutsuke-batch-submit-dlq-local"


@pytest.fixture(scope="module")
def operator(emulator: Emulator, stage: Night, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return operator_of(emulator, stage, tmp_path_factory.mktemp("doctor"))


def _found(operator: Operator) -> dict[str, dict[str, str]]:
    """Return what the doctor finds, by what it looked at."""
    return {finding["check"]: finding for finding in operator("doctor", "--json").answer["checks"]}


def test_a_stage_as_it_is_deployed_is_healthy(operator: Operator) -> None:
    ran = operator.spawned("doctor")

    assert ran.code == 0, ran.out
    assert "Stage local: 0 bad, 1 to be looked at, 0 not checked, of" in ran.out
    answer = operator("doctor", "--json").answer
    assert answer["healthy"] is True
    assert {finding["check"]: finding["state"] for finding in answer["checks"] if finding["state"] != "ok"} == {
        "who hears alarms": "warning"
    }


def test_what_is_to_be_announced_is_what_the_stage_declares() -> None:
    assert (
        output_notification.PREFIX,
        {*output_notification.SUFFIXES.values()},
    ) == (announcements.PREFIX, announcements.SUFFIXES)


def _ringing_alarm(stage: Night) -> Undo:
    def state(value: Any) -> None:
        stage.aws.cloudwatch.set_alarm_state(
            AlarmName="yorutsuke-dlq-depth-local", StateValue=value, StateReason="1 > 0"
        )

    state("ALARM")
    return lambda: state("OK")


def _dead_message(stage: Night) -> Undo:
    queue = stage.outputs["deadLetterQueueUrl"]
    stage.aws.sqs.send_message(QueueUrl=queue, MessageBody="dead")
    return lambda: stage.aws.sqs.purge_queue(QueueUrl=queue)


def _dead_submission(stage: Night) -> Undo:
    queue = stage.outputs["submissionDeadLetterQueueUrl"]
    stage.aws.sqs.send_message(QueueUrl=queue, MessageBody="dead")
    return lambda: stage.aws.sqs.purge_queue(QueueUrl=queue)


def _mapping_disabled(stage: Night) -> Undo:
    lambda_ = stage.aws.lambda_
    [mapping] = lambda_.list_event_source_mappings(FunctionName=stage.outputs["functionName"])["EventSourceMappings"]
    uuid = mapping.get("UUID", "")
    lambda_.update_event_source_mapping(UUID=uuid, Enabled=False)
    return lambda: lambda_.update_event_source_mapping(UUID=uuid, Enabled=True)


def _layer_taken_off(stage: Night) -> Undo:
    lambda_, name = stage.aws.lambda_, stage.outputs["orchestratorName"]
    layers = [layer.get("Arn", "") for layer in lambda_.get_function_configuration(FunctionName=name).get("Layers", [])]
    lambda_.update_function_configuration(FunctionName=name, Layers=[])
    return lambda: lambda_.update_function_configuration(FunctionName=name, Layers=layers)


def _switched_off(stage: Night) -> Undo:
    lambda_, name = stage.aws.lambda_, stage.outputs["functionName"]
    lambda_.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    return lambda: lambda_.delete_function_concurrency(FunctionName=name)


def _one_suffix_less(stage: Night) -> Undo:
    topics = _notification(stage)
    return _notify(stage, TopicConfigurations=[topic for topic in topics if topic["Id"] != "manifest"])


def _announced_elsewhere(stage: Night) -> Undo:
    elsewhere = stage.aws.sns.create_topic(Name="elsewhere")["TopicArn"]
    return _notify(stage, TopicConfigurations=[{**topic, "TopicArn": elsewhere} for topic in _notification(stage)])


def _notification(stage: Night) -> list[Any]:
    bucket = stage.outputs["imagesBucket"]
    return [*stage.aws.s3.get_bucket_notification_configuration(Bucket=bucket).get("TopicConfigurations", [])]


def _notify(stage: Night, **configuration: Any) -> Undo:
    before = _notification(stage)

    def put(**configuration: Any) -> None:
        whole: Any = configuration
        bucket = stage.outputs["imagesBucket"]
        stage.aws.s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=whole)

    put(**configuration)
    return lambda: put(TopicConfigurations=before)


def _unsubscribed(stage: Night) -> Undo:
    sns, topic = stage.aws.sns, stage.outputs["outputTopicArn"]
    [subscription] = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    sns.unsubscribe(SubscriptionArn=subscription.get("SubscriptionArn", ""))
    return lambda: sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=stage.outputs["queueArn"])


def _rule_disabled(stage: Night) -> Undo:
    stage.aws.events.disable_rule(Name="yorutsuke-failed-jobs-local")
    return lambda: stage.aws.events.enable_rule(Name="yorutsuke-failed-jobs-local")


def _topic_locked_out(stage: Night) -> Undo:
    policy = policies_of(stage)["queue"]
    assert policy.write
    before, write = policy.read(), policy.write
    write({**before, "Statement": [s for s in before["Statement"] if s["Sid"] != "TopicSends"]})
    return lambda: write(before)


def _nothing_kept(stage: Night) -> Undo:
    sqs, queue = stage.aws.sqs, stage.outputs["queueUrl"]
    before = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["RedrivePolicy"])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedrivePolicy": ""})
    return lambda: sqs.set_queue_attributes(QueueUrl=queue, Attributes=dict(before))


def _records_without_end(stage: Night) -> Undo:
    def ttl(*, enabled: bool) -> None:
        stage.aws.dynamodb.update_time_to_live(
            TableName=stage.outputs["batchJobsTable"],
            TimeToLiveSpecification={"AttributeName": "ttl", "Enabled": enabled},
        )

    ttl(enabled=False)
    return lambda: ttl(enabled=True)


def _a_grant_less(stage: Night) -> Undo:
    policy = policies_of(stage)["role data"]
    assert policy.write
    before, write = policy.read(), policy.write
    [grant] = [g for g in grants_of({"role data": policy}) if g.action == "s3:DeleteObject"]
    write(without(before, grant))
    return lambda: write(before)


def _job(**attributes: object) -> Break:
    def put(stage: Night) -> Undo:
        put_job(stage, "intent-wrong", **attributes)
        return lambda: forget_jobs(stage, "intent-wrong")

    return put


def _ago(**span: float) -> str:
    return (datetime.now(UTC) - timedelta(**span)).isoformat()


def _stats(**counts: int) -> dict[str, Any]:
    stats = {"successCount": 90, "failureCount": 0, "totalCount": 90, "migrationFailedCount": 0}
    return ResultStats.model_validate({**stats, **counts}).model_dump(exclude_none=True)


BAD: Mapping[str, tuple[Break, str, str, str]] = {
    "an alarm rings": (_ringing_alarm, "alarm dlq-depth", "rings: 1 > 0", "runbook: dlq-depth"),
    "a message is dead": (_dead_message, "yorutsuke-batch-output-dlq-local", "1 messages", "redrive --dry-run"),
    "a submission is dead": (_dead_submission, SUBMIT_DLQ, "1 messages", "redrive --submissions"),
    "a submission stopped half-way": (
        _job(status="SUBMITTING", submitTime=_ago(minutes=16)),
        "submissions begun",
        "1 have no job, and nobody is at them: intent-wrong",
        "send the request of intent-wrong again",
    ),
    "a function died at a job": (
        _job(jobId="wrong0000001", status="SUBMITTED", submitTime=_ago(hours=1), claimedUntil=1),
        "claims",
        "1 have a claim that ran out: a function died at them: wrong0000001",
        "redrive --job wrong0000001 or replay wrong0000001",
    ),
    "Bedrock forgot a job": (
        _job(jobId="wrong0000001", status="SUBMITTED", submitTime=_ago(days=8)),
        "jobs at Bedrock",
        "longer than a job may run: wrong0000001",
        "aws bedrock get-model-invocation-job --job-identifier wrong0000001",
    ),
    "a replay died half-way": (
        _job(jobId="wrong0000001", status="COMPLETED", submitTime=_ago(days=9), completedAt=_ago(days=8)),
        "replays",
        "and their output is to be taken in again: a replay began: wrong0000001",
        "redrive --job wrong0000001; where it has no message there, replay wrong0000001",
    ),
    "nothing feeds the function": (_mapping_disabled, "event source mapping", "Disabled", "deploy"),
    "a function lost its layer": (_layer_taken_off, "batch-orchestrator", "without its layer", "deploy"),
    "a function is switched off": (_switched_off, "batch-result-handler", "its concurrency is 0", "deploy"),
    "a manifest is not announced": (
        _one_suffix_less,
        "S3 notification",
        "nothing announces batch-output/*/manifest.json.out",
        "deploy",
    ),
    "outputs are announced elsewhere": (_announced_elsewhere, "S3 notification", "elsewhere, which is not", "deploy"),
    "the queue is not subscribed": (_unsubscribed, "SNS subscription", "is not subscribed", "deploy"),
    "the rule is off": (_rule_disabled, "EventBridge rule", "the rule is DISABLED", "deploy"),
    "the topic may not send": (_topic_locked_out, "queue's policies", "yorutsuke-batch-output-local may not", "deploy"),
    "what fails is not kept": (_nothing_kept, "queue's policies", "what fails does not go to", "deploy"),
    "records do not end": (_records_without_end, "yorutsuke-batch-jobs-local", "TTL is DISABLED", "deploy"),
    "a role lost a grant": (
        _a_grant_less,
        "role of batch-result-handler",
        "may not s3:DeleteObject on yorutsuke-images-local-000000000000/uploads/",
        "deploy",
    ),
}
WARNINGS: Mapping[str, tuple[Break, str, str, str]] = {
    "Bedrock failed a job": (
        _job(jobId="wrong0000001", status="FAILED", submitTime=_ago(days=1)),
        "jobs that Bedrock ended",
        "1 were not completed by Bedrock: wrong0000001",
        "runbook: failed-jobs",
    ),
    "images are unmoved": (
        _job(
            jobId="wrong0000001",
            status="COMPLETED",
            submitTime=_ago(days=1),
            resultStats=_stats(migrationFailedCount=1),
        ),
        "images unmoved",
        "wrong0000001",
        "retry-migrations wrong0000001",
    ),
    "images are unanswered": (
        _job(jobId="wrong0000001", status="COMPLETED", submitTime=_ago(days=1), resultStats=_stats(missingCount=1)),
        "images unanswered",
        "wrong0000001",
        "runbook: images without a line",
    ),
    "many lines failed": (
        _job(
            jobId="wrong0000001",
            status="COMPLETED",
            submitTime=_ago(days=1),
            resultStats=_stats(failureCount=5, totalCount=95),
        ),
        "lines that failed",
        "1 failed with more than 5% of their lines: wrong0000001",
        "dead-letters wrong0000001",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_the_doctor_finds_that(operator: Operator, name: str) -> None:
    break_it, check, seen, remedy = BAD[name]
    undo = break_it(operator.night)
    try:
        ran = operator("doctor", "--json")
    finally:
        undo()

    found = {finding["check"]: finding for finding in ran.answer["checks"]}
    assert (ran.code, ran.answer["healthy"], found[check]["state"]) == (3, False, "bad")
    assert seen in found[check]["seen"]
    assert remedy in found[check]["next"]


@pytest.mark.parametrize("name", WARNINGS)
def test_the_doctor_warns_that(operator: Operator, name: str) -> None:
    break_it, check, seen, remedy = WARNINGS[name]
    undo = break_it(operator.night)
    try:
        ran = operator("doctor", "--json")
        old = operator("doctor", "--json", "--since", "2h")
    finally:
        undo()

    found = {finding["check"]: finding for finding in ran.answer["checks"]}
    assert (ran.code, found[check]["state"]) == (0, "warning")
    assert seen in found[check]["seen"]
    assert remedy in found[check]["next"]
    assert {finding["check"]: finding["state"] for finding in old.answer["checks"]}[check] == "ok"


@pytest.fixture
def at_rest(stage: Night) -> Generator[None]:
    """Let the function take nothing from its queue meanwhile, and failed messages come back at once."""
    undo = _mapping_disabled(stage)
    sqs, queue = stage.aws.sqs, stage.outputs["queueUrl"]
    before = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "0"})
    yield
    sqs.set_queue_attributes(QueueUrl=queue, Attributes=dict(before))
    sqs.purge_queue(QueueUrl=queue)
    undo()


LATE_KEY = "batch-output/late00000001/output.jsonl"


@pytest.fixture
def late_output(operator: Operator, at_rest: None) -> Generator[None]:  # noqa: ARG001
    """An output in the bucket whose message nobody takes."""
    night = operator.night
    night.aws.s3.put_object(Bucket=night.outputs["imagesBucket"], Key=LATE_KEY, Body=b"{}\n")
    yield
    night.aws.s3.delete_object(Bucket=night.outputs["imagesBucket"], Key=LATE_KEY)
    forget_jobs(night, "intent-late")


@pytest.mark.usefixtures("late_output")
@pytest.mark.parametrize(
    "record",
    [
        {"status": "FAILED"},
        {"status": "COMPLETED", "processedOutputs": {LATE_KEY: "the ETag of a part"}},
        {"status": "COMPLETED", "processedOutputs": {"batch-output/late00000001/first.jsonl": "etag"}},
    ],
)
def test_the_doctor_finds_an_output_that_nobody_took_in(operator: Operator, record: dict[str, Any]) -> None:
    put_job(operator.night, "intent-late", jobId="late00000001", submitTime=_ago(hours=3), **record)

    found = _found(operator)["outputs"]
    older = operator("doctor", "--json", "--since", "2h").answer["checks"]

    assert found["state"] == "bad"
    assert "1 have an output that was not taken in, or not as it is, for more than" in found["seen"]
    assert found["next"] == "redrive --job late00000001; where it has no message there, replay late00000001"
    assert [finding["state"] for finding in older if finding["check"] == "outputs"] == ["ok"]


@pytest.mark.usefixtures("late_output")
def test_an_output_that_was_taken_in_as_it_is_is_well(operator: Operator) -> None:
    night = operator.night
    etag = night.aws.s3.head_object(Bucket=night.outputs["imagesBucket"], Key=LATE_KEY)["ETag"].strip('"')
    record = {"status": "COMPLETED", "completedAt": _ago(hours=1), "processedOutputs": {LATE_KEY: etag}}
    put_job(night, "intent-late", jobId="late00000001", submitTime=_ago(hours=3), **record)

    found = _found(operator)

    assert [found[check]["state"] for check in ("outputs", "replays")] == ["ok", "ok"]


def test_a_replay_that_a_function_has_by_now_did_not_die(operator: Operator) -> None:
    claim = {"claimedBy": "function", "claimedUntil": 2**40}
    put_job(
        operator.night,
        "intent-late",
        jobId="late00000001",
        status="COMPLETED",
        submitTime=_ago(days=1),
        completedAt=_ago(hours=12),
        **claim,
    )

    found = _found(operator)["replays"]
    forget_jobs(operator.night, "intent-late")

    assert found["state"] == "ok"


def test_what_a_policy_says_by_not_naming_it_is_not_checked_and_hides_nothing_else(operator: Operator) -> None:
    policy = policies_of(operator.night)["queue"]
    assert policy.write
    before, write = policy.read(), policy.write
    refusal = {"Sid": "OnlySqs", "Effect": "Deny", "Principal": "*", "NotAction": "sqs:*", "Resource": "*"}
    write({**before, "Statement": [*before["Statement"], refusal]})
    try:
        ran = operator("doctor", "--json")
    finally:
        write(before)

    answer = json.loads(ran.out)
    found = {finding["check"]: finding for finding in answer["checks"]}
    assert (ran.code, answer["healthy"]) == (1, None)
    assert {check for check, finding in found.items() if finding["state"] == "not checked"} == {"queue's policies"}
    assert found["queue's policies"]["seen"].startswith(
        "statement 'OnlySqs' of the policy has no Action: what it means"
    )


def test_a_check_that_fails_itself_is_found_and_hides_nothing_else(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> list[Finding]:
        raise KeyError("Action")

    monkeypatch.setattr(storage, "tables", fails)
    found = _found(operator)

    assert (found["tables"]["state"], found["tables"]["seen"]) == ("bad", "the check itself failed: KeyError")
    assert found["alarms"]["state"] == "ok"


def test_where_nothing_can_be_checked_nobody_knows_whether_the_stage_is_healthy(
    operator: Operator, tmp_path: Path
) -> None:
    may = ["lambda:GetFunctionConfiguration"]
    nobody = operator.restricted_to(tmp_path, [{"Effect": "Allow", "Action": may, "Resource": ["*"]}])

    shown = nobody("doctor")
    ran = nobody("doctor", "--json")

    answer = json.loads(ran.out)
    unchecked = sum(finding["state"] == "not checked" for finding in answer["checks"])
    assert (ran.code, answer["healthy"], unchecked > 10) == (1, None, True)
    assert f"0 bad, 0 to be looked at, {unchecked} not checked, of {unchecked} checks" in shown.out
    assert f"UnfinishedError: {unchecked} checks could not be made, and nobody knows whether stage 'local'" in ran.told


def test_a_stage_whose_bucket_invokes_the_function_straight_needs_no_topic(operator: Operator) -> None:
    night = operator.night
    function = night.aws.lambda_.get_function_configuration(FunctionName=night.outputs["functionName"])["FunctionArn"]
    straight = [
        {**{name: topic[name] for name in ("Id", "Events", "Filter")}, "LambdaFunctionArn": function}
        for topic in _notification(night)
    ]
    restore = _topic_locked_out(night)
    undo = _notify(night, LambdaFunctionConfigurations=straight)
    try:
        found = _found(operator)
    finally:
        undo()
        restore()

    assert found["S3 notification"]["seen"] == "to yorutsuke-batch-result-handler-local"
    assert found["SNS subscription"]["seen"] == "no topic: S3 invokes the function straight"
    assert found["queue's policies"]["state"] == "ok"


def _grants(stage: Night) -> list[Grant]:
    """Return what the stage's roles are granted, but the one grant that nobody can be asked about."""
    orchestrators = ("orchestrator data", "orchestrator log", "orchestrator on-failure")
    names = ("role data", "role queue", "role log", *orchestrators, "bedrock data")
    policies = {name: policy for name, policy in policies_of(stage).items() if name in names}
    assert {*policies} == {*names}
    on_a_condition = ("HandOverRole", "RunModelOfProfile0")
    return [grant for grant in grants_of(policies) if grant.sid not in on_a_condition]


def test_every_grant_that_is_taken_away_is_found_and_named(operator: Operator) -> None:
    night = operator.night
    with pytest.MonkeyPatch.context() as patched:
        for name, value in operator.environment.items():
            patched.setenv(name, value)
        stage = open_stage("local")
        policies = policies_of(night)
        unseen: list[str] = []
        for grant in _grants(night):
            policy = policies[grant.policy]
            before = policy.read()
            assert policy.write
            policy.write(without(before, grant))
            try:
                found = [*roles(stage)]
            finally:
                policy.write(before)
            unseen += [] if any(f"may not {grant.action} on" in finding.seen for finding in found) else [str(grant)]

    assert unseen == []


def test_what_an_operator_may_not_look_at_is_said_and_hides_nothing_else(operator: Operator, tmp_path: Path) -> None:
    may = ["lambda:*", "sqs:GetQueueUrl", "sqs:GetQueueAttributes", "dynamodb:Scan"]
    nurse = operator.restricted_to(tmp_path, [{"Effect": "Allow", "Action": may, "Resource": ["*"]}])

    answer = json.loads(nurse("doctor", "--json").out)
    found = {finding["check"]: finding for finding in answer["checks"]}

    states = {check: finding["state"] for check, finding in found.items()}
    assert {check for check, state in states.items() if state == "not checked"} == {
        "alarms",
        "who hears alarms",
        "S3 notification",
        "SNS subscription",
        "EventBridge rule",
        "queue's policies",
        "tables",
        "roles",
        "yorutsuke-batch-output-local",
    }
    assert answer["healthy"] is None
    assert (states["batch-result-handler"], states["event source mapping"], states["outputs"]) == ("ok", "ok", "ok")
    assert "not allowed: DescribeAlarms" in found["alarms"]["seen"]
    assert "age not checked" in found["yorutsuke-batch-output-local"]["seen"]
