"""A stage's deployment with the Pulumi CLI: build what it deploys, then call the CLI."""

import argparse
import shutil
import subprocess
import sys

from rich.console import Console

from .artifacts import stage_target
from .build import build
from .errors import ConfigError, DeploymentError
from .stage_file import ROOT, read_stage_file

COMMANDS = {"preview": ["preview", "--diff"], "deploy": ["up"], "destroy": ["destroy"]}


def run(action: str, stage: str) -> int:
    """Carry out one of COMMANDS on a stage and return the CLI's exit status.

    Raises ConfigError for a stage that is not well configured, DeploymentError where the action cannot be started.
    """
    config = read_stage_file(stage)
    if action == "destroy" and config.protect_data:
        raise DeploymentError(
            f"stage {stage!r} is protected (protectData: true): its data must not be destroyed. To destroy it all the "
            f"same, set protectData: false in Pulumi.{stage}.yaml, deploy, then destroy."
        )
    pulumi = shutil.which("pulumi")
    if pulumi is None:
        raise DeploymentError(
            "the Pulumi CLI is not on the PATH: install it as pulumi.com/docs/install says, then run this again."
        )
    if action != "destroy":
        if not config.alarm_emails:
            say(f"Stage {stage!r} has no alarmEmails: nobody hears its alarms but who subscribes to alarmTopicArn.")
        build(stage_target(stage, config))
    return subprocess.run([pulumi, *COMMANDS[action], "--stack", stage], cwd=ROOT, check=False).returncode


def main() -> int:
    """Carry out an action on a stage."""
    usage = f"./nox -s {{{','.join(COMMANDS)}}} -- STAGE"
    parser = argparse.ArgumentParser(usage=usage, description=main.__doc__)
    parser.add_argument("action", choices=sorted(COMMANDS))
    parser.add_argument("stage", help="the stage, such as dev: its config is Pulumi.dev.yaml")
    arguments = parser.parse_args()
    try:
        return run(arguments.action, arguments.stage)
    except (ConfigError, DeploymentError) as error:
        say(str(error))
        return 1


def say(text: str) -> None:
    """Print a line for a person."""
    Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(text)


if __name__ == "__main__":
    sys.exit(main())
