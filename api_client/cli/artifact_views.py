"""Artifacts as people see them."""

from __future__ import annotations

from rich.console import RenderableType

from api_client.cli.tables import compact, human_size, listing, local_time
from api_client.contract.records import ArtifactVersion

#: Digits of a hash that tell versions apart at a glance.
_HASH_DIGITS = 12


def artifacts_table(artifacts: list[ArtifactVersion]) -> RenderableType:
    """A session's artifacts, each by its latest version."""
    return listing(
        {"Name": "key", "Version": "number", "Size": "number", "Type": "word", "Saved": "word"},
        (
            [
                artifact.name,
                str(artifact.version),
                human_size(artifact.size),
                _kind(artifact.mime_type),
                local_time(artifact.created_at),
            ]
            for artifact in artifacts
        ),
    )


def versions_table(versions: list[ArtifactVersion]) -> RenderableType:
    """The versions of one artifact."""
    return listing(
        {
            "Version": "number",
            "Size": "number",
            "Type": "word",
            "Saved": "word",
            "SHA-256": "word",
            "Metadata": "text",
        },
        (
            [
                str(version.version),
                human_size(version.size),
                _kind(version.mime_type),
                local_time(version.created_at),
                version.sha256[:_HASH_DIGITS],
                compact(version.metadata) if version.metadata else "",
            ]
            for version in versions
        ),
    )


def _kind(mime_type: str) -> str:
    return mime_type.partition(";")[0]
