"""Everything that a policy grants is needed: with all of it the stage works, with any of it taken away something fails.

What the handler itself may do is tried by the handler, taking in a job. What Lambda does in its name (poll the queue,
hand over an event) is tried by a function in its role, since the emulator does it without asking; for the log IAM's
simulator is asked. What others may do to topics, queues and the bucket is tried by their calls and deliveries; where
the emulator delivers without asking, or does not deliver, by its evaluation of the policy (policy_decision.py).
"""

import json
import os
import re
import subprocess
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from local.emulator import EMULATOR_PYTHON_VARIABLE, REGION, Emulator
from local.errors import LocalStageError
from local.job_run import MODEL_ID, JobRun
from local.loop import Loop, running_loop
from local.receipts import simple_lines
from tests.integration.stage import s3_notification

from .conftest import JOB_NUMBERS, deployed, emulator_with_zips, own_receipts
from .policy_grants import Document, Policy, grants_of, listed, policies_of, without
from .policy_lint import problems
from .probe_function import Probe, deployed_probe

WORKS = "works"
GONE = "CopyObject: NoSuchKey"
"""How a job tells of the image that is not there."""


@dataclass(frozen=True)
class Stage:
    """A deployed stage, its policies, a function in its role, and somebody who may do anything to its bucket."""

    job_run: JobRun
    policies: dict[str, Policy]
    probe: Probe
    plain_s3: Any
    loop: Loop


@contextmanager
def _stage(trigger: str) -> Generator[Stage]:
    with emulator_with_zips() as emulator:
        job_run = deployed(emulator, trigger=trigger, minRecords=1)
        # Jobs are handed to the function here, one at a time.
        for mapping in job_run.aws.lambda_.list_event_source_mappings()["EventSourceMappings"]:
            job_run.aws.lambda_.update_event_source_mapping(UUID=mapping.get("UUID", ""), Enabled=False)
        with running_loop(job_run, min_records=1) as loop:
            yield Stage(job_run, policies_of(job_run), deployed_probe(job_run), _plain_s3(job_run, emulator), loop)


def _plain_s3(job_run: JobRun, emulator: Emulator) -> Any:
    """Return a client of S3 with every right, whose calls do not come over TLS."""
    iam, name = job_run.aws.iam, "anybody"
    iam.create_user(UserName=name)
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam.put_user_policy(UserName=name, PolicyName="everything", PolicyDocument=json.dumps(everything))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    session = boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name=REGION)
    client = session.client("s3", endpoint_url=emulator.endpoint, verify=str(emulator.ca_bundle))

    def came_plain(request: Any, **_: object) -> None:
        # What a load balancer says that took the call for the emulator.
        request.headers["x-forwarded-proto"] = "http"

    client.meta.events.register("before-send", came_plain)
    return client


@pytest.fixture(scope="module")
def stages() -> Generator[dict[str, Stage]]:
    """A stage of each trigger."""
    with ExitStack() as running:
        yield {trigger: running.enter_context(_stage(trigger)) for trigger in ("sqs", "s3")}


def _failure(message: str) -> str:
    """Return operation and code of a message of botocore's."""
    found = re.search(r"\((\w+)\) when calling the (\w+) operation", message)
    assert found, message
    return f"{found[2]}: {found[1]}"


