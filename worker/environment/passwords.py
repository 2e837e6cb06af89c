"""Puts a password into a URL, so that both can come from different places."""

from __future__ import annotations

from urllib.parse import quote, urlsplit, urlunsplit


def with_password(url: str, password: str) -> str:
    """The URL with the password in it, escaped.

    Parameters:
        url: one with a single host and without a password; it may have a user.
        password: any text.

    Raises:
        ValueError: the URL has a password of its own, no host, or several of them. The message
            shows neither URL nor password.
    """
    parts = urlsplit(url)
    if not parts.hostname or ";" in url or "," in parts.netloc:
        raise ValueError("the URL must have one host, or carry the password itself")
    if parts.password is not None:
        raise ValueError("the URL has a password already; leave one of the two out")
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))
