"""The resources of a stage and their settings, and the errors of its configuration."""

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

from .conftest import ACCOUNT, PARTITION, REGION, Program, RunProgram, policy, stage_config
from .expected import SCHEDULE


def _statements(run: RunProgram) -> list[dict[str, Any]]:
    program = run()
    names = ("log", "data", "queue")
    policies = [program.inputs("RolePolicy", f"batch-result-handler-{name}")["policy"] for name in names]
    return [statement for document in policies for statement in policy(document)]


def test_tables_have_keys_indexes_and_ttl(run: RunProgram) -> None:
    program = run()
    tables = {name: program.inputs("Table", name) for name in ("transactions", "batch-jobs", "pending-images")}

    settings = {
        table["name"]: (
            table["hashKey"],
            table.get("rangeKey"),
            {
                index["name"]: (
                    [key["attributeName"] for key in index["keySchemas"]],
                    index["projectionType"],
                    index.get("nonKeyAttributes"),
                )
                for index in table["globalSecondaryIndexes"]
            },
            table.get("ttl"),
        )
        for table in tables.values()
    }

    ttl = {"attributeName": "ttl", "enabled": True}
    assert settings == {
        "yorutsuke-transactions-dev": (
            "userId",
            "transactionId",
            {
                "jobId-extractedAt": (["jobId", "extractedAt"], "ALL", None),
                "imageId-jobId": (["imageId", "jobId"], "ALL", None),
            },
            ttl,
        ),
        "yorutsuke-batch-jobs-dev": ("intentId", None, {"jobIdIndex": (["jobId"], "ALL", None)}, ttl),
        "yorutsuke-pending-images-dev": (
            "imageId",
            None,
            {"status-uploadedAt": (["status", "uploadedAt"], "INCLUDE", ["intentId"])},
            None,
        ),
    }


def test_bucket_name_contains_the_account_id(run: RunProgram) -> None:
    assert run().inputs("Bucket", "images")["bucket"] == f"yorutsuke-images-dev-{ACCOUNT}"


def test_program_accepts_allowed_account_ids() -> None:
    config = {**stage_config(), "aws:allowedAccountIds": json.dumps([ACCOUNT])}

    assert run_program(Program(), "dev", config)["functionName"] == "yorutsuke-batch-result-handler-dev"


def test_job_files_and_dead_letters_expire(run: RunProgram) -> None:
    rules = run().inputs("BucketLifecycleConfiguration", "images")["rules"]

    expiring = {rule["filter"]["prefix"]: rule["expiration"]["days"] for rule in rules if rule["filter"]["prefix"]}
    assert expiring == {"batch-input/": 30, "batch-output/": 30, "dead-letters/": 90}


def test_earlier_versions_expire_after_30_days(run: RunProgram) -> None:
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


def test_bucket_blocks_public_access(run: RunProgram) -> None:
    block = run().inputs("BucketPublicAccessBlock", "images")
    switches = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")

    assert [block[switch] for switch in switches] == [True] * 4


