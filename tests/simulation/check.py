"""What must hold at the end of every schedule. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from api_client.contract.errors import StorageError
from api_client.contract.keys import SessionKey
from tests.simulation.broker import Applied, Store
from tests.simulation.client import Issued, Load, SimulatedClient


class Violation(AssertionError):
    """The promise was broken."""


def check(clients: Sequence[SimulatedClient], store: Store) -> None:
    """Refuse an end in which anything was lost, doubled, reordered, or said wrongly."""
    for client in clients:
        applied = [one for one in store.applied if one.client == client.name]
        failed = {number for name, number in store.failed if name == client.name}
        _check_once_and_in_order(client.name, applied)
        everything = {one.number for one in applied}
        for issued in client.issued:
            _check_receipt(issued, client.life, issued.number in everything)
            _check_kept(issued, issued.number in everything, issued.number in failed)
        for load in client.loads:
            _check_load(load, client.life, applied)


def _check_once_and_in_order(name: str, applied: Sequence[Applied]) -> None:
    by_key: dict[SessionKey | None, list[int]] = {}
    for one in applied:
        by_key.setdefault(one.key, []).append(one.number)
        if one.app_state:
            by_key.setdefault(None, []).append(one.number)
    for key, numbers in by_key.items():
        if numbers != sorted(set(numbers)):
            where = "the app's state" if key is None else key.session
            raise Violation(f"{name} in {where}: doubled or reordered: {numbers}")


def _check_kept(issued: Issued, applied: bool, failed: bool) -> None:
    if applied and failed:
        raise Violation(f"operation {issued.number} is applied and failed as well")
    if issued.is_append and issued.was_accepted and not applied and not failed:
        raise Violation(f"operation {issued.number} was accepted, and is lost")


def _check_receipt(issued: Issued, life: int, applied: bool) -> None:
    receipt, number = issued.receipt, issued.number
    if not receipt.done():
        # The receipts of a life that was ended are never resolved.
        if issued.life == life:
            raise Violation(f"the receipt of operation {number} is still open")
        return
    error = receipt.exception(0)
    if error is not None and not isinstance(error, StorageError):
        raise Violation(f"operation {number} has an unexpected error: {error!r}")
    if error is not None and applied:
        raise Violation(f"operation {number} is said to have failed, and is applied: {error}")
    if error is None and issued.is_append and not applied:
        raise Violation(f"operation {number} is said to be applied, and is not")


def _check_load(load: Load, life: int, applied: Sequence[Applied]) -> None:
    if not load.receipt.done():
        if load.life == life:
            raise Violation("the receipt of a load is still open")
        return
    found = load.receipt.result(0)
    wanted = {one.number for one in applied if one.key == load.key and one.number < load.before}
    if missing := wanted - {number for name, number in found if name == load.client}:
        raise Violation(
            f"a load of {load.key.session} misses {sorted(missing)} of its client's own"
        )
