"""Publishing through Celery, for all brokers that it knows. The only module that imports it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from celery import Celery
from kombu.exceptions import KombuError, OperationalError
from kombu.serialization import register
from redis.exceptions import RedisError

from api_client.contract import codec
from api_client.contract.errors import Unavailable
from api_client.transport.publishers import SOCKET_OPTIONS


class CeleryPublisher:
    """A `Publisher` over a Celery app of its own.

    Parameters:
        broker_url: as Celery takes it.
    """

    def __init__(self, broker_url: str):
        register(
            codec.BODY_SERIALIZER, codec.encode_body, codec.decode_body, codec.BODY_CONTENT_TYPE
        )
        self._app = Celery("zdk-client", broker=broker_url, set_as_current=False)
        # Without max_retries kombu tries for seconds to connect, although send_task is told not to.
        options: dict[str, Any] = {"max_retries": 0}
        if broker_url.startswith(("redis", "valkey", "sentinel")):
            options |= SOCKET_OPTIONS
        self._app.conf.update(
            broker_transport_options=options,
            broker_connection_timeout=3.0,
            # Replies are read by ResultReader; Celery need not know where.
            result_backend=None,
        )

    def publish(
        self,
        task: str,
        task_id: str,
        body: bytes,
        *,
        headers: Mapping[str, Any],
        expires: float | None,
    ) -> None:
        """See `Publisher.publish`."""
        try:
            self._app.send_task(
                task,
                args=(msgspec.Raw(body),),
                queue=task,
                task_id=task_id,
                serializer=codec.BODY_SERIALIZER,
                headers=dict(headers),
                # Celery would otherwise format the whole body for its logs.
                argsrepr="",
                kwargsrepr="",
                expires=expires,
                # The outbox decides when to send again.
                retry=False,
            )
        except (OperationalError, KombuError, OSError, RedisError) as error:
            raise Unavailable(f"the broker cannot be reached: {error}") from error

    def close(self) -> None:
        """See `Publisher.close`."""
        self._app.close()
