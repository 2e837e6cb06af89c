"""A RabbitMQ behind TLS: whoever talks to it verifies its certificate, unless told not to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_client import SessionKey
from api_client.contract import codec
from api_client.contract.errors import Unavailable
from api_client.transport.amqp_publisher import AmqpPublisher
from tests.integration.conftest import Site, open_site
from tests.support.programs import run_zdk
from tests.support.rabbitmq import RabbitMQServer
from tests.support.tls import Secured, doctor_says, secured
from worker.embedded.server import LOOPBACK, free_port


@pytest.fixture
def site(tmp_path: Path, rabbitmq: RabbitMQServer | None) -> Iterator[Site]:
    """A site of this test's own, over SQLite."""
    assert rabbitmq is not None, "these tests are collected only with RabbitMQ"
    with open_site(tmp_path, f"sqlite:///{tmp_path / 'zdk.db'}", rabbitmq) as opened:
        yield opened


def port(site: Site) -> int:
    assert site.rabbitmq is not None
    return site.rabbitmq.port


def url(site: Site, place: Secured, options: str) -> str:
    named = options.format(ca=place.ca, other=place.other_ca)
    plain = site.broker_url.replace(str(port(site)), str(place.port))
    return f"{plain.replace('amqp://', 'amqps://')}{named}"


def publish(url: str) -> None:
    publisher = AmqpPublisher(url)
    try:
        publisher.publish(codec.WRITE_QUEUE, "id", b"{}", headers={}, expires=None)
    finally:
        publisher.close()


def test_client_and_worker_go_through_it(site: Site) -> None:
    key = SessionKey("app", "user", "s")
    with secured(port(site), site.folder, LOOPBACK) as place:
        found = url(site, place, "?ssl_ca_certs={ca}")
        site.environment["ZDK_BROKER_URL"] = found
        with site.worker(), site.client() as client:
            client.sessions.create(key).result(timeout=60)
            assert client.sessions.load(key).result(timeout=60).revision == 0
        publish(found)
        words = ["top", "--once", "--json"]
        done = run_zdk(*words, environment=site.environment, cwd=site.folder)
        assert [queue["depth"] for queue in json.loads(done.stdout)["broker"]["queues"]] == [1, 0]


def test_the_next_host_of_a_cluster_is_asked(site: Site) -> None:
    with secured(port(site), site.folder, LOOPBACK) as place:
        good = url(site, place, "?ssl_ca_certs={ca}")
        gone = good.replace(str(place.port), str(free_port()))
        other = url(site, place, "?ssl_ca_certs={other}")
        publish(f"{gone};{other};{good}")
        publish(f"{good};{gone}")
        with pytest.raises(Unavailable, match="certificate verify failed"):
            publish(f"{gone};{other}")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (LOOPBACK, ""),
        (LOOPBACK, "?ssl_ca_certs={other}"),
        ("elsewhere.example", "?ssl_ca_certs={ca}"),
    ],
)
def test_nobody_talks_to_a_stranger(site: Site, name: str, options: str) -> None:
    with secured(port(site), site.folder, name) as place:
        found = url(site, place, options)
        site.environment["ZDK_BROKER_URL"] = found
        (broker,) = doctor_says(site.environment, site.folder, "broker")
        with pytest.raises(Unavailable, match="certificate verify failed"):
            publish(found)
    assert "certificate verify failed" in broker


@pytest.mark.parametrize(
    "options", ["?ssl_cert_reqs=none", "?ssl_ca_certs={ca}&ssl_check_hostname=false"]
)
def test_who_asks_for_it_verifies_less(site: Site, options: str) -> None:
    with secured(port(site), site.folder, "elsewhere.example") as place:
        found = url(site, place, options)
        site.environment["ZDK_BROKER_URL"] = found
        assert doctor_says(site.environment, site.folder, "broker") == [""]
        publish(found)
