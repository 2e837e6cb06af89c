"""Tells ADK's command line of our URI schemes.

ADK 2.13 looks for service factories in the agents folder only (``services.py``,
``services.yaml``) and reads no entry points. So that its ``--session_service_uri=zdk://...`` needs
nothing but an installation, this module is installed a second time, as ``zdk_storage_startup``,
beside a ``.pth`` file of the same name: the one thing that Python runs at its start for an
installed package (https://docs.python.org/3/library/site.html). It imports nothing of its own but
`sys` and waits; only when ADK's registry is imported does it add the schemes there. In an
environment without ADK that never happens.

What ``services.py`` registers for the same schemes comes later and wins.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

_REGISTRY = "google.adk.cli.service_registry"
#: As in `service_uri`, which this module must not import at the start of every program.
_SCHEMES = ("zdk", "zdks", "zdk+local")


def register(registry: Any = None) -> None:
    """Add our schemes to ADK's registry of services.

    ``services.py`` in the agents folder calls this where Python does not read ``.pth`` files::

        from api_client.adapters.adk import register

        register()

    Parameters:
        registry: ADK's own if None.
    """
    if registry is None:
        from google.adk.cli.service_registry import get_service_registry

        registry = get_service_registry()
    for scheme in _SCHEMES:
        registry.register_session_service(scheme, _session_service)
        registry.register_artifact_service(scheme, _artifact_service)


def install() -> None:
    """Register as soon as ADK's registry is imported. The ``.pth`` file calls this."""
    # Python reads the .pth files of a virtual environment twice.
    if not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())


class _Watch:
    """A finder that finds nothing itself: it sees which module is imported."""

    def __init__(self) -> None:
        self._asking = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder.find_spec`."""
        # Another finder may ask all finders, as this one does.
        if name != _REGISTRY or self._asking:
            return None
        self._asking = True
        try:
            found = (finder.find_spec(name, path, target) for finder in sys.meta_path)
            spec = next((spec for spec in found if spec is not None), None)
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            _call_after(spec.loader)
        return spec


def _call_after(loader: Any) -> None:
    """Have ``loader`` register our schemes once it has loaded ADK's registry."""
    load = loader.exec_module

    def load_and_register(module: Any) -> None:
        load(module)
        try:
            register(module.get_service_registry())
        except Exception as error:
            # Whoever starts ADK may not even want our services.
            from warnings import warn

            warn(f"zdk:// is unknown to this release of ADK: {error!r}", stacklevel=2)

    loader.exec_module = load_and_register


def _session_service(uri: str, **options: Any) -> Any:
    from api_client.adapters.adk.registry import session_service

    return session_service(uri, **options)


def _artifact_service(uri: str, **options: Any) -> Any:
    from api_client.adapters.adk.registry import artifact_service

    return artifact_service(uri, **options)
