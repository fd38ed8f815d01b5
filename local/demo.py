"""The demo: jobs on the embedded emulator, from the images in `uploads/` to the transactions.

The demo builds the functions, starts the emulator, deploys, and puts images and one output file there. The pipeline
does the rest by itself.
"""

import argparse
import json
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from yorutsuke.errors import OperatorError
from yorutsuke.orchestrator import submit
from yorutsuke.smoke.job_end import follow
from yorutsuke.smoke.uploads import upload
from yorutsuke_common.validation import broken_rule
from yorutsuke_infra.artifacts import this_machine
from yorutsuke_infra.batch_models import is_callable
from yorutsuke_infra.build import build
from yorutsuke_infra.config import ModelId
from yorutsuke_infra.errors import BuildError, ConfigError

from .aws import Aws, forget_own_account
from .broken_stage import break_stage, broken_stage_table
from .demo_result import DemoResult, LoopAnswers
from .deployer import deploy
from .emulator import REGION, STOPPED, running_emulator
from .errors import LocalStageError
from .input_file import image_ids_in
from .interrupts import deferred_signals, ignore_signals, stop_at_signal, unwinding
from .job_run import USER_ID, JobRun
from .kept_stage import STAGE_FILE, end_kept_stage, keep_stage, kept_stage_table, require_none_kept
from .loop import StandIn, operators_stage
from .receipts import bedrock_counts, bedrock_lines, make_image, make_receipts, simple_lines
from .schedule import SETTINGS, STAND_IN, problem, run_schedule
from .terminal import say, say_error, show, show_whole, step

RECEIPTS = 152
SUBMITTED = 150
INTENT_ID = "demo-intent-1"


def main() -> int:
    """Run the demo. Return 0 if the pipeline has processed the job, even if some records of it were bad.

    Return 1 if an error occurred, or if every record of the user's own output file was bad. Also return 1 if scheduled
    runs have lost or doubled an image, or given a transaction to another user.
    """
    arguments = _arguments()
    forget_own_account()
    try:
        summary = _summary(arguments)
    except (LocalStageError, BuildError, ConfigError, OperatorError) as error:
        say_error(error)
        return 1
    ignore_signals()
    if arguments.json:
        print(json.dumps(summary))
    if arguments.schedule and (found := problem(summary)):
        say(found, style="red")
        return 1
    if arguments.input and not summary["transactions"]:
        say(
            f"input {str(arguments.input)!r} has no usable record. A usable record becomes a transaction. The table of "
            "dead letters has the reason of each record.",
            style="red",
        )
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./nox -s demo --", description=__doc__)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--input", type=Path, metavar="FILE", help="process your own output file, in either layout")
    mode.add_argument("--loop", action="store_true", help="submit images to a stand-in for Bedrock")
    mode.add_argument(
        "--schedule", action="store_true", help="submit the images of several users by scheduled runs, and fail one job"
    )
    mode.add_argument(
        "--bedrock", action="store_true", help="generate the output in Bedrock's layout, with an output manifest"
    )
    mode.add_argument(
        "--broken", action="store_true", help="make four of five jobs fail, for you to repair; implies --keep"
    )
    mode.add_argument("--stop", action="store_true", help="stop the stage that --keep left running, then exit")
    model_help = "with --loop, the model of the job: an id, or the ARN of an application inference profile"
    parser.add_argument("--model", type=_model_id, metavar="ID", help=model_help)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object on standard output")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write the result's tables to an SVG file as well")
    parser.add_argument("--keep", action="store_true", help="leave the stage running, and print its addresses")
    file_help = "the file that describes the stage that is left running (default: %(default)s)"
    parser.add_argument("--stage-file", type=Path, default=STAGE_FILE, metavar="FILE", help=file_help)
    arguments = parser.parse_args()
    if arguments.stop and arguments.keep:
        parser.error("--stop and --keep exclude each other: leave one of them out.")
    if arguments.model is not None and not arguments.loop:
        parser.error("--model needs --loop: only the loop submits a job. Add --loop, or leave --model out.")
    return arguments


def _model_id(text: str) -> str:
    """Return the value of --model. Raises ArgumentTypeError if the local stage cannot have it in `modelIds`."""
    try:
        TypeAdapter(ModelId).validate_python(text)
    except ValidationError as exc:
        raise argparse.ArgumentTypeError(f"{text!r} {broken_rule(exc.errors()[0])}") from exc
    if not is_callable(text, REGION):
        raise argparse.ArgumentTypeError(f"{text!r} must be callable from {REGION}, the Region of the local stage")
    return text


