"""Tests of `redrive` on a stage with a paused function."""

import json
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from local.emulator import REGION, Emulator
from local.job_run import JobRun
from yorutsuke import queues
from yorutsuke.errors import UnfinishedError
from yorutsuke.redrive import move_messages

from .operator_stage import Operator, delete_jobs, make_operator, put_job

EVENTS = Path(__file__).parents[1] / "events"


@pytest.fixture(scope="module")
def operator(emulator: Emulator, stage: JobRun, tmp_path_factory: pytest.TempPathFactory) -> Generator[Operator]:
    """An operator of a stage with a paused function, so that redriven messages remain in the queue."""
    lambda_ = stage.aws.lambda_
    [mapping] = lambda_.list_event_source_mappings(FunctionName=stage.outputs["functionName"])["EventSourceMappings"]
    identifier = mapping.get("UUID", "")
    lambda_.update_event_source_mapping(UUID=identifier, Enabled=False)
    yield make_operator(emulator, stage, tmp_path_factory.mktemp("redrive"))
    lambda_.update_event_source_mapping(UUID=identifier, Enabled=True)


@pytest.fixture(autouse=True)
def empty_queues(operator: Operator) -> Generator[None]:
    yield
    for name in ("queueUrl", "deadLetterQueueUrl"):
        operator.job_run.aws.sqs.purge_queue(QueueUrl=operator.job_run.outputs[name])


def _output(job_run: JobRun, job_id: str, file: str = "output.jsonl") -> str:
    s3 = {"bucket": {"name": job_run.outputs["imagesBucket"]}, "object": {"key": f"batch-output/{job_id}/{file}"}}
    return json.dumps({"Records": [{"s3": s3}]})


def _job_end(job_run: JobRun, job_id: str) -> str:
    event = json.loads((EVENTS / "bedrock" / "job_state_change.json").read_text())
    account = job_run.outputs["functionRoleArn"].split(":")[4]
    arn = f"arn:aws:bedrock:{REGION}:{account}:model-invocation-job/{job_id}"
    return json.dumps({**event, "account": account, "detail": {**event["detail"], "batchJobArn": arn}})


def _failed_event(job_run: JobRun, job_id: str) -> str:
    record = json.loads(json.loads((EVENTS / "sqs_lambda_failure_event.json").read_text())["Records"][0]["body"])
    return json.dumps({**record, "requestPayload": json.loads(_output(job_run, job_id))})


