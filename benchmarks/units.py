"""Numbers with their units, short enough for a table."""

from __future__ import annotations

_SCALES = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "bytes": ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB")),
    "bytes/s": ((2.0**30, "GiB/s"), (2.0**20, "MiB/s"), (2.0**10, "KiB/s")),
}
_SHORT = {"events/s": "/s", "operations/s": "/s", "files/s": "/s"}


def shown(value: float, unit: str) -> str:
    """A value for people: ``3.12 ms``, ``17,300 /s``.

    Parameters:
        value: in ``unit``.
        unit: one of those in `benchmarks.measurements.UNITS`.
    """
    scales = _SCALES.get(unit)
    if scales is None:
        return f"{significant(value)} {_SHORT.get(unit, unit)}"
    factor, name = next((scale for scale in scales if abs(value) >= scale[0]), scales[-1])
    return f"{significant(value / factor)} {name}"


def significant(value: float) -> str:
    """Three significant digits, and whole numbers from 100 on."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.1g}"
