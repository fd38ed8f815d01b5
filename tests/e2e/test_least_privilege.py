"""Tests that every grant of every policy is necessary: the stage works, and fails if any grant is removed.

The tests use five methods:

- The handler's own calls: the handler processes a job.
- Lambda's calls in the handler's role (polling the queue, sending a failed event): a probe function makes them, since
  the emulator makes them without a policy check.
- Lambda's writes to the logs: IAM's policy simulator.
- Calls and deliveries of other services to topics, queues and the bucket: the calls and deliveries themselves.
- Deliveries that the emulator makes without a policy check, or does not make: its policy evaluator
  (policy_decision.py).
"""

import json
import re
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from local.emulator import REGION, Emulator
from local.errors import LocalStageError
from local.job_run import MODEL_ID, USER_ID, JobRun
from local.loop import Loop, operators_stage, running_loop
from local.receipts import make_image, simple_lines
from tests.integration.stage import job_end, s3_notification
from yorutsuke.smoke.uploads import upload

from .conftest import JOB_NUMBERS, deploy_stage, emulator_with_artifacts, own_receipts
from .copy_actions import COPY_ACTIONS
from .policy_evaluator import decide
from .policy_grants import Document, Policy, as_list, grants_of, policies_of, without_grant
from .policy_lint import problems
from .probe_function import Probe, deploy_probe

CLAUDE = "anthropic.claude-haiku-4-5-20251001-v1:0"
APPLICATION_PROFILE = f"arn:aws:bedrock:{REGION}:000000000000:application-inference-profile/abcdefgh1234"
MODEL_IDS = {"sqs": [MODEL_ID, CLAUDE], "s3": [APPLICATION_PROFILE]}
"""The models of each stage. The grant on every model, which an application inference profile needs, includes those on
single models. So the stage with such a profile has no other models."""
WORKS = "works"
MISSING_IMAGE = "CopyObject: NoSuchKey"
"""The failure that a job logs for its missing image."""


@dataclass(frozen=True)
class Stage:
    """A deployed stage, its policies, a probe function in the handler's role, and an S3 client with full access."""

    job_run: JobRun
    policies: dict[str, Policy]
    probe: Probe
    plain_s3: Any
    loop: Loop


@contextmanager
def _stage(trigger: str) -> Generator[Stage]:
    with emulator_with_artifacts() as emulator:
        job_run = deploy_stage(
            emulator, trigger=trigger, minRecords=1, modelIds=MODEL_IDS[trigger], schedule="rate(365 days)"
        )
        # The tests invoke the function themselves, with one job at a time.
        for mapping in job_run.aws.lambda_.list_event_source_mappings()["EventSourceMappings"]:
            job_run.aws.lambda_.update_event_source_mapping(UUID=mapping.get("UUID", ""), Enabled=False)
        with running_loop(job_run, min_records=1) as loop:
            yield Stage(job_run, policies_of(job_run), deploy_probe(job_run), _plain_s3(job_run, emulator), loop)


def _plain_s3(job_run: JobRun, emulator: Emulator) -> Any:
    """Return an S3 client with full access. Its calls look like calls without TLS."""
    iam, name = job_run.aws.iam, "full-access"
    iam.create_user(UserName=name)
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam.put_user_policy(UserName=name, PolicyName="everything", PolicyDocument=json.dumps(everything))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    session = boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name=REGION)
    client = session.client("s3", endpoint_url=emulator.endpoint, verify=str(emulator.ca_bundle))

    def mark_as_plain(request: Any, **_: object) -> None:
        # A load balancer sets this header on a call that it received without TLS.
        request.headers["x-forwarded-proto"] = "http"

    client.meta.events.register("before-send", mark_as_plain)
    return client


@pytest.fixture(scope="module")
def stages() -> Generator[dict[str, Stage]]:
    """One stage for each trigger, by trigger."""
    with ExitStack() as running:
        yield {trigger: running.enter_context(_stage(trigger)) for trigger in ("sqs", "s3")}


def _failure(message: str) -> str:
    """Return operation and error code of one of botocore's messages."""
    found = re.search(r"\((\w+)\) when calling the (\w+) operation", message)
    assert found, message
    return f"{found[2]}: {found[1]}"


def process_a_job(stage: Stage) -> str:
    """Process an output with a good record, a bad one and one with a missing image. Return any other failure."""
    return _process(stage, times=1)


def process_a_job_again(stage: Stage) -> str:
    """Process such an output twice, as after a replay. The second time, the function reads the transactions."""
    return _process(stage, times=2)


def _process(stage: Stage, times: int) -> str:
    job_run = JobRun(stage.job_run.aws, stage.job_run.outputs, job_id=f"jobrun{next(JOB_NUMBERS):06}")
    bucket, receipts = job_run.outputs["imagesBucket"], own_receipts(job_run, 2)
    job_run.seed_images(receipt.image_id for receipt in receipts)
    [missing] = [key for key in job_run.object_keys("uploads/") if receipts[1].image_id in key]
    job_run.aws.s3.delete_object(Bucket=bucket, Key=missing)
    key = f"batch-output/{job_run.job_id}/output.jsonl"
    job_run.aws.s3.put_object(Bucket=bucket, Key=key, Body="\n".join([*simple_lines(receipts), "{"]).encode())
    event = json.dumps(s3_notification(key, etag="unknown", bucket=bucket))
    for _ in range(times):
        # The item of a submitted job lets the function process the output again.
        job_run.seed_job()
        answer = json.load(
            job_run.aws.lambda_.invoke(FunctionName=job_run.outputs["functionName"], Payload=event)["Payload"]
        )
        if "errorMessage" in answer:
            return _failure(answer["errorMessage"])
    job_run.wait_for_entry("BATCH_RESULT_COMPLETED")
    entries = job_run.log_entries(f'"BATCH_RESULT_IMAGE_MIGRATION_FAILED" "{job_run.job_id}"')
    failed = {f"{entry['operation']}: {entry['code']}" for entry in entries}
    if failed != {MISSING_IMAGE}:
        return ", ".join(sorted(failed - {MISSING_IMAGE}))
    stats = job_run.job()["resultStats"]
    assert (stats["successCount"], stats["failureCount"], stats["migrationFailedCount"]) == (2, 1, 1)
    return WORKS


