"""google-adk: a session service and an artifact service over a client. Needs the extra ``adk``.

::

    from api_client.adapters.adk import ZdkArtifactService, ZdkSessionService

    runner = Runner(app_name="app", agent=agent, session_service=ZdkSessionService(client))

Importing this without google-adk raises an ImportError that says how to install it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

try:
    import google.adk  # noqa: F401
except ImportError as error:
    raise ImportError(
        "the adapter for google-adk needs it installed: pip install 'zdk-storage[adk]'"
    ) from error

if TYPE_CHECKING:
    from api_client.adapters.adk.artifacts import ZdkArtifactService
    from api_client.adapters.adk.sessions import ZdkSessionService
    from api_client.adapters.adk.startup import register

__all__ = ["ZdkArtifactService", "ZdkSessionService", "register"]

#: Where each export is. Neither service pays for the imports of the other.
_MODULES = {
    "ZdkArtifactService": "artifacts",
    "ZdkSessionService": "sessions",
    "register": "startup",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
