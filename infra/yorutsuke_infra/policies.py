"""The policy documents of a stage: who may do what, on what. Pure: ARNs in, documents out.

An ARN may be a Pulumi input that is not known yet; serialise a document with `pulumi.Output.json_dumps`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pulumi import Input, Output

from yorutsuke_common.names import (
    BATCH_INPUT_PREFIX,
    BATCH_OUTPUT_PREFIX,
    DEAD_LETTERS_PREFIX,
    JOB_ID_INDEX,
    PROCESSED_PREFIX,
    UPLOADS_PREFIX,
)

from .batch_models import BatchModels

Document = dict[str, Any]


@dataclass(frozen=True)
class BatchResultResources:
    """The ARNs that the batch_result_handler works on."""

    bucket: Input[str]
    transactions: Input[str]
    batch_jobs: Input[str]
    pending_images: Input[str]


def batch_result_policy(arns: BatchResultResources) -> Document:
    """Return what the batch_result_handler may do with a job's data: exactly what its code calls."""
    return _document(
        # GetObject is also what CopyObject needs of its source.
        _allow(
            "ReadOutputAndImages",
            ["s3:GetObject"],
            # Of any job and any user: which ones is known when the message comes.
            [_under(arns.bucket, f"{BATCH_OUTPUT_PREFIX}*"), _under(arns.bucket, f"{UPLOADS_PREFIX}*")],
        ),
        _allow(
            "WriteCopiesAndDeadLetters",
            ["s3:PutObject"],
            # On any day, of any job.
            [_under(arns.bucket, f"{PROCESSED_PREFIX}*"), _under(arns.bucket, f"{DEAD_LETTERS_PREFIX}*")],
        ),
        # Of any user. What was deleted can be restored: of versions it deletes none.
        _allow("DeleteMovedImages", ["s3:DeleteObject"], [_under(arns.bucket, f"{UPLOADS_PREFIX}*")]),
        _allow("WriteResults", ["dynamodb:BatchWriteItem"], [arns.transactions, arns.pending_images]),
        _allow("LookUpImages", ["dynamodb:BatchGetItem"], [arns.pending_images]),
        _allow("FindJob", ["dynamodb:Query"], [_under(arns.batch_jobs, f"index/{JOB_ID_INDEX}")]),
        _allow("CompleteJob", ["dynamodb:UpdateItem"], [arns.batch_jobs]),
    )


@dataclass(frozen=True)
class BatchSubmissionResources:
    """The ARNs that the batch_orchestrator works on, and the models that a job may be of."""

    bucket: Input[str]
    batch_jobs: Input[str]
    pending_images: Input[str]
    bedrock_role: Input[str]
    bedrock_jobs: Input[str]
    models: BatchModels


