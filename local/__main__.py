"""Runs a command of the local stage: `python -m local demo` or `python -m local serve`."""

import sys
from importlib import import_module

from .interrupts import handle_signals

if __name__ == "__main__":
    # The imports of a command take seconds, and a signal may arrive meanwhile.
    handle_signals()
    sys.exit(import_module(f"local.{sys.argv.pop(1)}").main())
