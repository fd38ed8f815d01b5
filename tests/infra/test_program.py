"""What a stage consists of."""

import json
import traceback
from typing import Any
from uuid import uuid4

import pytest

from local.deployer import run_program
from local.inputs import is_secret, plain
from local.resources import CREATORS
from yorutsuke_common.names import JOB_STATE_CHANGE
from yorutsuke_infra.errors import ConfigError

from .conftest import ACCOUNT, REGION, Program, RunProgram, policy, stage_config


def _statements(run: RunProgram) -> list[dict[str, Any]]:
    program = run()
    names = ("log", "data", "queue")
    policies = [program.inputs("RolePolicy", f"batch-result-handler-{name}")["policy"] for name in names]
    return [statement for document in policies for statement in policy(document)]


def test_the_tables_have_their_keys_indexes_and_ttl(run: RunProgram) -> None:
    program = run()
    tables = {name: program.inputs("Table", name) for name in ("transactions", "batch-jobs", "pending-images")}

    described = {
        table["name"]: (
            table["hashKey"],
            table.get("rangeKey"),
            {
                index["name"]: [key["attributeName"] for key in index["keySchemas"]]
                for index in table["globalSecondaryIndexes"]
            },
            table.get("ttl"),
        )
        for table in tables.values()
    }

    ttl = {"attributeName": "ttl", "enabled": True}
    assert described == {
        "yorutsuke-transactions-dev": (
            "userId",
            "transactionId",
            {"jobId-extractedAt": ["jobId", "extractedAt"], "imageId-jobId": ["imageId", "jobId"]},
            ttl,
        ),
        "yorutsuke-batch-jobs-dev": ("intentId", None, {"jobIdIndex": ["jobId"]}, ttl),
        "yorutsuke-pending-images-dev": ("imageId", None, {}, None),
    }


def test_the_buckets_name_carries_the_account(run: RunProgram) -> None:
    assert run().inputs("Bucket", "images")["bucket"] == f"yorutsuke-images-dev-{ACCOUNT}"


def test_outputs_and_dead_letters_expire(run: RunProgram) -> None:
    rules = run().inputs("BucketLifecycleConfiguration", "images")["rules"]

    expiring = {rule["filter"]["prefix"]: rule["expiration"]["days"] for rule in rules if rule["filter"]["prefix"]}
    assert expiring == {"batch-input/": 30, "batch-output/": 30, "dead-letters/": 90}


def test_what_was_deleted_or_overwritten_can_be_restored_for_a_month(run: RunProgram) -> None:
    program = run()
    [leftovers] = [
        rule
        for rule in program.inputs("BucketLifecycleConfiguration", "images")["rules"]
        if not rule["filter"]["prefix"]
    ]

    assert program.inputs("BucketVersioning", "images")["versioningConfiguration"] == {"status": "Enabled"}
    assert leftovers["noncurrentVersionExpiration"] == {"noncurrentDays": 30}
    assert leftovers["expiration"] == {"expiredObjectDeleteMarker": True}
    assert leftovers["abortIncompleteMultipartUpload"] == {"daysAfterInitiation": 1}


def test_nothing_of_the_bucket_is_public(run: RunProgram) -> None:
    block = run().inputs("BucketPublicAccessBlock", "images")
    switches = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")

    assert [block[switch] for switch in switches] == [True] * 4