def take_in_a_job(stage: Stage) -> str:
    """Take in an output with a good line, a bad one, and one whose image has gone; return what else failed."""
    job_run = JobRun(stage.job_run.aws, stage.job_run.outputs, job_id=f"night{next(JOB_NUMBERS):07}")
    bucket, receipts = job_run.outputs["imagesBucket"], own_receipts(job_run, 2)
    job_run.seed_images(receipt.image_id for receipt in receipts)
    job_run.seed_job()
    [gone] = [key for key in job_run.object_keys("uploads/") if receipts[1].image_id in key]
    job_run.aws.s3.delete_object(Bucket=bucket, Key=gone)
    key = f"batch-output/{job_run.job_id}/output.jsonl"
    job_run.aws.s3.put_object(Bucket=bucket, Key=key, Body="\n".join([*simple_lines(receipts), "{"]).encode())
    event = json.dumps(s3_notification(key, etag="unknown", bucket=bucket))
    answer = json.load(
        job_run.aws.lambda_.invoke(FunctionName=job_run.outputs["functionName"], Payload=event)["Payload"]
    )
    if "errorMessage" in answer:
        return _failure(answer["errorMessage"])
    job_run.wait_for_entry("BATCH_RESULT_COMPLETED")
    entries = job_run.log_entries(f'"BATCH_RESULT_IMAGE_MIGRATION_FAILED" "{job_run.job_id}"')
    failed = {f"{entry['operation']}: {entry['code']}" for entry in entries}
    if failed != {GONE}:
        return ", ".join(sorted(failed - {GONE}))
    stats = job_run.job()["resultStats"]
    assert (stats["successCount"], stats["failureCount"], stats["migrationFailedCount"]) == (2, 1, 1)
    return WORKS


def poll_the_queue(stage: Stage) -> str:
    """Do what Lambda's poller does. Source: AWS Lambda developer guide, "Using Lambda with Amazon SQS"."""
    queue = {"QueueUrl": "queueUrl"}
    return _denied(
        stage.probe,
        ("sqs", "receive_message", queue),
        ("sqs", "delete_message", {**queue, "ReceiptHandle": "of-no-message"}),
        ("sqs", "get_queue_attributes", {**queue, "AttributeNames": ["All"]}),
    )


def write_the_log(stage: Stage) -> str:
    """Ask for what Lambda does with what a function prints. Source: the same, "Sending Lambda function logs".

    The emulator takes both actions to be about the group; with AWS they are about a stream.
    Source: AWS service authorization reference, "Actions defined by Amazon CloudWatch Logs".
    """
    streams = f"arn:aws:logs:{HERE}:log-group:{stage.job_run.outputs['logGroup']}:log-stream:2026/11/24/[$LATEST]1"
    return _simulated(stage, "functionRoleArn", ["logs:CreateLogStream", "logs:PutLogEvents"], streams)


def write_the_orchestrators_log(stage: Stage) -> str:
    """Ask for the same of the orchestrator."""
    group = stage.job_run.outputs["orchestratorLogGroup"]
    streams = f"arn:aws:logs:{HERE}:log-group:{group}:log-stream:2026/11/24/[$LATEST]1"
    return _simulated(stage, "orchestratorRoleArn", ["logs:CreateLogStream", "logs:PutLogEvents"], streams)


def submit_a_job(stage: Stage) -> str:
    """Submit an image, and let Bedrock's stand-in work on it in its role."""
    image_id = _new_image(stage)
    try:
        job_id = stage.loop.submit([image_id], f"intent-{image_id}")["jobId"]
    except LocalStageError as error:
        return _submission_failure(str(error))
    end = stage.loop.bedrock.finish(job_id)
    return WORKS if end.status == "Completed" else f"{end.status}, {_failure(end.message)}"


def give_an_upload_up(stage: Stage) -> str:
    """Submit an image too large for a manifest in one piece, where the claim then fails; look what stays."""
    job_run, policy = stage.job_run, stage.policies["orchestrator data"]
    image_id = _new_image(stage)
    [key] = [key for key in job_run.object_keys("uploads/") if image_id in key]
    bucket = job_run.outputs["imagesBucket"]
    job_run.aws.s3.put_object(Bucket=bucket, Key=key, Body=b"\x89PNG" + bytes(9_000_000))
    assert policy.write
    before = policy.read()
    [claims] = [grant for grant in grants_of({"": policy}) if grant.action == "dynamodb:PutItem"]
    policy.write(without(before, claims))
    try:
        with pytest.raises(LocalStageError, match="PutItem"):
            stage.loop.submit([image_id], f"intent-{image_id}")
    finally:
        policy.write(before)
    uploads = job_run.aws.s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    for upload in uploads:
        job_run.aws.s3.abort_multipart_upload(
            Bucket=bucket, Key=upload.get("Key", ""), UploadId=upload.get("UploadId", "")
        )
    return f"{len(uploads)} upload stays" if uploads else WORKS


