"""`smoke`: submits drawn receipts, follows their job, checks the result, and removes everything again."""

import json
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.console import Group

from yorutsuke.errors import UnfinishedError
from yorutsuke.options import Yes, stage_command
from yorutsuke.orchestrator import RequestRefusedError, submit
from yorutsuke.screen import Screen, facts, quantity
from yorutsuke.smoke.drawing import draw
from yorutsuke.smoke.job_end import follow
from yorutsuke.smoke.markers import Heartbeat, Marker, beating, earlier_runs
from yorutsuke.smoke.prices import PRICES_AS_OF
from yorutsuke.smoke.receipts import SmokeReceipt, make_receipts
from yorutsuke.smoke.remains import clean_up, clean_up_earlier, find_own_job, obstacle
from yorutsuke.smoke.result import MIN_SUCCESS_PERCENT, SmokeResult, read_result
from yorutsuke.smoke.run import RECEIPTS, SmokeRun, new_run
from yorutsuke.smoke.uploads import upload
from yorutsuke.stage import Stage
from yorutsuke_common.schema import ImageDelivery

SHOWN_PROBLEMS = 5
Delivery = Annotated[
    ImageDelivery | None,
    typer.Option(help="Delivery of the images in this run. By default the stage's setting imageDelivery."),
]


@dataclass
class _Seconds:
    """The duration of each step, in seconds."""

    steps: dict[str, float] = field(default_factory=dict[str, float])

    @contextmanager
    def of(self, step: str) -> Generator[None]:
        """Measure a step."""
        started = time.monotonic()
        yield
        self.steps[step] = round(time.monotonic() - started, 1)


@stage_command
def smoke(screen: Screen, stage: Stage, *, image_delivery: Delivery = None, yes: Yes = False) -> None:
    """Prove that the stage works: submit 100 drawn receipts to Bedrock, and check the result. Remove them at the end.

    The job may take hours and costs a few cents.
    """
    with screen.progress("Looking for earlier smoke runs"):
        earlier = earlier_runs(stage, screen.say)
    run = new_run()
    screen.preview(_effects_table(stage, run, earlier, image_delivery))
    screen.confirm(f"Submit {RECEIPTS} receipts to Bedrock?", yes=yes)
    with screen.progress("Removing the data of earlier smoke runs"):
        removed, kept = clean_up_earlier(stage, earlier)
    for run_id in removed:
        screen.say(f"The data of the earlier run {run_id} was removed.")
    for run_id, reason in kept.items():
        screen.say(f"The data of the earlier run {run_id} was kept: {reason}. A later smoke run removes it.")
    seconds = _Seconds()
    receipts = make_receipts(run.run_id, run.image_ids)
    with beating(stage, run) as heartbeat, _cleaned_up(screen, stage, run, heartbeat):
        result = _run(screen, stage, run, receipts, heartbeat, seconds, image_delivery=image_delivery)
        answer = _answer(stage, run, result, seconds) | {"removedRuns": removed, "keptRuns": kept}
        screen.show(answer, _result_table(stage, result, seconds))
    if not result.passed:
        raise UnfinishedError(
            f"the smoke run of stage {stage.name!r} failed: {_reasons(result)}.",
            f"`{stage.command('doctor')}` checks the stage.",
        )
    screen.say(f"The smoke run of stage {stage.name} passed.")


def _run(
    screen: Screen,
    stage: Stage,
    run: SmokeRun,
    receipts: Sequence[SmokeReceipt],
    heartbeat: Heartbeat,
    seconds: _Seconds,
    *,
    image_delivery: ImageDelivery | None,
) -> SmokeResult:
    with screen.progress("Uploading receipts", len(receipts)) as advance, seconds.of("upload"):
        images = {receipt.image_id: draw(receipt) for receipt in receipts}
        # A scheduled run must not collect the images before the request of the smoke run.
        upload(stage, run.run_id, images, advance, is_collected=False)
    request: dict[str, object] = {"intentId": run.run_id, "userId": run.run_id, "pendingImageIds": run.image_ids}
    if image_delivery:
        request["imageDelivery"] = image_delivery
    with screen.progress("Submitting the job"), seconds.of("submission"):
        heartbeat.announce_request()
        job_id = _submit(stage, json.dumps(request))
        heartbeat.announce_job(job_id)
    with screen.states(f"Job {job_id}") as show, seconds.of("job"):
        job = follow(stage, run.run_id, show)
    with screen.progress("Checking the result"), seconds.of("checks"):
        return read_result(stage, run, job, receipts, image_delivery)


