"""The policy documents of a stage. The functions in this module take ARNs and return documents.

An ARN may be an unresolved Pulumi input. Therefore serialise a document with `pulumi.Output.json_dumps`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pulumi import Input, Output

from yorutsuke_common.names import (
    BATCH_INPUT_PREFIX,
    BATCH_OUTPUT_PREFIX,
    DEAD_LETTERS_PREFIX,
    IMAGE_STATUS_INDEX,
    JOB_ID_INDEX,
    PROCESSED_PREFIX,
    UPLOADS_PREFIX,
)

from .batch_models import BatchModels

Document = dict[str, Any]


@dataclass(frozen=True)
class BatchResultResources:
    """The ARNs of the resources that the batch_result_handler uses."""

    bucket: Input[str]
    transactions: Input[str]
    batch_jobs: Input[str]
    pending_images: Input[str]


def batch_result_policy(arns: BatchResultResources) -> Document:
    """Return the permissions of the batch_result_handler on a job's data: exactly the calls that its code makes."""
    return _document(
        # CopyObject, HeadObject and conditional deletes need GetObject.
        _allow(
            "ReadOutputAndImages",
            ["s3:GetObject"],
            # The grant covers every job and every user, because a message names them.
            [_under(arns.bucket, f"{BATCH_OUTPUT_PREFIX}*"), _under(arns.bucket, f"{UPLOADS_PREFIX}*")],
        ),
        _allow(
            "WriteCopiesAndDeadLetters",
            ["s3:PutObject"],
            # For any date and any job.
            [_under(arns.bucket, f"{PROCESSED_PREFIX}*"), _under(arns.bucket, f"{DEAD_LETTERS_PREFIX}*")],
        ),
        # If a job has several output files, the function keeps the dead letters of the others. For any job.
        _allow("KeepDeadLetters", ["s3:GetObject"], [_under(arns.bucket, f"{DEAD_LETTERS_PREFIX}*")]),
        # CopyObject copies the tags of an image, such as that of a malware scan, and fails without these two grants.
        # Source: AWS re:Post Knowledge Center, "Why can't I copy an object between two Amazon S3 buckets?".
        # For every user.
        _allow("ReadTagsOfUploads", ["s3:GetObjectTagging"], [_under(arns.bucket, f"{UPLOADS_PREFIX}*")]),
        # For any date.
        _allow("WriteTagsOfCopies", ["s3:PutObjectTagging"], [_under(arns.bucket, f"{PROCESSED_PREFIX}*")]),
        # The grant covers every user. Deleted images can be restored, because the function may not delete versions.
        _allow("DeleteMovedImages", ["s3:DeleteObject"], [_under(arns.bucket, f"{UPLOADS_PREFIX}*")]),
        _allow("AddTransactions", ["dynamodb:PartiQLInsert"], [arns.transactions]),
        _allow("SetStatuses", ["dynamodb:PartiQLUpdate"], [arns.transactions, arns.pending_images]),
        _allow("LookUpItems", ["dynamodb:BatchGetItem"], [arns.transactions, arns.pending_images]),
        _allow("FindJob", ["dynamodb:Query"], [_under(arns.batch_jobs, f"index/{JOB_ID_INDEX}")]),
        _allow("FindHeldImages", ["dynamodb:Query"], [_under(arns.pending_images, f"index/{IMAGE_STATUS_INDEX}")]),
        _allow("CompleteJob", ["dynamodb:UpdateItem"], [arns.batch_jobs]),
    )


@dataclass(frozen=True)
class BatchSubmissionResources:
    """The ARNs of the resources and models that the batch_orchestrator uses."""

    bucket: Input[str]
    batch_jobs: Input[str]
    pending_images: Input[str]
    bedrock_role: Input[str]
    bedrock_jobs: Input[str]
    models: BatchModels