def end_a_job(stage: Stage) -> str:
    """Process the end of a job that Bedrock did not complete, which releases the job's images."""
    job_run = JobRun(stage.job_run.aws, stage.job_run.outputs, job_id=f"jobrun{next(JOB_NUMBERS):06}")
    job_run.seed_job()
    event = job_end("Stopped", job_id=job_run.job_id).replace("123456789012", "000000000000")
    answer = json.load(
        job_run.aws.lambda_.invoke(FunctionName=job_run.outputs["functionName"], Payload=event)["Payload"]
    )
    return _failure(answer["errorMessage"]) if "errorMessage" in answer else WORKS


def keep_dead_letters(stage: Stage) -> str:
    """Process two output files of a job. The second time, the function reads the dead letter of the first file."""
    job_run = JobRun(stage.job_run.aws, stage.job_run.outputs, job_id=f"jobrun{next(JOB_NUMBERS):06}")
    bucket = job_run.outputs["imagesBucket"]
    job_run.seed_job()
    for file in ("a.jsonl", "b.jsonl"):
        key = f"batch-output/{job_run.job_id}/{file}"
        job_run.aws.s3.put_object(Bucket=bucket, Key=key, Body=b"{")
        event = json.dumps(s3_notification(key, etag="unknown", bucket=bucket))
        answer = json.load(
            job_run.aws.lambda_.invoke(FunctionName=job_run.outputs["functionName"], Payload=event)["Payload"]
        )
        if "errorMessage" in answer:
            return _failure(answer["errorMessage"])
    assert [letter["output"] for letter in job_run.dead_letters()] == ["a.jsonl", "b.jsonl"]
    return WORKS


def simulate_a_tagged_copy(stage: Stage) -> str:
    """Simulate the checks that S3 makes when the handler copies an image with tags. Return the denied actions."""
    denied = [
        action
        for action, prefix in COPY_ACTIONS
        if _simulate(stage, "functionRoleArn", [action], f"{BUCKET_ARN}/{prefix}user-1/image.png") != WORKS
    ]
    return ", ".join(denied) or WORKS


def poll_the_queue(stage: Stage) -> str:
    """Make the calls of Lambda's poller. Source: AWS Lambda developer guide, "Using Lambda with Amazon SQS"."""
    queue = {"QueueUrl": "queueUrl"}
    return _denied_calls(
        stage.probe,
        ("sqs", "receive_message", queue),
        ("sqs", "delete_message", {**queue, "ReceiptHandle": "of-another-message"}),
        ("sqs", "get_queue_attributes", {**queue, "AttributeNames": ["All"]}),
    )


def write_the_log(stage: Stage) -> str:
    """Simulate Lambda's calls that write a function's log.

    The emulator authorizes both actions on the log group, but AWS authorizes them on a log stream.
    Sources: AWS Lambda developer guide, "Sending Lambda function logs"; AWS service authorization reference, "Actions
    defined by Amazon CloudWatch Logs".
    """
    streams = f"arn:aws:logs:{SCOPE}:log-group:{stage.job_run.outputs['logGroup']}:log-stream:2026/11/24/[$LATEST]1"
    return _simulate(stage, "functionRoleArn", ["logs:CreateLogStream", "logs:PutLogEvents"], streams)


def write_the_orchestrators_log(stage: Stage) -> str:
    """Simulate Lambda's calls that write the orchestrator's log."""
    group = stage.job_run.outputs["orchestratorLogGroup"]
    streams = f"arn:aws:logs:{SCOPE}:log-group:{group}:log-stream:2026/11/24/[$LATEST]1"
    return _simulate(stage, "orchestratorRoleArn", ["logs:CreateLogStream", "logs:PutLogEvents"], streams)


def submit_a_job(stage: Stage) -> str:
    """Submit an image, and let the fake Bedrock process it in Bedrock's role."""
    return _submit(stage)


def submit_a_job_with_images_in_s3(stage: Stage) -> str:
    """Submit an image by S3 URI, and let the fake Bedrock read it in Bedrock's role."""
    return _submit(stage, imageDelivery="s3")


def _submit(stage: Stage, **changes: object) -> str:
    image_id = _new_image(stage)
    try:
        job_id = stage.loop.submit([image_id], f"intent-{image_id}", **changes)["jobId"]
    except LocalStageError as error:
        return _submission_failure(str(error))
    end = stage.loop.bedrock.finish(job_id)
    return WORKS if end.status == "Completed" else f"{end.status}, {_failure(end.message)}"


