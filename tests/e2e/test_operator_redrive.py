"""The operator's command on the dead-letter queue of a stage whose function takes nothing from its queue meanwhile."""

import json
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from local.emulator import Emulator
from local.job_run import JobRun
from yorutsuke import queues
from yorutsuke.errors import UnfinishedError
from yorutsuke.redrive import move_messages

from .operator_stage import Operator, forget_jobs, operator_of, put_job

EVENTS = Path(__file__).parents[1] / "events"
Queue = Callable[[], list[str]]


@pytest.fixture(scope="module")
def operator(emulator: Emulator, stage: JobRun, tmp_path_factory: pytest.TempPathFactory) -> Generator[Operator]:
    """Somebody whose stage's function is at rest: what is redriven stays to be looked at."""
    lambda_ = stage.aws.lambda_
    [mapping] = lambda_.list_event_source_mappings(FunctionName=stage.outputs["functionName"])["EventSourceMappings"]
    identifier = mapping.get("UUID", "")
    lambda_.update_event_source_mapping(UUID=identifier, Enabled=False)
    yield operator_of(emulator, stage, tmp_path_factory.mktemp("redrive"))
    lambda_.update_event_source_mapping(UUID=identifier, Enabled=True)


@pytest.fixture(autouse=True)
def empty_queues(operator: Operator) -> Generator[None]:
    yield
    for name in ("queueUrl", "deadLetterQueueUrl"):
        operator.job_run.aws.sqs.purge_queue(QueueUrl=operator.job_run.outputs[name])


def _output(job_run: JobRun, job_id: str, file: str = "output.jsonl") -> str:
    s3 = {"bucket": {"name": job_run.outputs["imagesBucket"]}, "object": {"key": f"batch-output/{job_id}/{file}"}}
    return json.dumps({"Records": [{"s3": s3}]})


def _end(job_id: str) -> str:
    event = json.loads((EVENTS / "bedrock" / "job_state_change.json").read_text())
    event["detail"]["batchJobArn"] = event["detail"]["batchJobArn"].rpartition("/")[0] + f"/{job_id}"
    return json.dumps(event)


def _failed_event(job_run: JobRun, job_id: str) -> str:
    record = json.loads(json.loads((EVENTS / "sqs_lambda_failure_event.json").read_text())["Records"][0]["body"])
    return json.dumps({**record, "requestPayload": json.loads(_output(job_run, job_id))})