def ask_bedrock(stage: Stage) -> str:
    """Ask IAM for what Bedrock asks it for, as its stand-in does not, and the evaluation whom the role is handed to.

    Source: AWS service authorization reference, "Actions defined by Amazon Bedrock".
    """
    asked = (PROFILE, MODEL_ELSEWHERE, JOBS.source)
    denied = [arn for arn in asked if _simulated(stage, "orchestratorRoleArn", [CREATE], arn) != WORKS]
    document = stage.policies["orchestrator data"].read()
    if _handed_to(stage, document, "bedrock.amazonaws.com") != "Allow":
        denied.append("iam:PassRole")
    assert _handed_to(stage, document, "ec2.amazonaws.com") == "ImplicitDeny"
    return ", ".join(denied) or WORKS


CREATE = "bedrock:CreateModelInvocationJob"
RUN = "bedrock:InvokeModel"


def run_the_model(stage: Stage) -> str:
    """Ask the evaluation for what Bedrock's stand-in does without asking: to run the profile's model where it leads.

    Source: Amazon Bedrock user guide, "Create a custom service role for batch inference".
    """
    document = stage.policies["bedrock data"].read()

    def decided(resource: str, profile: str) -> str:
        return _evaluated({"policy": document, "action": RUN, "resource": resource, "inferenceProfile": profile})

    assert decided(MODEL_ELSEWHERE, "") == "ImplicitDeny"
    assert decided(MODEL_ELSEWHERE, PROFILE.replace("lite", "pro")) == "ImplicitDeny"
    return ", ".join(arn for arn in (PROFILE, MODEL_ELSEWHERE) if decided(arn, PROFILE) != "Allow") or WORKS


def hand_over_a_request(stage: Stage) -> str:
    """Ask for what Lambda does with a request that the orchestrator failed with."""
    return _simulated(stage, "orchestratorRoleArn", ["sqs:SendMessage"], f"arn:aws:sqs:{HERE}:{SUBMIT_DLQ}")


def _simulated(stage: Stage, role: str, actions: list[str], resource: str) -> str:
    """Return which of these actions IAM's simulator denies a role, or that it works."""
    simulated = stage.job_run.aws.iam.simulate_principal_policy(
        PolicySourceArn=stage.job_run.outputs[role], ActionNames=actions, ResourceArns=[resource]
    )["EvaluationResults"]
    denied = [result["EvalActionName"] for result in simulated if result["EvalDecision"] != "allowed"]
    return ", ".join(denied) or WORKS


def _handed_to(stage: Stage, document: Document, service: str) -> str:
    resource = stage.job_run.outputs["bedrockRoleArn"]
    return _evaluated({"policy": document, "action": "iam:PassRole", "resource": resource, "passedTo": service})


def _new_image(stage: Stage) -> str:
    image_id = f"submitted-{next(JOB_NUMBERS):05}"
    stage.job_run.seed_images([image_id])
    return image_id


def _submission_failure(message: str) -> str:
    """Return operation and code of what failed, or what the orchestrator itself says of it."""
    said = re.search(r"left out: \w+ \d+", message)
    return said[0] if said else _failure(message)


def hand_over_an_event(stage: Stage) -> str:
    """Do what Lambda does with an event that the function failed with. Source: the same, "Capturing records"."""
    return _denied(stage.probe, ("sqs", "send_message", {"QueueUrl": "deadLetterQueueUrl", "MessageBody": "{}"}))


