"""The demo: one job on the embedded emulator, from the images in `uploads/` to the transactions.

The demo builds the functions, starts the emulator, deploys, and puts images and one output file there. The pipeline
does the rest by itself.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from yorutsuke_common.records.dead_letter import dead_letter
from yorutsuke_common.records.lines import split_lines
from yorutsuke_common.records.record import image_id_of, parse_record
from yorutsuke_common.records.rejection import Rejection
from yorutsuke_common.schema import RecordCounts
from yorutsuke_infra.artifacts import this_machine
from yorutsuke_infra.build import build
from yorutsuke_infra.errors import ConfigError

from .aws import Aws, forget_own_account
from .broken_night import FUNCTION_TIMEOUT_SECONDS, break_night, broken_night_table
from .demo_result import DemoResult, LoopAnswers
from .deployer import deploy
from .emulator import running_emulator
from .errors import LocalStageError
from .kept_stage import STAGE_FILE, end_kept_stage, keep_stage, kept_stage_table, require_none_kept
from .loop import INTENT_ID, running_loop
from .night import Night
from .receipts import bedrock_counts, bedrock_lines, make_receipts, plan_lines
from .terminal import draw, say, show, show_whole, step

RECEIPTS = 152
SUBMITTED = 150


def main() -> int:
    """Run the demo. Return 0 if the pipeline has processed the job, even if some lines were bad."""
    arguments = _arguments()
    forget_own_account()
    # On SIGTERM, leave through the clean-up that stops the emulator.
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
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--input", type=Path, metavar="FILE", help="an output file of your own, in either layout")
    mode.add_argument("--loop", action="store_true", help="submit images, and have a stand-in for Bedrock read them")
    mode.add_argument("--bedrock", action="store_true", help="make up the output in the layout that Bedrock writes")
    mode.add_argument("--broken", action="store_true", help="have five jobs go wrong, to be mended; implies --keep")
    mode.add_argument("--stop", action="store_true", help="end the stage that was left running, and do nothing else")
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
    """Run the chosen mode, and return the object that `--json` prints."""
    if arguments.stop:
        return _stop(arguments.stage_file)
    kept_in = arguments.stage_file if arguments.keep or arguments.broken else None
    if arguments.broken:
        with _stage(kept_in, functionTimeoutSeconds=FUNCTION_TIMEOUT_SECONDS) as stage:
            summary = break_night(stage)
            _show(arguments.picture, broken_night_table(summary))
        return summary
    output = _output(arguments.input, bedrock=arguments.bedrock)
    with output as (file, image_ids, counts), _stage(kept_in) as night:
        result = _loop(night) if arguments.loop else _run(night, file, image_ids, counts)
        _show(arguments.picture, *result.tables())
    return result.summary()


def _stop(file: Path) -> dict[str, Any]:
    ending = end_kept_stage(file)
    if ending is None:
        say("No stage is kept: there is nothing to stop.")
        return {"stopped": False}
    stage = ending.stage
    emulator = f"the emulator at {stage.endpoint} (process {stage.pid}, since {stage.start_time})"
    if ending.was_running:
        say(f"Stopped {emulator}; nothing is left of it.")
    else:
        say(f"There was nothing to stop: {emulator} had ended by itself. What it left has been removed.")
    return {"stopped": ending.was_running, "endpoint": stage.endpoint, "pid": stage.pid}


def _show(picture: Path | None, *tables: Table) -> None:
    show(*tables)
    if picture:
        draw(picture, "python3 -m nox -s demo", *tables)


@contextmanager
def _stage(kept_in: Path | None, **choices: str | int) -> Generator[Night]:
    """Build, start and deploy the local stage with these choices.

    The stage ends on the way out, unless `kept_in` names the file that is to describe it and there was no error.
    """
    if kept_in:
        require_none_kept(kept_in)
    with step("Building the layer and the functions for this machine"):
        build(this_machine())
    with ExitStack() as running:
        with step("Starting the emulator"):
            emulator = running.enter_context(running_emulator(keep=kept_in is not None))
        with step("Deploying the Pulumi program of infra/"):
            aws = Aws(emulator.endpoint, emulator.ca_bundle)
            night = Night(aws, deploy(aws, **choices))
        yield night
        if kept_in:
            show_whole(kept_stage_table(keep_stage(emulator, kept_in), night.outputs, kept_in))


@contextmanager
def _output(given: Path | None, *, bedrock: bool) -> Generator[tuple[Path, list[str], RecordCounts | None]]:
    """Yield the given output file, or a made-up one, with its image ids and the counts of its manifest, if any."""
    if given:
        yield given, list(dict.fromkeys(_image_ids(given))), None
        return
    receipts = make_receipts(RECEIPTS)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / ("manifest.jsonl.out" if bedrock else "output.jsonl")
        lines = bedrock_lines(receipts) if bedrock else plan_lines(receipts)
        file.write_text("".join(f"{line}\n" for line in lines))
        yield file, [receipt.image_id for receipt in receipts], bedrock_counts(RECEIPTS) if bedrock else None


def _image_ids(file: Path) -> Iterator[str]:
    """Yield the image id that each line of an output file names. Raises LocalStageError if the file is not readable."""
    try:
        with file.open("rb") as content:
            for line in split_lines(content):
                try:
                    yield image_id_of(parse_record(line))
                except Rejection as rejection:
                    if image_id := dead_letter(line, None, rejection).imageId:
                        yield image_id
    except OSError as exc:
        raise LocalStageError(
            f"input {str(file)!r} cannot be read ({exc.strerror}): name a JSONL output file."
        ) from exc


def _run(night: Night, file: Path, image_ids: list[str], counts: RecordCounts | None) -> DemoResult:
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
    return DemoResult(night, seconds)


def _loop(stage: Night) -> DemoResult:
    """Submit images under one intent, twice, run the job in the stand-in for Bedrock, and wait for its result."""
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
        return DemoResult(night, seconds, LoopAnswers(answers, loop.bedrock.changes))


if __name__ == "__main__":
    sys.exit(main())
