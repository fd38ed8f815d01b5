"""The operator's command on a local stage, run as a process or, faster, in the test's process."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from local.emulator import REGION, Emulator
from local.job_run import JobRun
from yorutsuke.app import main
from yorutsuke.local_stage import STAGE_FILE_VARIABLE
from yorutsuke_common.aws.dynamodb import to_item

ROOT = Path(__file__).parents[2]
SOURCE = os.pathsep.join(str(ROOT / path) for path in ("layer", "."))


@dataclass(frozen=True)
class CommandResult:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The JSON object on standard output."""
        assert self.code in {0, 3}, self.err
        [line] = self.out.splitlines()
        return json.loads(line)

    @property
    def error(self) -> str:
        """The JSON object at the end of standard error, in the form of the error without `--json`."""
        error = json.loads(self.err.splitlines()[-1])
        return f"{error['error']}: {error['message']} {error['remedy']}"

    @property
    def message(self) -> str:
        """Standard error in one line, independent of the terminal's width."""
        return " ".join(self.err.split())


class _Terminal(io.StringIO):
    """Standard input that is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Operator:
    """An operator of the stage `local`, with the credentials of the stage's file."""

    job_run: JobRun
    environment: Mapping[str, str]

    def __call__(self, *arguments: str, answer: str | None = None) -> CommandResult:
        """Run a command on the stage `local` with `run_in_process`."""
        return self.run_in_process([*arguments, "--stage", "local"], answer)

    def run_in_process(self, arguments: Sequence[str], answer: str | None = None) -> CommandResult:
        """Run a command in this process. `answer` is typed at the terminal. None means that input is not a terminal."""
        out, err = io.StringIO(), io.StringIO()
        stdin = io.StringIO() if answer is None else _Terminal(answer)
        environment = patch.dict(os.environ, self.environment)
        with environment, patch("sys.stdin", stdin), redirect_stdout(out), redirect_stderr(err):
            code = main(arguments)
        return CommandResult(code, out.getvalue(), err.getvalue())

    def run_process(self, *arguments: str) -> CommandResult:
        """Run a command in a process of its own."""
        process = subprocess.run(
            [sys.executable, "-m", "yorutsuke", *arguments],
            cwd=ROOT,
            env={**os.environ, **self.environment, "PYTHONPATH": SOURCE, "YORUTSUKE_STAGE": "local"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return CommandResult(process.returncode, process.stdout, process.stderr)

    def restricted_to(self, folder: Path, statements: Sequence[Mapping[str, Any]]) -> "Operator":
        """Return an operator with only the permissions of these policy statements."""
        iam = self.job_run.aws.iam
        iam.create_user(UserName=folder.name)
        policy = json.dumps({"Version": "2012-10-17", "Statement": [*statements]})
        iam.put_user_policy(UserName=folder.name, PolicyName="restricted", PolicyDocument=policy)
        key = iam.create_access_key(UserName=folder.name)["AccessKey"]
        file = folder / "stage.json"
        stage = json.loads(Path(self.environment[STAGE_FILE_VARIABLE]).read_text())
        stage |= {"accessKeyId": key["AccessKeyId"], "secretAccessKey": key["SecretAccessKey"]}
        file.write_text(json.dumps(stage))
        return replace(self, environment={**self.environment, STAGE_FILE_VARIABLE: str(file)})


def make_operator(emulator: Emulator, job_run: JobRun, folder: Path) -> Operator:
    """Return an operator of a deployed stage, and delete the stage's jobs, images' items and messages."""
    delete_jobs(job_run)
    _delete_items(job_run, job_run.outputs["pendingImagesTable"], "imageId", ())
    for queue in ("queueUrl", "deadLetterQueueUrl", "submissionDeadLetterQueueUrl"):
        job_run.aws.sqs.purge_queue(QueueUrl=job_run.outputs[queue])
    file = folder / "stage.json"
    stage = {
        "endpoint": emulator.endpoint,
        "caBundle": str(emulator.ca_bundle),
        "region": REGION,
        "accessKeyId": "test",
        "secretAccessKey": "test",
        "pid": emulator.process.pid,
    }
    file.write_text(json.dumps(stage))
    # The command sets AWS_CA_BUNDLE for its process. `run_in_process` restores the variables in this dictionary.
    return Operator(job_run, {STAGE_FILE_VARIABLE: str(file), "AWS_CA_BUNDLE": str(emulator.ca_bundle)})


def put_job(job_run: JobRun, intent_id: str, **attributes: object) -> None:
    """Write a job's item without validating it."""
    item = to_item({"intentId": intent_id, **attributes})
    job_run.aws.dynamodb.put_item(TableName=job_run.outputs["batchJobsTable"], Item=item)


def delete_jobs(job_run: JobRun, *intent_ids: str) -> None:
    """Delete the items of these intents, or all job items if no intent is given."""
    _delete_items(job_run, job_run.outputs["batchJobsTable"], "intentId", intent_ids)


def _delete_items(job_run: JobRun, table: str, key: str, values: Sequence[str]) -> None:
    """Delete the items with these values of the key, or all items if no value is given."""
    for page in job_run.aws.dynamodb.get_paginator("scan").paginate(TableName=table):
        for value in [item[key] for item in page["Items"]]:
            if not values or value.get("S") in values:
                job_run.aws.dynamodb.delete_item(TableName=table, Key={key: value})
