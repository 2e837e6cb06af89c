"""Faults of clients and disks."""

from __future__ import annotations

from tests.faults.attack import Steps, fault
from tests.faults.site import Site


@fault("kill-client", "client")
def kill_client(site: Site) -> Steps:
    """SIGKILL of a client, which is started again on the same outbox."""
    site.dice.choice(site.clients).kill()
    yield 0


@fault("full-outbox-disk", "client")
def full_outbox_disk(site: Site) -> Steps:
    """A client's disk is full."""
    order = f"full-outbox-{site.dice.choice(site.clients).name}"
    site.orders.give(order)
    try:
        yield site.dice.uniform(0.5, 3.0)
    finally:
        site.orders.withdraw(order)


@fault("full-blob-disk", "disk")
def full_blob_disk(site: Site) -> Steps:
    """The blob store's disk is full."""
    site.orders.give("full-blobs")
    try:
        yield site.dice.uniform(1.0, 5.0)
    finally:
        site.orders.withdraw("full-blobs")
