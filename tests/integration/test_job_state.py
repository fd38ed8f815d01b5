"""Tests of decisions that depend on the current state: the object's ETag, the claimed item, and the remaining time."""

import time
from typing import Any

import pytest

from local.in_memory import FunctionDiedError
from yorutsuke_common.aws.dynamodb import to_item

from .conftest import LogReader
from .stage import JOB_ID, OUTPUT_KEY, Stage, simple_record

OTHER_KEY = f"batch-output/{JOB_ID}/other.jsonl"


def test_late_message_about_older_content_is_duplicate(stage: Stage, read_logs: LogReader) -> None:
    stage.put_job()
    stage.put_images(["img-1", "img-2"])
    older = stage.put_output(simple_record("img-1"), "{")
    newer = stage.put_output(simple_record("img-1"), simple_record("img-2"))
    assert stage.deliver(newer) == []
    before = stage.state()
    stage.calls.reset()
    read_logs()

    assert stage.deliver(older) == []

    assert stage.state() == before
    # The output is opened for its ETag, after the claim. The second update releases the claim.
    assert stage.calls.counts() == {"Query": 1, "UpdateItem": 2, "GetObject": 1}
    assert [entry["event"] for entry in read_logs()] == ["BATCH_RESULT_DUPLICATE"]


def test_second_output_keeps_first_despite_index_lag(stage: Stage) -> None:
    stage.put_job()
    stage.put_images(["img-1", "img-2"])
    submitted: dict[str, Any] = {"Items": [to_item(stage.job())], "Count": 1}
    assert stage.deliver(stage.put_output(simple_record("img-1"), "{")) == []
    second = stage.put_output(simple_record("img-2"), key=OTHER_KEY)
    stage.calls.replace_response("Query", lambda _: submitted)

    assert stage.deliver(second) == []

    assert stage.job()["processedOutputs"].keys() == {OUTPUT_KEY, OTHER_KEY}
    assert stage.job()["resultStats"]["totalCount"] == 3
    assert [letter["output"] for letter in stage.dead_letters()] == ["output.jsonl"]


@pytest.mark.parametrize("seconds", [7, 60, 900])
def test_claim_lasts_for_the_remaining_time(stage: Stage, seconds: int) -> None:
    stage.put_job()
    stage.put_images(["img-1"])
    message = stage.put_output(simple_record("img-1"))
    stage.calls.crash_before("GetObject")
    before = int(time.time())

    with pytest.raises(FunctionDiedError):
        stage.deliver(message, seconds=seconds)

    # The claim adds 5 seconds, because clocks differ.
    assert before + seconds + 5 <= stage.job()["claimedUntil"] <= int(time.time()) + seconds + 5
