"""TLS towards RabbitMQ: the options of its URL, which are named like those of Redis.

kombu hands options of a URL to py-amqp under names that py-amqp does not know, and py-amqp compares
the certificate with the server's name only if it is told that name.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final

from api_client.contract.server_url import TLS_FILES, TLS_PREFIX

_VERIFY: Final[dict[object, ssl.VerifyMode]] = {
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
}


def tls_arguments(options: Mapping[str, object], host: str) -> dict[str, Any]:
    """What py-amqp takes for a connection by TLS, verified unless an option says otherwise.

    Parameters:
        options: files ``ssl_ca_certs``, by default those of the system, ``ssl_certfile`` and
            ``ssl_keyfile``; ``ssl_cert_reqs``: ``required``, ``optional`` or ``none``;
            ``ssl_check_hostname``: ``true`` or ``false``. kombu's own forms of the last two are
            taken as well.
        host: which the certificate must name; for ``localhost``, 127.0.0.1, which kombu puts in
            its place.

    Raises:
        ValueError: there is another option, or a wrong value. The message shows no value.
    """
    verify: object = options.get("ssl_cert_reqs", "required")
    if not isinstance(verify, ssl.VerifyMode):
        verify = _VERIFY.get(verify)
    check = {"true": True, "false": False}.get(str(options.get("ssl_check_hostname", True)).lower())
    unknown = options.keys() - {*TLS_FILES, "ssl_cert_reqs", "ssl_check_hostname"}
    if unknown:
        raise ValueError(f"TLS has no option {', '.join(sorted(unknown))}")
    if verify is None:
        raise ValueError("ssl_cert_reqs must be required, optional or none")
    if check is None:
        raise ValueError("ssl_check_hostname must be true or false")
    files = {name.removeprefix(TLS_PREFIX): options[name] for name in TLS_FILES if name in options}
    # kombu replaces a name of None by that of the host, so it is left out.
    name = "127.0.0.1" if host == "localhost" else host
    named = {"server_hostname": name} if check and verify is not ssl.CERT_NONE else {}
    return {**files, "cert_reqs": verify, **named}
