"""Tests that nights pass, and that they find violations if a safeguard of the schedule is removed."""

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from batch_orchestrator import images as images_module
from batch_orchestrator.images import Image, Unfit
from batch_orchestrator.scheduled_run import ScheduledRun
from batch_orchestrator.submit_job import JobSubmitter
from batch_result_handler.process_output import OutputProcessor
from batch_result_handler.record_job_end import JobEndRecorder
from batch_result_handler.release_images import ImageReleaser
from yorutsuke_common.aws.batch_jobs import BatchJobs
from yorutsuke_common.aws.dynamodb import Item, Statement
from yorutsuke_common.aws.object_copier import ObjectCopier
from yorutsuke_common.aws.pending_images import PendingImages, StoredImage
from yorutsuke_common.events import JobEnd
from yorutsuke_common.names import BATCH_INPUT_PREFIX, PROCESSED_PREFIX
from yorutsuke_common.schema import BatchJob, Hold, JobStatus, Submission

from .night_campaign import NightCampaign
from .nights import COUNTERS, MAX_ATTEMPTS, serve_nights

_T = TypeVar("_T")
SafeguardRemoval = Callable[[pytest.MonkeyPatch], None]
PLANNED_STEP = 20
"""Every twentieth planned schedule runs here. `./nox -s faults` runs all of them."""
RANDOM_SCHEDULES = 20
SEED = 20261126


@pytest.fixture(scope="module")
def campaign() -> Generator[NightCampaign]:
    """The campaign, on a stage that is reset before each schedule."""
    with serve_nights() as nights:
        yield NightCampaign(nights)


def test_nights_end_without_violation(campaign: NightCampaign) -> None:
    names = campaign.names(RANDOM_SCHEDULES, SEED)
    chosen = [*names[: len(campaign.planned) : PLANNED_STEP], *names[len(campaign.planned) :]]

    result = campaign.run(chosen)

    assert result.failures == {}
    assert result.summary() == {
        "schedules": len(chosen),
        "images": result.images,
        "jobs": result.jobs,
        **dict.fromkeys(COUNTERS, 0),
    }
    assert result.jobs > len(chosen)


@pytest.mark.parametrize("name", ["simple-outrun-before-12", "resumed-outrun-before-5"])
def test_manifest_survives_earlier_beginning(campaign: NightCampaign, name: str) -> None:
    assert campaign.run([name]).failures == {}


@pytest.mark.parametrize("name", ["night-7-1", "resumed-crash-after-20"])
def test_named_night_repeats_exactly(campaign: NightCampaign, name: str) -> None:
    runs: list[tuple[object, ...]] = []
    for _ in range(2):
        assert campaign.run([name]).failures == {}
        runs.append((dict(campaign.nights.aws.calls), campaign.nights.clock, campaign.nights.fingerprint()))

    assert runs[0] == runs[1]


@pytest.mark.parametrize("name", ["night-1", "simple-run-before-999", "unknown"])
def test_unknown_night_is_refused(campaign: NightCampaign, name: str) -> None:
    with pytest.raises(ValueError, match=rf"Schedule '{name}' does not exist\. Use a planned one such as simple-crash"):
        campaign.run([name])


def _returning(value: _T) -> Callable[..., _T]:
    def function(*_: object, **__: object) -> _T:
        return value

    return function


def _hold_without_condition(patch: pytest.MonkeyPatch) -> None:
    hold = PendingImages.hold

    def hold_current(
        self: PendingImages, new: Hold, images: Iterable[StoredImage], *etags: Mapping[str, str], again: bool = False
    ) -> dict[str, StoredImage]:
        current = self.find([image.image_id for image in images])
        return hold(self, new, [*current.values()], *etags, again=again)

    patch.setattr(PendingImages, "hold", hold_current)


def _release_without_condition(patch: pytest.MonkeyPatch) -> None:
    release, update = PendingImages.release, PendingImages._update  # pyright: ignore[reportPrivateUsage]

    def update_always(self: PendingImages, image: StoredImage, changes: Item, **_: object) -> Statement:
        return update(self, image, changes)

    def release_all(
        self: PendingImages, hold: Hold, images: Iterable[StoredImage], reason: str | None, max_attempts: int
    ) -> int:
        taken = {"status": "submitted", "intent_id": hold.intent_id, "submitted_at": hold.submit_time}
        with pytest.MonkeyPatch.context() as context:
            context.setattr(PendingImages, "_update", update_always)
            return release(self, hold, [replace(image, **taken) for image in images], reason, max_attempts)

    patch.setattr(PendingImages, "release", release_all)


