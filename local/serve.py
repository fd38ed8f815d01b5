"""An empty emulator in the foreground, to which the Pulumi CLI deploys the local stage."""

import argparse
import signal
import sys
from contextlib import suppress

from .emulator import LOG, REGION, running_emulator
from .errors import EmulatorError, LocalStageError
from .terminal import say

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
    # On SIGTERM, leave through the clean-up that stops the emulator.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        with running_emulator(arguments.port) as emulator:
            say(f"Emulator at {emulator.endpoint} (credentials test / test, Region {REGION}). Press Ctrl+C to stop it.")
            say(f"In another shell, run: export AWS_CA_BUNDLE={emulator.ca_bundle}")
            with suppress(KeyboardInterrupt):
                emulator.process.wait()
                raise EmulatorError(f"the emulator ended unexpectedly. See {emulator.folder / LOG}.")
    except LocalStageError as error:
        say(f"{type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