def run_the_schedule(stage: Stage) -> str:
    """Invoke the orchestrator as the schedule does."""
    event = json.dumps({"scheduledTime": "2026-11-26T02:00:00Z"})
    invoked = stage.job_run.aws.lambda_.invoke(FunctionName=stage.job_run.outputs["orchestratorName"], Payload=event)
    answer = json.load(invoked["Payload"])
    return _failure(answer["errorMessage"]) if "errorMessage" in answer else WORKS


def refuse_a_request(stage: Stage) -> str:
    """Request a job for an image that is missing from the bucket, so that its intent begins and is abandoned."""
    image_id = _new_image(stage)
    [key] = [key for key in stage.job_run.object_keys("uploads/") if image_id in key]
    stage.job_run.aws.s3.delete_object(Bucket=stage.job_run.outputs["imagesBucket"], Key=key)
    try:
        stage.loop.submit([image_id], f"intent-{image_id}")
    except LocalStageError as error:
        failure = _submission_failure(str(error))
        return WORKS if failure == "left out: UNREADABLE 1" else failure
    return "not refused"


def abort_an_upload(stage: Stage) -> str:
    """Make a submission fail after it has uploaded parts of its manifest, and count the remaining uploads.

    The image is so large that the manifest needs a multipart upload. The intent cannot fix its images because its
    UpdateItem is denied.
    """
    job_run, policy = stage.job_run, stage.policies["orchestrator data"]
    image_id = _new_image(stage)
    [key] = [key for key in job_run.object_keys("uploads/") if image_id in key]
    bucket = job_run.outputs["imagesBucket"]
    job_run.aws.s3.put_object(Bucket=bucket, Key=key, Body=b"\x89PNG" + bytes(9_000_000))
    assert policy.write
    before = policy.read()
    [write] = [grant for grant in grants_of({"": policy}) if grant.action == "dynamodb:UpdateItem"]
    policy.write(without_grant(before, write))
    try:
        with pytest.raises(LocalStageError, match="UpdateItem"):
            stage.loop.submit([image_id], f"intent-{image_id}")
    finally:
        policy.write(before)
    uploads = job_run.aws.s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    for left in uploads:
        job_run.aws.s3.abort_multipart_upload(Bucket=bucket, Key=left.get("Key", ""), UploadId=left.get("UploadId", ""))
    return f"{len(uploads)} upload remains" if uploads else WORKS


def simulate_job_creation(stage: Stage) -> str:
    """Simulate Bedrock's policy checks for a new job, which the fake Bedrock does not make.

    The policy evaluator checks iam:PassRole, which must allow Bedrock as the only service.
    Source: AWS service authorization reference, "Actions defined by Amazon Bedrock".
    """
    resources = (PROFILE, MODEL_IN_OTHER_REGION, CLAUDE_MODEL, JOBS.source)
    denied = [arn for arn in resources if _simulate(stage, "orchestratorRoleArn", [CREATE], arn) != WORKS]
    document = stage.policies["orchestrator data"].read()
    if _pass_role_decision(stage, document, "bedrock.amazonaws.com") != "Allow":
        denied.append("iam:PassRole")
    assert _pass_role_decision(stage, document, "ec2.amazonaws.com") == "ImplicitDeny"
    return ", ".join(denied) or WORKS


def simulate_job_with_application_profile(stage: Stage) -> str:
    """Simulate the checks for a new job with an application inference profile, and the calls that run its model.

    A profile of the account runs one model, which its ARN does not name. Bedrock's role may run the model only through
    the profile. Sources: Amazon Bedrock user guide, "Prerequisites for inference profiles" and "Create a custom service
    role for batch inference".
    """
    resources = (APPLICATION_PROFILE, MODEL_IN_OTHER_REGION)
    denied = [f"{CREATE} {arn}" for arn in resources if _simulate(stage, "orchestratorRoleArn", [CREATE], arn) != WORKS]
    document = stage.policies["bedrock data"].read()
    denied += [f"{RUN} {arn}" for arn in resources if _run_decision(document, arn, APPLICATION_PROFILE) != "Allow"]
    assert _run_decision(document, MODEL_IN_OTHER_REGION, f"{APPLICATION_PROFILE}5") == "ImplicitDeny"
    assert _run_decision(document, MODEL_IN_OTHER_REGION, "") == "ImplicitDeny"
    return ", ".join(denied) or WORKS


CREATE = "bedrock:CreateModelInvocationJob"
RUN = "bedrock:InvokeModel"


def simulate_bedrocks_calls(stage: Stage) -> str:
    """Simulate the calls in Bedrock's role that the fake Bedrock does not make.

    Bedrock validates that its role may read and write at both locations, and it runs the profile's model in any of the
    profile's regions. Sources: Amazon Bedrock user guide, "Create a custom service role for batch inference"; Amazon
    Bedrock API reference, GetModelInvocationJob (Validating).
    """
    calls = [
        *((action, arn) for action in ("s3:GetObject", "s3:PutObject") for arn in (MANIFEST, OUTPUT)),
        *((RUN, arn) for arn in (PROFILE, MODEL_IN_OTHER_REGION)),
    ]
    denied = [f"{action} {arn}" for action, arn in calls if _simulate(stage, "bedrockRoleArn", [action], arn) != WORKS]
    return ", ".join(denied) or WORKS


