"""The result of a smoke run: whether every receipt is accounted for, and how many were read as they were drawn."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from yorutsuke.letters import read_letters
from yorutsuke.outputs import OutputState, job_outputs
from yorutsuke.stage import Stage
from yorutsuke.stored_jobs import StoredJob, find_item
from yorutsuke_common.aws.dynamodb import from_item
from yorutsuke_common.aws.output_files import open_output
from yorutsuke_common.schema import ImageDelivery, Reason

from .prices import Tokens, cost
from .receipts import SmokeReceipt
from .remains import list_keys, own_transactions
from .run import SmokeRun

MIN_SUCCESS_PERCENT = 90
"""Minimum share of receipts that must become transactions, in percent. Models misread some receipts."""


@dataclass
class Agreement:
    """The numbers of transactions with the amount, the date, and both as they were drawn."""

    amount: int = 0
    date: int = 0
    both: int = 0


@dataclass(frozen=True)
class SmokeResult:
    """The result. `problems` has a sentence for each receipt or count that does not fit.

    `image_delivery` is the delivery that the job has used.
    """

    job: StoredJob
    image_delivery: ImageDelivery
    receipts: int
    transactions: int
    dead_letters: Counter[Reason]
    agreement: Agreement
    tokens: Tokens | None
    problems: list[str] = field(default_factory=list[str])

    @property
    def passed(self) -> bool:
        """Whether the accounting is complete and enough receipts became transactions."""
        return not self.problems and 100 * self.transactions >= MIN_SUCCESS_PERCENT * self.receipts

    @property
    def cost(self) -> Decimal | None:
        """The cost of the job in US dollars, or None if it is not known."""
        return cost(self.job.modelId, self.tokens)


def read_result(
    stage: Stage,
    run: SmokeRun,
    job: StoredJob,
    receipts: Sequence[SmokeReceipt],
    requested_delivery: ImageDelivery | None = None,
) -> SmokeResult:
    """Compare the data of a run, after the end of its job, with its receipts.

    Args:
        stage: The stage.
        run: The run.
        job: Its job.
        receipts: Its receipts.
        requested_delivery: The delivery of the images that the request named.
    """
    image_delivery: ImageDelivery = "s3" if "inputUri" in find_item(stage, run.run_id) else "inline"
    transactions = [from_item(item) for item in own_transactions(stage, run)]
    letters = [letter for _, letter in read_letters(stage, job.name)] if job.jobId else []
    by_image = {transaction["imageId"]: transaction for transaction in transactions}
    lettered = [letter.imageId or "" for letter in letters]
    problems = [*_job_problems(job, len(receipts), len(transactions), len(letters))]
    if requested_delivery not in (None, image_delivery):
        # A stage of an earlier version ignores the field of the request.
        problems.append(f"the images were delivered {image_delivery}, not {requested_delivery}. Deploy the stage again")
    if job.is_completed:
        problems += _account_problems(job, [receipt.image_id for receipt in receipts], transactions, lettered)
        problems += _image_problems(stage, run, {*by_image})
    return SmokeResult(
        job=job,
        image_delivery=image_delivery,
        receipts=len(receipts),
        transactions=len(by_image),
        dead_letters=Counter(letter.reason for letter in letters),
        agreement=_agreement(receipts, by_image),
        tokens=_tokens(stage, job),
        problems=problems,
    )


def _job_problems(job: StoredJob, receipts: int, transactions: int, letters: int) -> Iterator[str]:
    if not job.is_completed:
        message = f": {job.bedrockMessage}" if job.bedrockMessage else ""
        yield f"job {job.name} is {job.status}, not COMPLETED{message}"
        return
    stats = job.resultStats
    if stats is None:
        yield "the job's item does not have counts"
        return
    counted = (stats.successCount, stats.failureCount, stats.totalCount)
    if counted != (transactions, letters, receipts):
        yield (
            f"the job counts {stats.successCount} successes and {stats.failureCount} failures of {stats.totalCount} "
            f"records, but there are {transactions} transactions and {letters} dead letters of {receipts} receipts"
        )
    if stats.migrationFailedCount:
        yield f"images that could not be moved: {stats.migrationFailedCount}"


def _account_problems(
    job: StoredJob, image_ids: Sequence[str], transactions: Sequence[dict[str, Any]], lettered: Sequence[str]
) -> Iterator[str]:
    """Yield a problem for each image without exactly one result, and for each result of another image or job."""
    results = Counter([*(transaction["imageId"] for transaction in transactions), *lettered])
    for image_id in image_ids:
        if (count := results.pop(image_id, 0)) != 1:
            yield f"{image_id} has {count} results instead of one transaction or one dead letter"
    for image_id in results:
        yield f"a result belongs to {image_id!r}, which is not an image of this run"
    for transaction in transactions:
        if transaction["jobId"] != job.jobId:
            yield f"the transaction of {transaction['imageId']} belongs to job {transaction['jobId']}"


def _image_problems(stage: Stage, run: SmokeRun, read: set[str]) -> Iterator[str]:
    """Yield a problem for each image that is not where it belongs: below processed/ if it was read, else in uploads/.

    Args:
        stage: The stage.
        run: The run.
        read: The ids of the images with a transaction.
    """
    images = stage.stores.pending.find(run.image_ids)
    folders = {f"{image.processed_key.rpartition('/')[0]}/" for image in images.values() if image.processed_key}
    moved, left = {*list_keys(stage, folders)}, {*list_keys(stage, [run.uploads_prefix])}
    for image_id in run.image_ids:
        image = images.get(image_id)
        if image is None:
            yield f"{image_id} is not in pending-images"
        elif image_id in read and not (image.is_processed and image.processed_key in moved):
            yield f"{image_id} has a transaction, but its image is not below processed/"
        elif (image.upload_key in left) == (image_id in read):
            place = "still in uploads/ although it has a" if image_id in read else "not in uploads/ although it has no"
            yield f"{image_id} is {place} transaction"


def _agreement(receipts: Sequence[SmokeReceipt], transactions: dict[str, dict[str, Any]]) -> Agreement:
    agreement = Agreement()
    for receipt in receipts:
        if transaction := transactions.get(receipt.image_id):
            amount = transaction["amount"] == receipt.amount
            date = transaction["date"] == receipt.date.isoformat()
            agreement.amount += amount
            agreement.date += date
            agreement.both += amount and date
    return agreement


def _tokens(stage: Stage, job: StoredJob) -> Tokens | None:
    """Return Bedrock's count of the tokens, or the sum over the records, or None if neither is known."""
    counts = job.bedrockCounts
    if counts and counts.inputTokenCount is not None and counts.outputTokenCount is not None:
        return Tokens(counts.inputTokenCount, counts.outputTokenCount)
    usages = [usage for output in job_outputs(stage, job) for usage in _usages(stage, output.key, output.state)]
    return Tokens(sum(usage.input for usage in usages), sum(usage.output for usage in usages)) if usages else None


def _usages(stage: Stage, key: str, state: OutputState) -> Iterator[Tokens]:
    """Yield the usage in each record of an output file. Nova and Converse name its members alike.

    Sources: Amazon Nova user guide, "Complete request schema"; Amazon Bedrock API reference, TokenUsage.
    """
    if state is not OutputState.PROCESSED:
        return
    with open_output(stage.clients.s3, stage.settings.images_bucket, key) as output:
        for line in output.lines():
            # A record that is not JSON has no usage.
            with suppress(ValueError):
                match json.loads(line.content):
                    case {"modelOutput": {"usage": {"inputTokens": int(read), "outputTokens": int(written)}}}:
                        yield Tokens(read, written)
                    case _:
                        pass