def _submit(stage: Stage, request: str) -> str:
    """Return the id of the job. After an error that leaves a job possible, repeat the request once to learn its id."""
    try:
        return submit(stage, request)["jobId"]
    except RequestRefusedError:
        raise
    except UnfinishedError:
        return submit(stage, request)["jobId"]


@contextmanager
def _cleaned_up(screen: Screen, stage: Stage, run: SmokeRun, heartbeat: Heartbeat) -> Generator[None]:
    """Remove the data of the run when the context is left, for any reason, unless its job may still run."""
    is_refused = False
    try:
        yield
    except RequestRefusedError:
        is_refused = True
        raise
    finally:
        with screen.progress("Removing the data of this run"):
            job = find_own_job(stage, run)
            reason = None if is_refused else obstacle(stage, job, heartbeat.requested)
            heartbeat.stop()
            if reason is None:
                clean_up(stage, run, heartbeat.started, job and job.jobId, heartbeat.job_id)
        if reason:
            screen.say(
                f"The data of run {run.run_id} was kept: {reason}. Bedrock continues. Run `{stage.command('smoke')}` "
                "again after the end of the job: it first removes this data."
            )
        else:
            screen.say(f"The data of run {run.run_id} was removed.")


def _effects_table(
    stage: Stage, run: SmokeRun, earlier: Sequence[Marker], image_delivery: ImageDelivery | None
) -> Group:
    return facts(
        f"Effects of a smoke run on stage {stage.name}",
        {
            "images": f"{RECEIPTS} drawn receipts of the user {run.run_id}",
            "image delivery": image_delivery or "the stage's setting",
            "job": "one job at Bedrock with the stage's first model, which costs a few cents and may take hours",
            "metrics": "the records are counted, so failures may raise alarms",
            "at the end": "the run's data is removed from the tables and the bucket",
            "earlier runs to remove": ", ".join(marker.run.run_id for marker in earlier) or None,
        },
    )


def _answer(stage: Stage, run: SmokeRun, result: SmokeResult, seconds: _Seconds) -> dict[str, Any]:
    job, tokens = result.job, result.tokens
    return {
        "stage": stage.name,
        "passed": result.passed,
        "problems": result.problems,
        "runId": run.run_id,
        "jobId": job.jobId,
        "modelId": job.modelId,
        "imageDelivery": result.image_delivery,
        "status": job.status,
        "bedrockStatus": job.bedrockStatus,
        "receipts": result.receipts,
        "transactions": result.transactions,
        "deadLetters": result.dead_letters,
        "agreement": result.agreement,
        "tokens": tokens,
        "costUsd": result.cost,
        "pricesAsOf": PRICES_AS_OF,
        "seconds": seconds.steps,
    }


def _result_table(stage: Stage, result: SmokeResult, seconds: _Seconds) -> Group:
    job, agreement, tokens = result.job, result.agreement, result.tokens
    reasons = ", ".join(f"{reason} {count}" for reason, count in result.dead_letters.most_common())
    return facts(
        f"Smoke run of stage {stage.name}: {'passed' if result.passed else 'FAILED'}",
        {
            "job": f"{job.name} {job.status}",
            "model": job.modelId,
            "image delivery": result.image_delivery,
            "transactions": f"{result.transactions} of {result.receipts} receipts ({MIN_SUCCESS_PERCENT}% are needed)",
            "dead letters": f"{result.dead_letters.total()}{f' ({reasons})' if reasons else ''}",
            "as drawn": f"amount {agreement.amount}, date {agreement.date}, both {agreement.both}",
            "tokens": f"{tokens.input} read, {tokens.output} written" if tokens else "unknown",
            "cost": "unknown" if result.cost is None else f"about USD {result.cost:.4f} (prices of {PRICES_AS_OF})",
            "seconds": ", ".join(f"{step} {count}" for step, count in seconds.steps.items()),
            "problems": "; ".join(result.problems[:SHOWN_PROBLEMS]) or "0",
        },
    )


def _reasons(result: SmokeResult) -> str:
    if not result.problems:
        return f"{result.transactions} of {quantity(result.receipts, 'receipt')} became transactions"
    more = len(result.problems) - 1
    return f"{result.problems[0]}{f' ({more} more problems)' if more else ''}"
