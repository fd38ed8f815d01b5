"""Tests of a job with several output files: each file replaces only its own counts and dead letters."""

import itertools
from typing import Any

import pytest

from local.in_memory import FunctionDiedError

from .conftest import LogReader
from .stage import BATCH_JOBS, BUCKET, DEAD_LETTERS_KEY, JOB_ID, Stage, nova_record, simple_record

IMAGE_IDS = ["img-1", "img-2", "img-3", "img-4", "img-5"]
A, B, C = (f"batch-output/{JOB_ID}/{name}.jsonl.out" for name in "abc")
RECORDS = {
    A: [nova_record("img-1"), "{", nova_record("img-2", amount=0)],
    B: [simple_record("img-3")],
    C: ["not JSON", nova_record("img-4")],
}
STATS = {
    A: {"successCount": 1, "failureCount": 2, "totalCount": 3, "migrationFailedCount": 0, "namedImageCount": 2},
    B: {"successCount": 1, "failureCount": 0, "totalCount": 1, "migrationFailedCount": 0, "namedImageCount": 1},
    C: {"successCount": 1, "failureCount": 1, "totalCount": 2, "migrationFailedCount": 0, "namedImageCount": 1},
}
SUM = {"successCount": 3, "failureCount": 3, "totalCount": 6, "migrationFailedCount": 0, "missingCount": 1}
LETTERS = [("a.jsonl.out", 2), ("a.jsonl.out", 3), ("c.jsonl.out", 1)]


def _seed(stage: Stage) -> dict[str, str]:
    """Write a job with three output files, and return the message about each."""
    stage.put_job(pendingImageIds=IMAGE_IDS)
    stage.put_images(IMAGE_IDS)
    return {key: stage.put_output(*records, key=key) for key, records in RECORDS.items()}


def _letters(stage: Stage) -> list[tuple[str, int]]:
    return [(letter["output"], letter["line"]) for letter in stage.dead_letters()]


def _metric(entries: list[dict[str, Any]], name: str) -> list[float]:
    return [value for entry in entries for value in entry.get(name, [])]


@pytest.mark.parametrize("order", [*itertools.permutations([A, B, C])])
def test_output_files_are_summed_in_any_order(stage: Stage, order: tuple[str, ...]) -> None:
    messages = _seed(stage)

    assert [stage.deliver(messages[key]) for key in [*order, *order]] == [[]] * 6

    job = stage.job()
    assert (job["status"], job["outputStats"], job["resultStats"]) == ("COMPLETED", STATS, SUM)
    assert job["processedOutputs"].keys() == {A, B, C}
    assert stage.transactions().keys() == {"img-1", "img-3", "img-4"}
    assert _letters(stage) == LETTERS


def test_longer_output_file_replaces_only_its_part(stage: Stage) -> None:
    messages = _seed(stage)
    stage.deliver(*messages.values())
    longer = stage.put_output(nova_record("img-1"), "{", simple_record("img-5"), key=A)

    assert stage.deliver(longer) == []

    changed = {"successCount": 2, "failureCount": 1, "totalCount": 3, "migrationFailedCount": 0, "namedImageCount": 2}
    assert stage.job()["outputStats"] == {**STATS, A: changed}
    assert stage.job()["resultStats"] == {**SUM, "successCount": 4, "failureCount": 2}
    assert _letters(stage) == [("a.jsonl.out", 2), ("c.jsonl.out", 1)]


def test_output_manifest_is_compared_with_the_sum(stage: Stage) -> None:
    messages = _seed(stage)
    manifest = stage.put_output_manifest(6)
    early = [stage.deliver(messages[A]), stage.deliver(manifest), stage.deliver(messages[C]), stage.deliver(manifest)]
    stage.deliver(messages[B])

    assert stage.deliver(manifest) == []

    assert early == [[], ["message-0"], [], ["message-0"]]
    assert stage.job()["bedrockCounts"]["processedRecordCount"] == 6


def test_metrics_count_each_output_file_once(stage: Stage, read_logs: LogReader) -> None:
    messages = _seed(stage)
    read_logs()

    for key in (C, A, B):
        stage.deliver(messages[key])

    entries = read_logs()
    assert _metric(entries, "SuccessCount") == [1, 1, 1]
    assert _metric(entries, "FailureCount") == [1, 2, 0]
    # Later, the missing images cannot be told from those of the other files.
    assert _metric(entries, "MissingCount") == [4]
    missing = [entry["imageId"] for entry in entries if entry.get("event") == "BATCH_RESULT_IMAGE_MISSING"]
    assert missing == ["img-1", "img-2", "img-3", "img-5"]


def test_job_without_image_ids_sums_output_files(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    stage.put_images(IMAGE_IDS)

    stage.deliver(*(stage.put_output(*records, key=key) for key, records in RECORDS.items()))

    assert stage.job()["resultStats"] == {name: count for name, count in SUM.items() if name != "missingCount"}
    assert [{*stats} for stats in stage.job()["outputStats"].values()] == [{*STATS[A]} - {"namedImageCount"}] * 3
    assert _metric(read_logs(), "MissingCount") == []


def test_first_transaction_of_an_image_remains(stage: Stage) -> None:
    messages = _seed(stage)
    stage.deliver(messages[A])
    before = stage.transactions()["img-1"]

    stage.deliver(stage.put_output(nova_record("img-1", amount=7), key=B))

    assert stage.transactions()["img-1"] == before
    assert stage.job()["outputStats"][B]["successCount"] == 1


def test_dead_letters_of_a_crash_are_replaced(stage: Stage) -> None:
    messages = _seed(stage)
    stage.deliver(messages[C])
    stage.calls.crash_after("PutObject")
    with pytest.raises(FunctionDiedError):
        stage.deliver(messages[A])
    crashed = _letters(stage)
    stage.calls.reset()
    stage.expire_claims()

    assert [stage.deliver(messages[key]) for key in (B, A)] == [[], []]

    assert (crashed, _letters(stage)) == (LETTERS, LETTERS)
    assert stage.job()["resultStats"] == SUM


def test_lost_dead_letters_fail_the_next_file(stage: Stage) -> None:
    messages = _seed(stage)
    stage.deliver(messages[A])
    stage.aws.s3.delete_object(Bucket=BUCKET, Key=DEAD_LETTERS_KEY)
    before = stage.items(BATCH_JOBS)

    assert stage.deliver(messages[C]) == ["message-0"]

    assert stage.items(BATCH_JOBS) == before
