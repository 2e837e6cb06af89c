"""A publisher without our client: plain Celery, no outbox, and nobody to send anything again.

What it publishes counts as accepted once the broker has taken it. Run as
``python -m tests.faults.plain_client``, until it is ordered to stop.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from celery import Celery
from kombu.exceptions import KombuError, OperationalError

from api_client.contract import codec
from api_client.contract.records import new_id
from tests.faults.history import HistoryWriter, Line
from tests.faults.operations import LIFE, Operation
from tests.faults.orders import STOP, Orders


def main() -> None:
    """Publish creations of sessions, each in a message of its own."""
    arguments = _arguments()
    orders = Orders.of_this_process()
    history = HistoryWriter(arguments.history)
    history.now([Line(what="begin", id=arguments.name)])
    with Celery("plain", broker=arguments.broker) as app:
        ordinal = (arguments.life + 1) * LIFE
        while orders.standing(STOP) is None:
            ordinal += 1
            _publish(app, _operation(arguments.name, ordinal), history)
            # The pace of the workload; nothing is waited for.
            time.sleep(1 / arguments.rate)
    history.soon(Line(what="end", id=arguments.name, number=0))
    history.close()


def _operation(client: str, ordinal: int) -> Operation:
    id_ = f"{client}-{ordinal}"
    return Operation(
        id=id_, kind="create", app="plain", user=client, session=f"plain-{id_}", watched=False
    )


def _publish(app: Celery, operation: Operation, history: HistoryWriter) -> None:
    app_name, user, session = operation.key
    key = {"app": app_name, "user": user, "session": session}
    message = {
        "version": 1,
        "id": new_id(),
        "operations": [{"op": "session.create", "key": key}],
    }
    history.now([Line(what="invoke", id=operation.id, operation=operation)])
    try:
        app.send_task(codec.WRITE_TASK, [message], queue=codec.WRITE_QUEUE, ignore_result=True)
    except (OperationalError, KombuError, OSError):
        # Whether the broker has it nobody knows, so nothing was promised.
        return
    history.now([Line(what="accepted", id=operation.id)])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.plain_client")
    parser.add_argument("--name", required=True)
    parser.add_argument("--life", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="operations a second")
    parser.add_argument("--broker", required=True)
    parser.add_argument("--history", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
