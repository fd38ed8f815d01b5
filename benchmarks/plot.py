"""A plot of the runs: time and peak memory by records."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .measure import Measured
from .ways import BASELINE, HANDLER

STYLES = {BASELINE: "s--", HANDLER: "o-"}


def draw(measured: Sequence[Measured], file: Path) -> None:
    """Draw seconds and peak memory by records into a file. The suffix of the file selects the format."""
    shortest = min(one.line_bytes for one in measured)
    # Identical figures produce an identical file. Text is stored as text, not as outlines.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "yorutsuke"}):
        figure = Figure(figsize=(10, 4), layout="constrained")
        time, memory = figure.subplots(1, 2)
        for way, style in STYLES.items():
            runs = [one for one in measured if one.way == way and one.line_bytes == shortest]
            records = [one.records for one in runs]
            time.plot(records, [one.seconds for one in runs], style, label=way)
            memory.plot(records, [one.peak_mib for one in runs], style, label=way)
        time.set_yscale("log")
        _label(time, "seconds")
        memory.set_ylim(bottom=0)
        _label(memory, "peak memory, MiB")
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def _label(axes: Axes, y_label: str) -> None:
    axes.set_xscale("log")
    axes.set_xlabel("records")
    axes.set_ylabel(y_label)
    axes.grid(visible=True, which="major", alpha=0.4)
    axes.legend()
