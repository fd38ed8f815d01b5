"""Runs the command as `python -m yorutsuke`."""

import sys

from .app import main

if __name__ == "__main__":
    sys.exit(main())
