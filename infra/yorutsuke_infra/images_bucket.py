"""The bucket of images and job files: private, encrypted, over TLS only, what was overwritten or deleted kept a while.

It is encrypted with S3's own keys: one of the account's own would have to be opened to Bedrock and to all who read.
"""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from yorutsuke_common.names import BATCH_INPUT_PREFIX, BATCH_OUTPUT_PREFIX, DEAD_LETTERS_PREFIX

from .policies import bucket_policy

EXPIRES_AFTER_DAYS = {BATCH_INPUT_PREFIX: 30, BATCH_OUTPUT_PREFIX: 30, DEAD_LETTERS_PREFIX: 90}
"""Receipts in `uploads/` and `processed/` do not expire."""
EARLIER_VERSION_DAYS = 30
"""How long a receipt that was deleted by mistake can be restored, or the dead letters that a replay replaced."""
ABANDONED_UPLOAD_DAYS = 1


@dataclass(frozen=True)
class ImagesBucketArgs:
    """`bucket_name` is unique in the world; `protect_data` lets the bucket outlive its stack."""

    bucket_name: pulumi.Input[str]
    protect_data: bool


class ImagesBucket(pulumi.ComponentResource):
    """The bucket and what is said of it as a whole."""

    def __init__(self, name: str, args: ImagesBucketArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:storage:ImagesBucket", name, {}, opts)
        self._protect_data = args.protect_data
        self.bucket = aws.s3.Bucket(
            name, bucket=args.bucket_name, force_destroy=not args.protect_data, opts=self._child()
        )
        self._keep_private(name)
        self._encrypt(name)
        self._keep_versions(name)
        self.register_outputs({})

    def _child(self, *depends_on: pulumi.Resource) -> pulumi.ResourceOptions:
        """Return the options of a child: a bucket that outlives its stack is to stay private, and to keep versions."""
        keep = self._protect_data
        return pulumi.ResourceOptions(parent=self, protect=keep, retain_on_delete=keep, depends_on=depends_on)

    def _keep_private(self, name: str) -> None:
        blocked = aws.s3.BucketPublicAccessBlock(
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
            # S3 refuses two changes of a bucket's access at once.
            opts=self._child(blocked),
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
        versions = aws.s3.BucketVersioning(
            name,
            bucket=self.bucket.bucket,
            versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
            opts=self._child(),
        )
        aws.s3.BucketLifecycleConfiguration(
            name,
            bucket=self.bucket.bucket,
            rules=[*(_expire(prefix, days) for prefix, days in EXPIRES_AFTER_DAYS.items()), _leftovers()],
            # Rules on versions are of a bucket that has some.
            opts=self._child(versions),
        )


def _expire(prefix: str, days: int) -> aws.s3.BucketLifecycleConfigurationRuleArgs:
    """Expire what is below a prefix."""
    return aws.s3.BucketLifecycleConfigurationRuleArgs(
        id=f"expire-{prefix.rstrip('/')}",
        status="Enabled",
        filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=prefix),
        expiration=aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(days=days),
    )


def _leftovers() -> aws.s3.BucketLifecycleConfigurationRuleArgs:
    """Expire what nobody sees: earlier versions, the marks of deleted keys, parts of uploads that were given up."""
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