def submission_policy(arns: BatchSubmissionResources) -> Document:
    """Return what the batch_orchestrator may do: exactly what its code calls.

    A job is created of a model and as a job, whose id is not known before. Whether it is asked for an inference
    profile and the models behind it, the reference does not say: that the job is the account's, in the stage's Region,
    holds with them as well.
    Source: AWS service authorization reference, "Actions defined by Amazon Bedrock", CreateModelInvocationJob.
    """
    return _document(
        _allow("KeepJobs", ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"], [arns.batch_jobs]),
        _allow("LookUpImages", ["dynamodb:BatchGetItem"], [arns.pending_images]),
        # Of any user.
        _allow("ReadImages", ["s3:GetObject"], [_under(arns.bucket, f"{UPLOADS_PREFIX}*")]),
        # An upload that is given up is aborted.
        _allow(
            "WriteManifests",
            ["s3:PutObject", "s3:AbortMultipartUpload"],
            # Of any intent.
            [_under(arns.bucket, f"{BATCH_INPUT_PREFIX}*")],
        ),
        _allow("SubmitJobs", ["bedrock:CreateModelInvocationJob"], [arns.bedrock_jobs, *arns.models.arns]),
        {
            **_allow("HandOverRole", ["iam:PassRole"], [arns.bedrock_role]),
            "Condition": {"StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}},
        },
    )


def bedrock_trust_policy(account_id: Input[str], jobs: Input[str]) -> Document:
    """Let Bedrock take a role on for this account's batch inference jobs, whichever they are, and for nothing else.

    Source: Amazon Bedrock user guide, "Create a custom service role for batch inference".
    """
    return _document(
        {
            "Sid": "BatchJobsAct",
            "Effect": "Allow",
            "Principal": {"Service": "bedrock.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:SourceAccount": account_id}, "ArnLike": {"aws:SourceArn": jobs}},
        }
    )


def bedrock_policy(bucket: Input[str], models: BatchModels) -> Document:
    """Return what Bedrock needs: to read manifests, to write outputs, and to run what is behind a profile.

    It lists as well, to find its input; below what prefix is not documented. A foundation model that is named itself it
    runs without leave. Source: the same.
    """
    return _document(
        _allow("FindManifests", ["s3:ListBucket"], [bucket]),
        # Of any intent.
        _allow("ReadManifests", ["s3:GetObject"], [_under(bucket, f"{BATCH_INPUT_PREFIX}*")]),
        # Of any job, whose id Bedrock gives.
        _allow("WriteOutputs", ["s3:PutObject"], [_under(bucket, f"{BATCH_OUTPUT_PREFIX}*")]),
        *(statement for number, profile in enumerate(models.profiles) for statement in _by_profile(number, *profile)),
    )


def _by_profile(number: int, profile: Input[str], model: Input[str]) -> list[Document]:
    """Let a model be run by an inference profile, wherever that may lead, and in no other way.

    Source: Amazon Bedrock user guide, "Prerequisites for inference profiles".
    """
    action = ["bedrock:InvokeModel"]
    return [
        _allow(f"UseProfile{number}", action, [profile]),
        {
            **_allow(f"RunModelOfProfile{number}", action, [model]),
            "Condition": {"StringEquals": {"bedrock:InferenceProfileArn": profile}},
        },
    ]


def consume_policy(queue: Input[str]) -> Document:
    """Return what Lambda's poller needs, in the function's name, to take messages from a queue."""
    actions = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
    return _document(_allow("ConsumeQueue", actions, [queue]))


def on_failure_policy(queue: Input[str]) -> Document:
    """Return what Lambda needs, in the function's name, to hand over an event that the function failed with."""
    return _document(_allow("HandOverFailedEvents", ["sqs:SendMessage"], [queue]))


def log_policy(log_group: Input[str]) -> Document:
    """Return what a function needs to write its log; the group exists already."""
    # Lambda names the streams, one for each execution environment.
    streams = Output.concat(log_group, ":log-stream:*")
    return _document(_allow("WriteLog", ["logs:CreateLogStream", "logs:PutLogEvents"], [streams]))


def assume_role_policy(service: str) -> Document:
    """Return the trust policy of a role that a service takes on."""
    return _document({"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"})


def bucket_policy(bucket: Input[str]) -> Document:
    """Refuse everybody who does not come over TLS; who comes over it needs leave all the same."""
    return _document(
        {
            "Sid": "TlsOnly",
            "Effect": "Deny",
            # A refusal leaves out nobody,
            "Principal": "*",
            # nothing that can be done,
            "Action": ["s3:*"],
            # and nothing that it can be done to.
            "Resource": [bucket, _under(bucket, "*")],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    )


def topic_policy(topic: Input[str], bucket: Input[str], account_id: Input[str]) -> Document:
    """Let one bucket of this account publish to the topic."""
    return _document(
        {
            **_allow("BucketPublishes", ["sns:Publish"], [topic]),
            "Principal": {"Service": "s3.amazonaws.com"},
            "Condition": {"ArnEquals": {"aws:SourceArn": bucket}, "StringEquals": {"aws:SourceAccount": account_id}},
        }
    )


def alarm_topic_policy(topic: Input[str], account_id: Input[str]) -> Document:
    """Let this account's CloudWatch alarms publish to the topic."""
    return _document(
        {
            **_allow("AlarmsPublish", ["sns:Publish"], [topic]),
            "Principal": {"Service": "cloudwatch.amazonaws.com"},
            "Condition": {"StringEquals": {"aws:SourceAccount": account_id}},
        }
    )


def queue_policy(queue: Input[str], rule: Input[str], topic: Input[str] | None) -> Document:
    """Let one rule, and one topic if there is one, send to a queue: without leave of its policy neither delivers.

    A dead-letter queue needs it for what they could not deliver; SQS's own redrive needs no leave.
    """
    return _document(
        _sends("RuleSends", "events.amazonaws.com", rule, queue),
        *([_sends("TopicSends", "sns.amazonaws.com", topic, queue)] if topic is not None else []),
    )


def _sends(sid: str, service: str, source: Input[str], queue: Input[str]) -> Document:
    return {
        **_allow(sid, ["sqs:SendMessage"], [queue]),
        "Principal": {"Service": service},
        "Condition": {"ArnEquals": {"aws:SourceArn": source}},
    }


def _document(*statements: Document) -> Document:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(sid: str, actions: Sequence[str], resources: Sequence[Input[str]]) -> Document:
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": list(resources)}


def _under(arn: Input[str], path: str) -> Output[str]:
    return Output.concat(arn, "/", path)