def send_a_failed_request(stage: Stage) -> str:
    """Simulate Lambda's call that sends a failed request of the orchestrator to its dead-letter queue."""
    return _simulate(stage, "orchestratorRoleArn", ["sqs:SendMessage"], f"arn:aws:sqs:{SCOPE}:{SUBMIT_DLQ}")


def invoke_the_orchestrator(stage: Stage) -> str:
    """Simulate the call of EventBridge Scheduler that starts a run."""
    return _simulate_in_role(stage, SCHEDULE_ROLE, ["lambda:InvokeFunction"], ORCHESTRATOR_ARN)


def send_a_failed_run(stage: Stage) -> str:
    """Simulate the call of EventBridge Scheduler that sends a run to the queue if Lambda does not accept the run."""
    return _simulate_in_role(stage, SCHEDULE_ROLE, ["sqs:SendMessage"], f"arn:aws:sqs:{SCOPE}:{SUBMIT_DLQ}")


def _simulate(stage: Stage, role: str, actions: list[str], resource: str) -> str:
    """Return the actions that IAM's simulator denies a role, given as an output of the stage, or WORKS."""
    return _simulate_in_role(stage, stage.job_run.outputs[role], actions, resource)


def _simulate_in_role(stage: Stage, role_arn: str, actions: list[str], resource: str) -> str:
    simulated = stage.job_run.aws.iam.simulate_principal_policy(
        PolicySourceArn=role_arn, ActionNames=actions, ResourceArns=[resource]
    )["EvaluationResults"]
    denied = [result["EvalActionName"] for result in simulated if result["EvalDecision"] != "allowed"]
    return ", ".join(denied) or WORKS


def _pass_role_decision(stage: Stage, document: Document, service: str) -> str:
    resource = stage.job_run.outputs["bedrockRoleArn"]
    return decide({"policy": document, "action": "iam:PassRole", "resource": resource, "passedTo": service})


def _run_decision(document: Document, resource: str, profile: str) -> str:
    """Return the decision about a call that runs a model, through a profile or directly."""
    return decide({"policy": document, "action": RUN, "resource": resource, "inferenceProfile": profile})


def _new_image(stage: Stage) -> str:
    image_id = f"submitted-{next(JOB_NUMBERS):05}"
    upload(operators_stage(stage.job_run), USER_ID, {image_id: make_image(image_id)}, lambda: None)
    return image_id


def _submission_failure(message: str) -> str:
    """Return the orchestrator's reason for an image that it left out, or the failed operation and its error code."""
    left_out = re.search(r"left out: \w+ \d+", message)
    return left_out[0] if left_out else _failure(message)


def send_a_failed_event(stage: Stage) -> str:
    """Make Lambda's call that sends a failed event to the dead-letter queue.

    Source: AWS Lambda developer guide, "Capturing records".
    """
    return _denied_calls(stage.probe, ("sqs", "send_message", {"QueueUrl": "deadLetterQueueUrl", "MessageBody": "{}"}))


def _denied_calls(probe: Probe, *calls: tuple[str, str, dict[str, Any]]) -> str:
    """Make calls in the role and return the denied ones, or WORKS. Ignores all other errors."""
    codes = {operation: probe(service, operation, params) for service, operation, params in calls}
    return ", ".join(operation for operation, code in codes.items() if "AccessDenied" in code) or WORKS


def set_the_notification(stage: Stage) -> str:
    """Set the bucket's notification, for which S3 checks its permission to publish to the topic."""
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
    """Publish to the topic and check the queue. SNS does not report a denied delivery."""
    aws, outputs, body = stage.job_run.aws, stage.job_run.outputs, f"message {next(JOB_NUMBERS)}"
    # The emulator delivers before it responds.
    aws.sns.publish(TopicArn=outputs["outputTopicArn"], Message=body)
    while messages := aws.sqs.receive_message(QueueUrl=outputs["queueUrl"], MaxNumberOfMessages=10).get("Messages"):
        # The queue also holds the messages about other tests' objects.
        if body in [json.loads(message.get("Body", "{}")).get("Message") for message in messages]:
            return WORKS
    return "not delivered"


def read_without_tls(stage: Stage) -> str:
    """Read the bucket and an object with full access but without TLS. Return the calls that succeed, or WORKS."""
    bucket = stage.job_run.outputs["imagesBucket"]
    stage.job_run.aws.s3.put_object(Bucket=bucket, Key="uploads/u/i.png", Body=b"an image")
    allowed: list[str] = []
    for operation, params in {"list_objects_v2": {}, "get_object": {"Key": "uploads/u/i.png"}}.items():
        try:
            getattr(stage.plain_s3, operation)(Bucket=bucket, **params)
        except ClientError as error:
            assert error.response.get("Error", {}).get("Code") == "AccessDenied"  # noqa: PT017 - success is valid too
        else:
            allowed.append(f"{operation} without TLS")
    return ", ".join(allowed) or WORKS