def _summary(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the chosen mode, and return the object that `--json` prints."""
    if arguments.stop:
        return _stop(arguments.stage_file)
    kept_in = arguments.stage_file if arguments.keep or arguments.broken else None
    if arguments.broken:
        with _stage(kept_in) as stage:
            summary = break_stage(stage)
            show(arguments.picture, broken_stage_table(summary))
        return summary
    if arguments.schedule:
        with _stage(kept_in, STAND_IN, **SETTINGS) as stage:
            result = run_schedule(stage)
            show(arguments.picture, *result.tables())
        return result.summary()
    receipts = make_receipts(SUBMITTED if arguments.loop else RECEIPTS)
    image_ids = image_ids_in(arguments.input) if arguments.input else [receipt.image_id for receipt in receipts]
    lines = bedrock_lines(receipts) if arguments.bedrock else simple_lines(receipts)
    stand_in = StandIn()
    settings = {"modelIds": [arguments.model]} if arguments.model else {}
    with _stage(kept_in, stand_in if arguments.loop else None, **settings) as job_run:
        if arguments.loop:
            result = _loop(job_run, stand_in, image_ids)
        else:
            result = _run(job_run, image_ids, arguments.input or list(lines), bedrock=arguments.bedrock)
        show(arguments.picture, *result.tables())
    return result.summary()


def _stop(file: Path) -> dict[str, Any]:
    with deferred_signals():
        stage, was_running = end_kept_stage(file)
    if stage is None:
        say("A kept stage was not found. Nothing was stopped.")
        return {"stopped": False}
    emulator = f"the emulator at {stage.endpoint} (process {stage.pid}, since {stage.start_time})"
    if was_running:
        say(f"Stopped {emulator} and removed its files.")
    else:
        say(f"The stage had already ended: {emulator}. Its files were removed.")
    return {"stopped": was_running, "endpoint": stage.endpoint, "pid": stage.pid}


@contextmanager
def _stage(
    kept_in: Path | None, stand_in: StandIn | None = None, **settings: str | int | list[str]
) -> Generator[JobRun]:
    """Build, start and deploy the local stage.

    The stage ends when the context is left, unless `kept_in` names the file for its description and there was no error.

    Args:
        kept_in: The file that describes the stage if it is to be left running.
        stand_in: The stand-in for Bedrock. A stage that is left running always has one.
        settings: Settings that replace those of the stage's file.
    """
    if kept_in and not stand_in:
        stand_in = StandIn()
    if kept_in:
        require_none_kept(kept_in)
    with step("Building the layer and the functions for this machine"), unwinding():
        build(this_machine())
    with ExitStack() as running:
        with step("Starting the emulator"):
            emulator = running.enter_context(
                running_emulator(keep=kept_in is not None, companion=stand_in.command if stand_in else ())
            )
        with step("Deploying the Pulumi program of infra/"):
            aws = Aws(emulator.endpoint, emulator.ca_bundle)
            job_run = JobRun(aws, deploy(aws, **settings))
            if stand_in:
                stand_in.serve(job_run)
        yield job_run
        if kept_in:
            with deferred_signals():
                stage = keep_stage(emulator, kept_in)
                stop_at_signal(lambda: end_kept_stage(kept_in), STOPPED)
            show_whole(kept_stage_table(stage, job_run.outputs, kept_in))
            ignore_signals()


def _run(job_run: JobRun, image_ids: list[str], output: Path | list[str], *, bedrock: bool) -> DemoResult:
    with step(f"Adding a job and its receipt images: {len(image_ids)}"):
        job_run.seed_images(image_ids)
        job_run.seed_job()
    way = "S3 → SNS → SQS → Lambda" if job_run.outputs["outputTopicArn"] else "S3 → Lambda"
    with step(f"Processing the output file ({way})"):
        started = time.perf_counter()
        if isinstance(output, Path):
            job_run.drop_output(output)
        else:
            job_run.drop_lines(output, "manifest.jsonl.out" if bedrock else "output.jsonl")
        job_run.wait_until_completed()
        seconds = time.perf_counter() - started
    if bedrock:
        with step("Comparing the output manifest's counts with the output"):
            job_run.drop_output_manifest(bedrock_counts(RECEIPTS))
            job_run.wait_until(lambda job: "bedrockCounts" in job, "agree with its output manifest")
    return DemoResult(job_run, seconds)


def _loop(job_run: JobRun, stand_in: StandIn, image_ids: list[str]) -> DemoResult:
    """Submit images under one intent, twice, and wait for the result of the job."""
    stage = operators_stage(job_run)
    with step(f"Adding {len(image_ids)} receipt images"):
        upload(stage, USER_ID, {image_id: make_image(image_id) for image_id in image_ids}, lambda: None)
    started = time.perf_counter()
    request = json.dumps({"intentId": INTENT_ID, "pendingImageIds": image_ids, "userId": USER_ID})
    with step("Submitting the images twice with the same intent id"):
        answers = [submit(stage, request) for _ in range(2)]
    with step("Running the job, and processing its output") as show_progress:
        follow(stage, INTENT_ID, show_progress)
    seconds = time.perf_counter() - started
    job_run = replace(job_run, job_id=answers[0]["jobId"], intent=INTENT_ID)
    return DemoResult(job_run, seconds, LoopAnswers(answers, stand_in.final_states(job_run.job_id)))
