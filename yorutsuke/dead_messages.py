"""What a message of the dead-letter queue is about, as far as its body says."""

import json
from dataclasses import dataclass
from enum import StrEnum

from yorutsuke_common.errors import InvalidEventError
from yorutsuke_common.events import (
    JobEnd,
    JobEvent,
    ManifestObject,
    OutputObject,
    is_lambda_failure_record,
    job_events_in_message,
)


class Kind(StrEnum):
    """What a message tells of. A failed event is Lambda's record of one, where S3 invokes the function straight."""

    OUTPUT = "output"
    MANIFEST = "manifest"
    JOB_END = "job's end"
    FAILED_EVENT = "event that Lambda gave up"
    TEST_EVENT = "S3's test event"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class DeadMessage:
    """A message's kind, and the job that it is about; `problem` is why the function cannot read an unknown one."""

    kind: Kind
    job_id: str | None = None
    problem: str | None = None


def read_message(body: str, bucket: str) -> DeadMessage:
    """Return what a message is about, as the function itself would read it."""
    try:
        events = job_events_in_message(body, bucket)
    except InvalidEventError as exc:
        return DeadMessage(Kind.UNKNOWN, problem=str(exc))
    if not events:
        return DeadMessage(Kind.TEST_EVENT)
    # S3 and EventBridge send one event per message.
    first = events[0]
    kind = Kind.FAILED_EVENT if is_lambda_failure_record(json.loads(body)) else _kind(first)
    return DeadMessage(kind, first.job_id)


def _kind(event: JobEvent) -> Kind:
    match event:
        case OutputObject():
            return Kind.OUTPUT
        case ManifestObject():
            return Kind.MANIFEST
        case JobEnd():
            return Kind.JOB_END