Check = Callable[[Stage], str]
IMAGES = "yorutsuke-images-local-000000000000"
BUCKET_ARN = f"arn:aws:s3:::{IMAGES}"
ORCHESTRATOR_LOG = "log-group:/aws/lambda/yorutsuke-batch-orchestrator-local:log-stream:*"
JOB = f"arn:aws:bedrock:{REGION}:000000000000:model-invocation-job/abcdefgh1234"
BEDROCK_ROLE = "role/yorutsuke-batch-orchestrator-bedrock-local"
LOG = "log-group:/aws/lambda/yorutsuke-batch-result-handler-local:log-stream:*"
QUEUE, DLQ = "yorutsuke-batch-output-local", "yorutsuke-batch-output-dlq-local"
SCHEDULE_ROLE = "arn:aws:iam::000000000000:role/yorutsuke-batch-schedule-local"
ORCHESTRATOR_ARN = f"arn:aws:lambda:{REGION}:000000000000:function:yorutsuke-batch-orchestrator-local"
SUBMIT_DLQ = "yorutsuke-batch-orchestrator-dlq-local"
MANIFEST = f"{BUCKET_ARN}/batch-input/intent/manifest.jsonl"
OUTPUT = f"{BUCKET_ARN}/batch-output/abcdefgh1234/manifest.jsonl.out"
PROFILE = f"arn:aws:bedrock:{REGION}:000000000000:inference-profile/{MODEL_ID}"
MODEL = f"foundation-model/{MODEL_ID.removeprefix('apac.')}"
MODEL_IN_OTHER_REGION = f"arn:aws:bedrock:ap-southeast-2::{MODEL}"
CLAUDE_MODEL = f"arn:aws:bedrock:{REGION}::foundation-model/{CLAUDE}"
TABLE = "table/yorutsuke-{}-local"

ROLE_DATA = "role data"
POLL_QUEUE = "role queue: ConsumeQueue"
WRITE_LOG = "role log: WriteLog"
ON_FAILURE = "role on-failure"
DYNAMODB_DENIED = "AccessDeniedException"
"""DynamoDB's error code for a denied call. S3's is AccessDenied."""

