"""A client in a process of its own: ``python -m benchmarks.memory_client``.

Arguments: the broker, an outbox file, the blob folder's URL or ``-``. Each line of its input is
``save <file>`` or ``load <file>``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from api_client import ArtifactKey, StorageClient
from api_client.contract.records import new_id
from benchmarks.payloads import APP, USER

_WAIT_SECONDS = 600.0


def main() -> None:
    """Serve until the input ends."""
    broker_url, outbox, artifacts_url = sys.argv[1:]
    with StorageClient(
        broker_url,
        Path(outbox),
        artifacts_url=None if artifacts_url == "-" else artifacts_url,
        wait_timeout=_WAIT_SECONDS,
        read_timeout=_WAIT_SECONDS,
    ) as client:
        key = ArtifactKey(APP, USER, new_id(), "large.bin")
        print("ready", flush=True)
        for line in sys.stdin:
            verb, name = line.split()
            if verb == "save":
                client.artifacts.save(key, Path(name)).result()
            else:
                client.artifacts.load(key, into=Path(name)).result()
            print("done", flush=True)


if __name__ == "__main__":
    main()