def _denied(probe: Probe, *calls: tuple[str, str, dict[str, Any]]) -> str:
    """Make calls in the role and return those that it may not make. What else they fail with is no denial."""
    codes = {operation: probe(service, operation, params) for service, operation, params in calls}
    return ", ".join(operation for operation, code in codes.items() if "AccessDenied" in code) or WORKS


def announce_outputs(stage: Stage) -> str:
    """Let S3 check that it may publish to the topic, as it does whenever a notification is set."""
    s3, bucket = stage.job_run.aws.s3, stage.job_run.outputs["imagesBucket"]
    topics = s3.get_bucket_notification_configuration(Bucket=bucket).get("TopicConfigurations", [])
    try:
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"TopicConfigurations": topics}
        )
    except ClientError as error:
        return _failure(str(error))
    return WORKS


def deliver_to_the_queue(stage: Stage) -> str:
    """Publish to the topic and look whether it arrives: SNS says nothing where it may not deliver."""
    aws, outputs, body = stage.job_run.aws, stage.job_run.outputs, f"message {next(JOB_NUMBERS)}"
    # The emulator has delivered by the time it answers.
    aws.sns.publish(TopicArn=outputs["outputTopicArn"], Message=body)
    while messages := aws.sqs.receive_message(QueueUrl=outputs["queueUrl"], MaxNumberOfMessages=10).get("Messages"):
        # Those of other tests' objects come by as well.
        if body in [json.loads(message.get("Body", "{}")).get("Message") for message in messages]:
            return WORKS
    return "nothing arrives"


def refuse_what_is_not_over_tls(stage: Stage) -> str:
    """Read the bucket and an object in it without TLS, with every other right; return what is not refused."""
    bucket = stage.job_run.outputs["imagesBucket"]
    stage.job_run.aws.s3.put_object(Bucket=bucket, Key="uploads/u/i.png", Body=b"an image")
    taken: list[str] = []
    for operation, params in {"list_objects_v2": {}, "get_object": {"Key": "uploads/u/i.png"}}.items():
        try:
            getattr(stage.plain_s3, operation)(Bucket=bucket, **params)
        except ClientError as error:
            assert error.response.get("Error", {}).get("Code") == "AccessDenied"  # noqa: PT017 - one of two answers
        else:
            taken.append(f"{operation} without TLS")
    return ", ".join(taken) or WORKS


Check = Callable[[Stage], str]
IMAGES = "yorutsuke-images-local-000000000000"
ORCHESTRATOR_LOG = "log-group:/aws/lambda/yorutsuke-batch-orchestrator-local:log-stream:*"
JOB = f"arn:aws:bedrock:{REGION}:000000000000:model-invocation-job/abcdefgh1234"
BEDROCK_ROLE = "role/yorutsuke-batch-orchestrator-bedrock-local"
LOG = "log-group:/aws/lambda/yorutsuke-batch-result-handler-local:log-stream:*"
QUEUE, DLQ = "yorutsuke-batch-output-local", "yorutsuke-batch-output-dlq-local"
SUBMIT_DLQ = "yorutsuke-batch-orchestrator-dlq-local"
PROFILE = f"arn:aws:bedrock:{REGION}:000000000000:inference-profile/{MODEL_ID}"
MODEL = f"foundation-model/{MODEL_ID.removeprefix('apac.')}"
MODEL_ELSEWHERE = f"arn:aws:bedrock:ap-southeast-2::{MODEL}"
TABLE = "table/yorutsuke-{}-local"

DATA, POLL, WRITE, HAND = "role data", "role queue: ConsumeQueue", "role log: WriteLog", "role on-failure"
NO_TABLE = "AccessDeniedException"
"""What DynamoDB says instead of S3's AccessDenied."""

