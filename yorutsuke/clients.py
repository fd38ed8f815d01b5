"""The clients of one AWS account and Region, each made when it is first needed."""

import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore.config import Config

from yorutsuke_common.aws.calls import CONCURRENCY

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

MAX_FUNCTION_SECONDS = 900
"""Lambda's own limit."""


@dataclass(frozen=True)
class Clients:
    """Clients of a session; `endpoint` stands in for AWS's own, on this machine."""

    session: boto3.Session
    endpoint: str | None = None
    # A session makes one client at a time; checks run on threads of their own.
    _making: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def cloudwatch(self) -> "CloudWatchClient":
        """CloudWatch's alarms and metrics."""
        return self._client("cloudwatch")

    @cached_property
    def dynamodb(self) -> "DynamoDBClient":
        """DynamoDB."""
        return self._client("dynamodb")

    @cached_property
    def events(self) -> "EventBridgeClient":
        """EventBridge."""
        return self._client("events")

    @cached_property
    def iam(self) -> "IAMClient":
        """IAM."""
        return self._client("iam")

    @cached_property
    def lambda_(self) -> "LambdaClient":
        """Lambda."""
        return self._client("lambda")

    @cached_property
    def invocations(self) -> "LambdaClient":
        """Lambda, waited for as long as a function may take, and asked once: whoever asks says when to ask again."""
        return self._client("lambda", read_timeout=MAX_FUNCTION_SECONDS, retries={"total_max_attempts": 1})

    @cached_property
    def s3(self) -> "S3Client":
        """S3."""
        return self._client("s3")

    @cached_property
    def sns(self) -> "SNSClient":
        """SNS."""
        return self._client("sns")

    @cached_property
    def sqs(self) -> "SQSClient":
        """SQS."""
        return self._client("sqs")

    def _client(self, service: str, **choices: Any) -> Any:
        # As the handler's are: its image store moves as many images at once.
        chosen: dict[str, Any] = {
            "retries": {"mode": "standard", "total_max_attempts": 5},
            "max_pool_connections": CONCURRENCY + 1,
            # A function may take minutes, and what forwards packets forgets a connection on which nothing is said.
            "tcp_keepalive": True,
            # A proxy is for the way out of the machine.
            "proxies": None if self.endpoint is None else {},
            **choices,
        }
        config = Config(**chosen)
        with self._making:
            # The stubs know the services that are named where they are called.
            make = cast("Callable[..., Any]", self.session.client)
            return make(service, endpoint_url=self.endpoint, config=config)
