"""The AWS clients of the local stage, all at the emulator."""

from typing import TYPE_CHECKING

import boto3

from .emulator import REGION

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sts import STSClient


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
        self.cloudwatch: CloudWatchClient = session.client("cloudwatch", endpoint_url=endpoint)
        self.dynamodb: DynamoDBClient = session.client("dynamodb", endpoint_url=endpoint)
        self.iam: IAMClient = session.client("iam", endpoint_url=endpoint)
        self.lambda_: LambdaClient = session.client("lambda", endpoint_url=endpoint)
        self.logs: CloudWatchLogsClient = session.client("logs", endpoint_url=endpoint)
        self.s3: S3Client = session.client("s3", endpoint_url=endpoint)
        self.sns: SNSClient = session.client("sns", endpoint_url=endpoint)
        self.sqs: SQSClient = session.client("sqs", endpoint_url=endpoint)
        self.sts: STSClient = session.client("sts", endpoint_url=endpoint)