TAKEN_AWAY: list[tuple[str, str, Check, str]] = [
    (
        "sqs",
        f"{DATA}: ReadOutputAndImages s3:GetObject {IMAGES}/batch-output/*",
        take_in_a_job,
        "GetObject: AccessDenied",
    ),
    ("sqs", f"{DATA}: ReadOutputAndImages s3:GetObject {IMAGES}/uploads/*", take_in_a_job, "CopyObject: AccessDenied"),
    (
        "sqs",
        f"{DATA}: WriteCopiesAndDeadLetters s3:PutObject {IMAGES}/processed/*",
        take_in_a_job,
        "CopyObject: AccessDenied",
    ),
    (
        "sqs",
        f"{DATA}: WriteCopiesAndDeadLetters s3:PutObject {IMAGES}/dead-letters/*",
        take_in_a_job,
        "PutObject: AccessDenied",
    ),
    (
        "sqs",
        f"{DATA}: DeleteMovedImages s3:DeleteObject {IMAGES}/uploads/*",
        take_in_a_job,
        "DeleteObjects: AccessDenied",
    ),
    (
        "sqs",
        f"{DATA}: WriteResults dynamodb:BatchWriteItem {TABLE.format('transactions')}",
        take_in_a_job,
        f"BatchWriteItem: {NO_TABLE}",
    ),
    (
        "sqs",
        f"{DATA}: WriteResults dynamodb:BatchWriteItem {TABLE.format('pending-images')}",
        take_in_a_job,
        f"BatchWriteItem: {NO_TABLE}",
    ),
    (
        "sqs",
        f"{DATA}: LookUpImages dynamodb:BatchGetItem {TABLE.format('pending-images')}",
        take_in_a_job,
        f"BatchGetItem: {NO_TABLE}",
    ),
    (
        "sqs",
        f"{DATA}: FindJob dynamodb:Query {TABLE.format('batch-jobs')}/index/jobIdIndex",
        take_in_a_job,
        f"Query: {NO_TABLE}",
    ),
    (
        "sqs",
        f"{DATA}: CompleteJob dynamodb:UpdateItem {TABLE.format('batch-jobs')}",
        take_in_a_job,
        f"UpdateItem: {NO_TABLE}",
    ),
    ("sqs", f"{POLL} sqs:ReceiveMessage {QUEUE}", poll_the_queue, "receive_message"),
    ("sqs", f"{POLL} sqs:DeleteMessage {QUEUE}", poll_the_queue, "delete_message"),
    ("sqs", f"{POLL} sqs:GetQueueAttributes {QUEUE}", poll_the_queue, "get_queue_attributes"),
    ("sqs", f"{WRITE} logs:CreateLogStream {LOG}", write_the_log, "logs:CreateLogStream"),
    ("sqs", f"{WRITE} logs:PutLogEvents {LOG}", write_the_log, "logs:PutLogEvents"),
    ("s3", f"{HAND}: HandOverFailedEvents sqs:SendMessage {DLQ}", hand_over_an_event, "send_message"),
    *(
        ("sqs", f"orchestrator data: {grant}", submit_a_job, failure)
        for grant, failure in {
            f"KeepJobs dynamodb:GetItem {TABLE.format('batch-jobs')}": f"GetItem: {NO_TABLE}",
            f"KeepJobs dynamodb:PutItem {TABLE.format('batch-jobs')}": f"PutItem: {NO_TABLE}",
            f"KeepJobs dynamodb:UpdateItem {TABLE.format('batch-jobs')}": f"UpdateItem: {NO_TABLE}",
            f"LookUpImages dynamodb:BatchGetItem {TABLE.format('pending-images')}": f"BatchGetItem: {NO_TABLE}",
            f"ReadImages s3:GetObject {IMAGES}/uploads/*": "left out: UNREADABLE 1",
            f"WriteManifests s3:PutObject {IMAGES}/batch-input/*": "PutObject: AccessDenied",
        }.items()
    ),
    (
        "sqs",
        f"orchestrator data: WriteManifests s3:AbortMultipartUpload {IMAGES}/batch-input/*",
        give_an_upload_up,
        "1 upload stays",
    ),
    ("sqs", f"orchestrator data: SubmitJobs {CREATE} inference-profile/{MODEL_ID}", ask_bedrock, PROFILE),
    ("sqs", f"orchestrator data: SubmitJobs {CREATE} {MODEL}", ask_bedrock, MODEL_ELSEWHERE),
    ("sqs", f"bedrock data: UseProfile0 {RUN} inference-profile/{MODEL_ID}", run_the_model, PROFILE),
    ("sqs", f"bedrock data: RunModelOfProfile0 {RUN} {MODEL}", run_the_model, MODEL_ELSEWHERE),
    (
        "sqs",
        f"orchestrator on-failure: HandOverFailedEvents sqs:SendMessage {SUBMIT_DLQ}",
        hand_over_a_request,
        "sqs:SendMessage",
    ),
    ("sqs", f"orchestrator data: SubmitJobs {CREATE} model-invocation-job/*", ask_bedrock, JOB),
    (
        "sqs",
        f"orchestrator data: HandOverRole iam:PassRole {BEDROCK_ROLE}",
        ask_bedrock,
        "iam:PassRole",
    ),
    *(
        ("sqs", f"orchestrator log: WriteLog {action} {ORCHESTRATOR_LOG}", write_the_orchestrators_log, action)
        for action in ("logs:CreateLogStream", "logs:PutLogEvents")
    ),
    ("sqs", f"bedrock data: FindManifests s3:ListBucket {IMAGES}", submit_a_job, "Failed, ListObjectsV2: AccessDenied"),
    (
        "sqs",
        f"bedrock data: ReadManifests s3:GetObject {IMAGES}/batch-input/*",
        submit_a_job,
        "Failed, GetObject: AccessDenied",
    ),
    (
        "sqs",
        f"bedrock data: WriteOutputs s3:PutObject {IMAGES}/batch-output/*",
        submit_a_job,
        "Failed, PutObject: AccessDenied",
    ),
    (
        "sqs",
        f"output topic: BucketPublishes sns:Publish {QUEUE}",
        announce_outputs,
        "PutBucketNotificationConfiguration: InvalidArgument",
    ),
    ("sqs", f"queue: TopicSends sqs:SendMessage {QUEUE}", deliver_to_the_queue, "nothing arrives"),
    ("sqs", f"bucket: TlsOnly s3:* {IMAGES}", refuse_what_is_not_over_tls, "list_objects_v2 without TLS"),
    ("sqs", f"bucket: TlsOnly s3:* {IMAGES}/*", refuse_what_is_not_over_tls, "get_object without TLS"),
]
"""The trigger of the stage, what is taken away, what is tried without it, and what that says."""


