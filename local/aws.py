"""The AWS clients of the local stage, all at the emulator."""

import os
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from .emulator import REGION

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sts import STSClient


def forget_own_account() -> None:
    """Take a person's own AWS set-up, such as a profile, out of this process: nothing here is for their account."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]


class Aws:
    """Clients with the emulator's root credentials, or with those of a session it gave out.

    Without an endpoint they are AWS's own, for tests that catch their calls.
    """

    def __init__(
        self,
        endpoint: str | None,
        access_key: str = "test",
        secret_key: str = "test",  # noqa: S107 - the emulator's own
        token: str | None = None,
    ) -> None:
        session = boto3.Session(access_key, secret_key, token, REGION)
        # A proxy is for the way out of the machine.
        direct = Config(proxies={})
        self.cloudwatch: CloudWatchClient = session.client("cloudwatch", endpoint_url=endpoint, config=direct)
        self.dynamodb: DynamoDBClient = session.client("dynamodb", endpoint_url=endpoint, config=direct)
        self.events: EventBridgeClient = session.client("events", endpoint_url=endpoint, config=direct)
        self.iam: IAMClient = session.client("iam", endpoint_url=endpoint, config=direct)
        self.lambda_: LambdaClient = session.client("lambda", endpoint_url=endpoint, config=direct)
        self.logs: CloudWatchLogsClient = session.client("logs", endpoint_url=endpoint, config=direct)
        self.s3: S3Client = session.client("s3", endpoint_url=endpoint, config=direct)
        self.sns: SNSClient = session.client("sns", endpoint_url=endpoint, config=direct)
        self.sqs: SQSClient = session.client("sqs", endpoint_url=endpoint, config=direct)
        self.sts: STSClient = session.client("sts", endpoint_url=endpoint, config=direct)
