"""The AWS clients of the local stage, all at the emulator."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from .emulator import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY

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
    """Clients with the emulator's root credentials; `ca_bundle` vouches for its endpoint.

    Without an endpoint they are AWS's own, for tests that catch their calls.
    """

    def __init__(self, endpoint: str | None, ca_bundle: Path | None = None) -> None:
        session = boto3.Session(ACCESS_KEY_ID, SECRET_ACCESS_KEY, region_name=REGION)
        # A proxy is for the way out of the machine.
        there: Any = {"endpoint_url": endpoint, "verify": ca_bundle and str(ca_bundle), "config": Config(proxies={})}
        self._there = there
        self.cloudwatch: CloudWatchClient = session.client("cloudwatch", **there)
        self.dynamodb: DynamoDBClient = session.client("dynamodb", **there)
        self.events: EventBridgeClient = session.client("events", **there)
        self.iam: IAMClient = session.client("iam", **there)
        self.lambda_: LambdaClient = session.client("lambda", **there)
        self.logs: CloudWatchLogsClient = session.client("logs", **there)
        self.s3: S3Client = session.client("s3", **there)
        self.sns: SNSClient = session.client("sns", **there)
        self.sqs: SQSClient = session.client("sqs", **there)
        self.sts: STSClient = session.client("sts", **there)

    def s3_in_role(self, role_arn: str, session_name: str) -> "S3Client":
        """Return a client of S3 with the rights of a role, which has to trust the account."""
        given = self.sts.assume_role(RoleArn=role_arn, RoleSessionName=session_name)["Credentials"]
        session = boto3.Session(
            given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], region_name=REGION
        )
        return session.client("s3", **self._there)