REMOVED_GRANTS: list[tuple[str, str, Check, str]] = [
    (
        "sqs",
        f"{ROLE_DATA}: ReadOutputAndImages s3:GetObject {IMAGES}/batch-output/*",
        process_a_job,
        "GetObject: AccessDenied",
    ),
    (
        "sqs",
        f"{ROLE_DATA}: ReadOutputAndImages s3:GetObject {IMAGES}/uploads/*",
        process_a_job,
        "CopyObject: AccessDenied",
    ),
    (
        "sqs",
        f"{ROLE_DATA}: WriteCopiesAndDeadLetters s3:PutObject {IMAGES}/processed/*",
        process_a_job,
        "CopyObject: AccessDenied",
    ),
    (
        "sqs",
        f"{ROLE_DATA}: WriteCopiesAndDeadLetters s3:PutObject {IMAGES}/dead-letters/*",
        process_a_job,
        "PutObject: AccessDenied",
    ),
    (
        "sqs",
        f"{ROLE_DATA}: KeepDeadLetters s3:GetObject {IMAGES}/dead-letters/*",
        keep_dead_letters,
        "GetObject: AccessDenied",
    ),
    (
        "sqs",
        f"{ROLE_DATA}: DeleteMovedImages s3:DeleteObject {IMAGES}/uploads/*",
        process_a_job,
        "DeleteObjects: AccessDenied",
    ),
    *(
        ("sqs", f"{ROLE_DATA}: {sid} {action} {IMAGES}/{prefix}*", simulate_a_tagged_copy, action)
        for sid, action, prefix in (
            ("ReadTagsOfUploads", "s3:GetObjectTagging", "uploads/"),
            ("WriteTagsOfCopies", "s3:PutObjectTagging", "processed/"),
        )
    ),
    *(
        ("sqs", f"{ROLE_DATA}: {grant}", check, f"{operation}: {DYNAMODB_DENIED}")
        for grant, check, operation in (
            (
                f"AddTransactions dynamodb:PartiQLInsert {TABLE.format('transactions')}",
                process_a_job,
                "BatchExecuteStatement",
            ),
            (
                f"SetStatuses dynamodb:PartiQLUpdate {TABLE.format('transactions')}",
                process_a_job,
                "BatchExecuteStatement",
            ),
            (
                f"SetStatuses dynamodb:PartiQLUpdate {TABLE.format('pending-images')}",
                process_a_job,
                "BatchExecuteStatement",
            ),
            (f"LookUpItems dynamodb:BatchGetItem {TABLE.format('transactions')}", process_a_job_again, "BatchGetItem"),
            (f"LookUpItems dynamodb:BatchGetItem {TABLE.format('pending-images')}", process_a_job, "BatchGetItem"),
        )
    ),
    (
        "sqs",
        f"{ROLE_DATA}: FindJob dynamodb:Query {TABLE.format('batch-jobs')}/index/jobIdIndex",
        process_a_job,
        f"Query: {DYNAMODB_DENIED}",
    ),
    (
        "sqs",
        f"{ROLE_DATA}: FindHeldImages dynamodb:Query {TABLE.format('pending-images')}/index/status-uploadedAt",
        end_a_job,
        f"Query: {DYNAMODB_DENIED}",
    ),
    (
        "sqs",
        f"{ROLE_DATA}: CompleteJob dynamodb:UpdateItem {TABLE.format('batch-jobs')}",
        process_a_job,
        f"UpdateItem: {DYNAMODB_DENIED}",
    ),
    ("sqs", f"{POLL_QUEUE} sqs:ReceiveMessage {QUEUE}", poll_the_queue, "receive_message"),
    ("sqs", f"{POLL_QUEUE} sqs:DeleteMessage {QUEUE}", poll_the_queue, "delete_message"),
    ("sqs", f"{POLL_QUEUE} sqs:GetQueueAttributes {QUEUE}", poll_the_queue, "get_queue_attributes"),
    ("sqs", f"{WRITE_LOG} logs:CreateLogStream {LOG}", write_the_log, "logs:CreateLogStream"),
    ("sqs", f"{WRITE_LOG} logs:PutLogEvents {LOG}", write_the_log, "logs:PutLogEvents"),
    ("s3", f"{ON_FAILURE}: HandOverFailedEvents sqs:SendMessage {DLQ}", send_a_failed_event, "send_message"),
    *(
        ("sqs", f"orchestrator data: {grant}", submit_a_job, failure)
        for grant, failure in {
            f"KeepJobs dynamodb:GetItem {TABLE.format('batch-jobs')}": f"GetItem: {DYNAMODB_DENIED}",
            f"KeepJobs dynamodb:PutItem {TABLE.format('batch-jobs')}": f"PutItem: {DYNAMODB_DENIED}",
            f"KeepJobs dynamodb:UpdateItem {TABLE.format('batch-jobs')}": f"UpdateItem: {DYNAMODB_DENIED}",
            f"KeepImages dynamodb:BatchGetItem {TABLE.format('pending-images')}": f"BatchGetItem: {DYNAMODB_DENIED}",
            f"KeepImages dynamodb:PartiQLUpdate {TABLE.format('pending-images')}": (
                f"BatchExecuteStatement: {DYNAMODB_DENIED}"
            ),
            f"ReadImages s3:GetObject {IMAGES}/uploads/*": "left out: UNREADABLE 1",
            f"WriteManifests s3:PutObject {IMAGES}/batch-input/*": "PutObject: AccessDenied",
        }.items()
    ),
    *(
        ("sqs", f"orchestrator data: {grant}", submit_a_job_with_images_in_s3, failure)
        for grant, failure in {
            f"ListImages s3:ListBucket {IMAGES}": "ListObjectsV2: AccessDenied",
            f"ReadImages s3:GetObject {IMAGES}/uploads/*": "left out: UNREADABLE 1",
            f"WriteManifests s3:PutObject {IMAGES}/batch-input/*": "left out: UNREADABLE 1",
        }.items()
    ),
    (
        "sqs",
        f"orchestrator data: KeepJobs dynamodb:DeleteItem {TABLE.format('batch-jobs')}",
        refuse_a_request,
        f"DeleteItem: {DYNAMODB_DENIED}",
    ),
    (
        "sqs",
        f"orchestrator data: FindWaitingImages dynamodb:Query {TABLE.format('pending-images')}/index/status-uploadedAt",
        run_the_schedule,
        f"Query: {DYNAMODB_DENIED}",
    ),
    (
        "sqs",
        f"orchestrator data: WriteManifests s3:AbortMultipartUpload {IMAGES}/batch-input/*",
        abort_an_upload,
        "1 upload remains",
    ),
    ("sqs", f"orchestrator data: SubmitJobs {CREATE} inference-profile/{MODEL_ID}", simulate_job_creation, PROFILE),
    ("sqs", f"orchestrator data: SubmitJobs {CREATE} {MODEL}", simulate_job_creation, MODEL_IN_OTHER_REGION),
    ("sqs", f"orchestrator data: SubmitJobs {CREATE} foundation-model/{CLAUDE}", simulate_job_creation, CLAUDE_MODEL),
    *(
        ("s3", grant, simulate_job_with_application_profile, failure)
        for grant, failure in {
            f"orchestrator data: SubmitJobs {CREATE} application-inference-profile/abcdefgh1234": (
                f"{CREATE} {APPLICATION_PROFILE}"
            ),
            f"orchestrator data: SubmitJobs {CREATE} foundation-model/*": f"{CREATE} {MODEL_IN_OTHER_REGION}",
            f"bedrock data: RunProfiles {RUN} application-inference-profile/abcdefgh1234": (
                f"{RUN} {APPLICATION_PROFILE}"
            ),
            f"bedrock data: RunModelsOfProfiles {RUN} foundation-model/*": f"{RUN} {MODEL_IN_OTHER_REGION}",
        }.items()
    ),
    *(
        ("sqs", f"bedrock data: {grant}", simulate_bedrocks_calls, failure)
        for grant, failure in {
            f"RunProfiles {RUN} inference-profile/{MODEL_ID}": f"{RUN} {PROFILE}",
            f"RunProfiles {RUN} {MODEL}": f"{RUN} {MODEL_IN_OTHER_REGION}",
            f"UseManifestsAndOutputs s3:PutObject {IMAGES}/batch-input/*": f"s3:PutObject {MANIFEST}",
            f"UseManifestsAndOutputs s3:GetObject {IMAGES}/batch-output/*": f"s3:GetObject {OUTPUT}",
        }.items()
    ),
    (
        "sqs",
        f"orchestrator on-failure: HandOverFailedEvents sqs:SendMessage {SUBMIT_DLQ}",
        send_a_failed_request,
        "sqs:SendMessage",
    ),
    (
        "sqs",
        f"schedule target: InvokeFunction lambda:InvokeFunction {ORCHESTRATOR_ARN.split(':', 5)[-1]}",
        invoke_the_orchestrator,
        "lambda:InvokeFunction",
    ),
    (
        "sqs",
        f"schedule target: HandOverFailedRuns sqs:SendMessage {SUBMIT_DLQ}",
        send_a_failed_run,
        "sqs:SendMessage",
    ),
    ("sqs", f"orchestrator data: SubmitJobs {CREATE} model-invocation-job/*", simulate_job_creation, JOB),
    (
        "sqs",
        f"orchestrator data: HandOverRole iam:PassRole {BEDROCK_ROLE}",
        simulate_job_creation,
        "iam:PassRole",
    ),
    *(
        ("sqs", f"orchestrator log: WriteLog {action} {ORCHESTRATOR_LOG}", write_the_orchestrators_log, action)
        for action in ("logs:CreateLogStream", "logs:PutLogEvents")
    ),
    ("sqs", f"bedrock data: ListLocations s3:ListBucket {IMAGES}", submit_a_job, "Failed, ListObjectsV2: AccessDenied"),
    (
        "sqs",
        f"bedrock data: UseManifestsAndOutputs s3:GetObject {IMAGES}/batch-input/*",
        submit_a_job,
        "Failed, GetObject: AccessDenied",
    ),
    (
        "sqs",
        f"bedrock data: UseManifestsAndOutputs s3:PutObject {IMAGES}/batch-output/*",
        submit_a_job,
        "Failed, PutObject: AccessDenied",
    ),
    (
        "sqs",
        f"output topic: BucketPublishes sns:Publish {QUEUE}",
        set_the_notification,
        "PutBucketNotificationConfiguration: InvalidArgument",
    ),
    ("sqs", f"queue: TopicSends sqs:SendMessage {QUEUE}", deliver_to_the_queue, "not delivered"),
    ("sqs", f"bucket: TlsOnly s3:* {IMAGES}", read_without_tls, "list_objects_v2 without TLS"),
    ("sqs", f"bucket: TlsOnly s3:* {IMAGES}/*", read_without_tls, "get_object without TLS"),
]
"""Rows of the stage's trigger, the grant to remove, the check to make without it, and the expected failure."""


