"""Previews, deploys and destroys a stage with the Pulumi CLI, after checks that Pulumi does not make."""

import argparse
import re
import subprocess
import sys

from rich.console import Console

from .errors import ConfigError, DeploymentError
from .stage_file import ROOT, read_stage_file

STACK_OPTION = re.compile("--stack|-[a-z]*s")
"""Pattern of the CLI's option for a stack, which may follow other short options."""
COMMANDS = {"preview": ["preview", "--diff"], "deploy": ["up"], "destroy": ["destroy"]}


def run(action: str, stage: str, *arguments: str) -> int:
    """Run one of COMMANDS on a stage, with further arguments for the Pulumi CLI, and return its exit status.

    Raises:
        ConfigError: The configuration of the stage is not valid.
        DeploymentError: The stage is protected.
    """
    config = read_stage_file(stage)
    if action == "destroy" and config.protect_data:
        raise DeploymentError(
            f"stage {stage!r} is protected (protectData: true) and cannot be destroyed. To delete the stage and its "
            f"data, set protectData: false in Pulumi.{stage}.yaml, deploy, then destroy. To keep the data, read "
            'docs/deploying.md, "Destroying a protected stage".'
        )
    if action != "destroy" and not config.alarm_emails:
        _print_message(
            f"Stage {stage!r} has no alarmEmails. "
            "Its alarms notify only subscribers of the topic in the output alarmTopicArn."
        )
    command = ["pulumi", *COMMANDS[action], "--stack", stage, *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def main() -> int:
    """Preview, deploy or destroy a stage."""
    usage = f"./nox -s {{{','.join(COMMANDS)}}} -- STAGE [arguments of the Pulumi CLI]"
    parser = argparse.ArgumentParser(usage=usage, description=main.__doc__)
    parser.add_argument("action", choices=sorted(COMMANDS))
    parser.add_argument("stage", help="the stage, such as dev, which Pulumi.dev.yaml configures")
    # The CLI's options follow the stage, which none of them may change.
    parser.add_argument("options", nargs=argparse.REMAINDER, help="further options of the Pulumi CLI")
    arguments = parser.parse_args()
    if any(STACK_OPTION.match(option) for option in arguments.options):
        parser.error("remove the option --stack: the first argument names the stage.")
    if "--run-program" in arguments.options and arguments.action == "destroy":
        parser.error("remove the option --run-program: it would ignore the protection of the deployed stage.")
    try:
        return run(arguments.action, arguments.stage, *arguments.options)
    except (ConfigError, DeploymentError) as error:
        _print_message(str(error))
        return 1


def _print_message(text: str) -> None:
    """Print a message to standard error, without wrapping it."""
    Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(text)


if __name__ == "__main__":
    sys.exit(main())
