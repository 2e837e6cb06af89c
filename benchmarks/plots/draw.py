"""All plots of a run."""

from __future__ import annotations

from pathlib import Path

import matplotlib

from benchmarks.plots import growth, latency, throughput, workers
from benchmarks.report import Report


def draw_all(report: Report, folder: Path) -> list[Path]:
    """Draw every plot whose benchmark has run; return the PNG files.

    Parameters:
        report: a run.
        folder: where to; created.
    """
    # Ids in SVG files that do not change from run to run.
    matplotlib.rcParams["svg.hashsalt"] = "zdk"
    folder.mkdir(parents=True, exist_ok=True)
    machine = report.machine
    note = (
        f"Medians of {report.options['rounds']} interleaved rounds of one run; thin lines and"
        f" shades reach from the least round to the most. {machine['cores']} cores of an"
        f" {machine['processor']} for everything together."
    )
    plots = {
        "throughput": throughput.draw,
        "latency": latency.draw,
        "growth": growth.draw,
        "workers": workers.draw,
    }
    return [
        folder / f"{name}.png" for name, draw in plots.items() if draw(report.results, folder, note)
    ]