def test_the_bucket_refuses_whoever_does_not_come_over_tls(run: RunProgram) -> None:
    [statement] = policy(run().inputs("BucketPolicy", "images")["policy"])

    assert statement == {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:*"],
        "Resource": ["arn:Bucket:yorutsuke-images", "arn:Bucket:yorutsuke-images/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def test_a_message_that_failed_five_times_goes_to_the_dead_letter_queue(run: RunProgram) -> None:
    program = run(functionTimeoutSeconds=100)
    queue = program.inputs("Queue", "batch-output")

    assert json.loads(queue["redrivePolicy"]) == {
        "deadLetterTargetArn": "arn:Queue:yorutsuke-batch-output-dlq",
        "maxReceiveCount": 5,
    }
    assert queue["visibilityTimeoutSeconds"] == 600
    assert program.inputs("Queue", "batch-output-dlq")["messageRetentionSeconds"] == 14 * 86400
    assert json.loads(program.inputs("RedriveAllowPolicy", "batch-output-dlq")["redriveAllowPolicy"]) == {
        "redrivePermission": "byQueue",
        "sourceQueueArns": ["arn:Queue:yorutsuke-batch-output"],
    }
    assert json.loads(program.inputs("RedriveAllowPolicy", "batch-output")["redriveAllowPolicy"]) == {
        "redrivePermission": "denyAll"
    }


def test_what_lies_anywhere_is_encrypted(run: RunProgram) -> None:
    program = run()
    [rule] = program.inputs("BucketServerSideEncryptionConfiguration", "images")["rules"]

    assert rule == {"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}
    assert [program.inputs("Queue", name)["sqsManagedSseEnabled"] for name in program.names("Queue")] == [True] * 3


@pytest.mark.parametrize("protect_data", [False, True])
def test_every_table_can_be_restored_and_is_kept_where_the_stage_asks_for_it(
    run: RunProgram, *, protect_data: bool
) -> None:
    program = run(protectData=protect_data)
    tables = [program.inputs("Table", name) for name in program.names("Table")]

    assert [table["pointInTimeRecovery"] for table in tables] == [{"enabled": True}] * 3
    assert [table["deletionProtectionEnabled"] for table in tables] == [protect_data] * 3


def test_both_forms_of_results_the_manifest_and_nothing_else_are_announced(run: RunProgram) -> None:
    topics = run().inputs("BucketNotification", "batch-output")["topics"]

    assert [(topic["filterPrefix"], topic["filterSuffix"]) for topic in topics] == [
        ("batch-output/", ".jsonl"),
        ("batch-output/", ".jsonl.out"),
        ("batch-output/", "/manifest.json.out"),
    ]


def test_no_two_announcements_are_for_the_same_object(run: RunProgram) -> None:
    """S3 refuses notifications whose suffixes overlap."""
    suffixes = [topic["filterSuffix"] for topic in run().inputs("BucketNotification", "batch-output")["topics"]]

    assert not [(a, b) for a in suffixes for b in suffixes if a != b and a.endswith(b)]


@pytest.mark.parametrize(("trigger", "other"), [("sqs", "lambdaFunctions"), ("s3", "topics")])
def test_a_trigger_has_no_part_of_the_other(run: RunProgram, trigger: str, other: str) -> None:
    program = run(trigger=trigger)

    assert other not in program.inputs("BucketNotification", "batch-output")
    assert set(program.names("Topic")) == ({"batch-output", "alarms"} if trigger == "sqs" else {"alarms"})
    straight = [] if trigger == "sqs" else ["batch-output"]
    assert program.names("Permission") == straight
    assert {*program.names("FunctionEventInvokeConfig")} == {"batch-orchestrator", *straight}


def test_s3_invokes_the_function_for_the_same_objects(run: RunProgram) -> None:
    def announced(entries: list[dict[str, Any]]) -> list[tuple[object, ...]]:
        return [(entry["events"], entry["filterPrefix"], entry["filterSuffix"]) for entry in entries]

    straight = run(trigger="s3").inputs("BucketNotification", "batch-output")["lambdaFunctions"]

    assert announced(straight) == announced(run().inputs("BucketNotification", "batch-output")["topics"])


def test_only_the_bucket_may_invoke_the_function_and_what_fails_goes_to_the_dead_letter_queue(run: RunProgram) -> None:
    program = run(trigger="s3")
    permission = program.inputs("Permission", "batch-output")
    kept = program.inputs("FunctionEventInvokeConfig", "batch-output")

    assert {name: permission[name] for name in ("action", "principal", "sourceArn", "sourceAccount")} == {
        "action": "lambda:InvokeFunction",
        "principal": "s3.amazonaws.com",
        "sourceArn": "arn:Bucket:yorutsuke-images",
        "sourceAccount": ACCOUNT,
    }
    assert kept["destinationConfig"] == {"onFailure": {"destination": "arn:Queue:yorutsuke-batch-output-dlq"}}
    assert kept["maximumRetryAttempts"] == 2


def test_a_request_that_nobody_waited_for_is_kept_with_its_error_as_large_as_sqs_takes_it(run: RunProgram) -> None:
    program = run()
    queue = program.inputs("Queue", "batch-orchestrator-dlq")
    kept = program.inputs("FunctionEventInvokeConfig", "batch-orchestrator")
    [may_send] = policy(program.inputs("RolePolicy", "batch-orchestrator-on-failure")["policy"])

    assert (queue["messageRetentionSeconds"], queue["maxMessageSize"]) == (14 * 86400, 1024 * 1024)
    assert kept["destinationConfig"] == {"onFailure": {"destination": "arn:Queue:yorutsuke-batch-orchestrator-dlq"}}
    assert (kept["functionName"], kept["maximumRetryAttempts"]) == ("yorutsuke-batch-orchestrator-dev", 2)
    assert (may_send["Action"], may_send["Resource"]) == (
        ["sqs:SendMessage"],
        ["arn:Queue:yorutsuke-batch-orchestrator-dlq"],
    )


def test_failed_jobs_and_what_is_redriven_come_through_the_queue_with_either_trigger(run: RunProgram) -> None:
    program = run(trigger="s3")

    assert program.inputs("EventTarget", "batch-output-failed-jobs")["arn"] == "arn:Queue:yorutsuke-batch-output"
    assert (
        program.inputs("EventSourceMapping", "batch-result-handler")["eventSourceArn"]
        == "arn:Queue:yorutsuke-batch-output"
    )


def test_the_failed_jobs_of_this_stage_and_no_others_reach_the_queue(run: RunProgram) -> None:
    program = run()
    pattern = json.loads(program.inputs("EventRule", "batch-output-failed-jobs")["eventPattern"])
    target = program.inputs("EventTarget", "batch-output-failed-jobs")

    assert pattern == {
        "source": ["aws.bedrock"],
        "detail-type": [JOB_STATE_CHANGE],
        "detail": {
            "batchJobName": [{"prefix": "yorutsuke-dev."}],
            "status": ["Failed", "Expired", "Stopped", "PartiallyCompleted"],
        },
    }
    assert (target["rule"], target["arn"]) == (
        "yorutsuke-batch-output-failed-jobs-dev",
        "arn:Queue:yorutsuke-batch-output",
    )
    assert target["deadLetterConfig"] == {"arn": "arn:Queue:yorutsuke-batch-output-dlq"}


def test_a_stage_may_name_a_second_source_for_drills(run: RunProgram) -> None:
    pattern = run(drillEventSource="yorutsuke.drill").inputs("EventRule", "batch-output-failed-jobs")["eventPattern"]

    assert json.loads(pattern)["source"] == ["aws.bedrock", "yorutsuke.drill"]


def test_the_function_reports_failures_message_by_message(run: RunProgram) -> None:
    mapping = run().inputs("EventSourceMapping", "batch-result-handler")

    assert (mapping["batchSize"], mapping["functionResponseTypes"]) == (1, ["ReportBatchItemFailures"])


def test_the_function_is_given_what_the_stage_says(run: RunProgram) -> None:
    def given(program: Program) -> tuple[float, float, float]:
        function = program.inputs("Function", "batch-result-handler")
        mapping = program.inputs("EventSourceMapping", "batch-result-handler")
        return function["memorySize"], function["timeout"], mapping["scalingConfig"]["maximumConcurrency"]

    assert given(run()) == (1769, 300, 2)
    assert given(run(functionMemoryMb=1536, functionTimeoutSeconds=60, functionMaxConcurrency=7)) == (1536, 60, 7)


def test_the_function_runs_on_the_layers_runtime_and_knows_its_stage(run: RunProgram) -> None:
    program = run(pythonVersion="3.14", architecture="x86_64", logLevel="ERROR")
    function = program.inputs("Function", "batch-result-handler")
    layer = program.inputs("LayerVersion", "common")

    assert (function["runtime"], function["architectures"]) == ("python3.14", ["x86_64"])
    assert (layer["compatibleRuntimes"], layer["compatibleArchitectures"]) == (["python3.14"], ["x86_64"])
    assert layer["code"].path.endswith("dist/yorutsuke_common-python3.14-x86_64.zip")
    assert function["layers"] == ["arn:LayerVersion:yorutsuke-common"]
    assert function["environment"]["variables"] == {
        "STAGE": "dev",
        "IMAGES_BUCKET": f"yorutsuke-images-dev-{ACCOUNT}",
        "TRANSACTIONS_TABLE": "yorutsuke-transactions-dev",
        "BATCH_JOBS_TABLE": "yorutsuke-batch-jobs-dev",
        "PENDING_IMAGES_TABLE": "yorutsuke-pending-images-dev",
        "TRANSACTION_TTL_DAYS": "730",
        "TIMEZONE": "Asia/Tokyo",
        "POWERTOOLS_LOG_LEVEL": "ERROR",
    }


def test_the_roles_actions_are_those_of_the_design(run: RunProgram) -> None:
    granted = {(action, resource) for s in _statements(run) for action in s["Action"] for resource in s["Resource"]}

    bucket, table = "arn:Bucket:yorutsuke-images", "arn:Table:yorutsuke"
    assert granted == {
        ("s3:GetObject", f"{bucket}/batch-output/*"),
        ("s3:GetObject", f"{bucket}/uploads/*"),
        ("s3:PutObject", f"{bucket}/processed/*"),
        ("s3:PutObject", f"{bucket}/dead-letters/*"),
        ("s3:DeleteObject", f"{bucket}/uploads/*"),
        ("dynamodb:BatchWriteItem", f"{table}-transactions"),
        ("dynamodb:BatchWriteItem", f"{table}-pending-images"),
        ("dynamodb:BatchGetItem", f"{table}-pending-images"),
        ("dynamodb:Query", f"{table}-batch-jobs/index/jobIdIndex"),
        ("dynamodb:UpdateItem", f"{table}-batch-jobs"),
        ("sqs:ReceiveMessage", "arn:Queue:yorutsuke-batch-output"),
        ("sqs:DeleteMessage", "arn:Queue:yorutsuke-batch-output"),
        ("sqs:GetQueueAttributes", "arn:Queue:yorutsuke-batch-output"),
        ("logs:CreateLogStream", "arn:LogGroup:yorutsuke-batch-result-handler:log-stream:*"),
        ("logs:PutLogEvents", "arn:LogGroup:yorutsuke-batch-result-handler:log-stream:*"),
    }


def test_where_s3_invokes_the_function_it_may_hand_over_what_it_failed_with(run: RunProgram) -> None:
    [statement] = policy(run(trigger="s3").inputs("RolePolicy", "batch-result-handler-on-failure")["policy"])

    assert (statement["Action"], statement["Resource"]) == (
        ["sqs:SendMessage"],
        ["arn:Queue:yorutsuke-batch-output-dlq"],
    )
    assert "batch-result-handler-on-failure" not in run().names("RolePolicy")


def test_only_the_bucket_may_publish_and_only_topic_and_rule_may_send(run: RunProgram) -> None:
    program = run()

    [publish] = policy(program.inputs("TopicPolicy", "batch-output")["policy"])
    sends = policy(program.inputs("QueuePolicy", "batch-output")["policy"])
    assert publish["Condition"] == {
        "ArnEquals": {"aws:SourceArn": "arn:Bucket:yorutsuke-images"},
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
    }
    sends += policy(program.inputs("QueuePolicy", "batch-output-dlq")["policy"])
    assert [(s["Principal"]["Service"], s["Action"], s["Resource"], s["Condition"]) for s in sends] == [
        (service, ["sqs:SendMessage"], [f"arn:Queue:yorutsuke-{queue}"], {"ArnEquals": {"aws:SourceArn": source}})
        for service, source, queue in (
            ("events.amazonaws.com", "arn:EventRule:yorutsuke-batch-output-failed-jobs", "batch-output"),
            ("sns.amazonaws.com", "arn:Topic:yorutsuke-batch-output", "batch-output"),
            ("events.amazonaws.com", "arn:EventRule:yorutsuke-batch-output-failed-jobs", "batch-output-dlq"),
            ("sns.amazonaws.com", "arn:Topic:yorutsuke-batch-output", "batch-output-dlq"),
        )
    ]


def test_what_the_topic_cannot_deliver_goes_to_the_dead_letter_queue(run: RunProgram) -> None:
    subscription = run().inputs("TopicSubscription", "batch-output")

    assert json.loads(subscription["redrivePolicy"]) == {"deadLetterTargetArn": "arn:Queue:yorutsuke-batch-output-dlq"}


def test_the_alarms_ring_the_stages_topic(run: RunProgram) -> None:
    program = run(functionTimeoutSeconds=100)
    alarms = {name: program.inputs("MetricAlarm", name) for name in program.names("MetricAlarm")}

    assert {name: alarm["threshold"] for name, alarm in alarms.items()} == {
        "failure-rate": 5,
        "processing-time": 60_000,
        "failed-jobs": 0,
        "failed-migrations": 0,
        "dlq-depth": 0,
        "message-age": 1200,
        "lost-outputs": 0,
        "lost-job-ends": 0,
        "function-errors": 0,
        "function-throttles": 0,
        "function-duration": 80_000,
        "submit-errors": 0,
        "submit-throttles": 0,
        "submit-dlq-depth": 0,
        "lost-submissions": 0,
    }
    assert {(alarm["comparisonOperator"], *alarm["alarmActions"]) for alarm in alarms.values()} == {
        ("GreaterThanThreshold", "arn:Topic:yorutsuke-alarms")
    }


def test_an_idle_night_rings_nothing_and_leaves_what_lasts_as_it_was(run: RunProgram) -> None:
    program = run()
    alarms = {name: program.inputs("MetricAlarm", name) for name in program.names("MetricAlarm")}
    lasting = {name for name, alarm in alarms.items() if alarm["treatMissingData"] == "ignore"}

    assert lasting == {"dlq-depth", "message-age", "submit-dlq-depth"}
    assert {name for name, alarm in alarms.items() if alarm["okActions"] == ["arn:Topic:yorutsuke-alarms"]} == lasting
    assert {alarm["treatMissingData"] for name, alarm in alarms.items() if name not in lasting} == {"notBreaching"}


def test_each_alarm_looks_at_its_metric(run: RunProgram) -> None:
    program = run()
    own = {"service": "batch_result_handler", "stage": "dev"}
    queue = {"QueueName": "yorutsuke-batch-output-dev"}
    dlq = {"QueueName": "yorutsuke-batch-output-dlq-dev"}
    submit_dlq = {"QueueName": "yorutsuke-batch-orchestrator-dlq-dev"}
    function = {"FunctionName": "yorutsuke-batch-result-handler-dev"}
    orchestrator = {"FunctionName": "yorutsuke-batch-orchestrator-dev"}
    topic, rule = {"TopicName": "yorutsuke-batch-output-dev"}, {"RuleName": "yorutsuke-batch-output-failed-jobs-dev"}
    looked_at = {
        name: [
            (
                query["metric"]["namespace"],
                query["metric"]["metricName"],
                query["metric"]["stat"],
                query["metric"]["dimensions"],
            )
            for query in program.inputs("MetricAlarm", name)["metricQueries"]
            if "metric" in query
        ]
        for name in program.names("MetricAlarm")
    }

    assert looked_at == {
        "failure-rate": [("BatchResult", "SuccessCount", "Sum", own), ("BatchResult", "FailureCount", "Sum", own)],
        "processing-time": [("BatchResult", "ProcessingTime", "Maximum", own)],
        "failed-jobs": [("BatchResult", "JobFailed", "Sum", own)],
        "failed-migrations": [("BatchResult", "MigrationFailedCount", "Sum", own)],
        "dlq-depth": [("AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", dlq)],
        "message-age": [("AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum", queue)],
        "lost-outputs": [("AWS/SNS", "NumberOfNotificationsFailedToRedriveToDlq", "Sum", topic)],
        "lost-job-ends": [("AWS/Events", "InvocationsFailedToBeSentToDlq", "Sum", rule)],
        "function-errors": [("AWS/Lambda", "Errors", "Sum", function)],
        "function-throttles": [("AWS/Lambda", "Throttles", "Sum", function)],
        "function-duration": [("AWS/Lambda", "Duration", "Maximum", function)],
        "submit-errors": [("AWS/Lambda", "Errors", "Sum", orchestrator)],
        "submit-throttles": [("AWS/Lambda", "Throttles", "Sum", orchestrator)],
        "submit-dlq-depth": [("AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", submit_dlq)],
        "lost-submissions": [("AWS/Lambda", "DestinationDeliveryFailures", "Sum", orchestrator)],
    }
    [rate] = [
        query for query in program.inputs("MetricAlarm", "failure-rate")["metricQueries"] if "expression" in query
    ]
    assert rate["expression"] == "IF(success + failure > 0, 100 * failure / (success + failure), 0)"


def test_alarm_emails_are_subscribed_and_secret(run: RunProgram) -> None:
    program = run(alarmEmails=["night@example.com", "day@example.com"])
    subscriptions = [program.inputs("TopicSubscription", name) for name in program.names("TopicSubscription")]

    endpoints = [entry["endpoint"] for entry in subscriptions if entry["protocol"] == "email"]
    assert [is_secret(endpoint) for endpoint in endpoints] == [True, True]
    assert [plain(endpoint) for endpoint in endpoints] == ["night@example.com", "day@example.com"]
    assert not [resource.name for resource in program.resources if "@" in resource.name]


def test_every_resource_type_is_known_to_the_local_deployer(run: RunProgram) -> None:
    types = {
        resource_type
        for trigger in ("sqs", "s3")
        for resource_type in run(trigger=trigger, alarmEmails=["night@example.com"], protectData=True).types()
    }

    assert types == set(CREATORS)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"logLevel": "LOUD"}, "logLevel is 'LOUD': Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ({"transactionTtlDays": 0}, "transactionTtlDays is 0: Input should be greater than 0"),
        ({"transactionTtlDays": "730"}, "transactionTtlDays is '730': Input should be a valid integer"),
        ({"functionTimeoutSeconds": 901}, "functionTimeoutSeconds is 901: Input should be less than or equal to 900"),
        (
            {"functionMaxConcurrency": 1},
            "functionMaxConcurrency is 1: Input should be greater than or equal to 2",
        ),
        ({"timezone": "Tokyo"}, "timezone is 'Tokyo': Value error, must be an IANA time zone such as Asia/Tokyo"),
        (
            {"pythonVersion": "python3.13"},
            "pythonVersion is 'python3.13': Input should be '3.11', '3.12', '3.13' or '3.14'",
        ),
        ({"alarmEmails": ["a@b.co", "a@b.co"]}, "alarmEmails is ['a@b.co', 'a@b.co']: Value error, must name each"),
        ({"transactionTtlDays": 36_501}, "transactionTtlDays is 36501: Input should be less than or equal to 36500"),
        ({"alarmEmails": ["nobody"]}, "alarmEmails.0 is 'nobody': must be an address such as ops@example.com"),
        ({"logRetentionDays": 31}, "logRetentionDays is 31: Input should be 1, 3"),
        (
            {"drillEventSource": "aws.bedrock"},
            "drillEventSource is 'aws.bedrock': Value error, must not begin with aws.",
        ),
        ({"colour": "red"}, "colour is 'red': unknown key\n"),
        ({"pythonVersion": 3.13}, "pythonVersion is 3.13: Input should be '3.11', '3.12', '3.13' or '3.14'"),
        ({"alarmEmails": "ops@example.com"}, "alarmEmails is 'ops@example.com': must be a list"),
        ({"trigger": "sns"}, "trigger is 'sns': Input should be 'sqs' or 's3'"),
        ({"drillEventSource": "a b"}, "drillEventSource is 'a b': String should match pattern"),
        *(
            ({"modelIds": [model]}, f"modelIds.0 is '{model}': must be a model of Amazon Nova")
            for model in ("anthropic.claude-3-haiku-20240307-v1:0", "mars.amazon.nova-lite-v1:0", "apac.", "*")
        ),
        ({"loglevel": "INFO"}, "loglevel is 'INFO': unknown key, perhaps logLevel is meant"),
    ],
)
def test_a_bad_value_is_an_error_that_names_it(run: RunProgram, config: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        run("dev", **config)

    assert "yorutsuke:stage in Pulumi.dev.yaml is not valid" in str(error.value)
    assert said in str(error.value)
    assert "Correct it and run again. Known keys: alarmEmails, architecture," in str(error.value)


def test_of_a_stage_that_has_secrets_no_value_is_told_not_even_in_a_traceback(run: RunProgram) -> None:
    # A traceback has the source of this test as well.
    nobody = uuid4().hex
    with pytest.raises(ConfigError) as error:
        run("dev", secret=True, alarmEmails=[nobody])

    told = "".join(traceback.format_exception(error.value))
    assert "alarmEmails.0 is [secret]" in told
    assert nobody not in told


def test_program_refuses_unknown_configuration_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "PULUMI_CONFIG", json.dumps({"aws:region": "x", "yorutsuke:stge": "{}", "yorutsuke:stage": "{}"})
    )

    with pytest.raises(ConfigError, match=r"Pulumi.dev.yaml has the key 'yorutsuke:stge'"):
        run_program(Program(), "dev", stage_config("dev"))


@pytest.mark.parametrize(
    ("configured", "told"),
    [
        ({}, "is None"),
        ({"aws:defaultTags": "tags"}, "is 'tags'"),
        ({"aws:defaultTags": '{"tags": {"project": "yorutsuke", "stage": "prod", "managed-by": "pulumi"}}'}, "prod"),
    ],
)
def test_program_refuses_a_stage_without_its_default_tags(configured: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=f"aws:defaultTags in Pulumi.dev.yaml .*{told}.* Write `aws:defaultTags"):
        run_program(Program(), "dev", {"aws:region": REGION, **configured})


@pytest.mark.parametrize("text", ["text", "[1]", "7"])
def test_choices_that_are_no_object_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"yorutsuke:stage in Pulumi.dev.yaml is (no object|not valid)"):
        run_program(Program(), "dev", {**stage_config(), "yorutsuke:stage": text})
