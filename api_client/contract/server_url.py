"""The parts of a server's URL. No message shows any of it: a part may be a piece of a password in
which a special character was not escaped."""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

#: Options of TLS that name files.
TLS_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


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


def check_tls_files(url: str) -> None:
    """Look whether the files of TLS can be read that a URL names, or several with semicolons
    between. The libraries' own errors tell neither which file nor that it is one.

    Raises:
        ValueError: one cannot be read.
    """
    for part in url.split(";"):
        for name, path in parse_qsl(urlsplit(part).query):
            if name in TLS_FILES:
                try:
                    with open(path, "rb") as file:
                        file.read(1)
                except OSError as error:
                    raise ValueError(
                        f"{name} names a file that cannot be read: {error.strerror}"
                    ) from error
