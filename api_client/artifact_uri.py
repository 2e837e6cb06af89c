"""The URI that names one version of an artifact, made and read. Pure.

::

    zdk://apps/shop/users/ann/sessions/s-1/artifacts/report.pdf/versions/3
    zdk://apps/shop/users/ann/artifacts/user%3Aavatar.png/versions/1

The second form is of an artifact that belongs to the user. Each part is percent-encoded (RFC 3986,
all but unreserved characters), so that any name gives a URI of this form, and none another's.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from api_client.contract.errors import InvalidRequest
from api_client.contract.keys import USER_SCOPE_PREFIX, ArtifactKey

SCHEME = "zdk://"
#: The session in the key of an artifact that belongs to the user, where none is known: such an
#: artifact is the same in all of them.
ANY_SESSION = "-"

_FORM = re.compile(
    r"zdk://apps/([^/]+)/users/([^/]+)(?:/sessions/([^/]+))?/artifacts/([^/]+)/versions/([0-9]+)"
)


def artifact_uri(key: ArtifactKey, version: int) -> str:
    """The URI of ``version``, which counts from 1, of the artifact ``key``."""
    session = "" if key.user_scoped else f"/sessions/{_encoded(key.session)}"
    return (
        f"{SCHEME}apps/{_encoded(key.app)}/users/{_encoded(key.user)}{session}"
        f"/artifacts/{_encoded(key.name)}/versions/{version}"
    )


def parse_artifact_uri(uri: str) -> tuple[ArtifactKey, int]:
    """The artifact and the version that ``uri`` names.

    Raises:
        InvalidRequest: it is not of the form above, or a part breaks the rules of `ArtifactKey`.
    """
    match = _FORM.fullmatch(uri)
    if match is None:
        raise InvalidRequest(
            f"uri must be {SCHEME}apps/APP/users/USER/sessions/SESSION/artifacts/NAME/versions/N, "
            "each part percent-encoded; without sessions/SESSION if NAME begins with user:",
            field="uri",
        )
    app, user, session, name = (part and _decoded(part) for part in match.groups()[:4])
    if session is None and not name.startswith(USER_SCOPE_PREFIX):
        raise InvalidRequest(
            f"uri names no session, and its artifact does not begin with {USER_SCOPE_PREFIX}",
            field="uri",
        )
    return ArtifactKey(app, user, session or ANY_SESSION, name), int(match[5])


def _encoded(part: str) -> str:
    return quote(part, safe="")


def _decoded(part: str) -> str:
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise InvalidRequest("uri has a part that is not UTF-8", field="uri") from None