def _kill(job_run: JobRun, *bodies: str) -> None:
    """Put messages into the dead-letter queue."""
    for start in range(0, len(bodies), 10):
        entries: list[Any] = [
            {"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies[start : start + 10])
        ]
        job_run.aws.sqs.send_message_batch(QueueUrl=job_run.outputs["deadLetterQueueUrl"], Entries=entries)


def _visible(job_run: JobRun, queue: str) -> Counter[str]:
    """Return the bodies that anybody would see in a queue now."""
    return Counter(body for batch in _batches(job_run, queue) for body in batch)


def _batches(job_run: JobRun, queue: str) -> Iterator[list[str]]:
    while True:
        answer = job_run.aws.sqs.receive_message(QueueUrl=job_run.outputs[queue], MaxNumberOfMessages=10)
        if not (messages := answer.get("Messages", [])):
            return
        yield [message.get("Body", "") for message in messages]


def test_what_is_there_is_said_by_kind_and_job_and_all_of_it_that_can_be_read_is_moved(operator: Operator) -> None:
    job_run = operator.job_run
    readable = [
        _output(job_run, "jobone000001"),
        _output(job_run, "jobone000001"),
        _output(job_run, "jobone000001", "manifest.json.out"),
        _end("jobtwo000002"),
        _failed_event(job_run, "jobtwo000002"),
    ]
    _kill(job_run, *readable, "no JSON")

    answer = operator("redrive", "--json", "--yes").answer

    found = {(group["kind"], group["jobId"], group["messages"]) for group in answer["found"]}
    assert found == {
        ("output", "jobone000001", 2),
        ("manifest", "jobone000001", 1),
        ("job's end", "jobtwo000002", 1),
        ("failed event", "jobtwo000002", 1),
        ("unknown", None, 1),
    }
    assert (answer["messages"], answer["readable"], answer["moved"]) == (6, 5, 5)
    assert _visible(job_run, "queueUrl") == Counter(readable)
    assert _visible(job_run, "deadLetterQueueUrl") == Counter(["no JSON"])


def test_a_redrive_as_a_person_runs_it(operator: Operator) -> None:
    body = _output(operator.job_run, "jobone000001")
    _kill(operator.job_run, body)

    refused = operator.spawned("redrive")
    done = operator.spawned("redrive", "--yes")

    assert refused.code == 1
    assert "standard input is not a terminal. Pass --yes" in refused.told
    assert done.code == 0, done.err
    assert "output │ jobone000001" in " ".join(done.out.split())
    assert "1 of 1 messages were moved." in done.told
    assert _visible(operator.job_run, "queueUrl") == Counter([body])


@pytest.mark.parametrize(("arguments", "answer"), [(["--dry-run"], None), ([], "n\n"), ([], None)])
def test_what_nobody_agreed_to_stays_and_can_be_seen_at_once(
    operator: Operator, arguments: list[str], answer: str | None
) -> None:
    body = _output(operator.job_run, "jobone000001")
    _kill(operator.job_run, body)

    ran = operator("redrive", *arguments, answer=answer)

    assert ran.code == (0 if arguments else 1)
    assert "jobone000001" in ran.out
    assert _visible(operator.job_run, "deadLetterQueueUrl") == Counter([body])
    assert _visible(operator.job_run, "queueUrl") == Counter()


def test_the_messages_of_one_job_are_moved_alone_by_its_id_or_its_intent_s(operator: Operator) -> None:
    job_run = operator.job_run
    put_job(job_run, "intent-two", jobId="jobtwo000002")
    bodies = [_output(job_run, job_id) for job_id in ("jobone000001", "jobtwo000002", "nobodys00003")]
    _kill(job_run, *bodies)

    by_intent = operator("redrive", "--json", "--yes", "--job", "intent-two").answer
    without_record = operator("redrive", "--json", "--yes", "--job", "nobodys00003").answer
    forget_jobs(job_run, "intent-two")

    assert [group["jobId"] for group in by_intent["found"]] == ["jobtwo000002"]
    assert (by_intent["moved"], without_record["moved"]) == (1, 1)
    assert _visible(job_run, "queueUrl") == Counter(bodies[1:])
    assert _visible(job_run, "deadLetterQueueUrl") == Counter(bodies[:1])


def test_an_empty_dead_letter_queue_is_no_failure(operator: Operator) -> None:
    ran = operator("redrive")

    assert ran.code == 0
    assert "Found 0 matching messages in yorutsuke-batch-output-dlq-local." in ran.told
    assert operator("redrive", "--json").answer["found"] == []


def test_what_the_queue_does_not_take_stays_in_the_dead_letter_queue(operator: Operator) -> None:
    bodies = [_output(operator.job_run, f"jobfull{number:05}") for number in range(25)]
    _kill(operator.job_run, *bodies)

    with patch.object(queues.Queue, "send", side_effect=UnfinishedError("SQS took none")):
        ran = operator("redrive", "--yes")

    assert ran.code == 1
    assert "UnfinishedError: 25 of 25 messages were not moved (SQS took none). Run the command again." in ran.told
    assert _visible(operator.job_run, "deadLetterQueueUrl") == Counter(bodies)


def test_what_somebody_else_has_received_is_not_called_nothing(operator: Operator) -> None:
    job_run = operator.job_run
    body = _output(job_run, "jobone000001")
    _kill(job_run, body, body)
    dead = job_run.outputs["deadLetterQueueUrl"]
    job_run.aws.sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=1, VisibilityTimeout=600)

    looked = operator("redrive", "--dry-run")
    done = operator("redrive", "--yes")
    nothing = operator("redrive", "--json")

    assert (looked.code, done.code, nothing.code) == (0, 1, 1)
    queue = "yorutsuke-batch-output-dlq-local"
    hidden = f"1 messages in {queue} could not be received, because another program has received them or they are new."
    assert f"1 of 1 messages can be moved. This dry run changed nothing. {hidden}" in looked.told
    assert f"1 of 1 messages were moved. {hidden}" in done.told
    assert "After an interrupted command, messages become visible within 10 minutes." in done.told
    assert f"Found 0 matching messages in {queue}. {hidden}" in nothing.told
    assert f"UnfinishedError: 1 messages of {queue} could not be received. Run the command again." in nothing.told
    assert (json.loads(nothing.out)["messages"], json.loads(nothing.out)["hidden"]) == (0, 1)


