"""The bucket of images and job files: private, encrypted, TLS only, and versioned.

The bucket uses keys that S3 manages. A KMS key of the account would need grants for Bedrock and every reader.
"""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from yorutsuke_common.names import BATCH_INPUT_PREFIX, BATCH_OUTPUT_PREFIX, DEAD_LETTERS_PREFIX, physical_name

from .policies import bucket_policy
from .protection import data_options

EXPIRES_AFTER_DAYS = {BATCH_INPUT_PREFIX: 30, BATCH_OUTPUT_PREFIX: 30, DEAD_LETTERS_PREFIX: 90}
"""Lifetime of objects below a prefix, in days. Images in `uploads/` and `processed/` do not expire."""
EARLIER_VERSION_DAYS = 30
"""Number of days for which a deleted or replaced object can be restored."""
ABANDONED_UPLOAD_DAYS = 1
"""Number of days after which S3 aborts an unfinished multipart upload."""


@dataclass(frozen=True)
class ImagesBucketArgs:
    """Arguments of `ImagesBucket`. A bucket's name is globally unique, so it contains the account's id."""

    stage: str
    account_id: pulumi.Input[str]
    protect_data: bool


class ImagesBucket(pulumi.ComponentResource):
    """The bucket and its settings.

    Resources:
        `{name}`: the bucket, its public access block, policy, encryption, versioning and lifecycle rules.
    """

    def __init__(self, name: str, args: ImagesBucketArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:storage:ImagesBucket", name, {}, opts)
        self._protect_data = args.protect_data
        self.bucket = aws.s3.Bucket(
            name,
            bucket=pulumi.Output.concat(physical_name(name, args.stage), "-", args.account_id),
            force_destroy=not args.protect_data,
            opts=self._child(),
        )
        self._keep_private(name)
        self._encrypt(name)
        self._keep_versions(name)
        self.register_outputs({"bucket": self.bucket.bucket, "arn": self.bucket.arn})

    def _child(self, *depends_on: pulumi.Resource) -> pulumi.ResourceOptions:
        """Return the options of a child. `protect_data` protects the bucket together with its settings."""
        return data_options(self, depends_on, protect=self._protect_data)

    def _keep_private(self, name: str) -> None:
        block = aws.s3.BucketPublicAccessBlock(
            name,
            bucket=self.bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=self._child(),
        )
        aws.s3.BucketPolicy(
            name,
            bucket=self.bucket.bucket,
            policy=pulumi.Output.json_dumps(bucket_policy(self.bucket.arn)),
            # S3 rejects concurrent changes of a bucket's access settings.
            opts=self._child(block),
        )

    def _encrypt(self, name: str) -> None:
        default = aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
            sse_algorithm="AES256"
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            name,
            bucket=self.bucket.bucket,
            rules=[
                aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(apply_server_side_encryption_by_default=default)
            ],
            opts=self._child(),
        )

    def _keep_versions(self, name: str) -> None:
        versioning = aws.s3.BucketVersioning(
            name,
            bucket=self.bucket.bucket,
            versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
            opts=self._child(),
        )
        aws.s3.BucketLifecycleConfiguration(
            name,
            bucket=self.bucket.bucket,
            rules=[*(_expire(prefix, days) for prefix, days in EXPIRES_AFTER_DAYS.items()), _leftovers()],
            # The rule about earlier versions requires a versioned bucket.
            opts=self._child(versioning),
        )


def _expire(prefix: str, days: int) -> aws.s3.BucketLifecycleConfigurationRuleArgs:
    """Return the rule that expires the objects below a prefix."""
    return aws.s3.BucketLifecycleConfigurationRuleArgs(
        id=f"expire-{prefix.rstrip('/')}",
        status="Enabled",
        filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=prefix),
        expiration=aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(days=days),
    )


def _leftovers() -> aws.s3.BucketLifecycleConfigurationRuleArgs:
    """Return the rule that expires earlier versions, delete markers and unfinished uploads."""
    return aws.s3.BucketLifecycleConfigurationRuleArgs(
        id="leftovers",
        status="Enabled",
        filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
        noncurrent_version_expiration=aws.s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
            noncurrent_days=EARLIER_VERSION_DAYS
        ),
        expiration=aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(expired_object_delete_marker=True),
        abort_incomplete_multipart_upload=aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
            days_after_initiation=ABANDONED_UPLOAD_DAYS
        ),
    )
