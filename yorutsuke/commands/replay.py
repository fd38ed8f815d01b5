"""`replay`: a job's output taken in once more."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.console import Group

from yorutsuke.errors import NotFoundError, RefusedError
from yorutsuke.jobs import JobRecord, Jobs
from yorutsuke.options import JobName, Json, Profile, Region, StageName, Yes
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
from yorutsuke.screen import Screen, facts
from yorutsuke.stage import Stage, open_stage
from yorutsuke.times import parse_span
from yorutsuke.waiting import wait_for
from yorutsuke_common.aws.output_files import read_manifest
from yorutsuke_common.records.manifest import is_premature, parse_counts, processed_lines
from yorutsuke_common.schema import BatchJob, RecordCounts

Manifest = Annotated[bool, typer.Option("--manifest", help="Have manifest.json.out compared again instead.")]
Output = Annotated[str | None, typer.Option("--output", metavar="FILE", help="Which, where the job has several.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait until it is done.")]
Timeout = Annotated[
    timedelta | None,
    typer.Option("--timeout", parser=parse_span, metavar="SPAN", help="How long to wait, such as 2h; 15m by default."),
]
WAITED = timedelta(minutes=15)


def replay(
    job: JobName,
    *,
    stage: StageName,
    manifest: Manifest = False,
    output: Output = None,
    no_wait: NoWait = False,
    timeout: Timeout = None,
    yes: Yes = False,
    region: Region = None,
    profile: Profile = None,
    json: Json = False,
) -> None:
    """Have a job's output taken in again, having said what that would change."""
    screen = Screen(json=json)
    opened = open_stage(stage, region, profile)
    record = Jobs(opened).find(job)
    if record.jobId is None:
        raise NotFoundError(f"intent {job!r} has no job yet, and so no output: submit it again.")
    act = _replay_manifest if manifest else _replay_output
    answer, settled = act(screen, opened, record, output, yes)
    if not no_wait:
        record = wait_for(screen, lambda: Jobs(opened).again(record), settled, WAITED if timeout is None else timeout)
    screen.show({**answer, "done": not no_wait, "resultStats": None if no_wait else record.resultStats})
    screen.say("Sent; the function does the rest." if no_wait else f"Done: job {record.name} is {record.status}.")


Sent = tuple[dict[str, Any], Callable[[JobRecord], bool]]
"""What the answer says of it, and how to tell that it is done."""


def _replay_output(screen: Screen, stage: Stage, record: JobRecord, named: str | None, yes: bool) -> Sent:  # noqa: FBT001
    _require_free(record)
    output = choose_output(stage, record, named)
    job = stage.stores.jobs.find(record.name)
    with screen.progress(f"Reading {output.key}") as steps:
        effects = preview_effects(stage, job, output, steps.advance)
    screen.preview(_effects_table(record, output, effects))
    screen.confirm(f"Take {output.key} in again?", yes=yes)
    require_unchanged(stage, output.key, effects)
    _send_again(screen, stage, job, output.key)
    answer = {"jobId": record.jobId, "key": output.key, "effects": _effects(effects)}
    return answer, lambda now: now.is_completed and output.key in now.processedOutputs


def _send_again(screen: Screen, stage: Stage, job: BatchJob, key: str) -> None:
    """Forget the job's processed outputs and send the message about one, or do neither."""
    forget_outputs(stage.stores.jobs, job)
    try:
        stage.queue.send([notification(stage.settings.images_bucket, key)])
    except BaseException:
        screen.say(f"The message was not sent, or nobody knows; {_restored(stage, job)}")
        raise


def _restored(stage: Stage, job: BatchJob) -> str:
    if not job.processedOutputs or restore_outputs(stage.stores.jobs, job):
        return f"the record of job {job.jobId!r} is as it was."
    return f"a function has job {job.jobId!r}, or has taken an output in by now. `job {job.jobId}` shows which."


def _require_free(record: JobRecord) -> None:
    if record.is_claimed:
        raise RefusedError(
            f"a function has job {record.name!r}, until {record.claimedUntil} (epoch seconds) at the latest: replay it "
            "when that is over. `job` shows whether it is."
        )


def _effects(effects: Effects) -> dict[str, Any]:
    return {
        "new": effects.new,
        "gone": effects.gone,
        "goneIds": effects.gone_ids,
        "same": effects.same,
        "changed": effects.changed,
        "changedIds": effects.changed_ids,
        "imagesToMove": effects.to_move,
        "imagesMovedBefore": effects.moved_before,
        "imagesUnknown": effects.unknown,
        "failures": +effects.failures,
    }


def _effects_table(record: JobRecord, output: JobOutput, effects: Effects) -> Group:
    others = [key for key in record.processedOutputs if key != output.key]
    failures = "  ".join(f"{reason}={count}" for reason, count in (+effects.failures).most_common())
    return facts(
        f"To take {output.key} in again would mean, for job {record.name}",
        {
            "its content": output.state.value,
            "instead of": ", ".join(others),
            "transactions": f"{effects.new} new, {effects.same} the same, {effects.changed} put back",
            "put back, edits undone": _named(effects.changed, effects.changed_ids),
            "gone: deleted, or failed before": f"{_named(effects.gone, effects.gone_ids)}, would be written",
            "images": f"{effects.to_move} to be moved, {effects.moved_before} moved before, {effects.unknown} unknown",
            "lines that fail": failures or "none",
            "dead letters": "the file is written anew",
            "metrics": "count its lines once more",
        },
    )


def _named(count: int, ids: Sequence[str]) -> str:
    more = ", …" if count > len(ids) else ""
    return f"{count}: {', '.join(ids)}{more}" if ids else f"{count}"


def _replay_manifest(screen: Screen, stage: Stage, record: JobRecord, named: str | None, yes: bool) -> Sent:  # noqa: FBT001
    if named:
        raise RefusedError("--output names an output, and --manifest asks for the manifest: leave one of them out.")
    manifest = choose_manifest(stage, record)
    job = stage.stores.jobs.find(record.name)
    _, content = read_manifest(stage.clients.s3, stage.settings.images_bucket, manifest.key)
    counts = parse_counts(content, manifest.key)
    screen.preview(_manifest_table(job, manifest, counts))
    _require_agreement(job, manifest, counts)
    screen.confirm(f"Have {manifest.key} compared again?", yes=yes)
    stage.queue.send([notification(stage.settings.images_bucket, manifest.key)])
    return {"jobId": record.jobId, "key": manifest.key}, lambda now: now.bedrockCounts == counts


def _require_agreement(job: BatchJob, manifest: JobOutput, counts: RecordCounts) -> None:
    """Refuse to send what the function would skip, or what would come back until it is dead."""
    if is_premature(counts, job):
        raise RefusedError(
            f"{manifest.key!r} counts nothing and nothing was taken in: the function would skip it, and so nothing was "
            "sent. Bedrock writes it again."
        )
    lines = processed_lines(job)
    if counts.processedRecordCount != lines:
        raise RefusedError(
            f"{manifest.key!r} counts {counts.processedRecordCount} processed records, {lines} lines were taken in: "
            "its message would come back until they agree. Have the output taken in first, with redrive or replay "
            f"{job.jobId}."
        )


def _manifest_table(job: BatchJob, manifest: JobOutput, counts: RecordCounts) -> Group:
    return facts(
        f"To have {manifest.key} compared again would mean, for job {job.jobId}",
        {
            "processed records": counts.processedRecordCount,
            "lines taken in": processed_lines(job),
            "where they agree": "its counts go into the job's record",
        },
    )
