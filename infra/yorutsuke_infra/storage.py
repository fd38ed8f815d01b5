"""The data of a stage: the bucket of images and job files, and the three tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from yorutsuke_common.names import (
    IMAGE_STATUS_INDEX,
    IMAGE_TRANSACTIONS_INDEX,
    JOB_ID_INDEX,
    JOB_TRANSACTIONS_INDEX,
    physical_name,
)

from .images_bucket import ImagesBucket, ImagesBucketArgs
from .protection import data_options


@dataclass(frozen=True)
class StorageArgs:
    """Arguments of `Storage`. `protect_data` protects the bucket and the tables."""

    stage: str
    account_id: pulumi.Input[str]
    protect_data: bool


@dataclass(frozen=True)
class Index:
    """A global secondary index.

    Attributes:
        keys: The partition key and the sort key, if the index has one.
        attributes: The projected attributes besides the keys. By default, the index projects all attributes.
    """

    keys: Sequence[str]
    attributes: Sequence[str] | None = None


class Storage(pulumi.ComponentResource):
    """The bucket and the tables.

    Resources:
        `{name}-images`: the bucket, an `ImagesBucket`.
        `{name}-transactions`, `{name}-batch-jobs` and `{name}-pending-images`: the tables.
    """

    def __init__(self, name: str, args: StorageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("yorutsuke:storage:Storage", name, {}, opts)
        self._stage = args.stage
        self._protect_data = args.protect_data
        self.images = ImagesBucket(
            f"{name}-images",
            ImagesBucketArgs(stage=args.stage, account_id=args.account_id, protect_data=args.protect_data),
            pulumi.ResourceOptions(parent=self),
        ).bucket
        self.transactions = self._table(
            f"{name}-transactions",
            ("userId", "transactionId"),
            {
                JOB_TRANSACTIONS_INDEX: Index(("jobId", "extractedAt")),
                IMAGE_TRANSACTIONS_INDEX: Index(("imageId", "jobId")),
            },
            ttl=True,
        )
        self.batch_jobs = self._table(f"{name}-batch-jobs", ("intentId",), {JOB_ID_INDEX: Index(("jobId",))}, ttl=True)
        self.pending_images = self._table(
            f"{name}-pending-images",
            ("imageId",),
            # The index has an entry for every image, so it projects only the attribute that its readers need.
            {IMAGE_STATUS_INDEX: Index(("status", "uploadedAt"), ("intentId",))},
        )
        self.register_outputs(
            {
                "imagesBucket": self.images.bucket,
                "transactionsTable": self.transactions.name,
                "batchJobsTable": self.batch_jobs.name,
                "pendingImagesTable": self.pending_images.name,
            }
        )

    @property
    def environment(self) -> dict[str, pulumi.Output[str]]:
        """The environment variables that both functions need."""
        return {
            "IMAGES_BUCKET": self.images.bucket,
            "BATCH_JOBS_TABLE": self.batch_jobs.name,
            "PENDING_IMAGES_TABLE": self.pending_images.name,
        }

    def _table(
        self,
        name: str,
        keys: Sequence[str],
        indexes: Mapping[str, Index],
        *,
        ttl: bool = False,
    ) -> aws.dynamodb.Table:
        """Declare a table that can be restored to any second of the last 35 days.

        Args:
            name: The name of the resource in the program.
            keys: The partition key and optionally the sort key. Both are strings.
            indexes: The indexes, by name.
            ttl: Whether items expire at the time in their attribute `ttl`.
        """
        return aws.dynamodb.Table(
            name,
            name=physical_name(name, self._stage),
            billing_mode="PAY_PER_REQUEST",
            attributes=[
                aws.dynamodb.TableAttributeArgs(name=key, type="S")
                for key in sorted({*keys, *(key for index in indexes.values() for key in index.keys)})
            ],
            hash_key=keys[0],
            range_key=keys[1] if len(keys) > 1 else None,
            global_secondary_indexes=[
                aws.dynamodb.TableGlobalSecondaryIndexArgs(
                    name=index_name,
                    key_schemas=_key_schemas(index.keys),
                    projection_type="INCLUDE" if index.attributes else "ALL",
                    non_key_attributes=index.attributes,
                )
                for index_name, index in indexes.items()
            ],
            ttl=aws.dynamodb.TableTtlArgs(attribute_name="ttl", enabled=True) if ttl else None,
            point_in_time_recovery=aws.dynamodb.TablePointInTimeRecoveryArgs(enabled=True),
            deletion_protection_enabled=self._protect_data,
            opts=data_options(self, protect=self._protect_data),
        )


def _key_schemas(keys: Sequence[str]) -> list[aws.dynamodb.TableGlobalSecondaryIndexKeySchemaArgs]:
    return [
        aws.dynamodb.TableGlobalSecondaryIndexKeySchemaArgs(attribute_name=key, key_type=key_type)
        for key, key_type in zip(keys, ("HASH", "RANGE"), strict=False)
    ]
