"""An empty emulator and a stand-in for the AWS provider, with which the Pulumi CLI deploys the local stage."""

import argparse

from .aws import Aws
from .emulator import REGION, running_emulator
from .errors import EmulatorError, LocalStageError
from .provider.server import running_provider
from .terminal import say, say_error

PORT = 4566
"""The port in Pulumi.local.yaml."""


def main() -> int:
    """Run an emulator and a provider until they are interrupted, and print their addresses."""
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
        with (
            running_emulator(arguments.port) as emulator,
            running_provider(Aws(emulator.endpoint, emulator.ca_bundle)) as port,
        ):
            say(f"Emulator at {emulator.endpoint} (credentials test / test, Region {REGION}). Press Ctrl+C to stop it.")
            say("In another shell, run:")
            say(f"export AWS_CA_BUNDLE={emulator.ca_bundle} PULUMI_DEBUG_PROVIDERS=aws:{port}")
            emulator.process.wait()
            raise EmulatorError("the emulator ended unexpectedly.")
    except LocalStageError as error:
        say_error(error)
        return 1