def _end_without_claim(patch: pytest.MonkeyPatch) -> None:
    def record(self: JobEndRecorder, found: BatchJob, end: JobEnd, _: float) -> None:
        self.releaser.release_all(found, JobStatus[end.status.name].value)
        self.stores.jobs.record_end(found, end.status, end.message)

    patch.setattr(JobEndRecorder, "record", record)


def _accept_images_of_other_jobs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OutputProcessor, "_taken", _returning(set[str]()))


def _do_not_hold_again(patch: pytest.MonkeyPatch) -> None:
    hold = PendingImages.hold

    def hold_once(
        self: PendingImages, new: Hold, images: Sequence[StoredImage], *etags: Mapping[str, str], again: bool = False
    ) -> dict[str, StoredImage]:
        return {image.image_id: image for image in images} if again else hold(self, new, images, *etags)

    patch.setattr(PendingImages, "hold", hold_once)


def _keep_orphans(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ScheduledRun, "_release_others", _returning(None))


def _keep_images_of_earlier_beginnings(patch: pytest.MonkeyPatch) -> None:
    release = ScheduledRun._release_others  # pyright: ignore[reportPrivateUsage]

    def release_orphans(self: ScheduledRun, found: Submission | None, *images: Any) -> None:
        if found is None:
            release(self, found, *images)

    patch.setattr(ScheduledRun, "_release_others", release_orphans)


def _release_orphans_without_second_look(patch: pytest.MonkeyPatch) -> None:
    def release(self: ScheduledRun, _: Submission | None, intent_id: str, image_ids: Sequence[str]) -> None:
        for image in self.pending.find(image_ids).values():
            self.pending.release(Hold(intent_id, image.submitted_at or ""), [image], "JOB_DELETED", 3)

    patch.setattr(ScheduledRun, "_release_others", release)


def _do_not_resume(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ScheduledRun, "_may_continue", _returning(value=False))


def _take_over_later_holds(patch: pytest.MonkeyPatch) -> None:
    judge = images_module._judge  # pyright: ignore[reportPrivateUsage]

    def judge_earlier(stored: StoredImage | None, submission: Submission, usable: Collection[str]) -> Image | Unfit:
        judged = judge(stored and replace(stored, submitted_at=None), submission, usable)
        return replace(judged, stored=stored) if isinstance(judged, Image) and stored else judged

    patch.setattr(images_module, "_judge", judge_earlier)


def _never_fail(patch: pytest.MonkeyPatch) -> None:
    release = PendingImages.release

    def release_always(
        self: PendingImages, hold: Hold, images: Iterable[StoredImage], reason: str | None, _: int
    ) -> int:
        return release(self, hold, images, reason, 1000)

    patch.setattr(PendingImages, "release", release_always)


def _forget_attempts_of_refused_requests(patch: pytest.MonkeyPatch) -> None:
    release = PendingImages.release

    def release_uncounted(
        self: PendingImages, hold: Hold, images: Iterable[StoredImage], reason: str | None, max_attempts: int
    ) -> int:
        return release(self, hold, images, reason, 1000 if reason is None else max_attempts)

    patch.setattr(PendingImages, "release", release_uncounted)


def _abandon_without_release(patch: pytest.MonkeyPatch) -> None:
    def abandon(self: JobSubmitter, submission: Submission, *_: object) -> bool:
        if not self.jobs.abandon(submission):
            return False
        self.jobs.delete_abandoned(submission)
        return True

    patch.setattr(JobSubmitter, "abandon", abandon)
    patch.setattr(ScheduledRun, "_release_others", _returning(None))


def _abandon_published_intents(patch: pytest.MonkeyPatch) -> None:
    abandon = BatchJobs.abandon

    def abandon_always(self: BatchJobs, submission: Submission) -> bool:
        return abandon(self, submission) or True

    patch.setattr(BatchJobs, "abandon", abandon_always)


