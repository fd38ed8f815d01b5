"""The demo: a night's job, from the images in `uploads/` to the transactions, on the embedded emulator.

It builds, starts, deploys, seeds and drops one output object; everything after that the pipeline does by itself.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from yorutsuke_common.schema import RecordCounts
from yorutsuke_infra.artifacts import this_machine
from yorutsuke_infra.build import build
from yorutsuke_infra.errors import ConfigError

from .aws import Aws, forget_own_account
from .broken_night import FUNCTION_TIMEOUT_SECONDS, break_night
from .deployer import deploy
from .emulator import start_emulator
from .errors import LocalStageError
from .kept_stage import STAGE_FILE, end_kept_stage, how_to_reach, keep_stage, require_none_kept
from .loop import INTENT_ID, running_loop
from .night import Night, image_ids_in
from .outcome import Outcome, Submission, read_outcome
from .receipts import bedrock_counts, bedrock_lines, make_receipts, plan_lines
from .terminal import draw, say, show, show_whole, step

RECEIPTS = 152
SUBMITTED = 150


def main() -> int:
    """Run the demo; return 0 where the pipeline settled, whatever the lines were like."""
    arguments = _arguments()
    forget_own_account()
    # Whoever ends the demo means the emulator as well: leave through the clean-up.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        summary = _summary(arguments)
    except (LocalStageError, ConfigError) as error:
        say(f"{type(error).__name__}: {error}", style="red")
        return 1
    except KeyboardInterrupt:
        say("Interrupted; what was started has been stopped.")
        return 130
    if arguments.json:
        print(json.dumps(summary))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nox -s demo --", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--input", type=Path, metavar="FILE", help="an output file of your own, in either layout")
    what.add_argument("--loop", action="store_true", help="submit images, and have a stand-in for Bedrock read them")
    what.add_argument("--bedrock", action="store_true", help="make up the output in the layout that Bedrock writes")
    what.add_argument("--broken", action="store_true", help="have five jobs go wrong, to be mended; implies --keep")
    what.add_argument("--stop", action="store_true", help="end the stage that was left running, and do nothing else")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on standard output")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw what a terminal shows in the end, as SVG")
    parser.add_argument("--keep", action="store_true", help="leave the emulator running and say how to reach it")
    parser.add_argument(
        "--stage-file",
        type=Path,
        default=STAGE_FILE,
        metavar="FILE",
        help="where it is written down how to reach and end what is left running (%(default)s)",
    )
    arguments = parser.parse_args()
    if arguments.stop and arguments.keep:
        parser.error("--stop ends what --keep left running: ask for one of them.")
    return arguments


def _summary(arguments: argparse.Namespace) -> dict[str, Any]:
    """Do what was asked for, and return what `--json` tells of it."""
    if arguments.stop:
        return _stop(arguments.stage_file)
    kept_in = arguments.stage_file if arguments.keep or arguments.broken else None
    if arguments.broken:
        return _broken(kept_in, arguments.picture)
    output = _output(arguments.input, bedrock=arguments.bedrock)
    with output as (file, image_ids, counts), _stage(kept_in) as night:
        outcome = _loop(night) if arguments.loop else _run(night, file, image_ids, counts)
        _tell(arguments.picture, *outcome.tables())
    return outcome.summary()


def _stop(file: Path) -> dict[str, Any]:
    ending = end_kept_stage(file)
    if ending is None:
        say("No stage is kept: there is nothing to stop.")
        return {"stopped": False}
    stage = ending.stage
    what = f"the emulator at {stage.endpoint} (process {stage.pid}, since {stage.start_time})"
    if ending.was_running:
        say(f"Stopped {what}; nothing is left of it.")
    else:
        say(f"There was nothing to stop: {what} had ended by itself. What it left has been removed.")
    return {"stopped": ending.was_running, "endpoint": stage.endpoint, "pid": stage.pid}


def _tell(picture: Path | None, *tables: Table) -> None:
    show(*tables)
    if picture:
        draw(picture, "python3 -m nox -s demo", *tables)


def _broken(kept_in: Path | None, picture: Path | None) -> dict[str, Any]:
    with _stage(kept_in, functionTimeoutSeconds=FUNCTION_TIMEOUT_SECONDS) as stage:
        night = break_night(stage)
        _tell(picture, night.table())
    return night.summary()


@contextmanager
def _stage(kept_in: Path | None, **choices: str | int) -> Generator[Night]:
    """Build, start and deploy the local stage; end it again, unless it is to be kept and all went well.

    `kept_in` is the file that is to tell of the kept one; `choices` are a stage's.
    """
    if kept_in:
        require_none_kept(kept_in)
    with step("Building the layer and the functions for this machine"):
        build(this_machine())
    with step("Starting the emulator"):
        emulator = start_emulator()
    with ExitStack() as on_failure:
        on_failure.callback(emulator.stop)
        with step("Deploying the Pulumi program of infra/"):
            aws = Aws(emulator.endpoint, emulator.ca_bundle)
            night = Night(aws, deploy(aws, **choices))
        yield night
        if kept_in:
            show_whole(how_to_reach(keep_stage(emulator, kept_in), night.outputs, kept_in))
        on_failure.pop_all()
    if not kept_in:
        emulator.discard()


@contextmanager
def _output(given: Path | None, *, bedrock: bool) -> Generator[tuple[Path, list[str], RecordCounts | None]]:
    """Give the output file, made up where none is given, the image ids that it names, and its manifest, if any."""
    if given:
        yield given, image_ids_in(given), None
        return
    receipts = make_receipts(RECEIPTS)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / ("manifest.jsonl.out" if bedrock else "output.jsonl")
        lines = bedrock_lines(receipts) if bedrock else plan_lines(receipts)
        file.write_text("".join(f"{line}\n" for line in lines))
        yield file, [receipt.image_id for receipt in receipts], bedrock_counts(RECEIPTS) if bedrock else None


def _run(night: Night, file: Path, image_ids: list[str], counts: RecordCounts | None) -> Outcome:
    with step(f"Seeding one job and {len(image_ids)} receipt images"):
        night.seed_images(image_ids)
        night.seed_job()
    way = "S3 → SNS → SQS → Lambda" if night.outputs["outputTopicArn"] else "S3 → Lambda"
    with step(f"Dropping the output, then {way} by themselves"):
        started = time.perf_counter()
        night.drop_output(file)
        night.wait_until_completed()
        seconds = time.perf_counter() - started
    if counts:
        with step("Dropping the manifest, to be held against what was taken in"):
            night.drop_manifest(counts)
            night.wait_until(lambda job: "bedrockCounts" in job, "be reconciled with its manifest")
    return read_outcome(night, seconds)


def _loop(stage: Night) -> Outcome:
    """Submit images under one intent, twice, and wait until what Bedrock makes of them has been taken in."""
    image_ids = [receipt.image_id for receipt in make_receipts(SUBMITTED)]
    with step(f"Seeding {len(image_ids)} receipt images"):
        stage.seed_images(image_ids)
    with running_loop(stage) as loop:
        started = time.perf_counter()
        with step("Submitting them, and once more under the same intent"):
            answers = [loop.submit(image_ids) for _ in range(2)]
        night = replace(stage, job_id=answers[0]["jobId"], intent=INTENT_ID)
        with step("Running the job in Bedrock's stand-in, then S3 → SNS → SQS → Lambda by themselves"):
            loop.bedrock.finish(night.job_id)
            night.wait_until_completed()
            seconds = time.perf_counter() - started
        return read_outcome(night, seconds, Submission(answers, loop.bedrock.changes))


if __name__ == "__main__":
    sys.exit(main())
