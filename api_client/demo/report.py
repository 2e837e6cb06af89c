"""The table at the end of the demonstration."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from api_client.demo.run import Measured


def summary(measured: Measured) -> dict[str, Any]:
    """The figures, for machines. Rates are per second, latencies in milliseconds."""
    return {
        "operations": measured.operations,
        "accepted": len(measured.accepted_latency),
        "applied": measured.applied,
        "failed": measured.failed,
        "lost": measured.lost,
        "duplicated": measured.duplicated,
        "bytes_compared": measured.bytes,
        "applied_per_second": _rate(measured.applied, measured.store_seconds),
        "loaded_per_second": _rate(measured.loaded, measured.load_seconds),
        "accepted_ms": _percentiles(measured.accepted_latency),
        "applied_ms": _percentiles(measured.applied_latency),
        "loaded_ms": _percentiles(measured.loaded_latency),
    }


def good(measured: Measured) -> bool:
    """Whether everything was applied once and came back as it went in."""
    wrong = measured.failed or measured.lost or measured.duplicated
    return not wrong and measured.applied == measured.operations


def table(measured: Measured) -> Table:
    """The figures, for people."""
    found = summary(measured)
    result = Table(title="zdk demo", show_header=False, title_justify="left")
    result.add_column()
    result.add_column(justify="right")
    for name in ("operations", "accepted", "applied"):
        result.add_row(name, f"{found[name]:,}")
    for name in ("failed", "lost", "duplicated"):
        style = "bold red" if found[name] else "green"
        result.add_row(name, f"{len(found[name]):,}", style=style)
    result.add_section()
    result.add_row("compared byte for byte", f"{found['bytes_compared']:,} bytes")
    result.add_row("applied, a worker killed on the way", f"{found['applied_per_second']:,.0f} /s")
    result.add_row("loaded back", f"{found['loaded_per_second']:,.0f} /s")
    result.add_section()
    for name in ("accepted", "applied", "loaded"):
        median, most = found[f"{name}_ms"]
        result.add_row(f"{name}, median and 99th percentile", f"{median:,.1f} / {most:,.1f} ms")
    return result


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 1) if seconds else 0.0


def _percentiles(latencies: list[float]) -> tuple[float, float]:
    if not latencies:
        return 0.0, 0.0
    ordered = sorted(latencies)
    last = len(ordered) - 1
    return tuple(round(ordered[round(last * part)] * 1000, 2) for part in (0.5, 0.99))  # type: ignore[return-value]
