"""A worker under attack: ``python -m tests.faults.worker_process`` is ``zdk worker``, patched."""

from __future__ import annotations

import sys

from api_client.cli.main import main as zdk
from tests.faults import patches


def main() -> None:
    """Patch this process, then be a worker."""
    patches.install_in_worker()
    sys.argv = ["zdk", "worker", *sys.argv[1:]]
    zdk()


if __name__ == "__main__":
    main()
