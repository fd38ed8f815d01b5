"""An empty emulator in the foreground, to which the Pulumi CLI deploys the local stage."""

import argparse

from .emulator import REGION, running_emulator
from .errors import EmulatorError, LocalStageError
from .terminal import say, say_error

PORT = 4566
"""The port in Pulumi.local.yaml."""


def main() -> int:
    """Run an emulator until it is interrupted, and print its address."""
    parser = argparse.ArgumentParser(prog="./nox -s serve --", description=main.__doc__)
    parser.add_argument(
        "--port",
        type=int,
        choices=range(1, 65_536),
        default=PORT,
        metavar="N",
        help=f"a free loopback port (default: {PORT})",
    )
    arguments = parser.parse_args()
    try:
        with running_emulator(arguments.port) as emulator:
            say(f"Emulator at {emulator.endpoint} (credentials test / test, Region {REGION}). Press Ctrl+C to stop it.")
            say(f"In another shell, run: export AWS_CA_BUNDLE={emulator.ca_bundle}")
            emulator.process.wait()
            raise EmulatorError("the emulator ended unexpectedly.")
    except LocalStageError as error:
        say_error(error)
        return 1
