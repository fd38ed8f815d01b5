"""The handler emits the metric of each of its alarms in the documented situation, and in no other one here."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.documented_alarms import alarm_definitions

from .conftest import LogReader
from .stage import BUCKET, Stage, job_end, s3_notification, simple_record

Situation = Callable[[Stage], object]

UNKNOWN_JOB = json.dumps(s3_notification("batch-output/unknownjob12/output.jsonl", "0"))


def _process(*records: str) -> Situation:
    """Return the situation that the handler stores these records and moves the image img-1."""

    def situation(stage: Stage) -> object:
        stage.put_job()
        stage.put_images(["img-1"])
        return stage.deliver(stage.put_output(*records))

    return situation


def _process_without_upload(stage: Stage) -> object:
    stage.put_job()
    stage.put_images(["img-1"])
    [key] = stage.objects()
    stage.aws.s3.delete_object(Bucket=BUCKET, Key=key)
    return stage.deliver(stage.put_output(GOOD))


def _end(status: str) -> Situation:
    def situation(stage: Stage) -> object:
        stage.put_job()
        return stage.deliver(job_end(status))

    return situation


def _fail(receives: int) -> Situation:
    return lambda stage: stage.deliver(UNKNOWN_JOB, receives=receives)


GOOD, BAD = simple_record("img-1"), "{"

SITUATIONS: list[tuple[str, Situation, bool]] = [
    ("failure-rate", _process(GOOD, BAD), True),
    ("failure-rate", _process(GOOD), False),
    ("processing-time", _process(GOOD), True),
    ("processing-time", _fail(1), False),
    ("failed-jobs", _end("Failed"), True),
    ("failed-jobs", _end("Expired"), True),
    ("failed-jobs", _end("Stopped"), True),
    ("failed-jobs", _end("PartiallyCompleted"), True),
    ("failed-jobs", _end("Completed"), False),
    ("failed-migrations", _process_without_upload, True),
    ("failed-migrations", _process(GOOD), False),
    ("failed-redeliveries", _fail(2), True),
    ("failed-redeliveries", _fail(1), False),
]
"""An alarm, a situation, and whether the last metric of the alarm is above 0 in it."""


def _values(entries: list[dict[str, Any]], alarm: str) -> list[float]:
    """Return the emitted values of the last metric of an alarm. Its dimensions are those of the alarm."""
    definition = alarm_definitions()[alarm]
    metric = definition.metrics[-1]
    found = [entry for entry in entries if metric in entry]
    for entry in found:
        [directive] = entry["_aws"]["CloudWatchMetrics"]
        [names] = directive["Dimensions"]
        assert directive["Namespace"] == definition.namespace
        assert {(name, entry[name].replace("test", "STAGE")) for name in names} == definition.dimensions
    return [value for entry in found for value in entry[metric]]


@pytest.mark.parametrize(("alarm", "situation", "rises"), SITUATIONS)
def test_metric_rises_in_the_situation_of_its_alarm(
    stage: Stage, read_logs: LogReader, alarm: str, situation: Situation, *, rises: bool
) -> None:
    situation(stage)

    assert any(value > 0 for value in _values(read_logs(), alarm)) is rises


def test_every_alarm_on_the_handlers_metrics_has_situations() -> None:
    own = {
        name
        for name, found in alarm_definitions().items()
        if (found.namespace, dict(found.dimensions).get("service")) == ("BatchResult", "batch_result_handler")
    }

    assert {alarm for alarm, _, rises in SITUATIONS if rises} == own
    assert {alarm for alarm, _, rises in SITUATIONS if not rises} == own


def test_second_run_repeats_the_counts(stage: Stage, read_logs: LogReader) -> None:
    """As after a crash between the emission and the completion. test_alarms.py shows that the rate is unchanged."""
    _process(GOOD, BAD)(stage)
    first = read_logs()
    stage.remove_processed_outputs()
    stage.deliver(stage.put_output(GOOD, BAD))
    second = read_logs()

    for alarm in ("failure-rate", "failed-migrations"):
        assert _values(first, alarm) == _values(second, alarm) != []
