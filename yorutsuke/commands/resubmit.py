"""`resubmit`: submits the images of a job that the job did not read, after a preview."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Group

from yorutsuke.errors import NotFoundError, RefusedError, UnfinishedError
from yorutsuke.job_images import job_images, read_records, requested_ids
from yorutsuke.options import JobName, Yes, stage_command
from yorutsuke.orchestrator import RequestRefusedError, has_schedule, submit, submit_settings
from yorutsuke.resubmission import FixableReason, Resubmission, choose_images
from yorutsuke.screen import Screen, facts, quantity
from yorutsuke.stage import Stage
from yorutsuke.stored_jobs import StoredJob, find_item, read_job
from yorutsuke_common.schema import ImageStatus

Reasons = Annotated[
    list[FixableReason] | None,
    typer.Option("--reason", help="Only images that the job did not read for this reason. May be repeated."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the images, and submit nothing.")]


@stage_command
def resubmit(
    screen: Screen, stage: Stage, job: JobName, *, reason: Reasons = None, dry_run: DryRun = False, yes: Yes = False
) -> None:
    """Submit the images that a job did not read as a new job. A preview comes first.

    Too few images for a job wait for the stage's schedule.
    """
    with screen.progress(f"Reading the images of job {job}"):
        item = find_item(stage, job)
        stored = read_job(item)
        _require_ended(stage, stored)
        images = job_images(stage, stored, requested_ids(item), read_records(stage, stored))
        chosen = choose_images(stage, stored, images, reason or ())
    settings = submit_settings(stage)
    count, minimum = len(chosen.images), settings.min_records
    is_job = chosen.is_begun or count >= minimum
    screen.preview(_preview(stored, chosen, settings.model_ids, is_job=is_job))
    if not count:
        raise NotFoundError(
            f"job {stored.name!r} does not have images that can be submitted again.",
            f"`{stage.command('job', stored.name, '--images')}` shows the outcome of each image.",
        )
    if not is_job and not has_schedule(stage):
        raise RefusedError(
            f"job {stored.name!r} has {quantity(count, 'image')} to submit, and a batch job needs {minimum}: "
            f"{minimum - count} are missing. The stage does not have a schedule that collects waiting images.",
            "Name the images in a request, together with others.",
        )
    if dry_run:
        screen.show({**chosen.answer(stored), "job": None, "waiting": None})
        screen.say("This dry run changed nothing.")
        return
    if is_job:
        _submit(screen, stage, stored, chosen, settings.model_ids, yes=yes)
    else:
        _wait_for_schedule(screen, stage, stored, chosen, yes=yes)


def _require_ended(stage: Stage, stored: StoredJob) -> None:
    """Refuse a job that has not ended, or with an output in process. Raises RefusedError."""
    if stored.has_ended:
        return
    claimed = " and claimed" if stored.is_claimed else ""
    raise RefusedError(
        f"job {stored.name!r} is {stored.status}{claimed}. Images can be submitted again when their job has ended.",
        f"Run the command again after that. `{stage.command('job', stored.name)}` shows the state of the job.",
    )


def _preview(stored: StoredJob, chosen: Resubmission, model_ids: Sequence[str], *, is_job: bool) -> Group:
    continued = "continues the job of intent" if chosen.is_begun else "submits a job with intent"
    return facts(
        f"Effects of submitting images of job {stored.name} again",
        {
            "images to submit": len(chosen.images),
            **{f"images to submit: {reason}": count for reason, count in chosen.reasons.most_common()},
            **{f"images left out: {reason}": count for reason, count in chosen.left_out.most_common()},
            "images with a transaction": chosen.read,
            "user": stored.userId or "the user of each image",
            "model": _model(stored, chosen, model_ids) if is_job else model_ids[0],
            "effect": f"{continued} {chosen.intent_id}" if is_job else "too few images for a job of their own",
        },
    )


def _model(stored: StoredJob, chosen: Resubmission, model_ids: Sequence[str]) -> str:
    """Return the model of the new job, with the reason if it is not the model of the old one."""
    if chosen.is_begun:
        return "the model with which the intent began"
    if stored.modelId in (None, *model_ids):
        return stored.modelId or model_ids[0]
    return f"{model_ids[0]}, the stage's first model, because the stage does not have {stored.modelId} any more"


def _submit(
    screen: Screen, stage: Stage, stored: StoredJob, chosen: Resubmission, model_ids: Sequence[str], *, yes: bool
) -> None:
    screen.confirm(f"Submit {quantity(len(chosen.images), 'image')} of job {stored.name} again?", yes=yes)
    with screen.progress("Submitting the job"):
        try:
            submitted = submit(stage, chosen.request(stored, model_ids))
        except RequestRefusedError:
            raise
        except UnfinishedError as exc:
            raise UnfinishedError(
                f"{exc.problem.rstrip('.')}. The new job may exist.",
                "Run the same command again. It never submits a second job.",
            ) from exc
    screen.show({**chosen.answer(stored), "job": submitted, "waiting": None})
    left_out = submitted["leftOutCount"]
    screen.say(
        f"Job {submitted['jobId']} was submitted with {quantity(submitted['imageCount'], 'image')}."
        + (f" Images that could not be sent: {left_out}." if left_out else ""),
        f"`{stage.command('job', submitted['jobId'])}` shows its state.",
    )


def _wait_for_schedule(screen: Screen, stage: Stage, stored: StoredJob, chosen: Resubmission, *, yes: bool) -> None:
    """Let the images wait that have failed. The next scheduled run submits all images that wait."""
    collected = [image for image in chosen.images.values() if image.is_indexed]
    failed = [image for image in collected if image.status == ImageStatus.FAILED]
    if failed:
        screen.confirm(f"Set {quantity(len(failed), 'failed image')} of job {stored.name} to pending?", yes=yes)
    retried = stage.stores.pending.retry_failed(failed)
    waiting = len(collected) - len(failed) + retried
    answer: dict[str, Any] = {**chosen.answer(stored), "job": None, "waiting": waiting}
    screen.show(answer)
    screen.say(
        f"{quantity(waiting, 'image')} of job {stored.name} wait for the next scheduled run, {retried} of them had "
        "failed. The run submits them if enough images wait."
    )
    if left := len(chosen.images) - waiting:
        raise UnfinishedError(
            f"images that a schedule does not collect, or that changed meanwhile: {left}.",
            f"`{stage.command('job', stored.name, '--images')}` shows them. Name them in a request.",
        )