def test_bucket_denies_requests_without_tls(run: RunProgram) -> None:
    [statement] = policy(run().inputs("BucketPolicy", "images")["policy"])

    assert statement == {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:*"],
        "Resource": ["arn:Bucket:yorutsuke-images", "arn:Bucket:yorutsuke-images/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def test_queue_moves_message_after_five_receives(run: RunProgram) -> None:
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


def test_bucket_and_queues_are_encrypted(run: RunProgram) -> None:
    program = run()
    [rule] = program.inputs("BucketServerSideEncryptionConfiguration", "images")["rules"]

    assert rule == {"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}
    assert [program.inputs("Queue", name)["sqsManagedSseEnabled"] for name in program.names("Queue")] == [True] * 3


@pytest.mark.parametrize("protect_data", [False, True])
def test_tables_have_recovery_and_configured_deletion_protection(run: RunProgram, *, protect_data: bool) -> None:
    program = run(protectData=protect_data)
    tables = [program.inputs("Table", name) for name in program.names("Table")]

    assert [table["pointInTimeRecovery"] for table in tables] == [{"enabled": True}] * 3
    assert [table["deletionProtectionEnabled"] for table in tables] == [protect_data] * 3


def test_bucket_announces_output_files_and_manifests_only(run: RunProgram) -> None:
    topics = run().inputs("BucketNotification", "batch-output")["topics"]

    assert [(topic["filterPrefix"], topic["filterSuffix"]) for topic in topics] == [
        ("batch-output/", ".jsonl"),
        ("batch-output/", ".jsonl.out"),
        ("batch-output/", "/manifest.json.out"),
    ]


def test_notification_suffixes_do_not_overlap(run: RunProgram) -> None:
    """S3 rejects notifications with overlapping suffixes."""
    suffixes = [topic["filterSuffix"] for topic in run().inputs("BucketNotification", "batch-output")["topics"]]

    assert not [(a, b) for a in suffixes for b in suffixes if a != b and a.endswith(b)]


@pytest.mark.parametrize(("trigger", "other"), [("sqs", "lambdaFunctions"), ("s3", "topics")])
def test_trigger_selects_the_receiver(run: RunProgram, trigger: str, other: str) -> None:
    assert other not in run(trigger=trigger).inputs("BucketNotification", "batch-output")


def test_both_triggers_announce_the_same_objects(run: RunProgram) -> None:
    def announced(entries: list[dict[str, Any]]) -> list[tuple[object, ...]]:
        return [(entry["events"], entry["filterPrefix"], entry["filterSuffix"]) for entry in entries]

    direct = run(trigger="s3").inputs("BucketNotification", "batch-output")["lambdaFunctions"]

    assert announced(direct) == announced(run().inputs("BucketNotification", "batch-output")["topics"])


def test_direct_invocation_has_permission_and_failure_destination(run: RunProgram) -> None:
    program = run()
    permission = program.inputs("Permission", "batch-output")
    invoke_config = program.inputs("FunctionEventInvokeConfig", "batch-output")

    assert {name: permission[name] for name in ("action", "principal", "sourceArn", "sourceAccount")} == {
        "action": "lambda:InvokeFunction",
        "principal": "s3.amazonaws.com",
        "sourceArn": "arn:Bucket:yorutsuke-images",
        "sourceAccount": ACCOUNT,
    }
    assert invoke_config["destinationConfig"] == {"onFailure": {"destination": "arn:Queue:yorutsuke-batch-output-dlq"}}
    assert invoke_config["maximumRetryAttempts"] == 2


def test_failed_asynchronous_requests_reach_their_dead_letter_queue(run: RunProgram) -> None:
    program = run()
    queue = program.inputs("Queue", "batch-orchestrator-dlq")
    invoke_config = program.inputs("FunctionEventInvokeConfig", "batch-orchestrator")
    [may_send] = policy(program.inputs("RolePolicy", "batch-orchestrator-on-failure")["policy"])

    assert (queue["messageRetentionSeconds"], queue["maxMessageSize"]) == (14 * 86400, 1024 * 1024)
    assert invoke_config["destinationConfig"] == {
        "onFailure": {"destination": "arn:Queue:yorutsuke-batch-orchestrator-dlq"}
    }
    assert invoke_config["functionName"] == "yorutsuke-batch-orchestrator-dev"
    assert invoke_config["maximumRetryAttempts"] == 2
    assert (may_send["Action"], may_send["Resource"]) == (
        ["sqs:SendMessage"],
        ["arn:Queue:yorutsuke-batch-orchestrator-dlq"],
    )


def test_queue_feeds_function_with_s3_trigger(run: RunProgram) -> None:
    program = run(trigger="s3")

    assert program.inputs("EventTarget", "batch-output-failed-jobs")["arn"] == "arn:Queue:yorutsuke-batch-output"
    assert (
        program.inputs("EventSourceMapping", "batch-result-handler")["eventSourceArn"]
        == "arn:Queue:yorutsuke-batch-output"
    )


def test_rule_sends_failed_jobs_of_this_stage(run: RunProgram) -> None:
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


def test_rule_accepts_the_drill_event_source(run: RunProgram) -> None:
    pattern = run(drillEventSource="yorutsuke.drill").inputs("EventRule", "batch-output-failed-jobs")["eventPattern"]

    assert json.loads(pattern)["source"] == ["aws.bedrock", "yorutsuke.drill"]


def test_event_source_mapping_reports_batch_item_failures(run: RunProgram) -> None:
    mapping = run().inputs("EventSourceMapping", "batch-result-handler")

    assert (mapping["batchSize"], mapping["functionResponseTypes"]) == (1, ["ReportBatchItemFailures"])


def test_function_has_configured_memory_timeout_and_concurrency(run: RunProgram) -> None:
    def limits(program: Program) -> tuple[float, float, float]:
        function = program.inputs("Function", "batch-result-handler")
        mapping = program.inputs("EventSourceMapping", "batch-result-handler")
        return function["memorySize"], function["timeout"], mapping["scalingConfig"]["maximumConcurrency"]

    assert limits(run()) == (1769, 300, 2)
    assert limits(run(functionMemoryMb=1536, functionTimeoutSeconds=60, functionMaxConcurrency=7)) == (1536, 60, 7)


def test_function_has_layer_runtime_and_environment(run: RunProgram) -> None:
    program = run(pythonVersion="3.14", architecture="x86_64", logLevel="ERROR")
    function = program.inputs("Function", "batch-result-handler")
    layer = program.inputs("LayerVersion", "common")

    assert (function["runtime"], function["architectures"]) == ("python3.14", ["x86_64"])
    assert (layer["compatibleRuntimes"], layer["compatibleArchitectures"]) == (["python3.14"], ["x86_64"])
    assert layer["code"].path.endswith("dist/yorutsuke_common-python3.14-x86_64-lambda.zip")
    assert function["layers"] == ["arn:LayerVersion:yorutsuke-common"]
    assert function["environment"]["variables"] == {
        "STAGE": "dev",
        "IMAGES_BUCKET": f"yorutsuke-images-dev-{ACCOUNT}",
        "TRANSACTIONS_TABLE": "yorutsuke-transactions-dev",
        "BATCH_JOBS_TABLE": "yorutsuke-batch-jobs-dev",
        "PENDING_IMAGES_TABLE": "yorutsuke-pending-images-dev",
        "TRANSACTION_TTL_DAYS": "730",
        "TIMEZONE": "Asia/Tokyo",
        "MAX_ATTEMPTS": "3",
        "POWERTOOLS_LOG_LEVEL": "ERROR",
    }


@pytest.mark.parametrize(
    ("setting", "variable", "default"),
    [
        ("jobTimeoutHours", "JOB_TIMEOUT_HOURS", "72"),
        ("jobSize", "JOB_SIZE", "5000"),
        ("maxConcurrentJobs", "MAX_CONCURRENT_JOBS", "10"),
        ("maxAttempts", "MAX_ATTEMPTS", "3"),
    ],
)
def test_orchestrator_has_the_configured_limits(run: RunProgram, setting: str, variable: str, default: str) -> None:
    values = [
        program.inputs("Function", "batch-orchestrator")["environment"]["variables"][variable]
        for program in (run(), run(**{setting: 24}))
    ]

    assert values == [default, "24"]


def test_functions_have_the_same_configured_attempts(run: RunProgram) -> None:
    program = run(maxAttempts=7)

    functions = [program.inputs("Function", name) for name in ("batch-orchestrator", "batch-result-handler")]
    assert [function["environment"]["variables"]["MAX_ATTEMPTS"] for function in functions] == ["7", "7"]


@pytest.mark.parametrize(("settings", "delivery"), [({}, "inline"), ({"imageDelivery": "s3"}, "s3")])
def test_orchestrator_has_the_configured_delivery(run: RunProgram, settings: dict[str, str], delivery: str) -> None:
    function = run(**settings).inputs("Function", "batch-orchestrator")

    assert function["environment"]["variables"]["IMAGE_DELIVERY"] == delivery


def test_role_has_exactly_the_documented_permissions(run: RunProgram) -> None:
    granted = {(action, resource) for s in _statements(run) for action in s["Action"] for resource in s["Resource"]}

    bucket, table = "arn:Bucket:yorutsuke-images", "arn:Table:yorutsuke"
    assert granted == {
        ("s3:GetObject", f"{bucket}/batch-output/*"),
        ("s3:GetObject", f"{bucket}/uploads/*"),
        ("s3:GetObjectTagging", f"{bucket}/uploads/*"),
        ("s3:PutObject", f"{bucket}/processed/*"),
        ("s3:PutObjectTagging", f"{bucket}/processed/*"),
        ("s3:GetObject", f"{bucket}/dead-letters/*"),
        ("s3:PutObject", f"{bucket}/dead-letters/*"),
        ("s3:DeleteObject", f"{bucket}/uploads/*"),
        ("dynamodb:PartiQLInsert", f"{table}-transactions"),
        ("dynamodb:PartiQLUpdate", f"{table}-transactions"),
        ("dynamodb:PartiQLUpdate", f"{table}-pending-images"),
        ("dynamodb:BatchGetItem", f"{table}-transactions"),
        ("dynamodb:BatchGetItem", f"{table}-pending-images"),
        ("dynamodb:Query", f"{table}-batch-jobs/index/jobIdIndex"),
        ("dynamodb:Query", f"{table}-pending-images/index/status-uploadedAt"),
        ("dynamodb:UpdateItem", f"{table}-batch-jobs"),
        ("sqs:ReceiveMessage", "arn:Queue:yorutsuke-batch-output"),
        ("sqs:DeleteMessage", "arn:Queue:yorutsuke-batch-output"),
        ("sqs:GetQueueAttributes", "arn:Queue:yorutsuke-batch-output"),
        ("logs:CreateLogStream", "arn:LogGroup:yorutsuke-batch-result-handler:log-stream:*"),
        ("logs:PutLogEvents", "arn:LogGroup:yorutsuke-batch-result-handler:log-stream:*"),
    }


def test_role_may_send_failed_events(run: RunProgram) -> None:
    [statement] = policy(run().inputs("RolePolicy", "batch-result-handler-on-failure")["policy"])

    assert (statement["Action"], statement["Resource"]) == (
        ["sqs:SendMessage"],
        ["arn:Queue:yorutsuke-batch-output-dlq"],
    )


def test_topic_and_queue_policies_name_their_sources(run: RunProgram) -> None:
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


def test_subscription_has_a_dead_letter_queue(run: RunProgram) -> None:
    subscription = run().inputs("TopicSubscription", "batch-output")

    assert json.loads(subscription["redrivePolicy"]) == {"deadLetterTargetArn": "arn:Queue:yorutsuke-batch-output-dlq"}


def test_schedule_invokes_the_orchestrator_at_its_times(run: RunProgram) -> None:
    program = run(schedule="cron(0 22 * * ? *)", timezone="Europe/Berlin")

    assert program.inputs("Schedule", "batch-schedule") == {
        "name": "yorutsuke-batch-schedule-dev",
        "groupName": "default",
        "description": "Submits the waiting images of this stage.",
        "scheduleExpression": "cron(0 22 * * ? *)",
        "scheduleExpressionTimezone": "Europe/Berlin",
        "flexibleTimeWindow": {"mode": "OFF"},
        "target": {
            "arn": "arn:Function:yorutsuke-batch-orchestrator",
            "roleArn": "arn:Role:yorutsuke-batch-schedule",
            "input": '{"scheduledTime": "<aws.scheduler.scheduled-time>"}',
            "retryPolicy": {"maximumEventAgeInSeconds": 3600},
            "deadLetterConfig": {"arn": "arn:Queue:yorutsuke-batch-orchestrator-dlq"},
        },
    }


def test_schedule_role_has_exactly_the_documented_permissions(run: RunProgram) -> None:
    program = run(schedule=SCHEDULE)

    [trust] = policy(program.inputs("Role", "batch-schedule")["assumeRolePolicy"])
    statements = policy(program.inputs("RolePolicy", "batch-schedule-target")["policy"])

    assert (trust["Principal"], trust["Action"]) == ({"Service": "scheduler.amazonaws.com"}, "sts:AssumeRole")
    assert trust["Condition"] == {
        "ArnEquals": {"aws:SourceArn": f"arn:{PARTITION}:scheduler:{REGION}:{ACCOUNT}:schedule-group/default"},
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
    }
    assert [(statement["Action"], statement["Resource"]) for statement in statements] == [
        (["lambda:InvokeFunction"], ["arn:Function:yorutsuke-batch-orchestrator"]),
        (["sqs:SendMessage"], ["arn:Queue:yorutsuke-batch-orchestrator-dlq"]),
    ]


def test_schedule_setting_adds_only_its_resources(run: RunProgram) -> None:
    def resources(program: Program) -> set[tuple[str, str]]:
        return {(resource.typ.rsplit(":", 1)[-1], resource.name) for resource in program.resources}

    assert resources(run(schedule=SCHEDULE)) - resources(run()) == {
        ("BatchSchedule", "yorutsuke-batch-schedule"),
        ("Role", "yorutsuke-batch-schedule"),
        ("RolePolicy", "yorutsuke-batch-schedule-target"),
        ("Schedule", "yorutsuke-batch-schedule"),
        ("MetricAlarm", "yorutsuke-waiting-images"),
    }
    assert resources(run()) < resources(run(schedule=SCHEDULE))


def test_waiting_images_alarm_has_the_configured_days(run: RunProgram) -> None:
    alarm = run(schedule=SCHEDULE, maxWaitDays=2).inputs("MetricAlarm", "waiting-images")

    assert alarm["threshold"] == 2 * 86_400
    assert alarm["alarmDescription"] == "The oldest image that waits for a scheduled job is older than maxWaitDays (2)."


def test_alarms_have_thresholds_and_notify_the_topic(run: RunProgram) -> None:
    program = run(functionTimeoutSeconds=100, schedule=SCHEDULE)
    alarms = {name: program.inputs("MetricAlarm", name) for name in program.names("MetricAlarm")}

    assert {name: alarm["threshold"] for name, alarm in alarms.items()} == {
        "failure-rate": 5,
        "processing-time": 60_000,
        "failed-jobs": 0,
        "failed-migrations": 0,
        "dlq-depth": 0,
        "failed-redeliveries": 0,
        "message-age": 1800,
        "lost-outputs": 0,
        "lost-job-ends": 0,
        "function-errors": 0,
        "function-throttles": 0,
        "function-duration": 80_000,
        "submit-errors": 0,
        "submit-throttles": 0,
        "submit-dlq-depth": 0,
        "lost-submissions": 0,
        "waiting-images": 259_200,
    }
    assert {(alarm["comparisonOperator"], *alarm["alarmActions"]) for alarm in alarms.values()} == {
        ("GreaterThanThreshold", "arn:Topic:yorutsuke-alarms")
    }


def test_alarms_about_a_state_notify_when_it_ends(run: RunProgram) -> None:
    program = run(schedule=SCHEDULE)
    alarms = {name: program.inputs("MetricAlarm", name) for name in program.names("MetricAlarm")}

    lasting = {name for name, alarm in alarms.items() if alarm["okActions"] == ["arn:Topic:yorutsuke-alarms"]}
    assert lasting == {"dlq-depth", "message-age", "submit-dlq-depth", "waiting-images"}
    assert lasting == {name for name, alarm in alarms.items() if alarm["treatMissingData"] == "ignore"}
    assert [alarm["okActions"] for name, alarm in alarms.items() if name not in lasting] == [[]] * 13


def test_alarm_emails_are_subscribed_and_secret(run: RunProgram) -> None:
    program = run(alarmEmails=["oncall@example.com", "ops@example.com"])
    subscriptions = [program.inputs("TopicSubscription", name) for name in program.names("TopicSubscription")]

    endpoints = [entry["endpoint"] for entry in subscriptions if entry["protocol"] == "email"]
    assert [is_secret(endpoint) for endpoint in endpoints] == [True, True]
    assert [plain(endpoint) for endpoint in endpoints] == ["oncall@example.com", "ops@example.com"]
    assert not [resource.name for resource in program.resources if "@" in resource.name]


def test_local_deployer_supports_every_resource_type(run: RunProgram) -> None:
    types = {
        resource_type
        for trigger in ("sqs", "s3")
        for resource_type in run(
            trigger=trigger, alarmEmails=["oncall@example.com"], protectData=True, schedule=SCHEDULE
        ).types()
    }

    assert types == set(CREATORS)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"logLevel": "LOUD"}, "logLevel is 'LOUD': must be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'\n"),
        ({"transactionTtlDays": 0}, "transactionTtlDays is 0: must be greater than 0\n"),
        ({"transactionTtlDays": "730"}, "transactionTtlDays is '730': must be a whole number, not text\n"),
        ({"transactionTtlDays": 730.5}, "transactionTtlDays is 730.5: must be a whole number\n"),
        ({"functionTimeoutSeconds": 901}, "functionTimeoutSeconds is 901: must be at most 900\n"),
        ({"functionMaxConcurrency": 1}, "functionMaxConcurrency is 1: must be at least 2\n"),
        ({"timezone": "Tokyo"}, "timezone is 'Tokyo': must be an IANA time zone such as Asia/Tokyo"),
        (
            {"pythonVersion": "python3.13"},
            "pythonVersion is 'python3.13': must be '3.11', '3.12', '3.13' or '3.14'",
        ),
        ({"alarmEmails": ["a@b.co", "a@b.co"]}, "alarmEmails is ['a@b.co', 'a@b.co']: must contain each address once"),
        ({"transactionTtlDays": 36_501}, "transactionTtlDays is 36501: must be at most 36500"),
        ({"alarmEmails": ["ops"]}, "alarmEmails.0 is 'ops': must be an address such as ops@example.com"),
        ({"logRetentionDays": 31}, "logRetentionDays is 31: must be 1, 3"),
        (
            {"drillEventSource": "aws.bedrock"},
            "drillEventSource is 'aws.bedrock': must not begin with aws.",
        ),
        ({"colour": "red"}, "colour is 'red': unknown key\n"),
        ({"pythonVersion": 3.13}, "pythonVersion is 3.13: must be '3.11', '3.12', '3.13' or '3.14'"),
        ({"alarmEmails": "ops@example.com"}, "alarmEmails is 'ops@example.com': must be an array, not text"),
        ({"trigger": "sns"}, "trigger is 'sns': must be 'sqs' or 's3'"),
        ({"drillEventSource": "a b"}, "drillEventSource is 'a b': must match ^[A-Za-z0-9._-]{1,256}$\n"),
        ({"drillEventSource": 7}, "drillEventSource is 7: must be text, not a number\n"),
        ({"protectData": "yes"}, "protectData is 'yes': must be true or false\n"),
        ({"modelIds": []}, "modelIds is []: must have 1 or more entries\n"),
        ({"imageDelivery": "url"}, "imageDelivery is 'url': must be 'inline' or 's3'\n"),
        ({"jobTimeoutHours": 23}, "jobTimeoutHours is 23: must be at least 24\n"),
        ({"jobTimeoutHours": 169}, "jobTimeoutHours is 169: must be at most 168\n"),
        *(
            ({"modelIds": [model]}, f"modelIds.0 is '{model}': must be the id of a foundation model, such as")
            for model in (
                "mars.amazon.nova-lite-v1:0",
                "apac.",
                "apac.claude",
                "us.jp.anthropic.claude-haiku-4-5-20251001-v1:0",
                "Anthropic.Claude",
                "claude-haiku-4-5",
                "*",
                "arn:aws:bedrock:ap-northeast-1::foundation-model/amazon.nova-lite-v1:0",
                "arn:aws:bedrock:ap-northeast-1:123456789012:inference-profile/apac.amazon.nova-lite-v1:0",
                "arn:aws:bedrock:ap-northeast-1:123456789012:application-inference-profile/*",
                "arn:aws:bedrock:ap-northeast-1:123456789012:application-inference-profile/a,b",
            )
        ),
        ({"jobSize": 1}, "jobSize is 1: must be at least 2\n"),
        ({"jobSize": 50_001}, "jobSize is 50001: must be at most 50000\n"),
        ({"maxConcurrentJobs": 0}, "maxConcurrentJobs is 0: must be at least 1\n"),
        ({"maxWaitDays": 0}, "maxWaitDays is 0: must be at least 1\n"),
        ({"maxAttempts": 0}, "maxAttempts is 0: must be at least 1\n"),
        ({"schedule": "daily"}, "schedule is 'daily': must be rate(value unit), such as rate(1 day), or cron(fields)"),
        (
            {"schedule": "rate(1 day)", "jobSize": 199},
            "jobSize is 199: must be at least 200, which is twice minRecords\n",
        ),
        ({"loglevel": "INFO"}, "loglevel is 'INFO': unknown key; did you mean logLevel?"),
    ],
)
def test_config_error_names_the_invalid_value(run: RunProgram, config: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        run("dev", **config)

    assert "yorutsuke:stage in Pulumi.dev.yaml is not valid" in str(error.value)
    assert message in str(error.value)
    assert "Correct it and run the command again. Known keys: alarmEmails, architecture," in str(error.value)


@pytest.mark.parametrize("settings", [{"jobSize": 199}, {"schedule": "rate(1 day)", "jobSize": 200}])
def test_small_job_size_is_refused_with_schedule_only(run: RunProgram, settings: dict[str, object]) -> None:
    function = run(**settings).inputs("Function", "batch-orchestrator")

    assert function["environment"]["variables"]["JOB_SIZE"] == str(settings["jobSize"])


def test_program_refuses_a_profile_of_another_geography(run: RunProgram) -> None:
    with pytest.raises(ConfigError) as error:
        run(region="eu-central-1", modelIds=["amazon.nova-lite-v1:0", "us.amazon.nova-pro-v1:0"])

    assert (
        "\n  modelIds.1 is 'us.amazon.nova-pro-v1:0': must be callable from aws:region eu-central-1: begin with eu. or "
        "global., or be the id of a foundation model\n"
    ) in str(error.value)


def test_config_error_reports_an_invalid_model_once(run: RunProgram) -> None:
    with pytest.raises(ConfigError) as error:
        run(modelIds=["claude"])

    assert str(error.value).count("\n  modelIds") == 1


@pytest.mark.parametrize(
    "model_id",
    [
        "amazon.nova-lite-v1:0",
        "anthropic.claude-haiku-4-5-20251001-v1:0",
        "jp.anthropic.claude-haiku-4-5-20251001-v1:0",
        "global.amazon.nova-2-lite-v1:0",
        "amazon.nova-lite-v1:0:300k",
        "openai.gpt-oss-120b-1:0",
        "qwen.qwen3-vl-235b-a22b",
        "moonshotai.kimi-k2.5",
        "arn:aws:bedrock:ap-northeast-1:123456789012:application-inference-profile/abcdefgh1234",
    ],
)
def test_program_accepts_models_of_every_provider(run: RunProgram, model_id: str) -> None:
    program = run(modelIds=[model_id])

    variables = program.inputs("Function", "batch-orchestrator")["environment"]["variables"]
    assert variables["MODEL_IDS"] == model_id


def test_program_refuses_an_application_profile_elsewhere(run: RunProgram) -> None:
    profile = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abcdefgh1234"

    with pytest.raises(ConfigError) as error:
        run(modelIds=[profile])

    assert (
        f"\n  modelIds.0 is '{profile}': must be a profile in aws:region ap-northeast-1. Create a copy of it there\n"
    ) in str(error.value)


@pytest.mark.parametrize(("region", "prefixes"), [("us-east-1", "global. or us."), ("sa-east-1", "global.")])
def test_default_model_is_refused_outside_asia_pacific(run: RunProgram, region: str, prefixes: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"modelIds.0 is 'apac\..* from aws:region {region}: begin with {prefixes}, or"
    ):
        run(region=region)


def test_config_error_omits_values_when_secret(run: RunProgram) -> None:
    # A traceback also contains the source of this test, so the value is random.
    address = uuid4().hex
    with pytest.raises(ConfigError) as error:
        run("dev", secret=True, alarmEmails=[address])

    output = "".join(traceback.format_exception(error.value))
    assert "alarmEmails.0 is [secret]" in output
    assert address not in output


def test_program_rejects_unknown_configuration_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "PULUMI_CONFIG", json.dumps({"aws:region": "x", "yorutsuke:stge": "{}", "yorutsuke:stage": "{}"})
    )

    with pytest.raises(ConfigError, match=r"Pulumi.dev.yaml has the unknown key 'yorutsuke:stge'"):
        run_program(Program(), "dev", stage_config("dev"))


@pytest.mark.parametrize(
    ("configured", "value"),
    [
        ({}, "is None"),
        ({"aws:defaultTags": "tags"}, "is 'tags'"),
        ({"aws:defaultTags": '{"tags": {"project": "yorutsuke", "stage": "prod", "managed-by": "pulumi"}}'}, "prod"),
    ],
)
def test_program_rejects_stage_without_default_tags(configured: dict[str, str], value: str) -> None:
    with pytest.raises(ConfigError, match=f"aws:defaultTags in Pulumi.dev.yaml .*{value}.* Write `aws:defaultTags"):
        run_program(Program(), "dev", {"aws:region": REGION, **configured})


@pytest.mark.parametrize("text", ["text", "[1]", "7"])
def test_settings_must_be_an_object(text: str) -> None:
    with pytest.raises(ConfigError, match=r"yorutsuke:stage in Pulumi.dev.yaml is not (an object|valid)"):
        run_program(Program(), "dev", {**stage_config(), "yorutsuke:stage": text})