def _put_dead_messages(job_run: JobRun, *bodies: str) -> None:
    """Put messages into the dead-letter queue."""
    for start in range(0, len(bodies), 10):
        entries: list[Any] = [
            {"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies[start : start + 10])
        ]
        job_run.aws.sqs.send_message_batch(QueueUrl=job_run.outputs["deadLetterQueueUrl"], Entries=entries)


def _visible(job_run: JobRun, queue: str) -> Counter[str]:
    """Return the bodies of a queue's visible messages."""
    return Counter(body for bodies in _received(job_run, queue) for body in bodies)


def _received(job_run: JobRun, queue: str) -> Iterator[list[str]]:
    while True:
        answer = job_run.aws.sqs.receive_message(QueueUrl=job_run.outputs[queue], MaxNumberOfMessages=10)
        if not (messages := answer.get("Messages", [])):
            return
        yield [message.get("Body", "") for message in messages]


def test_redrive_groups_and_moves_the_readable_messages(operator: Operator) -> None:
    job_run = operator.job_run
    readable = [
        _output(job_run, "jobone000001"),
        _output(job_run, "jobone000001"),
        _output(job_run, "jobone000001", "manifest.json.out"),
        _job_end(job_run, "jobtwo000002"),
        _failed_event(job_run, "jobtwo000002"),
    ]
    _put_dead_messages(job_run, *readable, "no JSON")

    answer = operator("redrive", "--json", "--yes", "--no-wait").json

    found = {(group["kind"], group["jobId"], group["messages"]) for group in answer["found"]}
    assert found == {
        ("output", "jobone000001", 2),
        ("output manifest", "jobone000001", 1),
        ("job's end", "jobtwo000002", 1),
        ("failed event", "jobtwo000002", 1),
        ("unknown", None, 1),
    }
    assert (answer["messages"], answer["readable"], answer["moved"]) == (6, 5, 5)
    assert (answer["done"], answer["outcomes"]) == (False, [])
    assert _visible(job_run, "queueUrl") == Counter(readable)
    assert _visible(job_run, "deadLetterQueueUrl") == Counter(["no JSON"])


def test_redrive_needs_yes_without_a_terminal(operator: Operator) -> None:
    body = _output(operator.job_run, "jobone000001")
    _put_dead_messages(operator.job_run, body)

    refused = operator.run_process("redrive")
    done = operator.run_process("redrive", "--yes", "--no-wait")

    assert refused.code == 1
    assert "standard input is not a terminal. Pass --yes" in refused.message
    assert done.code == 0, done.err
    assert "output │ jobone000001" in " ".join(done.out.split())
    assert "1 of 1 messages were moved." in done.message
    assert _visible(operator.job_run, "queueUrl") == Counter([body])


@pytest.mark.parametrize(("arguments", "answer"), [(["--dry-run"], None), ([], "n\n"), ([], None)])
def test_unconfirmed_redrive_leaves_the_messages_visible(
    operator: Operator, arguments: list[str], answer: str | None
) -> None:
    body = _output(operator.job_run, "jobone000001")
    _put_dead_messages(operator.job_run, body)

    result = operator("redrive", *arguments, answer=answer)

    assert result.code == (0 if arguments or answer else 1)
    assert "jobone000001" in result.out
    assert _visible(operator.job_run, "deadLetterQueueUrl") == Counter([body])
    assert _visible(operator.job_run, "queueUrl") == Counter()


def test_redrive_selects_messages_by_job_or_intent(operator: Operator) -> None:
    job_run = operator.job_run
    put_job(job_run, "intent-two", jobId="jobtwo000002")
    bodies = [_output(job_run, job_id) for job_id in ("jobone000001", "jobtwo000002", "nobodys00003")]
    _put_dead_messages(job_run, *bodies)

    by_intent = operator("redrive", "--json", "--yes", "--no-wait", "--job", "intent-two").json
    without_record = operator("redrive", "--json", "--yes", "--no-wait", "--job", "nobodys00003").json
    delete_jobs(job_run, "intent-two")

    assert [group["jobId"] for group in by_intent["found"]] == ["jobtwo000002"]
    assert (by_intent["moved"], without_record["moved"]) == (1, 1)
    assert _visible(job_run, "queueUrl") == Counter(bodies[1:])
    assert _visible(job_run, "deadLetterQueueUrl") == Counter(bodies[:1])


def test_redrive_succeeds_with_an_empty_queue(operator: Operator) -> None:
    result = operator("redrive")

    assert result.code == 0
    assert "Found 0 matching messages in yorutsuke-batch-output-dlq-local." in result.message
    assert operator("redrive", "--json").json["found"] == []


def test_redrive_reports_unprocessed_messages_after_its_timeout(operator: Operator) -> None:
    job_run = operator.job_run
    _put_dead_messages(job_run, _output(job_run, "jobone000001"), _output(job_run, "jobtwo000002"))

    result = operator("redrive", "--yes", "--timeout", "0m", "--json")

    answer = json.loads(result.out)
    waiting = [("jobone000001", "not processed yet", 1), ("jobtwo000002", "not processed yet", 1)]
    assert (result.code, answer["moved"], answer["done"]) == (1, 2, False)
    assert [(group["jobId"], group["outcome"], group["messages"]) for group in answer["outcomes"]] == waiting
    assert result.error == (
        "UnfinishedError: 2 of 2 messages were not processed within 0:00:00. The function continues, and SQS delivers "
        "a failed message again. Run `yorutsuke job jobone000001 --stage local` later."
    )


def test_redrive_keeps_messages_after_failed_sending(operator: Operator) -> None:
    bodies = [_output(operator.job_run, f"jobfull{number:05}") for number in range(25)]
    _put_dead_messages(operator.job_run, *bodies)

    with patch.object(queues.Queue, "send", side_effect=UnfinishedError("SQS took none")):
        result = operator("redrive", "--yes", "--no-wait")

    assert result.code == 1
    assert "UnfinishedError: 25 of 25 messages were not moved (SQS took none). Run the command again." in result.message
    assert _visible(operator.job_run, "deadLetterQueueUrl") == Counter(bodies)


def test_redrive_reports_messages_received_elsewhere(operator: Operator) -> None:
    job_run = operator.job_run
    body = _output(job_run, "jobone000001")
    _put_dead_messages(job_run, body, body)
    dead = job_run.outputs["deadLetterQueueUrl"]
    job_run.aws.sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=1, VisibilityTimeout=600)

    looked = operator("redrive", "--dry-run")
    done = operator("redrive", "--yes", "--no-wait")
    empty = operator("redrive", "--json")

    assert (looked.code, done.code, empty.code) == (0, 1, 1)
    queue = "yorutsuke-batch-output-dlq-local"
    hidden = f"Messages in {queue} that could not be received: 1. Another program has received them, or they are new."
    assert f"1 of 1 messages can be moved. This dry run changed nothing. {hidden}" in looked.message
    assert f"1 of 1 messages were moved. {hidden}" in done.message
    assert "After an interrupted command, messages become visible within 10 minutes." in done.message
    assert f"Found 0 matching messages in {queue}. {hidden}" in empty.message
    assert f"UnfinishedError: messages in {queue} that could not be received: 1. Run the command again." in empty.error
    assert (json.loads(empty.out)["messages"], json.loads(empty.out)["hidden"]) == (0, 1)