@dataclass(frozen=True)
class Sender:
    """A service that sends to something of the stage's, in the name of something else of it, or of a stranger's."""

    service: str
    source: str
    account: str


BUCKET_ARN = f"arn:aws:s3:::{IMAGES}"
ACCOUNT = IMAGES.rpartition("-")[2]
HERE = f"{REGION}:{ACCOUNT}"
BUCKET = Sender("s3.amazonaws.com", BUCKET_ARN, ACCOUNT)
TOPIC = Sender("sns.amazonaws.com", f"arn:aws:sns:{HERE}:{QUEUE}", ACCOUNT)
RULE = Sender("events.amazonaws.com", f"arn:aws:events:{HERE}:rule/yorutsuke-batch-output-failed-jobs-local", ACCOUNT)
ALARM = Sender("cloudwatch.amazonaws.com", f"arn:aws:cloudwatch:{HERE}:alarm:yorutsuke-dlq-depth-local", ACCOUNT)
JOBS = Sender("bedrock.amazonaws.com", JOB, ACCOUNT)
LAMBDA = Sender("lambda.amazonaws.com", f"arn:aws:lambda:{HERE}:function:yorutsuke-batch-result-handler-local", ACCOUNT)

ASKED: list[tuple[str, str, Sender]] = [
    ("sqs", f"queue: RuleSends sqs:SendMessage {QUEUE}", RULE),
    ("sqs", f"dead-letter queue: RuleSends sqs:SendMessage {DLQ}", RULE),
    ("sqs", f"dead-letter queue: TopicSends sqs:SendMessage {DLQ}", TOPIC),
    ("sqs", "alarm topic: AlarmsPublish sns:Publish yorutsuke-alarms-local", ALARM),
    ("sqs", "trust of role: sts:AssumeRole *", LAMBDA),
    ("sqs", "trust of orchestrator: sts:AssumeRole *", LAMBDA),
    ("sqs", "trust of bedrock: BatchJobsAct sts:AssumeRole *", JOBS),
    ("s3", "function: BucketInvokes lambda:InvokeFunction function:yorutsuke-batch-result-handler-local", BUCKET),
]
"""What the emulator does without asking: the trigger, what grants it, and whom."""

