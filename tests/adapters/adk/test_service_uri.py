"""The URIs of services: what they mean, and what is wrong with bad ones."""

from __future__ import annotations

from typing import Any

import pytest

from api_client import InvalidRequest
from api_client.adapters.adk.service_uri import ServiceUri, parse_service_uri


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("zdk://h", {"broker": "redis://h/"}),
        ("zdk://h:1/2", {"broker": "redis://h:1/2"}),
        ("zdk://[::1]:1/2", {"broker": "redis://[::1]:1/2"}),
        ("zdk://me:a%40b%23@h:1/2/", {"broker": "redis://me:a%40b%23@h:1/2"}),
        ("zdk://:secret@h", {"broker": "redis://:secret@h/"}),
        ("zdks://h", {"broker": "rediss://h/"}),
        (
            "zdks://h/1?ssl_ca_certs=/a%20b&ssl_cert_reqs=none&ack=accepted",
            {
                "broker": "rediss://h/1?ssl_ca_certs=%2Fa+b&ssl_cert_reqs=none",
                "ack": "accepted",
            },
        ),
        (
            "zdk://h?outbox=/var/o%26x/&artifacts=file:///b&results=redis://r:1/0&ack=applied",
            {
                "broker": "redis://h/",
                "outbox": "/var/o&x/",
                "artifacts": "file:///b",
                "results": "redis://r:1/0",
            },
        ),
        ("zdk://", {"kind": "environment"}),
        ("zdk:///", {"kind": "environment"}),
        ("zdk://?outbox=o", {"kind": "environment", "outbox": "o"}),
        (
            "zdk+local:///a%20b/%C3%A9/",
            {
                "kind": "local",
                "folder": "/a b/é",
                "database": "sqlite:////a b/é/zdk.db",
                "artifacts": "file:///a%20b/%C3%A9/artifacts",
            },
        ),
        (
            "zdk+local:///x?database=postgresql%2Bpsycopg2://u:p@h/d&outbox=o",
            {
                "kind": "local",
                "folder": "/x",
                "database": "postgresql+psycopg2://u:p@h/d",
                "artifacts": "file:///x/artifacts",
                "outbox": "o",
            },
        ),
        (
            "zdk+local://?database=sqlite://&artifacts=memory://",
            {"kind": "local", "database": "sqlite://", "artifacts": "memory://"},
        ),
    ],
)
def test_what_they_mean(uri: str, expected: dict[str, Any]) -> None:
    assert parse_service_uri(uri) == ServiceUri(**{"kind": "broker", **expected})


@pytest.mark.parametrize(
    ("uri", "part"),
    [
        ("", "scheme"),
        ("h:1/0", "scheme"),
        ("redis://h", "scheme"),
        ("zdk://[h", "host"),
        ("zdk://:1/0", "host"),
        ("zdk://me:secret@/0", "host"),
        ("zdk:///0", "host"),
        ("zdks://?outbox=o", "host"),
        ("zdk+local://h/x", "host"),
        ("zdk+local://me:secret@h", "host"),
        ("zdk://h:secret", "port"),
        ("zdk://h:65536", "port"),
        ("zdk://h/x", "path"),
        ("zdk://h/1/2", "path"),
        ("zdk://h/-1", "path"),
        ("zdk://h/²", "path"),
        ("zdk+local://", "path"),
        ("zdk+local:///", "path"),
        ("zdk+local://?database=sqlite://", "path"),
        ("zdk+local:///a%3Fb", "path"),
        ("zdk+local:///%FF", "path"),
        ("zdk://me:se#cret@h", "fragment"),
        ("zdk://h?ack=soon", "ack"),
        ("zdk://h?ack=", "ack"),
        ("zdk://h?ack=applied&ack=accepted", "ack"),
        ("zdk://h?outbx=o", "outbx"),
        ("zdk://h?database=sqlite://", "database"),
        ("zdk://h?ssl_ca_certs=a", "ssl_ca_certs"),
        ("zdk+local:///x?results=redis://h", "results"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_is(uri: str, part: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_service_uri(uri)
    assert raised.value.field == f"uri.{part}"
    assert "cret" not in raised.value.message


def test_no_secret_is_printed() -> None:
    for uri in (
        "zdk://me:secret@h",
        "zdk://h?results=redis://me:secret@h",
        "zdk+local:///x?database=postgresql://me:secret@h",
    ):
        assert "secret" not in repr(parse_service_uri(uri))
