"""A Redis behind TLS: whoever talks to it verifies its certificate, unless told not to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from api_client import ArtifactKey, Event, SessionKey
from api_client.contract.errors import Unavailable
from api_client.contract.limits import MIB
from api_client.transport.publishers import RedisPublisher
from tests.integration.conftest import Site, open_site
from tests.support.programs import invoke_zdk
from tests.support.tls import Secured, doctor_says, secured
from worker.embedded.server import LOOPBACK

#: More than goes within a message, so it is staged in Redis.
_LARGE = bytes(2 * MIB)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site over SQLite and Redis, whatever the broker of other tests is."""
    with open_site(tmp_path, f"sqlite:///{tmp_path / 'zdk.db'}") as opened:
        yield opened


def url(place: Secured, options: str) -> str:
    named = options.format(ca=place.ca, other=place.other_ca)
    return f"rediss://{LOOPBACK}:{place.port}/0{named}"


def test_client_and_worker_go_through_it(site: Site) -> None:
    """Also if the URL does not say that the certificate is to be verified, as Celery demands."""
    key, artifact = SessionKey("app", "user", "s"), ArtifactKey("app", "user", "s", "large")
    with secured(site.valkey.port, site.folder, LOOPBACK) as place:
        site.environment["ZDK_BROKER_URL"] = url(place, "?ssl_ca_certs={ca}")
        with site.worker(), site.client() as client:
            client.sessions.create(key).result(timeout=60)
            client.sessions.append(key, Event(author="a", content={"n": 1})).result(timeout=60)
            client.artifacts.save(artifact, _LARGE).result(timeout=60)
            assert client.sessions.load(key).result(timeout=60).revision == 1
            assert client.artifacts.load(artifact).result(timeout=60).data == _LARGE


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (LOOPBACK, ""),
        (LOOPBACK, "?ssl_ca_certs={other}"),
        (LOOPBACK, "?ssl_cert_reqs=required"),
        ("elsewhere.example", "?ssl_ca_certs={ca}"),
    ],
)
def test_nobody_talks_to_a_stranger(site: Site, name: str, options: str) -> None:
    with secured(site.valkey.port, site.folder, name) as place:
        found = url(place, options)
        site.environment["ZDK_BROKER_URL"] = found
        broker, results = doctor_says(site.environment, site.folder, "broker", "results")
        publisher = RedisPublisher(found)
        with pytest.raises(Unavailable, match="certificate verify failed"):
            publisher.publish("storage.write", "id", b"{}", headers={}, expires=None)
        publisher.close()
    assert "certificate verify failed" in broker
    assert "certificate verify failed" in results


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    environment = {"ZDK_BROKER_URL": "rediss://localhost:1/0?ssl_ca_certs=/no/such/file"}
    said = "ssl_ca_certs names a file that cannot be read: No such file or directory"
    assert doctor_says(environment, tmp_path, "broker", "results") == [said, said]
    done = invoke_zdk("worker", environment=environment)
    assert (done.exit_code, done.stderr) == (2, f"zdk: ZDK_BROKER_URL: {said}\n")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("elsewhere.example", "?ssl_cert_reqs=none"),
        ("elsewhere.example", "?ssl_ca_certs={ca}&ssl_check_hostname=false"),
    ],
)
def test_who_asks_for_it_verifies_less(site: Site, name: str, options: str) -> None:
    with secured(site.valkey.port, site.folder, name) as place:
        found = url(place, options)
        site.environment["ZDK_BROKER_URL"] = found
        assert doctor_says(site.environment, site.folder, "broker", "results") == ["", ""]
        publisher = RedisPublisher(found)
        publisher.publish("storage.write", "id", b"{}", headers={}, expires=None)
        publisher.close()
