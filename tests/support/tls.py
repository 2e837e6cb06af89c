"""Servers of the tests behind TLS."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.faults.proxy import Proxy
from tests.support.programs import run_zdk


@dataclass(frozen=True)
class Secured:
    """A port that speaks TLS before a server that does not.

    Attributes:
        port: on the loopback interface.
        ca: the file with the certificate of whom to trust.
        other_ca: one of somebody else.
    """

    port: int
    ca: Path
    other_ca: Path


@contextmanager
def secured(target: int, folder: Path, name: str) -> Iterator[Secured]:
    """Put a port with TLS before the server at ``target``.

    Parameters:
        folder: for the files.
        name: what the certificate names: a host or an address.
    """
    authority, other = trustme.CA(), trustme.CA()
    ca, other_ca = folder / "ca.pem", folder / "other-ca.pem"
    authority.cert_pem.write_to_path(ca)
    other.cert_pem.write_to_path(other_ca)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    with Proxy(target, context) as proxy:
        yield Secured(proxy.port, ca, other_ca)


def doctor_says(environment: Mapping[str, str], folder: Path, *parts: str) -> list[str]:
    """What is wrong with these parts; an empty text for those that are well."""
    words = ["doctor", "--json", "--skip=round-trip", "--skip=safety"]
    done = run_zdk(*words, environment=environment, cwd=folder)
    checks = {each["name"]: each for each in json.loads(done.stdout)["checks"]}
    return ["" if checks[part]["ok"] else checks[part]["detail"] for part in parts]
