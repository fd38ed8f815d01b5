"""A function's imports, without the garbage collector: imported before all else, until `imported` is called.

What is imported stays. To look for garbage among it again and again is a sixth of a cold start.
"""

import gc

gc.disable()


def imported() -> None:
    """Let the collector work from now on, on what comes after."""
    gc.freeze()
    gc.enable()