def test_what_somebody_else_receives_meanwhile_was_not_moved(operator: Operator) -> None:
    job_run = operator.job_run
    _kill(job_run, *[_output(job_run, f"jobpart{number:05}") for number in range(3)])

    def too_late(*arguments: Any) -> None:
        dead = job_run.outputs["deadLetterQueueUrl"]
        job_run.aws.sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=1, VisibilityTimeout=600)
        move_messages(*arguments)

    with patch("yorutsuke.commands.redrive.move_messages", too_late):
        ran = operator("redrive", "--yes", "--json")

    assert (ran.code, json.loads(ran.out)["moved"]) == (1, 2)
    assert "UnfinishedError: 1 of 3 messages were not moved (another program has received them)." in ran.told


def test_a_queue_whose_messages_come_back_before_its_end_is_not_looked_through_for_ever(operator: Operator) -> None:
    job_run = operator.job_run
    _kill(job_run, *[_output(job_run, f"jobslow{number:05}") for number in range(30)])

    with patch.object(queues, "HIDDEN_SECONDS", 0):
        looked = operator("redrive", "--dry-run", "--json")
        moved = operator("redrive", "--yes", "--json", "--job", "jobslow00000")

    # Ten at a time, and the first ten again: of the others it is said that they are there.
    assert looked.code == 0
    seen, hidden = looked.answer["messages"], looked.answer["hidden"]
    assert (seen >= 10, seen + hidden) == (True, 30)
    # Whether the one was still held when it was to be deleted is SQS's to say.
    assert (moved.code, " of 1 messages were moved" in moved.told) == (1, True)


def test_looking_ends_before_what_was_seen_comes_back_and_says_how_far_it_came(operator: Operator) -> None:
    job_run = operator.job_run
    bodies = [_output(job_run, f"joblate{number:05}") for number in range(300)]
    _kill(job_run, *bodies)

    with patch.object(queues, "READING_SECONDS", 0):
        ran = operator("redrive", "--dry-run")

    assert (ran.code, ran.out) == (1, "")
    assert ran.told.startswith(
        "UnfinishedError: 160 messages of yorutsuke-batch-output-dlq-local were received, and more remain"
    )
    assert _visible(job_run, "deadLetterQueueUrl") == Counter(bodies)


def test_moving_ends_in_time_too_and_what_was_moved_is_moved(operator: Operator) -> None:
    job_run = operator.job_run
    bodies = [_output(job_run, f"jobhalf{number:05}") for number in range(200)]
    _kill(job_run, *bodies)

    def in_no_time(*arguments: Any) -> None:
        with patch.object(queues, "READING_SECONDS", 0):
            move_messages(*arguments)

    with patch("yorutsuke.commands.redrive.move_messages", in_no_time):
        ran = operator("redrive", "--yes")

    assert ran.code == 1
    assert "160 of 200 messages were moved." in ran.told
    assert "UnfinishedError: 40 of 200 messages were not moved (160 messages of yorutsuke-batch-output-dlq" in ran.told
    assert _visible(job_run, "queueUrl") + _visible(job_run, "deadLetterQueueUrl") == Counter(bodies)


def test_a_thousand_messages_are_moved_and_the_largest_groups_shown(operator: Operator) -> None:
    job_run = operator.job_run
    bodies = [_output(job_run, f"jobmany{number // 10:05}") for number in range(1000)]
    _kill(job_run, *bodies)

    ran = operator("redrive", "--yes")

    assert ran.code == 0, ran.err
    assert "1000 messages, the first 20 of 100 rows" in ran.out
    assert sum("jobmany" in line for line in ran.out.splitlines()) == 20
    assert _visible(job_run, "queueUrl") == Counter(bodies)
    assert _visible(job_run, "deadLetterQueueUrl") == Counter()


def test_messages_are_sent_in_batches_that_one_call_takes(operator: Operator) -> None:
    job_run = operator.job_run
    large = [json.dumps({"padding": letter * 200_000}) for letter in "abc"]
    queue = queues.Queue(job_run.aws.sqs, "yorutsuke-batch-output-local")

    queue.send(large)

    assert _visible(job_run, "queueUrl") == Counter(large)
