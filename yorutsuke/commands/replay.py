"""`replay`: a job's output taken in once more."""

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.console import Group

from batch_result_handler.event import ManifestObject
from batch_result_handler.manifest import MAX_MANIFEST_BYTES, parse_counts
from yorutsuke.errors import NotFoundError, RefusedError
from yorutsuke.jobs import JobRecord, Jobs
from yorutsuke.options import JobName, Json, Profile, Region, StageName, Yes
from yorutsuke.outputs import JobOutput
from yorutsuke.replay import Effects, choose_manifest, choose_output, foresee, notification
from yorutsuke.screen import Screen, facts
from yorutsuke.stage import Stage, open_stage
from yorutsuke.stores import Stores
from yorutsuke.times import parse_span
from yorutsuke.waiting import wait_for
from yorutsuke_common.schema import RecordCounts

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
    stores = Stores(stage)
    job = stores.jobs.find(record.name)
    with screen.progress(f"Reading {output.key}") as steps:
        effects = foresee(stores, job, output.key, steps.advance)
    screen.preview(_effects_table(record, output, effects))
    screen.confirm(f"Take {output.key} in again?", yes=yes)
    stores.jobs.forget_outputs(job)
    stage.queue.send([notification(stage.settings.images_bucket, output.key)])
    answer = {"jobId": record.jobId, "key": output.key, "effects": _effects(effects)}
    return answer, lambda now: now.is_completed and output.key in now.processedOutputs


def _require_free(record: JobRecord) -> None:
    if record.is_claimed:
        raise RefusedError(
            f"a function has job {record.name!r}, until {record.claimedUntil} (epoch seconds) at the latest: replay it "
            "when that is over. `job` shows whether it is."
        )


def _effects(effects: Effects) -> dict[str, Any]:
    return {
        "new": effects.new,
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
    more = ", …" if effects.changed > len(effects.changed_ids) else ""
    named = f": {', '.join(effects.changed_ids)}{more}" if effects.changed_ids else ""
    failures = "  ".join(f"{reason}={count}" for reason, count in (+effects.failures).most_common())
    return facts(
        f"To take {output.key} in again would mean, for job {record.name}",
        {
            "its content": output.state.value,
            "instead of": ", ".join(others),
            "transactions": f"{effects.new} new, {effects.same} the same, {effects.changed} put back",
            "put back, edits undone": f"{effects.changed}{named}",
            "images": f"{effects.to_move} to be moved, {effects.moved_before} moved before, {effects.unknown} unknown",
            "lines that fail": failures or "none",
            "dead letters": "the file is written anew",
            "metrics": "count its lines once more",
        },
    )


def _replay_manifest(screen: Screen, stage: Stage, record: JobRecord, named: str | None, yes: bool) -> Sent:  # noqa: FBT001
    if named:
        raise RefusedError("--output names an output, and --manifest asks for the manifest: leave one of them out.")
    manifest = choose_manifest(stage, record)
    body = stage.clients.s3.get_object(Bucket=stage.settings.images_bucket, Key=manifest.key)["Body"]
    content = body.read(MAX_MANIFEST_BYTES + 1)
    counts = parse_counts(content, ManifestObject(stage.settings.images_bucket, manifest.key))
    screen.preview(_manifest_table(record, manifest, counts))
    screen.confirm(f"Have {manifest.key} compared again?", yes=yes)
    stage.queue.send([notification(stage.settings.images_bucket, manifest.key)])
    return {"jobId": record.jobId, "key": manifest.key}, lambda now: now.bedrockCounts == counts


def _manifest_table(record: JobRecord, manifest: JobOutput, counts: RecordCounts) -> Group:
    lines = record.resultStats.totalCount if record.resultStats else 0
    agree = counts.processedRecordCount == lines
    return facts(
        f"To have {manifest.key} compared again would mean, for job {record.name}",
        {
            "processed records": counts.processedRecordCount,
            "lines taken in": lines,
            "so": "its counts go into the job's record" if agree else "its message comes back until they agree",
        },
    )
