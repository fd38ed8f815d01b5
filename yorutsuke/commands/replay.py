"""`replay`: processes a job's output again, after a preview of the effects."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

import typer

from yorutsuke.errors import RefusedError, UnfinishedError
from yorutsuke.options import JobName, Yes, stage_command
from yorutsuke.outputs import JobOutput
from yorutsuke.replay import (
    Effects,
    choose_output,
    choose_output_manifest,
    forget_outputs,
    notification,
    preview_effects,
    require_unchanged,
    restore_outputs,
)
from yorutsuke.screen import Screen, facts, quantity
from yorutsuke.stage import Stage
from yorutsuke.stored_jobs import StoredJob, find_job
from yorutsuke.times import parse_span
from yorutsuke_common.aws.output_files import read_output_manifest
from yorutsuke_common.records.output_manifest import is_premature, parse_counts, processed_lines
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

Sent = tuple[dict[str, Any], Callable[[StoredJob], bool]]
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
    stored = find_job(stage, job)
    stored.require_job("output")
    send = _replay_output_manifest if manifest else _replay_output
    answer, is_done = send(screen, stage, stored, output, yes)
    if no_wait:
        screen.show({**answer, "done": False, "resultStats": None})
        screen.say(f"The message was sent. `job {stored.name}` shows the result.")
        return
    stored = _wait(screen, stage, stored, is_done, DEFAULT_TIMEOUT if timeout is None else timeout)
    screen.show({**answer, "done": True, "resultStats": stored.resultStats})
    screen.say(f"Done: job {stored.name} is {stored.status}.")


def _replay_output(screen: Screen, stage: Stage, stored: StoredJob, named: str | None, yes: bool) -> Sent:  # noqa: FBT001
    if stored.is_claimed:
        raise RefusedError(
            f"an invocation has claimed job {stored.name!r} until {stored.claimedUntil} (epoch seconds) at the latest. "
            f"Replay the job after that. `job {stored.name}` shows the claim."
        )
    output = choose_output(stage, stored, named)
    key = output.key
    job = stage.stores.jobs.find(stored.name)
    with screen.progress(f"Reading {key}"):
        etag, effects = preview_effects(stage, job, key)
    screen.preview(_effects_table(stored, output, effects))
    screen.confirm(f"Process {key} again?", yes=yes)
    require_unchanged(stage, key, etag)
    _send_again(screen, stage, job, key)
    answer = {"jobId": stored.jobId, "key": key, "effects": effects}
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
            state = f"An invocation has claimed job {job.jobId!r} or processed an output. Run `job {job.jobId}`."
        screen.say(f"The message was not sent, or SQS's response was lost. {state}")
        raise


def _effects_table(stored: StoredJob, output: JobOutput, effects: Effects) -> Any:
    others = [key for key in stored.processedOutputs if key != output.key]
    failures = "  ".join(f"{reason}={count}" for reason, count in effects.failures.most_common())
    return facts(
        f"Effects of processing {output.key} again, for job {stored.name}",
        {
            "state": output.state.value,
            "replaces": ", ".join(others),
            "transactions": f"{effects.new} new, {effects.unchanged} unchanged, {effects.deleted} deleted before",
            "images": f"{effects.imagesToMove} to move, {effects.imagesMovedBefore} moved before, "
            f"{effects.imagesUnknown} unknown",
            "failed records": failures or "0",
            "dead letters": "the file is written again",
            "metrics": "the records are counted again",
        },
    )


def _replay_output_manifest(screen: Screen, stage: Stage, stored: StoredJob, named: str | None, yes: bool) -> Sent:  # noqa: FBT001
    if named:
        raise RefusedError("--output and --manifest exclude each other. Leave one of them out.")
    key = choose_output_manifest(stage, stored).key
    job = stage.stores.jobs.find(stored.name)
    bucket = stage.settings.images_bucket
    _, content = read_output_manifest(stage.clients.s3, bucket, key)
    counts, lines = parse_counts(content, key), processed_lines(job)
    rows = {
        "records in the output manifest": counts.processedRecordCount,
        "records in the processed output": lines,
        "effect if they agree": "the counts are stored in the job's item",
    }
    screen.preview(facts(f"Effects of comparing {key} again, for job {job.jobId}", rows))
    if is_premature(counts, job):
        raise RefusedError(
            f"{key!r} counts 0 processed records, and the job's output was not processed, so the function would skip "
            "it. Wait until Bedrock has written it again."
        )
    if counts.processedRecordCount != lines:
        raise RefusedError(
            f"{key!r} counts {quantity(counts.processedRecordCount, 'record')}, but the processed output has {lines}, "
            "so the message would fail. Process the output first, with "
            f"redrive --job {job.jobId} or replay {job.jobId}."
        )
    screen.confirm(f"Compare {key} again?", yes=yes)
    stage.queue.send([notification(bucket, key)])
    return {"jobId": stored.jobId, "key": key}, lambda now: now.bedrockCounts == counts


def _wait(
    screen: Screen, stage: Stage, stored: StoredJob, is_done: Callable[[StoredJob], bool], timeout: timedelta
) -> StoredJob:
    """Wait until a job's item has the result, and return the item. Raises UnfinishedError after the timeout."""
    deadline = time.monotonic() + timeout.total_seconds()
    try:
        with screen.progress("Waiting for the function"):
            while not is_done(now := find_job(stage, stored.intentId)):
                if time.monotonic() > deadline:
                    raise UnfinishedError(
                        f"job {stored.name!r} was not processed within {timeout}. The function continues, and SQS "
                        f"delivers a failed message again. Run `job {stored.name}` later."
                    )
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        screen.say(f"Stopped waiting. The function continues. `job {stored.name}` shows the result.")
        raise
    return now
