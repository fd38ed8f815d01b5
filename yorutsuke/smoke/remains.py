"""Removes the data of a smoke run, and only its data.

Every name follows from the run's id, or from the job in the item of the run's own intent. The marker is deleted last,
and the job's item before it. So an interrupted clean-up can be repeated.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from yorutsuke.errors import NotFoundError, UnfinishedError
from yorutsuke.outputs import job_outputs
from yorutsuke.stage import Stage
from yorutsuke.stored_jobs import StoredJob, find_job
from yorutsuke.times import age_seconds
from yorutsuke_common.aws.calls import CallPool
from yorutsuke_common.aws.dynamodb import to_item
from yorutsuke_common.names import BEDROCK_MAX_TIMEOUT_HOURS, MAX_FUNCTION_SECONDS
from yorutsuke_common.object_keys import dead_letters_key, input_folder, output_prefix

from .job_end import LOST_SECONDS, has_ended
from .markers import Marker
from .run import SmokeRun
from .uploads import CONCURRENT_CALLS

KEYS_PER_CALL = 1_000
"""Maximum number of keys in one DeleteObjects call. Source: Amazon S3 API reference, DeleteObjects."""


def find_own_job(stage: Stage, run: SmokeRun) -> StoredJob | None:
    """Return the job of a run, or None if its intent has no item."""
    try:
        job = find_job(stage, run.run_id)
    except NotFoundError:
        return None
    # A job id could equal the run's id only if another program had written the item.
    return job if (job.intentId, job.userId) == (run.run_id, run.run_id) else None


def obstacle(stage: Stage, job: StoredJob | None, requested: datetime | None) -> str | None:
    """Return why the data of a dead run cannot be removed yet, or None if it can.

    Args:
        stage: The stage.
        job: The run's job, if its intent has an item.
        requested: The time before the request for the job, or None if the job was not requested.
    """
    if job is None:
        waits = requested is not None and age_seconds(requested) < MAX_FUNCTION_SECONDS
        return "the request for its job may still be in progress" if waits else None
    if job.jobId is None:
        # The function stores the id after Bedrock has created the job, and may have failed between the two.
        waits = age_seconds(job.submitted) < BEDROCK_MAX_TIMEOUT_HOURS * 3600 + LOST_SECONDS
        return "its job may be at Bedrock, under an id that was not stored" if waits else None
    if has_ended(job, [*job_outputs(stage, job)]):
        return None
    # A message about the output may have failed for the last time.
    if job.is_completed and age_seconds(job.completed) > LOST_SECONDS:
        return None
    return f"its job {job.jobId} is {job.status} and messages about it may still arrive"


def clean_up(stage: Stage, run: SmokeRun, started: datetime, *job_ids: str | None) -> None:
    """Remove the data of a run after the end of its job. Raises UnfinishedError, and botocore's errors.

    Args:
        stage: The stage.
        run: The run.
        started: The start of the run.
        job_ids: The ids of its job, from each source that may have one.
    """
    _delete_transactions(stage, run)
    _delete_objects(stage, list_keys(stage, [*run.processed_prefixes(started), run.uploads_prefix]))
    _delete_items(stage, run, stage.settings.pending_images_table, [{"imageId": name} for name in run.image_ids])
    of_job = list_keys(stage, [input_folder(run.run_id)])
    for job_id in {*filter(None, job_ids)}:
        of_job += [dead_letters_key(job_id), *list_keys(stage, [output_prefix(job_id)])]
    _delete_objects(stage, of_job)
    _delete_items(stage, run, stage.settings.batch_jobs_table, [{"intentId": run.run_id}])
    _delete_objects(stage, [run.marker_key])


def clean_up_earlier(stage: Stage, markers: Iterable[Marker]) -> tuple[list[str], dict[str, str]]:
    """Remove the data of dead runs. Return the ids of the removed runs, and the reason why others stay, by run id."""
    removed: list[str] = []
    kept: dict[str, str] = {}
    for marker in markers:
        job = find_own_job(stage, marker.run)
        if reason := obstacle(stage, job, marker.requested):
            kept[marker.run.run_id] = reason
        else:
            clean_up(stage, marker.run, marker.started, job and job.jobId, marker.job_id)
            removed.append(marker.run.run_id)
    return removed, kept


def own_transactions(stage: Stage, run: SmokeRun) -> list[dict[str, Any]]:
    """Return the items of a run's transactions, in DynamoDB's types. The run's user has no others."""
    pages = stage.clients.dynamodb.get_paginator("query").paginate(
        TableName=stage.settings.transactions_table,
        KeyConditionExpression="userId = :userId",
        ExpressionAttributeValues=to_item({":userId": run.run_id}),
        ConsistentRead=True,
    )
    return [item for page in pages for item in page["Items"]]


def _delete_transactions(stage: Stage, run: SmokeRun) -> None:
    keys = [
        {"userId": run.run_id, "transactionId": item["transactionId"]["S"]} for item in own_transactions(stage, run)
    ]
    _delete_items(stage, run, stage.settings.transactions_table, keys)


def _delete_items(stage: Stage, run: SmokeRun, table: str, keys: list[dict[str, str]]) -> None:
    """Delete items of the run's user. Items that do not exist are ignored, and those of other users are refused."""
    client = stage.clients.dynamodb

    def delete(key: dict[str, str]) -> None:
        try:
            client.delete_item(
                TableName=table,
                Key=to_item(key),
                ConditionExpression="attribute_not_exists(userId) OR userId = :userId",
                ExpressionAttributeValues=to_item({":userId": run.run_id}),
            )
        except client.exceptions.ConditionalCheckFailedException as exc:
            raise UnfinishedError(
                f"the item {key} of {table} belongs to another user, so it was not deleted. A smoke run never deletes "
                "such items.",
                "Examine the item, and delete it by hand.",
            ) from exc

    CallPool().map(delete, keys, CONCURRENT_CALLS)


def list_keys(stage: Stage, prefixes: Iterable[str]) -> list[str]:
    """Return the keys of the objects below prefixes."""
    paginator = stage.clients.s3.get_paginator("list_objects_v2")

    def keys_below(prefix: str) -> list[str]:
        pages = paginator.paginate(Bucket=stage.settings.images_bucket, Prefix=prefix)
        return [entry.get("Key", "") for page in pages for entry in page.get("Contents", [])]

    return [key for prefix in prefixes for key in keys_below(prefix)]


def _delete_objects(stage: Stage, keys: list[str]) -> None:
    """Delete objects. Their earlier versions expire. Raises UnfinishedError if S3 keeps one."""
    for start in range(0, len(keys), KEYS_PER_CALL):
        chunk = keys[start : start + KEYS_PER_CALL]
        answer = stage.clients.s3.delete_objects(
            Bucket=stage.settings.images_bucket, Delete={"Objects": [{"Key": key} for key in chunk], "Quiet": True}
        )
        if errors := answer.get("Errors", []):
            codes = ", ".join(sorted({error.get("Code", "") for error in errors}))
            raise UnfinishedError(
                f"objects that were not deleted: {len(errors)} ({codes}), such as {errors[0].get('Key')!r}.",
                f"Correct the cause. The next `{stage.command('smoke')}` removes them.",
            )