STRANGERS: list[tuple[str, str, str, Sender]] = [
    ("sqs", "output topic: BucketPublishes", "aws:SourceArn", Sender(BUCKET.service, f"{BUCKET_ARN}-2", ACCOUNT)),
    ("sqs", "output topic: BucketPublishes", "aws:SourceAccount", Sender(BUCKET.service, BUCKET_ARN, "210987654321")),
    ("sqs", "queue: TopicSends", "aws:SourceArn", Sender(TOPIC.service, f"{TOPIC.source}-2", ACCOUNT)),
    ("sqs", "queue: RuleSends", "aws:SourceArn", Sender(RULE.service, f"{RULE.source}-2", ACCOUNT)),
    ("sqs", "dead-letter queue: RuleSends", "aws:SourceArn", Sender(RULE.service, f"{RULE.source}-2", ACCOUNT)),
    ("sqs", "dead-letter queue: TopicSends", "aws:SourceArn", Sender(TOPIC.service, f"{TOPIC.source}-2", ACCOUNT)),
    ("sqs", "alarm topic: AlarmsPublish", "aws:SourceAccount", Sender(ALARM.service, ALARM.source, "210987654321")),
    (
        "sqs",
        "trust of bedrock: BatchJobsAct",
        "aws:SourceArn",
        Sender(JOBS.service, f"arn:aws:bedrock:{HERE}:model-customization-job/abcdefgh1234", ACCOUNT),
    ),
    ("sqs", "trust of bedrock: BatchJobsAct", "aws:SourceAccount", Sender(JOBS.service, JOBS.source, "210987654321")),
    ("s3", "function: BucketInvokes", "AWS:SourceArn", Sender(BUCKET.service, f"{BUCKET_ARN}-2", ACCOUNT)),
    ("s3", "function: BucketInvokes", "AWS:SourceAccount", Sender(BUCKET.service, BUCKET_ARN, "210987654321")),
]
"""The trigger, a statement, a condition of it, and a stranger whom this condition alone keeps out."""


def _policy_of(stage: Stage, name: str) -> Policy:
    """Return the policy that a grant's or a statement's name begins with."""
    return stage.policies[name.partition(":")[0]]


def _decision(document: Document, action: str, resource: str, sender: Sender) -> str:
    """Return what the emulator's evaluation makes of a policy document."""
    question = {
        "policy": document,
        "action": action,
        "resource": resource,
        "service": sender.service,
        "sourceArn": sender.source,
        "sourceAccount": sender.account,
    }
    return _evaluated(question)


def _evaluated(question: dict[str, Any]) -> str:
    command = [os.environ[EMULATOR_PYTHON_VARIABLE], str(Path(__file__).parent / "policy_decision.py")]
    asked = subprocess.run(command, input=json.dumps(question), capture_output=True, text=True, check=True)
    return asked.stdout.strip()