@dataclass(frozen=True)
class Sender:
    """A service that calls a resource of the stage on behalf of a source, which may be in another account."""

    service: str
    source: str
    account: str


ACCOUNT = IMAGES.rpartition("-")[2]
SCOPE = f"{REGION}:{ACCOUNT}"
"""The region and the account in the stage's ARNs."""
BUCKET = Sender("s3.amazonaws.com", BUCKET_ARN, ACCOUNT)
TOPIC = Sender("sns.amazonaws.com", f"arn:aws:sns:{SCOPE}:{QUEUE}", ACCOUNT)
RULE = Sender(
    "events.amazonaws.com",
    f"arn:aws:events:{SCOPE}:rule/yorutsuke-batch-output-failed-jobs-local",
    ACCOUNT,
)
ALARM = Sender("cloudwatch.amazonaws.com", f"arn:aws:cloudwatch:{SCOPE}:alarm:yorutsuke-dlq-depth-local", ACCOUNT)
JOBS = Sender("bedrock.amazonaws.com", JOB, ACCOUNT)
SCHEDULES = Sender("scheduler.amazonaws.com", f"arn:aws:scheduler:{SCOPE}:schedule-group/default", ACCOUNT)
LAMBDA = Sender(
    "lambda.amazonaws.com",
    f"arn:aws:lambda:{SCOPE}:function:yorutsuke-batch-result-handler-local",
    ACCOUNT,
)

EVALUATED_GRANTS: list[tuple[str, str, Sender]] = [
    ("sqs", f"queue: RuleSends sqs:SendMessage {QUEUE}", RULE),
    ("sqs", f"dead-letter queue: RuleSends sqs:SendMessage {DLQ}", RULE),
    ("sqs", f"dead-letter queue: TopicSends sqs:SendMessage {DLQ}", TOPIC),
    ("sqs", "alarm topic: AlarmsPublish sns:Publish yorutsuke-alarms-local", ALARM),
    ("sqs", "trust of role: sts:AssumeRole *", LAMBDA),
    ("sqs", "trust of orchestrator: sts:AssumeRole *", LAMBDA),
    ("sqs", "trust of bedrock: BatchJobsAct sts:AssumeRole *", JOBS),
    ("sqs", "trust of schedule: ScheduleActs sts:AssumeRole *", SCHEDULES),
    ("s3", "function: BucketInvokes lambda:InvokeFunction function:yorutsuke-batch-result-handler-local", BUCKET),
]
"""Rows of the stage's trigger, a grant, and its sender, for calls that the emulator does not check."""

FOREIGN_SENDERS: list[tuple[str, str, str, Sender]] = [
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
        Sender(JOBS.service, f"arn:aws:bedrock:{SCOPE}:model-customization-job/abcdefgh1234", ACCOUNT),
    ),
    ("sqs", "trust of bedrock: BatchJobsAct", "aws:SourceAccount", Sender(JOBS.service, JOBS.source, "210987654321")),
    (
        "sqs",
        "trust of schedule: ScheduleActs",
        "aws:SourceArn",
        Sender(SCHEDULES.service, f"arn:aws:scheduler:{SCOPE}:schedule-group/other", ACCOUNT),
    ),
    (
        "sqs",
        "trust of schedule: ScheduleActs",
        "aws:SourceAccount",
        Sender(SCHEDULES.service, SCHEDULES.source, "210987654321"),
    ),
    ("s3", "function: BucketInvokes", "AWS:SourceArn", Sender(BUCKET.service, f"{BUCKET_ARN}-2", ACCOUNT)),
    ("s3", "function: BucketInvokes", "AWS:SourceAccount", Sender(BUCKET.service, BUCKET_ARN, "210987654321")),
]
"""Rows of the stage's trigger, a statement, one of its conditions, and a sender that only this condition excludes."""


