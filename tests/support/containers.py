"""The container files of this repository, read as a container engine would read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE_FILE = REPOSITORY / "docker-compose.yml"
ZDK_IMAGE = "zdk-storage:local"

# What Compose replaces; `$$` is a plain dollar sign, left for the container's own shell.
INTERPOLATION = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?P<rest>[^}]*)\}")


def load_yaml(text: str) -> dict[str, Any]:
    """A document that is a mapping."""
    document = YAML(typ="safe").load(text)
    assert isinstance(document, dict)
    return document


def load_compose() -> dict[str, Any]:
    """docker-compose.yml, its variables not yet replaced."""
    return load_yaml(COMPOSE_FILE.read_text(encoding="utf-8"))


def interpolated(value: str, given: Mapping[str, str] | None = None) -> str:
    """The value as Compose makes it, `${NAME:-default}` replaced and `$$` made one dollar sign.

    Parameters:
        value: text of the Compose file.
        given: the variables that .env has; none if None.
    """
    known = given or {}

    def replace(match: re.Match[str]) -> str:
        return known.get(match["name"]) or match["rest"].removeprefix(":-")

    return INTERPOLATION.sub(replace, value).replace("$$", "$")


def environment_of(service: Mapping[str, Any]) -> dict[str, str]:
    """The environment that a service's container gets when .env is empty."""
    return {
        name: interpolated(value)
        for name, value in service.get("environment", {}).items()
        if value is not None
    }


def volume_mounts(service: Mapping[str, Any]) -> dict[str, str]:
    """Target folder to volume or host folder, from the short form `volume:/folder[:ro]`."""
    return {
        target: source
        for source, target, *_ in (
            interpolated(mount).split(":") for mount in service.get("volumes", [])
        )
    }
