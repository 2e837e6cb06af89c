"""The Celery app. Each setting that differs from Celery's default has its reason beside it."""

from __future__ import annotations

import logging

import msgspec
from celery import Celery
from celery.exceptions import Reject
from kombu.serialization import register

from api_client.contract import codec
from api_client.contract.queues import is_amqp
from worker.broker.declared_queues import make_queues
from worker.broker.redis_transport import harden
from worker.environment.server_urls import is_redis, with_verification
from worker.settings import Settings

#: Seconds; without them a silent broker is waited for without end (celery issue 4296).
_SOCKET: dict[str, object] = {
    "socket_timeout": 30.0,
    "socket_connect_timeout": 3.0,
    "socket_keepalive": True,
}


def make_app(settings: Settings) -> Celery:
    """The app of a worker with ``settings``; its tasks are in `worker.tasks`."""
    harden()
    register(codec.BODY_SERIALIZER, codec.encode_body, codec.decode_body, codec.BODY_CONTENT_TYPE)
    # A plain publisher's body is read in the same way: its argument is passed through unparsed.
    register("json", codec.encode_body, codec.decode_body, "application/json")
    register(
        codec.RESULT_SERIALIZER, codec.encode_body, msgspec.json.decode, codec.RESULT_CONTENT_TYPE
    )
    logging.getLogger("celery.app.trace").addFilter(_is_no_hand_back)
    if not settings.log_tasks:
        for name in ("celery.app.trace", "celery.worker.strategy"):
            logging.getLogger(name).setLevel(logging.WARNING)
    app = Celery(
        "zdk-storage",
        broker=with_verification(settings.broker_url),
        backend=f"worker.broker.results:ResultBackend+{with_verification(settings.results)}",
    )
    app.conf.update(_delivery(settings) | _connections(settings) | _content(settings))
    _remove_builtin_tasks(app)
    return app


def _is_no_hand_back(record: logging.LogRecord) -> bool:
    """Whether a line of Celery's log is none with which it tells, at each try and with the whole
    stack, that a message goes back to the queue. `worker.retry` has told why, once."""
    return record.exc_info is None or not isinstance(record.exc_info[1], Reject)


def _remove_builtin_tasks(app: Celery) -> None:
    # Whoever reaches the broker could have celery.map, celery.chain and their like publish tasks
    # in the worker's name.
    app.finalize(auto=True)
    for name in [name for name in app.tasks if name.startswith("celery.")]:
        app.tasks.unregister(name)


def _delivery(settings: Settings) -> dict[str, object]:
    return {
        "task_queues": make_queues(settings.broker_url),
        "task_default_queue": codec.WRITE_QUEUE,
        "task_routes": {
            codec.WRITE_TASK: {"queue": codec.WRITE_QUEUE},
            codec.READ_TASK: {"queue": codec.READ_QUEUE},
        },
        # A message is acknowledged when its effect is committed, not when it is received.
        "task_acks_late": True,
        # A hanging task is killed, and its message goes to another process.
        "task_acks_on_timeout": False,
        "task_time_limit": settings.time_limit,
        # A killed pool process is no fault of its message, which goes back to the queue; how
        # often that may happen is counted by worker.broker.attempts.
        "task_reject_on_worker_lost": True,
        # Refuses whatever is not one of our tasks.
        "worker_consumer": "worker.broker.consumer:GuardedConsumer",
        "worker_prefetch_multiplier": settings.prefetch,
        # Without remote control nobody at the broker can stop or reconfigure a worker.
        "worker_enable_remote_control": False,
        "worker_send_task_events": settings.task_events,
        # Work on hand after a lost connection is finished; the ledger makes the redelivery
        # of the same message harmless.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
    }


def _connections(settings: Settings) -> dict[str, object]:
    transport: dict[str, object] = {}
    if is_redis(settings.broker_url):
        transport = _SOCKET | {
            # Must outlast the longest task and the shutdown, or a message runs twice at once.
            "visibility_timeout": 2 * settings.time_limit + settings.shutdown_grace,
            # Look for lost messages every ten seconds instead of every hundred.
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "health_check_interval": 25,
        }
    if is_amqp(settings.broker_url):
        # What the doctor sends must have been taken.
        transport = {"confirm_publish": True}
    return {
        "broker_transport_options": transport,
        # Seconds between signs of life, of which two may be missing; RabbitMQ then delivers again
        # what a worker had, and the worker connects again. By default two minutes.
        "broker_heartbeat": 20,
        "broker_connection_retry_on_startup": True,
        # A worker outlives any outage of the broker; by default it stops after 100 tries.
        "broker_connection_max_retries": None,
        "redis_socket_timeout": 30.0,
        "redis_socket_connect_timeout": 3.0,
        "redis_socket_keepalive": True,
        "redis_backend_health_check_interval": 25,
        "result_expires": settings.result_expires,
        "result_backend_transport_options": {"retry_policy": {"max_retries": 3}},
    }


def _content(settings: Settings) -> dict[str, object]:
    return {
        # JSON only: nothing that a publisher sends can name code.
        "accept_content": ["json", codec.BODY_SERIALIZER],
        "task_serializer": codec.BODY_SERIALIZER,
        # Plain JSON in Redis, which any language reads.
        "result_serializer": codec.RESULT_SERIALIZER,
        "result_accept_content": ["json", codec.RESULT_SERIALIZER],
    }