def _policy_of(stage: Stage, name: str) -> Policy:
    """Return the policy of a grant or a statement. Its name begins with the policy's name."""
    return stage.policies[name.partition(":")[0]]


def _decision(document: Document, action: str, resource: str, sender: Sender) -> str:
    """Return the decision of the emulator's policy evaluator."""
    question = {
        "policy": document,
        "action": action,
        "resource": resource,
        "service": sender.service,
        "sourceArn": sender.source,
        "sourceAccount": sender.account,
    }
    return decide(question)


def test_tables_contain_every_grant(stages: dict[str, Stage]) -> None:
    deployed_grants = {str(grant) for stage in stages.values() for grant in grants_of(stage.policies)}

    assert {grant for _, grant, *_ in (*REMOVED_GRANTS, *EVALUATED_GRANTS)} == deployed_grants


def test_linter_accepts_every_deployed_statement(stages: dict[str, Stage]) -> None:
    statements = [
        statement
        for stage in stages.values()
        for policy in stage.policies.values()
        for statement in policy.read()["Statement"]
    ]

    assert [problem for statement in statements for problem in problems(statement)] == []


@pytest.mark.parametrize(("trigger", "check"), sorted({(row[0], row[2]) for row in REMOVED_GRANTS}, key=str))
def test_check_succeeds_with_all_grants(stages: dict[str, Stage], trigger: str, check: Check) -> None:
    assert check(stages[trigger]) == WORKS


@pytest.mark.parametrize(("trigger", "removed", "check", "failure"), REMOVED_GRANTS)
def test_check_fails_without_the_removed_grant(
    stages: dict[str, Stage], trigger: str, removed: str, check: Check, failure: str
) -> None:
    stage = stages[trigger]
    policy = _policy_of(stage, removed)
    assert policy.write
    before = policy.read()
    [grant] = [grant for grant in grants_of(stage.policies) if str(grant) == removed]

    policy.write(without_grant(before, grant))
    try:
        assert check(stage) == failure
    finally:
        policy.write(before)


@pytest.mark.parametrize(("trigger", "name", "sender"), EVALUATED_GRANTS)
def test_sender_is_allowed_only_by_its_grant(stages: dict[str, Stage], trigger: str, name: str, sender: Sender) -> None:
    stage = stages[trigger]
    document = _policy_of(stage, name).read()
    [grant] = [grant for grant in grants_of(stage.policies) if str(grant) == name]

    assert _decision(document, grant.action, grant.resource, sender) == "Allow"
    another = replace(sender, service="ec2.amazonaws.com")
    assert _decision(document, grant.action, grant.resource, another) == "ImplicitDeny"
    assert _decision(without_grant(document, grant), grant.action, grant.resource, sender) == "ImplicitDeny"


def test_bedrock_reads_images_in_its_role(stages: dict[str, Stage]) -> None:
    """The record of an image has an error if the role may read only manifests."""
    stage = stages["sqs"]
    policy = stage.policies["bedrock data"]
    assert policy.write
    before = policy.read()
    image_id = _new_image(stage)
    job_id = stage.loop.submit([image_id], f"intent-{image_id}", imageDelivery="s3")["jobId"]

    policy.write(json.loads(json.dumps(before).replace("/batch-input/*", "/batch-input/*.jsonl")))
    try:
        assert stage.loop.bedrock.finish(job_id).status == "Completed"
    finally:
        policy.write(before)

    key = f"batch-output/{job_id}/manifest.jsonl.out"
    body = stage.job_run.aws.s3.get_object(Bucket=stage.job_run.outputs["imagesBucket"], Key=key)["Body"].read()
    assert json.loads(body)["error"]["errorMessage"].endswith("cannot be read (AccessDenied).")


def _statement(document: Document, name: str) -> Document:
    [found] = [statement for statement in document["Statement"] if statement.get("Sid") == name.partition(": ")[2]]
    return found


@pytest.mark.parametrize(("trigger", "name", "condition", "sender"), FOREIGN_SENDERS)
def test_foreign_sender_is_denied_by_one_condition(
    stages: dict[str, Stage], trigger: str, name: str, condition: str, sender: Sender
) -> None:
    document = _policy_of(stages[trigger], name).read()
    statement = _statement(document, name)
    [action], [resource] = as_list(statement["Action"]), as_list(statement.get("Resource", "*"))

    assert _decision(document, action, resource, sender) == "ImplicitDeny"
    [comparison] = [comparison for comparison, keys in statement["Condition"].items() if condition in keys]
    del statement["Condition"][comparison]
    assert _decision(document, action, resource, sender) == "Allow"
    assert _decision(document, action, resource, replace(sender, service="ec2.amazonaws.com")) == "ImplicitDeny"


def test_every_condition_on_senders_has_a_row(stages: dict[str, Stage]) -> None:
    conditions = {
        (f"{name}: {statement['Sid']}", key)
        for stage in stages.values()
        for name, policy in stage.policies.items()
        for statement in policy.read()["Statement"]
        # Resource policies only. The conditions of a role's own policies do not restrict senders.
        if statement["Effect"] == "Allow" and "Principal" in statement
        for keys in statement.get("Condition", {}).values()
        for key in keys
    }

    assert {(name, condition) for _, name, condition, _ in FOREIGN_SENDERS} == conditions
