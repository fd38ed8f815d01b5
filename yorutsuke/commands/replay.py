"""`replay`: has a job's output processed again, after a preview of the effects."""

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

Manifest = Annotated[bool, typer.Option("--manifest", help="Have manifest.json.out compared again instead.")]
Output = Annotated[str | None, typer.Option("--output", metavar="FILE", help="The output, if the job has several.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait for the result.")]
Timeout = Annotated[
    timedelta | None,
    typer.Option("--timeout", parser=parse_span, metavar="SPAN", help="How long to wait, such as 2h; 15m by default."),
]

Sent = tuple[dict[str, Any], Callable[[JobRecord], bool]]
"""The answer of a replay that was sent, and the test whether its result is in the job's record."""


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
    """Have a job's output processed again, after a preview of the effects."""
    record = find_record(stage, job)
    record.require_job("output")
    send = _replay_manifest if manifest else _replay_output
    answer, is_done = send(screen, stage, record, output, yes)
    if no_wait:
        screen.show({**answer, "done": False, "resultStats": None})
        screen.say("The message was sent. The function processes it.")
        return
    record = _wait(screen, stage, record, is_done, DEFAULT_TIMEOUT if timeout is None else timeout)
    screen.show({**answer, "done": True, "resultStats": record.resultStats})
    screen.say(f"Done: job {record.name} is {record.status}.")


def _replay_output(screen: Screen, stage: Stage, record: JobRecord, named: str | None, yes: bool) -> Sent:  # noqa: FBT001
    if record.is_claimed:
        raise RefusedError(
            f"a function holds job {record.name!r} until {record.claimedUntil} (epoch seconds) at the latest: replay "
            "it after that. `job` shows the claim."
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
            state = f"The record of job {job.jobId!r} was restored."
        else:
            state = f"A function holds job {job.jobId!r}, or has processed an output: see `job {job.jobId}`."
        screen.say(f"The message was not sent, or its answer was lost. {state}")
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
            "overwritten, with their edits": _count(effects.changed, effects.changedIds),
            "written again, missing now": _count(effects.gone, effects.goneIds),
            "images": f"{effects.imagesToMove} to move, {effects.imagesMovedBefore} moved before, "
            f"{effects.imagesUnknown} unknown",
            "failing lines": failures or "none",
            "dead letters": "the file is written again",
            "metrics": "the lines are counted again",
        },
    )


def _count(count: int, ids: list[str]) -> str:
    return f"{count}: {list_first(ids, count)}" if ids else "0"


def _replay_manifest(screen: Screen, stage: Stage, record: JobRecord, named: str | None, yes: bool) -> Sent:  # noqa: FBT001
    if named:
        raise RefusedError("--output and --manifest exclude each other: leave one of them out.")
    key = choose_manifest(stage, record).key
    job = stage.stores.jobs.find(record.name)
    bucket = stage.settings.images_bucket
    _, content = read_manifest(stage.clients.s3, bucket, key)
    counts, lines = parse_counts(content, key), processed_lines(job)
    rows = {
        "processed records": counts.processedRecordCount,
        "processed lines": lines,
        "if they agree": "the counts are stored in the job's record",
    }
    screen.preview(facts(f"Effects of comparing {key} again, for job {job.jobId}", rows))
    if is_premature(counts, job):
        raise RefusedError(
            f"{key!r} counts no records, and no lines were processed: the function would skip it. Bedrock writes it "
            "again."
        )
    if counts.processedRecordCount != lines:
        raise RefusedError(
            f"{key!r} counts {counts.processedRecordCount} processed records, and {lines} lines were processed: its "
            "message would fail until the numbers agree. Process the output first, with redrive or replay "
            f"{job.jobId}."
        )
    screen.confirm(f"Compare {key} again?", yes=yes)
    stage.queue.send([notification(bucket, key)])
    return {"jobId": record.jobId, "key": key}, lambda now: now.bedrockCounts == counts


def _wait(
    screen: Screen, stage: Stage, record: JobRecord, is_done: Callable[[JobRecord], bool], timeout: timedelta
) -> JobRecord:
    """Wait until a job's record has the result, and return the record. Raises UnfinishedError after the timeout."""
    deadline = time.monotonic() + timeout.total_seconds()
    try:
        with screen.progress("Waiting for the function"):
            while not is_done(now := find_record(stage, record.intentId)):
                if time.monotonic() > deadline:
                    raise UnfinishedError(
                        f"job {record.name!r} is not done after {timeout}: the function continues, and a failed "
                        f"message comes back. See `job {record.name}` later."
                    )
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        screen.say("Stopped waiting. The function continues: `job` shows its progress.")
        raise
    return now
