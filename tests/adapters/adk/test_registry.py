"""Services by URI, and how ADK learns of the schemes."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.adk.cli.service_registry import ServiceRegistry, get_service_registry
from google.genai import types

from api_client import InvalidRequest, Unavailable
from api_client.adapters.adk import ZdkArtifactService, ZdkSessionService, register, registry
from api_client.adapters.adk import startup as startup_module
from api_client.adapters.adk.service_uri import SCHEMES
from api_client.contract.records import new_id
from tests.adapters.adk.artifact_contract import Place
from tests.support.programs import run_python
from tests.support.workers import Stack

_ROOT = Path(__file__).parents[3]
_STARTUP = _ROOT / "api_client" / "adapters" / "adk"
_INSTALL_AGAIN = "this environment has another release's startup files: install the project again"


@pytest.fixture(autouse=True)
def clients() -> Iterator[None]:
    """Closes the clients that a test has opened."""
    yield
    while registry._clients:
        registry._clients.popitem()[1].close(0.0)


def test_services_of_one_storage_share_a_client(tmp_path: Path) -> None:
    uri = f"zdk+local://{tmp_path}/store"
    sessions = registry.session_service(f"{uri}?ack=accepted", agents_dir="x")
    again = registry.session_service(uri)
    artifacts = registry.artifact_service(f"{uri}/", agents_dir="x")
    other = registry.artifact_service(f"{uri}2")
    assert sessions._client is again._client is artifacts._client
    assert other._client is not artifacts._client
    assert (sessions._ack, again._ack) == ("accepted", "applied")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "store2"]


@pytest.mark.parametrize("stack", ["sqlite_file-celery"], indirect=True)
def test_a_broker_by_name_and_by_the_environment(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stack.broker_url is not None
    assert stack.blob_folder is not None
    monkeypatch.setenv("ZDK_BROKER_URL", stack.broker_url)
    monkeypatch.setenv("ZDK_OUTBOX", str(tmp_path / "of the environment"))
    options = f"outbox={tmp_path / 'named'}&artifacts={stack.artifacts_url}"
    uris = ["zdk://", f"{stack.broker_url.replace('redis', 'zdk', 1)}?{options}"]
    app = f"app-{new_id()}"

    async def scenario() -> None:
        for uri in uris:
            place = Place(registry.artifact_service(uri), app)
            await place.save("file", types.Part(text=uri))
            service = registry.session_service(uri)
            await service.create_session(app_name=app, user_id="user")
        assert await place.versions("file") == [0, 1]
        listed = await service.list_sessions(app_name=app, user_id="user")
        assert len(listed.sessions) == 2

    asyncio.run(asyncio.wait_for(scenario(), 60))
    assert {path.name for path in tmp_path.iterdir()} >= {"named", "of the environment"}


def test_failures_are_typed_and_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZDK_BROKER_URL", raising=False)
    for uri, field in (
        ("zdk://h?ack=never", "uri.ack"),
        ("zdk://", "ZDK_BROKER_URL"),
        (f"zdk+local://{tmp_path}?database=mysql://h", "database_url"),
    ):
        for make in (registry.session_service, registry.artifact_service):
            with pytest.raises(InvalidRequest) as raised:
                make(uri)
            assert raised.value.field == field
    local = f"zdk+local://{tmp_path}"
    registry.artifact_service(f"{local}?outbox={tmp_path / 'outbox'}")
    with pytest.raises(Unavailable):
        registry.artifact_service(f"{local}/other?outbox={tmp_path / 'outbox'}")
    assert len(registry._clients) == 1


def test_register(tmp_path: Path) -> None:
    found = ServiceRegistry()
    register(found)
    for scheme in SCHEMES:
        assert scheme in found._session_factories
        assert scheme in found._artifact_factories
    uri = f"zdk+local://{tmp_path}"
    assert isinstance(found.create_session_service(uri, agents_dir="x"), ZdkSessionService)
    assert isinstance(found.create_artifact_service(uri, agents_dir="x"), ZdkArtifactService)
    # What services.py says.
    register()
    assert isinstance(get_service_registry().create_artifact_service(uri), ZdkArtifactService)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with what an installation puts beside the packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    shutil.copy(_STARTUP / "startup.py", folder / "zdk_storage_startup.py")
    shutil.copy(_STARTUP / "startup.pth", folder / "zdk_storage_startup.pth")
    return folder


def test_an_installation_tells_adk_of_the_schemes(installed: Path, tmp_path: Path) -> None:
    agents = tmp_path / "agents"
    agents.mkdir()
    (agents / "services.py").write_text(
        "from google.adk.cli.service_registry import get_service_registry\n"
        "get_service_registry().register_session_service('zdk', lambda uri, **_: 'its own')\n"
    )
    program = f"""
import importlib.util, site, sys
before = len(sys.meta_path)
for _ in range(2):  # As Python does in a virtual environment.
    site.addsitedir({str(installed)!r})
assert len(sys.meta_path) <= before + 1
# Asking is not importing.
assert importlib.util.find_spec("google.adk.cli.service_registry") is not None
from google.adk.cli import service_registry
assert not [name for name in sys.modules if name.partition(".")[0] == "api_client"]
found = service_registry.get_service_registry()
assert {{"zdk", "zdks", "zdk+local", "sqlite"}} <= found._session_factories.keys()
assert {{"zdk", "zdks", "zdk+local", "file"}} <= found._artifact_factories.keys()
service = found.create_artifact_service("zdk+local://{tmp_path}/store", agents_dir=".")
assert type(service).__name__ == "ZdkArtifactService", service
service_registry.load_services_module({str(agents)!r})
assert found.create_session_service("zdk://h") == "its own"
"""
    done = run_python(["-c", program], environment={}, cwd=_ROOT)
    assert done.returncode == 0, done.stderr


def test_another_adk_starts_without_the_schemes(installed: Path, tmp_path: Path) -> None:
    """One whose registry is not what this release knows, or none at all."""
    package = tmp_path / "other" / "google" / "adk" / "cli"
    package.mkdir(parents=True)
    (package / "service_registry.py").write_text("name = 'of a later release'\n")
    program = f"""
import site, sys, warnings
site.addsitedir({str(installed)!r})
import json.tool
try:
    import google.adk.cli.service_registry
except ImportError:
    pass
else:
    raise AssertionError("it is there")
sys.path.insert(0, {str(tmp_path / "other")!r})
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from google.adk.cli import service_registry
assert service_registry.name == "of a later release"
assert ["zdk://" in str(warning.message) for warning in caught] == [True]
"""
    # Without any installed packages.
    done = run_python(["-I", "-S", "-c", program], environment={}, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_schemes_of_the_startup_module() -> None:
    assert startup_module._SCHEMES == SCHEMES


def test_what_is_installed_is_of_this_release() -> None:
    """An editable installation has copies of these files."""
    found = importlib.util.find_spec("zdk_storage_startup")
    assert found is not None, _INSTALL_AGAIN
    assert found.origin is not None
    module = Path(found.origin)
    assert module.read_text() == (_STARTUP / "startup.py").read_text(), _INSTALL_AGAIN
    hook = module.with_suffix(".pth")
    assert hook.read_text() == (_STARTUP / "startup.pth").read_text(), _INSTALL_AGAIN
