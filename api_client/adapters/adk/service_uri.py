"""The URIs that ADK's command line takes for our services. Pure.

::

    zdk://[user:password@]host[:port][/database][?option=value&...]     a Redis broker
    zdks://...                                                          likewise, over TLS
    zdk://[?option=value&...]                                           what ZDK_BROKER_URL names
    zdk+local:///folder[?option=value&...]                              no broker: in this process

Options of all: ``outbox`` (a file, or a folder ending in ``/``), ``artifacts`` (the blob store's
URL) and ``ack`` (``applied`` or ``accepted``; concerns sessions). With a broker also ``results``
(the Redis with the results, if it is another one); with TLS ``ssl_ca_certs`` (a file) and
``ssl_cert_reqs`` (``required``, ``optional`` or ``none``); locally ``database`` (its URL). In each
part what has a meaning there, such as ``@`` or ``#`` in a password, is percent-encoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from api_client.contract.errors import InvalidRequest

Kind = Literal["broker", "environment", "local"]
Ack = Literal["applied", "accepted"]

#: The schemes, all of which every URI of these may have.
BROKER, BROKER_TLS, LOCAL = SCHEMES = ("zdk", "zdks", "zdk+local")

_COMMON = frozenset({"outbox", "artifacts", "ack"})
_TLS = frozenset({"ssl_ca_certs", "ssl_cert_reqs"})
_OPTIONS = {
    BROKER: _COMMON | {"results"},
    BROKER_TLS: _COMMON | {"results"} | _TLS,
    LOCAL: _COMMON | {"database"},
}
_ACKS: tuple[Ack, ...] = ("applied", "accepted")


@dataclass(frozen=True)
class ServiceUri:
    """What a URI says.

    Attributes:
        kind: how to reach the storage.
        broker: the broker's URL, if ``kind`` says so.
        database, folder: of a local storage: its database's URL, and the folder to make, if any.
        results, artifacts, outbox: as of `StorageClient`; None if not given.
        ack: when an append of the session service returns.
    """

    kind: Kind
    # It may hold a password.
    broker: str | None = field(default=None, repr=False)
    database: str | None = field(default=None, repr=False)
    folder: str | None = None
    results: str | None = field(default=None, repr=False)
    artifacts: str | None = None
    outbox: str | None = None
    ack: Ack = "applied"

    @property
    def storage(self) -> ServiceUri:
        """The same but for what does not concern the client: services of equal ones share one."""
        return replace(self, ack="applied")


def parse_service_uri(uri: str) -> ServiceUri:
    """What ``uri`` says.

    Raises:
        InvalidRequest: a part is missing or wrong; its ``field`` is ``uri.scheme``, ``uri.host``,
            ``uri.port``, ``uri.path``, ``uri.fragment`` or the option's name. No message repeats
            what may be a secret.
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise _wrong("host", f"has a host that cannot be read: {error}") from None
    if parts.scheme not in SCHEMES:
        raise _wrong("scheme", f"must begin with {', '.join(f'{s}://' for s in SCHEMES)}")
    if parts.fragment:
        raise _wrong("fragment", "has a #, which must be written as %23")
    options = _options(parts)
    if parts.scheme == LOCAL:
        return _local(parts, options)
    return _remote(parts, options)


def _options(parts: SplitResult) -> dict[str, str]:
    found: dict[str, str] = {}
    known = _OPTIONS[parts.scheme]
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            raise _wrong(name, f"has an unknown option {name!r}; known are {_listed(known)}")
        if name in found:
            raise _wrong(name, f"has the option {name!r} twice")
        if not value:
            raise _wrong(name, f"has the option {name!r} without a value")
        found[name] = value
    return found


def _ack(options: Mapping[str, str]) -> Ack:
    given = options.get("ack", "applied")
    for ack in _ACKS:
        if given == ack:
            return ack
    raise _wrong("ack", f"must have ack={' or ack='.join(_ACKS)}")


def _remote(parts: SplitResult, options: dict[str, str]) -> ServiceUri:
    broker = None
    if parts.netloc:
        broker = _broker_url(parts, options)
    elif parts.scheme == BROKER_TLS or parts.path.strip("/"):
        raise _wrong("host", f"names no host; {parts.scheme}://localhost:6379/0 would")
    return ServiceUri(
        kind="environment" if broker is None else "broker",
        broker=broker,
        results=options.get("results"),
        artifacts=options.get("artifacts"),
        outbox=options.get("outbox"),
        ack=_ack(options),
    )


def _broker_url(parts: SplitResult, options: Mapping[str, str]) -> str:
    if not parts.hostname:
        raise _wrong("host", "names no host")
    try:
        _ = parts.port
    except ValueError:
        raise _wrong("port", "has a port that is no number from 0 to 65535") from None
    database = parts.path.strip("/")
    if database and not (database.isascii() and database.isdigit()):
        raise _wrong("path", "has a path that is no database's number, such as /0")
    scheme = "rediss" if parts.scheme == BROKER_TLS else "redis"
    query = urlencode({name: options[name] for name in sorted(_TLS & options.keys())})
    return f"{scheme}://{parts.netloc}/{database}" + (f"?{query}" if query else "")


def _local(parts: SplitResult, options: Mapping[str, str]) -> ServiceUri:
    if parts.netloc:
        raise _wrong("host", f"names a host; a folder needs three slashes: {LOCAL}:///folder")
    try:
        folder = unquote(parts.path, errors="strict").rstrip("/")
    except UnicodeDecodeError:
        raise _wrong("path", "has a path that is not UTF-8") from None
    if "?" in folder:
        # A database's URL has no way to write it.
        raise _wrong("path", "has a folder with a question mark in its name")
    database, artifacts = options.get("database"), options.get("artifacts")
    if not folder and (database is None or artifacts is None):
        raise _wrong("path", "needs a folder, or the options database and artifacts")
    return ServiceUri(
        kind="local",
        folder=folder or None,
        database=database or f"sqlite:///{folder}/zdk.db",
        artifacts=artifacts or f"file://{quote(folder)}/artifacts",
        outbox=options.get("outbox"),
        ack=_ack(options),
    )


def _wrong(part: str, what: str) -> InvalidRequest:
    return InvalidRequest(f"the service URI {what}", field=f"uri.{part}")


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