def test_redrive_reports_messages_received_during_confirmation(operator: Operator) -> None:
    job_run = operator.job_run
    _put_dead_messages(job_run, *[_output(job_run, f"jobpart{number:05}") for number in range(3)])

    def move_after_receiving(*arguments: Any) -> None:
        dead = job_run.outputs["deadLetterQueueUrl"]
        job_run.aws.sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=1, VisibilityTimeout=600)
        move_messages(*arguments)

    with patch("yorutsuke.commands.redrive.move_messages", move_after_receiving):
        result = operator("redrive", "--yes", "--no-wait", "--json")

    assert (result.code, json.loads(result.out)["moved"]) == (1, 2)
    assert "UnfinishedError: 1 of 3 messages were not moved (another program has received them)." in result.error


def test_redrive_stops_when_messages_become_visible_again(operator: Operator) -> None:
    job_run = operator.job_run
    _put_dead_messages(job_run, *[_output(job_run, f"jobslow{number:05}") for number in range(30)])

    with patch.object(queues, "HIDDEN_SECONDS", 0):
        looked = operator("redrive", "--dry-run", "--json")
        moved = operator("redrive", "--yes", "--no-wait", "--json", "--job", "jobslow00000")

    # A call receives ten messages. The first ten are visible again at once, so the others are only counted.
    assert looked.code == 0
    seen, hidden = looked.json["messages"], looked.json["hidden"]
    assert (seen >= 10, seen + hidden) == (True, 30)
    # The receipt handle may have expired before the deletion. The number of moved messages depends on SQS.
    assert (moved.code, " of 1 messages were moved" in moved.message) == (1, True)


def test_redrive_stops_reading_after_the_time_limit(operator: Operator) -> None:
    job_run = operator.job_run
    bodies = [_output(job_run, f"joblate{number:05}") for number in range(300)]
    _put_dead_messages(job_run, *bodies)

    with patch.object(queues, "READING_SECONDS", 0):
        result = operator("redrive", "--dry-run")

    assert (result.code, result.out) == (1, "")
    assert result.message.startswith(
        "UnfinishedError: 160 messages of yorutsuke-batch-output-dlq-local were received, and more remain"
    )
    assert _visible(job_run, "deadLetterQueueUrl") == Counter(bodies)


def test_redrive_stops_moving_after_the_time_limit(operator: Operator) -> None:
    job_run = operator.job_run
    bodies = [_output(job_run, f"jobhalf{number:05}") for number in range(200)]
    _put_dead_messages(job_run, *bodies)

    def move_without_time(*arguments: Any) -> None:
        with patch.object(queues, "READING_SECONDS", 0):
            move_messages(*arguments)

    with patch("yorutsuke.commands.redrive.move_messages", move_without_time):
        result = operator("redrive", "--yes", "--no-wait")

    assert result.code == 1
    assert "160 of 200 messages were moved." in result.message
    assert (
        "UnfinishedError: 40 of 200 messages were not moved (160 messages of yorutsuke-batch-output-dlq"
        in result.message
    )
    assert _visible(job_run, "queueUrl") + _visible(job_run, "deadLetterQueueUrl") == Counter(bodies)


def test_redrive_moves_a_thousand_messages(operator: Operator) -> None:
    job_run = operator.job_run
    bodies = [_output(job_run, f"jobmany{number // 10:05}") for number in range(1000)]
    _put_dead_messages(job_run, *bodies)

    result = operator("redrive", "--yes", "--no-wait")

    assert result.code == 0, result.err
    assert ": 1000, the first 20 of 100 rows" in result.out
    assert sum("jobmany" in line for line in result.out.splitlines()) == 20
    assert _visible(job_run, "queueUrl") == Counter(bodies)
    assert _visible(job_run, "deadLetterQueueUrl") == Counter()


def test_send_splits_large_messages_across_calls(operator: Operator) -> None:
    job_run = operator.job_run
    large = [json.dumps({"padding": letter * 200_000}) for letter in "abc"]
    queue = queues.Queue(job_run.aws.sqs, "yorutsuke-batch-output-local")

    queue.send(large)

    assert _visible(job_run, "queueUrl") == Counter(large)


@pytest.mark.parametrize("options", [(), ("--submissions",)])
def test_unknown_job_without_messages_is_refused(operator: Operator, options: tuple[str, ...]) -> None:
    result = operator("redrive", "--job", "misspelled", *options)

    assert result.code == 1
    assert result.message.startswith("NotFoundError: ")
    assert "'misspelled'" in result.message
