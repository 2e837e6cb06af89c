"""Options of TLS in a URL become those of py-amqp."""

from __future__ import annotations

import ssl

import pytest

from api_client.contract.amqp_tls import tls_arguments


def test_without_options_everything_is_verified() -> None:
    assert tls_arguments({}, "rabbit") == {
        "cert_reqs": ssl.CERT_REQUIRED,
        "server_hostname": "rabbit",
    }


def test_localhost_is_reached_and_verified_as_kombu_names_it() -> None:
    assert tls_arguments({}, "localhost")["server_hostname"] == "127.0.0.1"


def test_files_are_passed_on() -> None:
    names = {"ssl_ca_certs": "/ca", "ssl_certfile": "/cert", "ssl_keyfile": "/key"}
    found = tls_arguments(names, "rabbit")
    assert [found[name] for name in ("ca_certs", "certfile", "keyfile")] == ["/ca", "/cert", "/key"]


@pytest.mark.parametrize("no", ["none", ssl.CERT_NONE])
def test_no_name_is_compared_where_nothing_is_verified(no: object) -> None:
    assert tls_arguments({"ssl_cert_reqs": no}, "rabbit") == {"cert_reqs": ssl.CERT_NONE}


@pytest.mark.parametrize("no", ["false", "False", False])
def test_the_name_alone_may_go_unverified(no: object) -> None:
    found = tls_arguments({"ssl_check_hostname": no}, "rabbit")
    assert found == {"cert_reqs": ssl.CERT_REQUIRED}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ssl_surprise": "secret", "ssl_other": "x"}, "no option ssl_other, ssl_surprise"),
        ({"ssl_cert_reqs": "secret"}, "must be required, optional or none"),
        ({"ssl_check_hostname": "secret"}, "must be true or false"),
    ],
)
def test_what_is_wrong_is_named_without_its_value(options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        tls_arguments(options, "rabbit")
    assert "secret" not in str(caught.value)
