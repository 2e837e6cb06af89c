"""Puts files beside what is stored under their names. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from api_client.contract.keys import ArtifactKey
from api_client.contract.records import ArtifactVersion
from api_client.ingest.walk import File


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may have to be stored.

    Attributes:
        file: the file.
        key: of its artifact.
        stored: the artifact's latest version; None if there is none.
    """

    file: File
    key: ArtifactKey
    stored: ArtifactVersion | None


def join(
    named: Iterable[tuple[File, ArtifactKey]], stored: Iterable[ArtifactVersion]
) -> Iterator[Candidate]:
    """Each file with the latest version of its artifact.

    Parameters:
        named: files and their keys, by name in the order of UTF-8 bytes.
        stored: latest versions in the same order. No more of them are read than are needed.
    """
    # Text compares by code points, which is the order of its UTF-8 bytes.
    versions = iter(stored)
    version: ArtifactVersion | None = None
    exhausted = False
    for file, key in named:
        while not exhausted and (version is None or version.name < key.name):
            version = next(versions, None)
            exhausted = version is None
        found = version is not None and version.name == key.name
        yield Candidate(file, key, version if found else None)
