"""A publisher with nothing but Celery, written from docs/wire.md."""

from __future__ import annotations

from api_client import SessionKey, StorageClient
from tests.integration.conftest import Site
from tests.support.documents import python_blocks
from tests.support.programs import run_python

_NO_CLIENT = "import sys; sys.modules['api_client'] = None\n"


def test_the_program_of_the_wire_document_works_without_our_client(site: Site) -> None:
    program = python_blocks("docs/wire.md")[0]
    program = program.replace("redis://localhost:6379/0", site.broker_url)
    with site.worker():
        done = run_python(["-c", _NO_CLIENT + program], environment={}, cwd=site.folder)
        assert done.returncode == 0, done.stderr
        with StorageClient(site.broker_url) as client:
            session = client.sessions.load(SessionKey("shop", "ada", "s-1")).result()
    assert session.state == {"lang": "en", "step": 1}
    assert [event.content for event in session.events] == [{"text": "hello"}]
