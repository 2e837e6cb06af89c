"""Faults of worker processes: killed, stopped, restarted, with a wrong clock."""

from __future__ import annotations

import contextlib
import os
import signal
from functools import partial

from tests.faults.actors import ChaosWorker
from tests.faults.attack import BROKERS, FAULTS, Fault, NotHit, Steps, fault, until
from tests.faults.patches import POINTS
from tests.faults.processes import pause_processes
from tests.faults.site import Site

#: Seconds until a message passes the point where a worker has been told to die.
_POINT_SECONDS = 6.0
#: Longer than a client waits for a reply before it sends the message again.
_ZOMBIE_SECONDS = 7.0
#: Longer than the grace period of the workers, and the longest task.
_END_SECONDS = 25.0
_HOURS = 3600.0
_IN_MAIN_PROCESS = {"after-pop", "after-record", "before-ack", "after-ack"}


def _some_worker(site: Site) -> ChaosWorker:
    running = [worker for worker in site.workers if worker.running]
    if not running:
        raise NotHit
    return site.dice.choice(running)


@fault("kill-worker", "worker")
def kill_worker(site: Site) -> Steps:
    """SIGKILL of a worker's main process, with which its pool dies."""
    _some_worker(site).kill()
    yield 0


@fault("kill-pool-child", "worker")
def kill_pool_child(site: Site) -> Steps:
    """SIGKILL of a pool process."""
    children = _some_worker(site).children()
    if not children:
        raise NotHit
    with contextlib.suppress(ProcessLookupError):
        os.kill(site.dice.choice(children), signal.SIGKILL)
    yield 0


def _kill_at(point: str, site: Site) -> Steps:
    """SIGKILL at a point in a message's life; which process dies depends on the point."""
    worker = _some_worker(site)
    order = f"kill-{worker.name}"

    def taken() -> bool:
        # Again and again: another attack may have had it started anew meanwhile.
        worker.excused = worker.excused or point in _IN_MAIN_PROCESS
        return site.orders.standing(order) is None

    taken()
    site.orders.give(order, point)
    try:
        yield from until(taken, _POINT_SECONDS)
    except NotHit:
        if site.orders.withdraw(order):
            worker.excused = False
            raise


for _point in POINTS:
    FAULTS[f"kill-{_point}"] = Fault(
        f"kill-{_point}",
        "worker",
        partial(_kill_at, _point),
        # RabbitMQ keeps its own record of what it has delivered.
        brokers=("redis",) if _point == "after-record" else BROKERS,
    )


@fault("rolling-restart", "worker")
def rolling_restart(site: Site) -> Steps:
    """SIGTERM to one worker after the other, each started again before the next."""
    for worker in site.workers:
        yield from _restart(site, worker, signal.SIGTERM)


@fault("quit-worker", "worker")
def quit_worker(site: Site) -> Steps:
    """SIGQUIT to one worker."""
    yield from _restart(site, _some_worker(site), signal.SIGQUIT)


def _restart(site: Site, worker: ChaosWorker, number: signal.Signals) -> Steps:
    starts = worker.starts
    worker.end_with(number)
    try:
        yield from until(lambda: worker.starts > starts, _END_SECONDS)
    except NotHit:
        site.complaints.append(f"{worker.name} did not end within {_END_SECONDS:g} s of a signal")
        worker.kill()


@fault("stop-worker", "worker")
def stop_worker(site: Site) -> Steps:
    """SIGSTOP of a worker, or of a pool process, until clients have sent again; then SIGCONT."""
    worker = _some_worker(site)
    children = worker.children()
    stopped = [worker.pid, *children]
    if children and site.dice.random() < 0.5:
        stopped = [site.dice.choice(children)]
    pause_processes(stopped, signal.SIGSTOP)
    try:
        yield _ZOMBIE_SECONDS
    finally:
        pause_processes(stopped, signal.SIGCONT)


@fault("clock-jump", "worker")
def clock_jump(site: Site) -> Steps:
    """A worker whose clock is hours wrong; at the end it jumps back."""
    worker = _some_worker(site)
    worker.clock = site.dice.choice((-3.0, 3.0)) * _HOURS
    try:
        worker.kill()
        yield site.dice.uniform(5.0, 8.0)
    finally:
        worker.clock = 0.0
        worker.kill()
