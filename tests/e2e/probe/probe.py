"""A Lambda function that makes one AWS call in its role and returns the result."""

from typing import Any, cast

import boto3
from botocore.exceptions import ClientError


def handler(event: dict[str, Any], _: object) -> str:
    make_client = cast("Any", boto3.client)
    client = make_client(event["service"])
    try:
        getattr(client, event["operation"])(**event["params"])
    except ClientError as error:
        return error.response.get("Error", {}).get("Code", "")
    return "allowed"
