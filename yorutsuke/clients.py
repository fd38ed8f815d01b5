"""The clients of one AWS account and Region."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore.config import Config

from yorutsuke_common.aws.calls import CONCURRENCY
from yorutsuke_common.names import MAX_FUNCTION_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient


@dataclass(frozen=True)
class Clients:
    """The clients. `invocations` waits as long as a function may run, and never repeats a call.

    `endpoint` replaces AWS's own endpoints for the local stage, and is None otherwise. `variables` are the environment
    variables with which other programs use the same endpoint and credentials. They are empty if `endpoint` is None.
    """

    cloudwatch: "CloudWatchClient"
    dynamodb: "DynamoDBClient"
    lambda_: "LambdaClient"
    invocations: "LambdaClient"
    s3: "S3Client"
    scheduler: Any
    sns: "SNSClient"
    sqs: "SQSClient"
    endpoint: str | None
    variables: Mapping[str, str]


def make_clients(
    session: boto3.Session, endpoint: str | None = None, variables: Mapping[str, str] = MappingProxyType({})
) -> Clients:
    """Return the clients of a session. Raises NoRegionError if the session has no Region."""
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 5},
        # The stores of the layer need one connection more than they make concurrent calls.
        max_pool_connections=CONCURRENCY + 1,
        # A function may run for minutes. Routers drop connections that are idle for that long.
        tcp_keepalive=True,
        # The local stage must be reached without a proxy.
        proxies=None if endpoint is None else {},
    )
    # A service's name as an argument has no type in boto3's stubs.
    client = partial(cast("Callable[..., Any]", session.client), endpoint_url=endpoint, config=config)
    once = config.merge(Config(read_timeout=MAX_FUNCTION_SECONDS, retries={"total_max_attempts": 1}))
    return Clients(
        cloudwatch=client("cloudwatch"),
        dynamodb=client("dynamodb"),
        lambda_=client("lambda"),
        invocations=client("lambda", config=once),
        s3=client("s3"),
        # requirements/dev.txt has no stubs of this client.
        scheduler=client("scheduler"),
        sns=client("sns"),
        sqs=client("sqs"),
        endpoint=endpoint,
        variables=variables,
    )
