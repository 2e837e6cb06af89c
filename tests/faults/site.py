"""The stack under attack: database, broker behind proxies, workers, clients."""

from __future__ import annotations

import contextlib
import json
import random
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg2
from psycopg2.extensions import connection as PgConnection
from redis import Redis

from tests.faults.actors import ChaosClient, ChaosWorker, PlainClient
from tests.faults.garbage import Garbage
from tests.faults.orders import STOP, Orders
from tests.faults.place import Place, SiteOptions
from tests.faults.processes import Supervised
from tests.faults.proxy import Proxies, Proxy
from tests.support.postgres import PostgresServer
from tests.support.queues import Queues, RabbitMQQueues, RedisQueues
from tests.support.rabbitmq import RabbitMQServer
from worker.database import Database, DatabaseOptions
from worker.embedded.server import LOOPBACK
from worker.embedded.valkey import EmbeddedValkey
from worker.migrate import upgrade

#: Connections that PostgreSQL allows; few, so that they can be used up.
_CONNECTIONS = 40
#: Seconds that a drained client may take to end.
_END_SECONDS = 20.0
_POLL_SECONDS = 0.05
_QUEUES = ("storage.write", "storage.read")
#: Seconds for which there must be nothing to do.
_QUIET_SECONDS = 1.0


class Site:
    """Starts everything, supervises it, and ends it.

    Parameters:
        folder: for data and logs.
        options: its size.
    """

    def __init__(self, folder: Path, options: SiteOptions):
        self.place = Place(folder, options)
        self.dice = random.Random(options.seed)
        self.orders = Orders(self.place.orders)
        self.postgres = PostgresServer(
            folder / "postgres", settings={"max_connections": str(_CONNECTIONS)}
        )
        self.valkey = EmbeddedValkey(folder / "valkey")
        self.rabbitmq = (
            RabbitMQServer(folder / "rabbitmq") if options.broker == "rabbitmq" else None
        )
        self.workers = [ChaosWorker(self.place, f"w{n}") for n in range(options.workers)]
        self.clients = [ChaosClient(self.place, f"c{n}") for n in range(options.clients)]
        self.publishers = [PlainClient(self.place, f"p{n}") for n in range(options.publishers)]
        self.garbage: list[Garbage] = []
        #: Messages as they were on the queue, to be put there again much later.
        self.samples: list[bytes] = []
        #: What went wrong that no checker can see afterwards.
        self.complaints: list[str] = []
        self._ending = contextlib.ExitStack()

    @property
    def processes(self) -> list[Supervised]:
        """Workers and clients of both kinds."""
        return [*self.workers, *self.issuers]

    @property
    def issuers(self) -> list[ChaosClient]:
        """Clients of both kinds."""
        return [*self.clients, *self.publishers]

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._ending.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self.processes:
            process.kill()
        self._ending.close()

    def supervise(self) -> None:
        """Start again what has ended."""
        for process in self.processes:
            process.supervise()

    def redis(self) -> Redis:
        """A connection to the broker, or beside a RabbitMQ to the results, that no fault touches;
        the caller closes it."""
        return Redis.from_url(self.valkey.url, socket_timeout=5.0, socket_connect_timeout=2.0)

    def connect(self) -> PgConnection:
        """A connection to the database; the caller closes it."""
        found = psycopg2.connect(
            host=LOOPBACK,
            port=self.postgres.port,
            user="postgres",
            dbname="chaos",
            connect_timeout=5,
            application_name="chaos",
        )
        found.autocommit = True
        return found

    def own_ends(self) -> list[str]:
        """Processes that ended although nobody had attacked them."""
        return [end for process in self.processes for end in process.own_ends]

    def drained(self, seconds: float) -> float | None:
        """Tell the clients to end once nothing is pending; return the seconds that took.

        Returns None if a client still had something pending when the time was up.
        """
        begun = time.monotonic()
        self.orders.give(STOP)
        while any(client.running or client.lost for client in self.issuers):
            if time.monotonic() - begun > seconds + _END_SECONDS:
                return None
            self.supervise()
            time.sleep(_POLL_SECONDS)
        codes = [client.finished() for client in self.issuers]
        return time.monotonic() - begun if codes == [0] * len(codes) else None

    def quiet(self, seconds: float) -> bool:
        """Wait until the workers have taken all there is, late copies too."""
        deadline = time.monotonic() + seconds
        if self.rabbitmq is None:
            # What the visibility timeout would bring back later shall do its harm before the audit.
            with contextlib.closing(self.redis()) as redis:
                put_back(redis)
        since = time.monotonic()
        while time.monotonic() < deadline:
            if any(map(sum, map(self._queues().counts, _QUEUES))):
                since = time.monotonic()
            # What is just being popped, or was put back while it is being worked on, is in
            # neither place for a moment.
            elif time.monotonic() - since > _QUIET_SECONDS:
                return True
            self.supervise()
            time.sleep(_POLL_SECONDS)
        return False

    def _queues(self) -> Queues:
        if self.rabbitmq is not None:
            return RabbitMQQueues(self.rabbitmq, "/")
        return RedisQueues(self.valkey.url)

    def _start(self) -> None:
        self._ending.callback(self.postgres.stop)
        self.postgres.start()
        url = self.postgres.create_database("chaos")
        database = Database(DatabaseOptions(url))
        upgrade(database)
        database.close()
        self.place.database_url = url
        self._ending.callback(self.valkey.stop)
        self.valkey.start()
        to_clients, to_workers = self._proxy(self.valkey.port), self._proxy(self.valkey.port)
        self.to_clients, self.to_workers = Proxies(to_clients), Proxies(to_workers)
        self.place.results_for_clients = f"redis://{LOOPBACK}:{to_clients.port}/0"
        self.place.results_for_workers = f"redis://{LOOPBACK}:{to_workers.port}/0"
        self.place.url_for_clients = self.place.results_for_clients
        self.place.url_for_workers = self.place.results_for_workers
        if self.rabbitmq is not None:
            self._start_rabbitmq(self.rabbitmq, to_clients, to_workers)
        for worker in self.workers:
            worker.start_ready()
        self.supervise()

    def _start_rabbitmq(self, server: RabbitMQServer, *beside: Proxy) -> None:
        """Start it, with ways of its own that are harmed together with those to the results."""
        self._ending.enter_context(server)
        to_clients, to_workers = self._proxy(server.port), self._proxy(server.port)
        self.to_clients = Proxies(beside[0], to_clients)
        self.to_workers = Proxies(beside[1], to_workers)
        self.place.url_for_clients = server.url(port=to_clients.port)
        self.place.url_for_workers = server.url(port=to_workers.port)

    def _proxy(self, port: int) -> Proxy:
        return self._ending.enter_context(Proxy(port))


def put_back(redis: Redis) -> None:
    """Put unacknowledged messages on the queue again, those that somebody works on too."""
    for message, _, queue in map(json.loads, redis.hvals("unacked")):
        redis.rpush(queue, json.dumps(message))
    redis.delete("unacked", "unacked_index")