def test_the_tables_have_every_grant_of_every_policy(stages: dict[str, Stage]) -> None:
    deployed_grants = {str(grant) for stage in stages.values() for grant in grants_of(stage.policies)}

    assert {grant for _, grant, *_ in (*TAKEN_AWAY, *ASKED)} == deployed_grants


def test_the_linter_finds_nothing(stages: dict[str, Stage]) -> None:
    statements = [
        statement
        for stage in stages.values()
        for policy in stage.policies.values()
        for statement in policy.read()["Statement"]
    ]

    assert [problem for statement in statements for problem in problems(statement)] == []


@pytest.mark.parametrize(("trigger", "check"), sorted({(row[0], row[2]) for row in TAKEN_AWAY}, key=str))
def test_with_everything_that_is_granted_it_works(stages: dict[str, Stage], trigger: str, check: Check) -> None:
    assert check(stages[trigger]) == WORKS


@pytest.mark.parametrize(("trigger", "taken", "check", "failure"), TAKEN_AWAY)
def test_with_any_of_it_taken_away_something_fails(
    stages: dict[str, Stage], trigger: str, taken: str, check: Check, failure: str
) -> None:
    stage = stages[trigger]
    policy = _policy_of(stage, taken)
    assert policy.write
    before = policy.read()
    [grant] = [grant for grant in grants_of(stage.policies) if str(grant) == taken]

    policy.write(without(before, grant))
    try:
        assert check(stage) == failure
    finally:
        policy.write(before)


@pytest.mark.parametrize(("trigger", "asked", "sender"), ASKED)
def test_a_sender_is_let_in_by_its_grant_alone(
    stages: dict[str, Stage], trigger: str, asked: str, sender: Sender
) -> None:
    stage = stages[trigger]
    document = _policy_of(stage, asked).read()
    [grant] = [grant for grant in grants_of(stage.policies) if str(grant) == asked]

    assert _decision(document, grant.action, grant.resource, sender) == "Allow"
    another = replace(sender, service="ec2.amazonaws.com")
    assert _decision(document, grant.action, grant.resource, another) == "ImplicitDeny"
    assert _decision(without(document, grant), grant.action, grant.resource, sender) == "ImplicitDeny"


def _statement(document: Document, name: str) -> Document:
    [found] = [statement for statement in document["Statement"] if statement.get("Sid") == name.partition(": ")[2]]
    return found


@pytest.mark.parametrize(("trigger", "name", "condition", "stranger"), STRANGERS)
def test_a_stranger_is_kept_out_by_one_condition(
    stages: dict[str, Stage], trigger: str, name: str, condition: str, stranger: Sender
) -> None:
    document = _policy_of(stages[trigger], name).read()
    statement = _statement(document, name)
    [action], [resource] = listed(statement["Action"]), listed(statement.get("Resource", "*"))

    assert _decision(document, action, resource, stranger) == "ImplicitDeny"
    [comparison] = [comparison for comparison, keys in statement["Condition"].items() if condition in keys]
    del statement["Condition"][comparison]
    assert _decision(document, action, resource, stranger) == "Allow"
    assert _decision(document, action, resource, replace(stranger, service="ec2.amazonaws.com")) == "ImplicitDeny"


def test_every_condition_on_who_may_send_has_its_stranger(stages: dict[str, Stage]) -> None:
    conditions = {
        (f"{name}: {statement['Sid']}", key)
        for stage in stages.values()
        for name, policy in stage.policies.items()
        for statement in policy.read()["Statement"]
        # Who may send: what a role may do has another condition, on whom it hands another role to.
        if statement["Effect"] == "Allow" and "Principal" in statement
        for keys in statement.get("Condition", {}).values()
        for key in keys
    }

    assert {(name, condition) for _, name, condition, _ in STRANGERS} == conditions
