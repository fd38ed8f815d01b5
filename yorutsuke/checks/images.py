"""Checks the images that have failed."""

from collections import Counter
from collections.abc import Iterable

from yorutsuke.resubmission import FixableReason
from yorutsuke.screen import list_first, quantity
from yorutsuke.stage import Stage
from yorutsuke.stored_jobs import ENDED_EARLY, StoredJob
from yorutsuke_common.schema import ImageStatus

from .finding import Finding, State

CHECK = "failed images"
RESUBMITTED = {*FixableReason, *ENDED_EARLY}
"""The failure reasons of images that `resubmit` submits again without further options."""


def failed_images(stage: Stage, jobs: Iterable[StoredJob]) -> Finding:
    """Count the failed images by reason, and name the job with the most images that `resubmit` submits again.

    The index of the images lags behind the table.
    """
    pending = stage.stores.pending
    held = pending.last_held(ImageStatus.FAILED)
    images = pending.find([image_id for image_ids in held.values() for image_id in image_ids]).values()
    failed = [image for image in images if image.status == ImageStatus.FAILED]
    if not failed:
        return Finding(CHECK, State.OK, "0 images")
    reasons = Counter(image.failure_reason or "unknown" for image in failed)
    listed = list_first([f"{reason} {count}" for reason, count in reasons.most_common()], len(reasons))
    seen = f"{quantity(len(failed), 'image')} with the status failed, by reason: {listed}"
    section = "runbook: failed images"
    intents = Counter(image.intent_id for image in failed if image.failure_reason in RESUBMITTED)
    of_jobs = [job for job in jobs if job.has_ended and job.intentId in intents]
    if not of_jobs:
        return Finding(CHECK, State.WARNING, seen, section)
    job = max(of_jobs, key=lambda job: (intents[job.intentId], job.name))
    command = stage.command("resubmit", job.name)
    return Finding(CHECK, State.WARNING, seen, f"`{command}` submits those of the job again; {section}")
