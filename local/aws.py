"""The AWS clients of the local stage."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from .emulator import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def forget_own_account() -> None:
    """Remove the user's own AWS set-up, such as a profile, from this process. Calls must not reach their account."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]


class Aws:
    """Clients with the emulator's root credentials or another access key. `ca_bundle` is the authority of its endpoint.

    Without an endpoint they call AWS, for tests that intercept the calls.
    """

    def __init__(
        self,
        endpoint: str | None,
        ca_bundle: Path | None = None,
        access_key: tuple[str, str] = (ACCESS_KEY_ID, SECRET_ACCESS_KEY),
    ) -> None:
        self.endpoint = endpoint
        self.ca_bundle = ca_bundle
        session = boto3.Session(*access_key, region_name=REGION)
        # A proxy cannot reach a loopback port.
        self._there: Any = {
            "endpoint_url": endpoint,
            "verify": ca_bundle and str(ca_bundle),
            "config": Config(proxies={}),
        }
        self.cloudwatch = session.client("cloudwatch", **self._there)
        self.dynamodb = session.client("dynamodb", **self._there)
        self.events = session.client("events", **self._there)
        self.iam = session.client("iam", **self._there)
        self.lambda_ = session.client("lambda", **self._there)
        self.logs = session.client("logs", **self._there)
        self.s3 = session.client("s3", **self._there)
        # boto3-stubs has no types of this client here.
        self.scheduler: Any = session.client("scheduler", **self._there)
        self.sns = session.client("sns", **self._there)
        self.sqs = session.client("sqs", **self._there)
        self.sts = session.client("sts", **self._there)

    def s3_in_role(self, role_arn: str, session_name: str) -> "S3Client":
        """Return a client of S3 with the rights of a role that trusts the account."""
        given = self.sts.assume_role(RoleArn=role_arn, RoleSessionName=session_name)["Credentials"]
        session = boto3.Session(
            given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], region_name=REGION
        )
        return session.client("s3", **self._there)
