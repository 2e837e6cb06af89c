"""Where a message came from, as its headers tell: for the log and for traces. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api_client.contract import codec

#: W3C Trace Context, version 00: https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_CLIENT_CHARACTERS = 8


@dataclass(frozen=True)
class Origin:
    """Where a message came from.

    Attributes:
        client: the first characters of the task id, which our own client begins with the same ones
            for as long as it is open. All of it would let a reader of the log read the result.
        tries: which sending this is, from 1.
        traces: the traces that its operations belong to, as ``traceparent`` texts.
    """

    client: str = ""
    tries: int = 1
    traces: tuple[str, ...] = ()


def origin(task_id: str, headers: Mapping[str, Any]) -> Origin:
    """The origin of a message.

    Parameters:
        headers: as the gate has cleaned them, or a request of Celery's made of them.
    """
    tries = headers.get(codec.TRY_HEADER)
    return Origin(
        task_id[:_CLIENT_CHARACTERS],
        tries if isinstance(tries, int) else 1,
        split_traces(headers.get(codec.TRACES_HEADER)),
    )


def traces_of(headers: Mapping[str, Any]) -> str:
    """The traces that a publisher names: our own client in a header of ours, others, with whatever
    they trace their Celery by, in ``traceparent``. "" if there are none, or something else."""
    for name in (codec.TRACES_HEADER, "traceparent"):
        found = headers.get(name)
        if isinstance(found, str) and len(found) <= codec.MAX_TRACES_LENGTH:
            traces = found.split(",")
            if all(map(_TRACEPARENT.fullmatch, traces)):
                return found
    return ""


def split_traces(traces: object) -> tuple[str, ...]:
    """The single ones of what `traces_of` gives."""
    return tuple(traces.split(",")) if isinstance(traces, str) and traces else ()
