"""`replay`: processes a job's output again, after a preview of the effects."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

import typer

from yorutsuke.errors import RefusedError, UnfinishedError
from yorutsuke.job_records import JobRecord, find_record
from yorutsuke.options import JobName, Yes, stage_command
from yorutsuke.outputs import JobOutput
from yorutsuke.replay import (
    Effects,
    choose_manifest,
    choose_output,
    forget_outputs,
    notification,
    preview_effects,
    require_unchanged,
    restore_outputs,
)
from yorutsuke.screen import Screen, facts, list_first
from yorutsuke.stage import Stage
from yorutsuke.times import parse_span
from yorutsuke_common.aws.output_files import read_manifest
from yorutsuke_common.records.manifest import is_premature, parse_counts, processed_lines
from yorutsuke_common.schema import BatchJob

DEFAULT_TIMEOUT = timedelta(minutes=15)
POLL_SECONDS = 1.0

Manifest = Annotated[bool, typer.Option("--manifest", help="Compare manifest.json.out again instead.")]
Output = Annotated[
    str | None, typer.Option("--output", metavar="FILE", help="The output file, if the job has several.")
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait for the result.")]
Timeout = Annotated[
    timedelta | None,
    typer.Option(
        "--timeout", parser=parse_span, metavar="SPAN", help="Maximum time to wait, such as 2h. By default 15m."
    ),
]

Sent = tuple[dict[str, Any], Callable[[JobRecord], bool]]
"""The answer of a replay that was sent, and the test whether its result is in the job's item."""


@stage_command
def replay(
    screen: Screen,
    stage: Stage,
    job: JobName,
    *,
    manifest: Manifest = False,
    output: Output = None,
    no_wait: NoWait = False,
    timeout: Timeout = None,
    yes: Yes = False,
) -> None:
    """Process a job's output again. A preview shows the effects first."""
    record = find_record(stage, job)
    record.require_job("output")
    send = _replay_manifest if manifest else _replay_output
    answer, is_done = send(screen, stage, record, output, yes)
    if no_wait:
        screen.show({**answer, "done": False, "resultStats": None})
        screen.say(f"The message was sent. `job {record.name}` shows the result.")
        return
    record = _wait(screen, stage, record, is_done, DEFAULT_TIMEOUT if timeout is None else timeout)
    screen.show({**answer, "done": True, "resultStats": record.resultStats})
    screen.say(f"Done: job {record.name} is {record.status}.")


def _replay_output(screen: Screen, stage: Stage, record: JobRecord, named: str | None, yes: bool) -> Sent:  # noqa: FBT001
    if record.is_claimed:
        raise RefusedError(
            f"a function has claimed job {record.name!r} until {record.claimedUntil} (epoch seconds) at the latest. "
            f"Replay the job after that. `job {record.name}` shows the claim."
        )
    output = choose_output(stage, record, named)
    key = output.key
    job = stage.stores.jobs.find(record.name)
    with screen.progress(f"Reading {key}"):
        etag, effects = preview_effects(stage, job, key)
    screen.preview(_effects_table(record, output, effects))
    screen.confirm(f"Process {key} again?", yes=yes)
    require_unchanged(stage, key, etag)
    _send_again(screen, stage, job, key)
    answer = {"jobId": record.jobId, "key": key, "effects": effects}
    return answer, lambda now: now.is_completed and key in now.processedOutputs


def _send_again(screen: Screen, stage: Stage, job: BatchJob, key: str) -> None:
    """Forget the job's processed outputs and send the message about one, or do neither."""
    forget_outputs(stage.stores.jobs, job)
    try:
        stage.queue.send([notification(stage.settings.images_bucket, key)])
    except BaseException:
        if not job.processedOutputs or restore_outputs(stage.stores.jobs, job):
            state = f"The item of job {job.jobId!r} was restored."
        else:
            state = f"A function has claimed job {job.jobId!r} or processed an output. Run `job {job.jobId}`."
        screen.say(f"The message was not sent, or SQS's response was lost. {state}")
        raise


def _effects_table(record: JobRecord, output: JobOutput, effects: Effects) -> Any:
    others = [key for key in record.processedOutputs if key != output.key]
    failures = "  ".join(f"{reason}={count}" for reason, count in effects.failures.most_common())
    return facts(
        f"Effects of processing {output.key} again, for job {record.name}",
        {
            "state": output.state.value,
            "replaces": ", ".join(others),
            "transactions": f"{effects.new} new, {effects.same} unchanged, {effects.changed} overwritten",
            "overwritten, including edits": _count(effects.changed, effects.changedIds),
            "missing, written again": _count(effects.gone, effects.goneIds),
            "images": f"{effects.imagesToMove} to move, {effects.imagesMovedBefore} moved before, "
            f"{effects.imagesUnknown} unknown",
            "failed records": failures or "0",
            "dead letters": "the file is written again",
            "metrics": "the records are counted again",
        },
    )


def _count(count: int, ids: list[str]) -> str:
    return f"{count}: {list_first(ids, count)}" if ids else "0"


def _replay_manifest(screen: Screen, stage: Stage, record: JobRecord, named: str | None, yes: bool) -> Sent:  # noqa: FBT001
    if named:
        raise RefusedError("--output and --manifest exclude each other. Leave one of them out.")
    key = choose_manifest(stage, record).key
    job = stage.stores.jobs.find(record.name)
    bucket = stage.settings.images_bucket
    _, content = read_manifest(stage.clients.s3, bucket, key)
    counts, lines = parse_counts(content, key), processed_lines(job)
    rows = {
        "records in the manifest": counts.processedRecordCount,
        "records in the processed output": lines,
        "effect if they agree": "the counts are stored in the job's item",
    }
    screen.preview(facts(f"Effects of comparing {key} again, for job {job.jobId}", rows))
    if is_premature(counts, job):
        raise RefusedError(
            f"{key!r} counts 0 processed records, and the job's output was not processed, so the function would skip "
            "the manifest. Wait until Bedrock has written it again."
        )
    if counts.processedRecordCount != lines:
        raise RefusedError(
            f"{key!r} counts {counts.processedRecordCount} records, but the processed output has {lines}, so the "
            f"message would fail. Process the output first, with redrive --job {job.jobId} or replay {job.jobId}."
        )
    screen.confirm(f"Compare {key} again?", yes=yes)
    stage.queue.send([notification(bucket, key)])
    return {"jobId": record.jobId, "key": key}, lambda now: now.bedrockCounts == counts


def _wait(
    screen: Screen, stage: Stage, record: JobRecord, is_done: Callable[[JobRecord], bool], timeout: timedelta
) -> JobRecord:
    """Wait until a job's item has the result, and return the record. Raises UnfinishedError after the timeout."""
    deadline = time.monotonic() + timeout.total_seconds()
    try:
        with screen.progress("Waiting for the function"):
            while not is_done(now := find_record(stage, record.intentId)):
                if time.monotonic() > deadline:
                    raise UnfinishedError(
                        f"job {record.name!r} was not processed within {timeout}. The function continues, and SQS "
                        f"delivers a failed message again. Run `job {record.name}` later."
                    )
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        screen.say(f"Stopped waiting. The function continues. `job {record.name}` shows the result.")
        raise
    return now