def _publish_abandoned_intents(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(BatchJobs, "mark_manifest_published", _returning(None))


def _ignore_fixed_images(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("batch_orchestrator.submit_job.require_same_images", _returning(None))


def _give_all_transactions_to_one_user(patch: pytest.MonkeyPatch) -> None:
    find = PendingImages.find

    def find_first_owner(self: PendingImages, image_ids: Sequence[str]) -> dict[str, StoredImage]:
        found = find(self, image_ids)
        owner = min((image.user_id for image in found.values()), default="")
        return {image_id: replace(image, user_id=owner) for image_id, image in found.items()}

    def store(self: OutputProcessor, *arguments: Any) -> Any:
        with pytest.MonkeyPatch.context() as context:
            context.setattr(PendingImages, "find", find_first_owner)
            return store_chunk(self, *arguments)

    store_chunk = OutputProcessor._store_chunk  # pyright: ignore[reportPrivateUsage]
    patch.setattr(OutputProcessor, "_store_chunk", store)


def _do_not_release_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ImageReleaser, "release_all", _returning(None))


def _do_not_count_attempts(patch: pytest.MonkeyPatch) -> None:
    hold = PendingImages.hold

    def hold_uncounted(
        self: PendingImages,
        new: Hold,
        images: Sequence[StoredImage],
        *etags: Mapping[str, str],
        again: bool = False,  # noqa: ARG001
    ) -> dict[str, StoredImage]:
        return hold(self, new, images, *etags, again=True)

    patch.setattr(PendingImages, "hold", hold_uncounted)


def _without_etag(patch: pytest.MonkeyPatch, prefix: str) -> None:
    copy = ObjectCopier.copy

    def copy_current(self: ObjectCopier, source: str, target: str, etag: str) -> None:
        copy(self, source, target, "" if target.startswith(prefix) else etag)

    patch.setattr(ObjectCopier, "copy", copy_current)


def _send_any_content(patch: pytest.MonkeyPatch) -> None:
    _without_etag(patch, BATCH_INPUT_PREFIX)


def _file_any_content(patch: pytest.MonkeyPatch) -> None:
    _without_etag(patch, PROCESSED_PREFIX)


def _count_attempts_without_room(patch: pytest.MonkeyPatch) -> None:
    release = PendingImages.release

    def release_counted(
        self: PendingImages, hold: Hold, images: Iterable[StoredImage], reason: str | None, max_attempts: int
    ) -> int:
        is_uncounted = reason is None
        return release(
            self, hold, images, reason or Unfit.NO_ROOM.value, MAX_ATTEMPTS if is_uncounted else max_attempts
        )

    patch.setattr(PendingImages, "release", release_counted)


def _record_only_listed_contents(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PendingImages, "mark_submitted", _returning(None))


@pytest.mark.parametrize(
    ("remove_safeguard", "schedule", "counter"),
    [
        (_hold_without_condition, "orphaned-run-before-9", "twoJobs"),
        (_release_without_condition, "orphaned-run-before-4", "twoJobs"),
        (_end_without_claim, "unmovable-delivery-before-33", "doubled"),
        (_accept_images_of_other_jobs, "late-run-before-1", "doubled"),
        (_do_not_hold_again, "late-run-before-1", "doubled"),
        (_keep_orphans, "orphaned-run-before-12", "forgotten"),
        (_release_orphans_without_second_look, "orphaned-request-before-3", "twoJobs"),
        (_do_not_resume, "resumed-crash-before-1", "forgotten"),
        (_take_over_later_holds, "resumed-outrun-before-3", "twoJobs"),
        (_never_fail, "resumed-crash-after-1", "overread"),
        (_forget_attempts_of_refused_requests, "exhausted-request-before-1", "overread"),
        (_abandon_without_release, "simple-request-before-43", "forgotten"),
        (_abandon_published_intents, "resumed-overtaken-before-3", "twoJobs"),
        (_publish_abandoned_intents, "simple-outrun-before-12", "twoJobs"),
        (_ignore_fixed_images, "simple-outrun-before-8", "twoJobs"),
        (_give_all_transactions_to_one_user, "simple-crash-before-1", "wrongOwner"),
        (_do_not_release_all, "late-crash-before-1", "forgotten"),
        (_do_not_count_attempts, "orphaned-run-before-12", "overread"),
        (_send_any_content, "copied-upload-again-before-8", "misread"),
        (_file_any_content, "copied-upload-again-before-10", "misfiled"),
        (_count_attempts_without_room, "full-crash-before-1", "forgotten"),
        (_keep_images_of_earlier_beginnings, "night-1-378", "forgotten"),
        (_record_only_listed_contents, "copied-upload-again-before-7", "doubled"),
    ],
)
def test_nights_find_a_missing_safeguard(
    campaign: NightCampaign,
    monkeypatch: pytest.MonkeyPatch,
    remove_safeguard: SafeguardRemoval,
    schedule: str,
    counter: str,
) -> None:
    """The schedule is one that detects the removal. To replace it, run all planned schedules without the safeguard."""
    assert campaign.run([schedule]).failures == {}
    remove_safeguard(monkeypatch)

    result = campaign.run([schedule])

    assert result.violations[counter] > 0
