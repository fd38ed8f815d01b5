"""An emulator with nothing on it, in the foreground, for Pulumi's own engine to deploy the local stage to."""

import argparse
import signal
import sys
from contextlib import suppress

from rich.console import Console

from .emulator import REGION, running_emulator
from .errors import EmulatorError, LocalStageError

PORT = 4566
"""Where Pulumi.local.yaml sends the engine."""


def main() -> int:
    """Run an emulator until it is interrupted, and say how to deploy to it."""
    parser = argparse.ArgumentParser(prog="nox -s serve --", description=main.__doc__)
    parser.add_argument(
        "--port", type=int, choices=range(1, 65_536), default=PORT, metavar="N", help=f"a free loopback port ({PORT})"
    )
    arguments = parser.parse_args()
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    # Whoever ends this means the emulator as well: leave through the clean-up.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        with running_emulator(arguments.port) as emulator:
            console.print(f"{emulator.endpoint} (credentials test / test, region {REGION}); Ctrl+C ends it.")
            console.print(f"In another shell: export AWS_CA_BUNDLE={emulator.ca_bundle}")
            with suppress(KeyboardInterrupt):
                emulator.process.wait()
                raise EmulatorError(f"the emulator ended by itself: see {emulator.log}.")
    except LocalStageError as error:
        console.print(f"{type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
