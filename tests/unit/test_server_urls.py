"""URLs of servers are looked at before anything is connected to."""

from __future__ import annotations

import os

import pytest
import typer
from pydantic import ValidationError

from api_client.contract.errors import InvalidRequest
from worker.cli.output import load_settings
from worker.database import parse_url
from worker.environment.server_urls import check_broker_url, check_result_url, with_verification
from worker.settings import Settings


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ZDK_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:6379/0",
        "redis://",
        "redis://user:a%2Fsecret@[::1]:6379",
        "rediss://host/1?ssl_cert_reqs=required&ssl_ca_certs=/ca.pem",
        "rediss://host/1?ssl_check_hostname=false",
        "amqp://guest:guest@localhost/%2F",
        "amqp://one//;amqp://two//",
        "amqps://host//?login_method=EXTERNAL&ssl_ca_certs=/ca.pem",
    ],
)
def test_brokers_that_are_known(url: str) -> None:
    check_broker_url(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://host/0?surprise=1", "takes no option surprise"),
        ("amqp://host//?heartbeat=1&surprise", "takes no option heartbeat, surprise"),
        # redis-py has it, kombu does not.
        ("redis://host/0?socket_timeout=5", "takes no option socket_timeout"),
        ("redis://host/0?ssl_cert_reqs=none", "an option that Redis' client does not take"),
        ("rediss://host/0?ssl_cert_reqs=perhaps", "or with a wrong value"),
        ("http://host", "must begin with one of redis://"),
        ("localhost:6379", "must begin with one of redis://"),
        ("redis:/host", "must begin with one of redis://"),
        ("redis://host:99999/0", "is malformed"),
        ("redis://host:port/0", "is malformed"),
        ("redis://[::1", "is malformed"),
        ("redis://host/one", "the number of a database"),
        ("redis://host/0#secret", "is malformed"),
        ("redis://one/0;redis://two/0", "of Redis, give one URL"),
        ("sentinel://a:1;sentinel://b:2", "must begin with one of redis://"),
        ("amqp://one//;amqp://two//?surprise=1", "takes no option surprise"),
        ("amqp://host//?ssl_ca_certs=/ca.pem", "options of TLS are for amqps://"),
        ("amqps://host//?ssl_cert_reqs=perhaps", "must be required, optional or none"),
        ("amqps://host//?ssl_surprise=1", "TLS has no option ssl_surprise"),
    ],
)
def test_a_wrong_broker_is_told_in_one_line(
    url: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZDK_BROKER_URL", url)
    monkeypatch.setenv("ZDK_RESULT_URL", "redis://localhost/0")

    with pytest.raises(typer.Exit) as ended:
        load_settings()

    assert ended.value.exit_code == 2
    error = capsys.readouterr().err
    assert error.startswith("zdk: the environment is not right: ZDK_BROKER_URL: ")
    assert "Value error" not in error
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("password", ["hunter/2", "2?hunter=1", "2#hunter", "a:hunter/b"])
def test_no_piece_of_a_password_is_shown(password: str) -> None:
    with pytest.raises(ValueError, match="special characters in user and password") as caught:
        check_broker_url(f"redis://:{password}@host/0")

    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("amqp://host/", "must begin with one of redis://, rediss://"),
        ("redis://host/0?surprise=1", "options: surprise"),
        ("redis://host/0?socket_timeout=long", "options: socket_timeout"),
        ("redis://host/one", "the number of a database"),
    ],
)
def test_a_wrong_result_url(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_result_url(url)


def test_other_brokers_need_a_redis_for_results() -> None:
    with pytest.raises(ValidationError, match="give the Redis for results"):
        Settings(broker_url="amqp://host/")


@pytest.mark.parametrize(
    ("url", "verified"),
    [
        ("rediss://host/0", "rediss://host/0?ssl_cert_reqs=required"),
        ("rediss://host/0?", "rediss://host/0?&ssl_cert_reqs=required"),
        ("rediss://host?ssl_ca_certs=/a", "rediss://host?ssl_ca_certs=/a&ssl_cert_reqs=required"),
        ("rediss://host/0?ssl_cert_reqs=", "rediss://host/0?ssl_cert_reqs=&ssl_cert_reqs=required"),
        ("rediss://host/0?ssl_cert_reqs=none", "rediss://host/0?ssl_cert_reqs=none"),
        ("redis://host/0", "redis://host/0"),
        ("amqp://host//", "amqp://host//"),
        (
            "amqps://one//?ssl_cert_reqs=none;amqps://two//",
            "amqps://one//?ssl_cert_reqs=none;amqps://two//?ssl_cert_reqs=required",
        ),
    ],
)
def test_tls_is_verified_unless_the_url_says_otherwise(url: str, verified: str) -> None:
    assert with_verification(url) == verified
    check_broker_url(verified)


def test_the_redis_with_results_takes_options() -> None:
    url = "redis://host/0?socket_timeout=5"

    assert Settings(broker_url="redis://host/1", result_url=url).results == url


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://host:port/zdk", "the database URL is malformed"),
        ("postgresql://host:99999/zdk", "the database URL is malformed"),
        ("postgresql://host/zdk?surprise=1", 'invalid connection option "surprise"'),
    ],
)
def test_a_wrong_database_url(url: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        parse_url(url)
    assert caught.value.field == "database_url"


def test_a_database_url_with_options() -> None:
    assert (
        parse_url("postgresql://user:word@host/zdk?sslmode=require&connect_timeout=3").port is None
    )


@pytest.mark.parametrize("name", ["STATEMENT_TIMEOUT", "LOCK_TIMEOUT", "SHUTDOWN_GRACE"])
@pytest.mark.parametrize("value", ["inf", "nan", "1e30", "0"])
def test_seconds_that_no_server_takes(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"ZDK_{name}", value)

    with pytest.raises(typer.Exit):
        load_settings()

    assert f"ZDK_{name}: " in capsys.readouterr().err