def submission_policy(arns: BatchSubmissionResources) -> Document:
    """Return the permissions of the batch_orchestrator: exactly the calls that its code makes.

    CreateModelInvocationJob needs permission on the job and on the model. Bedrock assigns the job's id, so the policy
    allows all jobs of the account in the stage's Region. The reference does not state whether Bedrock also checks an
    inference profile and its foundation models, so the policy includes them. With an application inference profile,
    these are all models. The action has no condition key that restricts them to the profile.

    Sources: AWS service authorization reference, "Actions defined by Amazon Bedrock", CreateModelInvocationJob; Amazon
    Bedrock user guide, "Prerequisites for inference profiles".
    """
    models = arns.models
    run_models = [models.every_model] if models.application_profiles else models.profile_models
    direct_models = () if models.application_profiles else models.foundation_models
    granted_models = [*direct_models, *models.profiles, *models.application_profiles, *run_models]
    return _document(
        _allow(
            "KeepJobs",
            ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"],
            [arns.batch_jobs],
        ),
        _allow("FindWaitingImages", ["dynamodb:Query"], [_under(arns.pending_images, f"index/{IMAGE_STATUS_INDEX}")]),
        _allow("KeepImages", ["dynamodb:BatchGetItem", "dynamodb:PartiQLUpdate"], [arns.pending_images]),
        # The grant covers every user, because a request names the images. CopyObject needs it as well.
        _allow("ReadImages", ["s3:GetObject"], [_under(arns.bucket, f"{UPLOADS_PREFIX}*")]),
        # A listing has the ETags and sizes of a thousand images, which the function copies to their job's input.
        {
            **_allow("ListImages", ["s3:ListBucket"], [arns.bucket]),
            # For every user.
            "Condition": {"StringLike": {"s3:prefix": f"{UPLOADS_PREFIX}*"}},
        },
        # The function also writes copies of images. It aborts a multipart upload that fails.
        _allow(
            "WriteManifests",
            ["s3:PutObject", "s3:AbortMultipartUpload"],
            # For any intent.
            [_under(arns.bucket, f"{BATCH_INPUT_PREFIX}*")],
        ),
        _allow("SubmitJobs", ["bedrock:CreateModelInvocationJob"], [arns.bedrock_jobs, *granted_models]),
        {
            **_allow("HandOverRole", ["iam:PassRole"], [arns.bedrock_role]),
            "Condition": {"StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}},
        },
    )


def bedrock_trust_policy(account_id: Input[str], jobs: Input[str]) -> Document:
    """Allow Bedrock to assume a role, for batch inference jobs of this account only.

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
    """Return the permissions of Bedrock's role: the documented ones, on the prefixes of inputs and output files.

    Bedrock validates its access to both locations when a job starts. The guide lists the bucket without a prefix, and
    it runs a profile's model without a condition. A foundation model that the job names directly needs no permission.
    The model of an application inference profile is not known, so the role may run any model through the profile only.

    Sources: Amazon Bedrock user guide, "Create a custom service role for batch inference" and "Prerequisites for
    inference profiles".
    """
    profiles = [*models.profiles, *models.application_profiles, *models.profile_models]
    through_profile = {"StringEquals": {"bedrock:InferenceProfileArn": list(models.application_profiles)}}
    # For any intent and any job.
    locations = [_under(bucket, f"{prefix}*") for prefix in (BATCH_INPUT_PREFIX, BATCH_OUTPUT_PREFIX)]
    return _document(
        _allow("ListLocations", ["s3:ListBucket"], [bucket]),
        _allow("UseManifestsAndOutputs", ["s3:GetObject", "s3:PutObject"], locations),
        *([_allow("RunProfiles", ["bedrock:InvokeModel"], profiles)] if profiles else []),
        *(
            [
                {
                    **_allow("RunModelsOfProfiles", ["bedrock:InvokeModel"], [models.every_model]),
                    "Condition": through_profile,
                }
            ]
            if models.application_profiles
            else []
        ),
    )


def schedule_trust_policy(account_id: Input[str], group: Input[str]) -> Document:
    """Allow EventBridge Scheduler to assume a role, for the schedules of one schedule group of this account only.

    The service sends the ARN of the group. A condition on the ARN of the schedule would deny every run.

    Source: EventBridge Scheduler user guide, "Confused deputy prevention in EventBridge Scheduler".
    """
    return _document(
        {
            "Sid": "ScheduleActs",
            "Effect": "Allow",
            "Principal": {"Service": "scheduler.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {"ArnEquals": {"aws:SourceArn": group}, "StringEquals": {"aws:SourceAccount": account_id}},
        }
    )


def schedule_policy(function: Input[str], dead_letter_queue: Input[str]) -> Document:
    """Return the permissions of a schedule's role: to invoke one function, and to send failed runs to one queue.

    EventBridge Scheduler sends to the queue in this role, so the queue's policy need not allow it.

    Source: EventBridge Scheduler user guide, "Configuring a schedule's dead-letter queue in EventBridge Scheduler".
    """
    return _document(
        _allow("InvokeFunction", ["lambda:InvokeFunction"], [function]),
        _allow("HandOverFailedRuns", ["sqs:SendMessage"], [dead_letter_queue]),
    )


def consume_policy(queue: Input[str]) -> Document:
    """Return the permissions that Lambda's poller needs, in the function's role, to receive from a queue."""
    actions = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
    return _document(_allow("ConsumeQueue", actions, [queue]))


def on_failure_policy(queue: Input[str]) -> Document:
    """Return the permission that Lambda needs, in the function's role, to send failed events to a queue."""
    return _document(_allow("HandOverFailedEvents", ["sqs:SendMessage"], [queue]))


def log_policy(log_group: Input[str]) -> Document:
    """Return the permissions that a function needs to write to its log group, which the program creates."""
    # Any stream, because Lambda names one for each execution environment.
    streams = Output.concat(log_group, ":log-stream:*")
    return _document(_allow("WriteLog", ["logs:CreateLogStream", "logs:PutLogEvents"], [streams]))


def assume_role_policy(service: str) -> Document:
    """Return the trust policy of a role that a service assumes."""
    return _document({"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"})


def bucket_policy(bucket: Input[str]) -> Document:
    """Deny every request without TLS. Requests with TLS still need permission."""
    return _document(
        {
            "Sid": "TlsOnly",
            "Effect": "Deny",
            # The denial applies to all principals.
            "Principal": "*",
            # The denial applies to all actions.
            "Action": ["s3:*"],
            # The denial applies to the bucket and all its objects.
            "Resource": [bucket, _under(bucket, "*")],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    )


def topic_policy(topic: Input[str], bucket: Input[str], account_id: Input[str]) -> Document:
    """Allow one bucket of this account to publish to the topic."""
    return _document(
        {
            **_allow("BucketPublishes", ["sns:Publish"], [topic]),
            "Principal": {"Service": "s3.amazonaws.com"},
            "Condition": {"ArnEquals": {"aws:SourceArn": bucket}, "StringEquals": {"aws:SourceAccount": account_id}},
        }
    )


def alarm_topic_policy(topic: Input[str], account_id: Input[str]) -> Document:
    """Allow the CloudWatch alarms of this account to publish to the topic."""
    return _document(
        {
            **_allow("AlarmsPublish", ["sns:Publish"], [topic]),
            "Principal": {"Service": "cloudwatch.amazonaws.com"},
            "Condition": {"StringEquals": {"aws:SourceAccount": account_id}},
        }
    )


def queue_policy(queue: Input[str], rule: Input[str], topic: Input[str]) -> Document:
    """Allow one rule and one topic to send to a queue. Neither can deliver without this policy.

    A dead-letter queue also needs it, for messages that the rule or the topic cannot deliver. A move from
    another queue by SQS does not need it.
    """
    return _document(
        _sends("RuleSends", "events.amazonaws.com", rule, queue),
        _sends("TopicSends", "sns.amazonaws.com", topic, queue),
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
