"""The parts of a server's URL. No message shows any of it: a part may be a piece of a password in
which a special character was not escaped."""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

#: How each option of TLS begins.
TLS_PREFIX: Final = "ssl_"
#: Those that name files.
TLS_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
#: What else kombu takes from a broker's URL; the rest it refuses.
_BROKER_OPTIONS: Final = frozenset({"login_method"})


def split_url(url: str) -> SplitResult:
    """Split a URL with one host.

    Raises:
        ValueError: it is malformed, such as by a password that is not escaped.
    """
    try:
        parts = urlsplit(url)
        # Reading it says whether it is a number, and in range.
        _ = parts.port
        if "@" in parts.path + parts.query or parts.fragment:
            raise ValueError
    except ValueError:
        raise ValueError(
            "the URL is malformed: a port is a number up to 65535, and special characters in user "
            "and password are escaped, such as %2F for /"
        ) from None
    return parts


def tls_options(parts: SplitResult) -> dict[str, str]:
    """The options of TLS in a broker's URL. One without a value counts as not set.

    Raises:
        ValueError: it has an option that no broker takes, or one of TLS and a scheme without.
    """
    given = parse_qsl(parts.query, keep_blank_values=True)
    unknown = [name for name, _ in given if not _is_for_broker(name)]
    if unknown:
        raise ValueError(
            f"a broker takes no option {', '.join(unknown)} in its URL; leave it out "
            "(options of TLS begin with ssl_)"
        )
    found = {name: value for name, value in given if value and name.startswith(TLS_PREFIX)}
    if found and parts.scheme in ("amqp", "pyamqp"):
        raise ValueError("options of TLS are for amqps:// and rediss://")
    return found


def _is_for_broker(name: str) -> bool:
    return name.startswith(TLS_PREFIX) or name in _BROKER_OPTIONS


def check_tls_files(url: str) -> None:
    """Look whether the files of TLS can be read that a URL names, or several with semicolons
    between. The libraries' own errors tell neither which file nor that it is one.

    Raises:
        ValueError: one cannot be read.
    """
    for part in url.split(";"):
        for name, path in parse_qsl(urlsplit(part).query):
            if name in TLS_FILES:
                _check_file(name, path)


def _check_file(name: str, path: str) -> None:
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        raise ValueError(f"{name} names a file that cannot be read: {error.strerror}") from error
