"""The URI of an artifact's version: made, read, refused."""

from __future__ import annotations

import re

import pytest

from api_client.artifact_uri import ANY_SESSION, artifact_uri, parse_artifact_uri
from api_client.contract.errors import InvalidRequest
from api_client.contract.keys import ArtifactKey
from tests.conformance.conftest import NASTY

PARTS = [part for part in NASTY if len(part.encode()) <= 256]


def test_forms() -> None:
    key = ArtifactKey("shop", "ann", "s-1", "a/b.txt")
    of_user = ArtifactKey("shop", "ann", "s-1", "user:a")
    assert (
        artifact_uri(key, 3)
        == "zdk://apps/shop/users/ann/sessions/s-1/artifacts/a%2Fb.txt/versions/3"
    )
    assert artifact_uri(of_user, 1) == "zdk://apps/shop/users/ann/artifacts/user%3Aa/versions/1"
    assert parse_artifact_uri(artifact_uri(key, 3)) == (key, 3)
    read, version = parse_artifact_uri(artifact_uri(of_user, 1))
    assert (read, version) == (ArtifactKey("shop", "ann", ANY_SESSION, "user:a"), 1)


def test_any_names_come_back_and_have_uris_of_their_own() -> None:
    keys = [ArtifactKey(part, part, part, part) for part in PARTS]
    keys += [ArtifactKey(part, "user", ANY_SESSION, f"user:{part}") for part in PARTS]
    keys += [ArtifactKey("a", "b", part, "artifacts/x/versions/1") for part in PARTS]
    uris = [artifact_uri(key, 2**63 - 1) for key in keys]
    assert len({*uris}) == len({*keys})
    for key, uri in zip(keys, uris, strict=True):
        assert re.fullmatch(r"[A-Za-z0-9:/._~%-]+", uri)
        assert parse_artifact_uri(uri) == (key, 2**63 - 1)


@pytest.mark.parametrize(
    ("uri", "field"),
    [
        ("", "uri"),
        ("memory://apps/a/users/b/sessions/c/artifacts/d/versions/1", "uri"),
        ("zdk://apps/a/users/b/sessions/c/artifacts/d/versions/", "uri"),
        ("zdk://apps/a/users/b/sessions/c/artifacts/d/versions/-1", "uri"),
        ("zdk://apps/a/users/b/sessions/c/artifacts/d/versions/١", "uri"),
        ("zdk://apps/a/users/b/sessions/c/artifacts/d/versions/1\n", "uri"),
        ("zdk://apps/a/users/b/sessions/c/artifacts/d/e/versions/1", "uri"),
        ("zdk://apps/a/users/b/sessions//artifacts/d/versions/1", "uri"),
        ("zdk://apps/a/users/b/artifacts/d/versions/1", "uri"),
        ("zdk://apps/%FF/users/b/sessions/c/artifacts/d/versions/1", "uri"),
        ("zdk://apps/%00/users/b/sessions/c/artifacts/d/versions/1", "app"),
        (f"zdk://apps/a/users/{'b' * 257}/sessions/c/artifacts/d/versions/1", "user"),
    ],
)
def test_what_is_no_such_uri(uri: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_artifact_uri(uri)
    assert raised.value.field == field
