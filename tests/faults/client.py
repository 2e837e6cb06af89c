"""A client process of the chaos: ``python -m tests.faults.client``, until told to stop, then
drained."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from api_client import StorageClient
from tests.faults import patches
from tests.faults.customer import Customer
from tests.faults.history import HistoryWriter, Line
from tests.faults.orders import DRAINED, STOP, Orders
from tests.faults.workload import MIXES, Workload


def main() -> None:
    """Run one life of one client."""
    arguments = _arguments()
    orders = Orders.of_this_process()
    patches.install_in_client(arguments.name)
    history = HistoryWriter(arguments.history)
    history.now([Line(what="begin", id=arguments.name)])
    workload = Workload(arguments.name, arguments.life, arguments.seed, MIXES[arguments.mix])
    options: dict[str, Any] = {"result_url": arguments.results}
    if arguments.artifacts:
        options["artifacts_url"] = arguments.artifacts
    client = StorageClient(arguments.broker, arguments.outbox, **options)
    Customer(client, workload, history).run(
        arguments.rate, lambda: orders.standing(STOP) is not None
    )
    left = _drain(client, arguments.drain)
    client.close(0.0)
    history.soon(Line(what="end", id=arguments.name, number=left))
    history.close()
    sys.exit(DRAINED[0] if left == 0 else DRAINED[1])


def _drain(client: StorageClient, seconds: float) -> int:
    """Wait until nothing is pending; return how much is when the time is up."""
    deadline = time.monotonic() + seconds
    left = client.pending
    while left and time.monotonic() < deadline:
        left = client.flush(timeout=max(0.1, deadline - time.monotonic()))
    return left


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.client")
    parser.add_argument("--name", required=True)
    parser.add_argument("--life", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--mix", choices=MIXES, required=True)
    parser.add_argument("--rate", type=float, required=True, help="operations a second")
    parser.add_argument("--broker", required=True)
    parser.add_argument("--results", help="the Redis with results, if it is not the broker")
    parser.add_argument("--artifacts", default="", help="the blob store, if within reach")
    parser.add_argument("--outbox", type=Path, required=True)
    parser.add_argument("--history", type=Path, required=True)
    parser.add_argument("--drain", type=float, required=True, help="seconds at most")
    return parser.parse_args()


if __name__ == "__main__":
    main()
