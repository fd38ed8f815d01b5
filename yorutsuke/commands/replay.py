"""`replay`: processes a job's output again, after a preview of the effects."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Annotated, Any

import typer

from yorutsuke.errors import RefusedError, UnfinishedError
from yorutsuke.options import JobName, Yes, stage_command
from yorutsuke.outputs import JobOutput
from yorutsuke.replay import (
    Effects,
    choose_output_manifest,
    choose_outputs,
    forget_outputs,
    notification,
    preview_effects,
    require_unchanged,
    restore_outputs,
)
from yorutsuke.screen import Screen, facts, quantity
from yorutsuke.stage import Stage
from yorutsuke.stored_jobs import StoredJob, find_job
from yorutsuke.waiting import DEFAULT_TIMEOUT, NoWait, Timeout, wait_until
from yorutsuke_common.aws.output_files import read_output_manifest
from yorutsuke_common.records.output_manifest import is_premature, parse_counts, processed_lines
from yorutsuke_common.schema import BatchJob

Manifest = Annotated[bool, typer.Option("--manifest", help="Compare manifest.json.out again instead.")]
Output = Annotated[
    str | None, typer.Option("--output", metavar="FILE", help="Only this output file, if the job has several.")
]

Wait = Callable[[Callable[[StoredJob], bool]], object]
"""Waits until a test of the job's item holds, or returns immediately with `--no-wait`."""


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
    run = _replay_output_manifest if manifest else _replay_outputs
    limit = DEFAULT_TIMEOUT if timeout is None else timeout
    wait: Wait = (lambda _: None) if no_wait else partial(_wait, screen, stage, stored, limit)
    answer = run(screen, stage, stored, output, yes, wait)
    if no_wait:
        screen.show({**answer, "done": False, "resultStats": None})
        screen.say(f"The replay was sent. `{stage.command('job', stored.name)}` shows the result.")
        return
    stored = find_job(stage, stored.intentId)
    screen.show({**answer, "done": True, "resultStats": stored.resultStats})
    screen.say(f"Done: job {stored.name} is {stored.status}.")


def _replay_outputs(
    screen: Screen,
    stage: Stage,
    stored: StoredJob,
    named: str | None,
    yes: bool,  # noqa: FBT001
    wait: Wait,
) -> dict[str, Any]:
    if stored.is_claimed:
        raise RefusedError(
            f"an invocation has claimed job {stored.name!r} until {stored.claimedUntil} (epoch seconds) at the latest.",
            f"Replay the job after that. `{stage.command('job', stored.name)}` shows the claim.",
        )
    outputs = choose_outputs(stage, stored, named)
    keys = [output.key for output in outputs]
    job = stage.stores.jobs.find(stored.name)
    effects = Effects()
    with screen.progress(f"Reading {', '.join(keys)}"):
        etags = [preview_effects(stage, job, key, effects) for key in keys]
    screen.preview(_effects_table(stored, outputs, effects))
    screen.confirm(f"Process {', '.join(keys)} again?", yes=yes)
    for key, etag in zip(keys, etags, strict=True):
        require_unchanged(stage, key, etag)
    _process_again(screen, stage, job, keys, wait)
    return {"jobId": stored.jobId, "keys": keys, "effects": effects}


def _process_again(screen: Screen, stage: Stage, job: BatchJob, keys: Sequence[str], wait: Wait) -> None:
    """Forget output files, and send the message about each when the one before is processed.

    A message that meets the claim of another one would return only after the visibility timeout.
    """
    rest = forget_outputs(stage.stores.jobs, job, keys)
    left = [*keys]
    try:
        for key in keys:
            _send(screen, stage, job, rest, key)
            left.remove(key)
            wait(lambda now, key=key: now.is_completed and key in now.processedOutputs)
    except BaseException:
        if left:
            screen.say(f"Output files that were not sent: {', '.join(left)}. Run the command again.")
        raise


def _send(screen: Screen, stage: Stage, job: BatchJob, rest: BatchJob, key: str) -> None:
    """Send the message about an output file, or restore the job's item."""
    try:
        stage.queue.send([notification(stage.settings.images_bucket, key)])
    except BaseException:
        if restore_outputs(stage.stores.jobs, job, rest):
            state = f"The item of job {job.jobId!r} was restored."
        else:
            show = stage.command("job", job.jobId)
            state = f"An invocation has claimed job {job.jobId!r} or processed an output. Run `{show}`."
        screen.say(f"The message was not sent, or SQS's response was lost. {state}")
        raise


def _effects_table(stored: StoredJob, outputs: Sequence[JobOutput], effects: Effects) -> Any:
    failures = "  ".join(f"{reason}={count}" for reason, count in effects.failures.most_common())
    return facts(
        f"Effects of processing {quantity(len(outputs), 'output file')} of job {stored.name} again",
        {
            **{output.key: output.state.value for output in outputs},
            "transactions": f"{effects.new} new, {effects.unchanged} unchanged, {effects.deleted} deleted before",
            "images": f"{effects.imagesToMove} to move, {effects.imagesMovedBefore} moved before, "
            f"{effects.imagesUnknown} unknown",
            "failed records": failures or "0",
            "dead letters": "those of these output files are written again",
            "metrics": "the records are counted again",
        },
    )


def _replay_output_manifest(
    screen: Screen,
    stage: Stage,
    stored: StoredJob,
    named: str | None,
    yes: bool,  # noqa: FBT001
    wait: Wait,
) -> dict[str, Any]:
    if named:
        raise RefusedError("--output and --manifest exclude each other.", "Leave one of them out.")
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
            "it.",
            "Wait until Bedrock has written it again.",
        )
    if counts.processedRecordCount != lines:
        raise RefusedError(
            f"{key!r} counts {quantity(counts.processedRecordCount, 'record')}, but the processed output has {lines}, "
            "so the message would fail.",
            f"Process the output first, with `{stage.command('redrive', '--job', job.jobId)}` or "
            f"`{stage.command('replay', job.jobId)}`.",
        )
    screen.confirm(f"Compare {key} again?", yes=yes)
    stage.queue.send([notification(bucket, key)])
    wait(lambda now: now.bedrockCounts == counts)
    return {"jobId": stored.jobId, "key": key}


def _wait(
    screen: Screen, stage: Stage, stored: StoredJob, timeout: timedelta, is_done: Callable[[StoredJob], bool]
) -> None:
    """Wait until a job's item has the result. Raises UnfinishedError after the timeout."""
    show = stage.command("job", stored.name)
    stopped = f"Stopped waiting. The function continues. `{show}` shows the result."
    if not wait_until(screen, lambda _: is_done(find_job(stage, stored.intentId)), timeout, stopped):
        raise UnfinishedError(
            f"job {stored.name!r} was not processed within {timeout}. The function continues, and SQS delivers a "
            "failed message again.",
            f"Run `{show}` later.",
        )
