"""Whether a worker lives, by its pulse. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from worker.health.pulse import Beat

#: Seconds beyond a limit that the worker itself enforces, until it is thought to have failed to.
_MARGIN = 60.0


@dataclass(frozen=True)
class Limits:
    """How long a living worker takes, in seconds.

    Attributes:
        loop: between two turns of its loop.
        task: for one task (``ZDK_TIME_LIMIT``).
        ending: to finish what has begun (``ZDK_SHUTDOWN_GRACE``).
    """

    loop: float
    task: float
    ending: float


def fault(beat: Beat, now: float, limits: Limits) -> str | None:
    """Why a worker is not live; None if it is.

    Parameters:
        beat: its last one.
        now: on the same clock.
    """
    if beat.ending_since:
        # Its loop does not turn any more.
        if now - beat.ending_since <= limits.ending + _MARGIN:
            return None
        return f"the worker has been ending for {now - beat.ending_since:.0f} s"
    if now - beat.at > limits.loop:
        return f"the worker's loop has not turned for {now - beat.at:.0f} s"
    if beat.waiting_since and now - beat.waiting_since > limits.task + _MARGIN:
        return f"the pool has begun no task for {now - beat.waiting_since:.0f} s, and some wait"
    return None
