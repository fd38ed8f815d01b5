"""Where everything lies: the bucket of images and job files, and the three tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from .config import physical_name

BATCH_OUTPUT_DAYS = 30
DEAD_LETTER_DAYS = 90
ABANDONED_UPLOAD_DAYS = 1


@dataclass(frozen=True)
class StorageArgs:
    """`account_id` makes the bucket's name unique; `protect_data` forbids deleting the data with the stack."""

    stage: str
    account_id: pulumi.Input[str]
    protect_data: bool


class Storage(pulumi.ComponentResource):
    """The images bucket with its lifecycle, and the tables transactions, batch-jobs and pending-images."""

    def __init__(self, name: str, args: StorageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:storage:Storage", name, {}, opts)
        self._stage = args.stage
        self._protect_data = args.protect_data
        self._data = pulumi.ResourceOptions(parent=self, protect=args.protect_data, retain_on_delete=args.protect_data)
        self.images = self._images(args.account_id, protect_data=args.protect_data)
        self.transactions = self._table(
            "transactions",
            ("userId", "transactionId"),
            {"jobId-extractedAt": ("jobId", "extractedAt"), "imageId-jobId": ("imageId", "jobId")},
            ttl=True,
        )
        self.batch_jobs = self._table("batch-jobs", ("intentId",), {"jobIdIndex": ("jobId",)}, ttl=True)
        self.pending_images = self._table("pending-images", ("imageId",))
        self.register_outputs({})

    def _images(self, account_id: pulumi.Input[str], *, protect_data: bool) -> aws.s3.Bucket:
        name = pulumi.Output.concat(physical_name("images", self._stage), "-", account_id)
        bucket = aws.s3.Bucket("images", bucket=name, force_destroy=not protect_data, opts=self._data)
        aws.s3.BucketPublicAccessBlock(
            "images",
            bucket=bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            "images",
            bucket=bucket.bucket,
            rules=[
                aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
                    apply_server_side_encryption_by_default=aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
                        sse_algorithm="AES256"
                    )
                )
            ],
            opts=pulumi.ResourceOptions(parent=self),
        )
        aws.s3.BucketLifecycleConfiguration(
            "images",
            bucket=bucket.bucket,
            rules=[
                _expire("batch-output/", BATCH_OUTPUT_DAYS),
                _expire("dead-letters/", DEAD_LETTER_DAYS),
                # Parts of dead letters that a function which died left behind.
                aws.s3.BucketLifecycleConfigurationRuleArgs(
                    id="abandoned-uploads",
                    status="Enabled",
                    filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
                    abort_incomplete_multipart_upload=aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                        days_after_initiation=ABANDONED_UPLOAD_DAYS
                    ),
                ),
            ],
            opts=pulumi.ResourceOptions(parent=self),
        )
        return bucket

    def _table(
        self,
        name: str,
        keys: Sequence[str],
        indexes: Mapping[str, Sequence[str]] | None = None,
        *,
        ttl: bool = False,
    ) -> aws.dynamodb.Table:
        """Make a table; `keys`, here and by index name, are a hash key and perhaps a range key, all strings.

        It can be restored to any second of the last 35 days. DynamoDB encrypts every table, by a key of its own.
        """
        indexes = indexes or {}
        return aws.dynamodb.Table(
            name,
            name=physical_name(name, self._stage),
            billing_mode="PAY_PER_REQUEST",
            attributes=[
                aws.dynamodb.TableAttributeArgs(name=key, type="S")
                for key in sorted({*keys, *(key for index in indexes.values() for key in index)})
            ],
            hash_key=keys[0],
            range_key=keys[1] if len(keys) > 1 else None,
            global_secondary_indexes=[
                aws.dynamodb.TableGlobalSecondaryIndexArgs(
                    name=index, key_schemas=_key_schemas(index_keys), projection_type="ALL"
                )
                for index, index_keys in indexes.items()
            ],
            ttl=aws.dynamodb.TableTtlArgs(attribute_name="ttl", enabled=True) if ttl else None,
            point_in_time_recovery=aws.dynamodb.TablePointInTimeRecoveryArgs(enabled=True),
            deletion_protection_enabled=self._protect_data,
            opts=self._data,
        )


def _key_schemas(keys: Sequence[str]) -> list[aws.dynamodb.TableGlobalSecondaryIndexKeySchemaArgs]:
    return [
        aws.dynamodb.TableGlobalSecondaryIndexKeySchemaArgs(attribute_name=key, key_type=key_type)
        for key, key_type in zip(keys, ("HASH", "RANGE"), strict=False)
    ]


def _expire(prefix: str, days: int) -> aws.s3.BucketLifecycleConfigurationRuleArgs:
    return aws.s3.BucketLifecycleConfigurationRuleArgs(
        id=f"expire-{prefix.rstrip('/')}",
        status="Enabled",
        filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=prefix),
        expiration=aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(days=days),
    )
