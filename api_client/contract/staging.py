"""How bytes too large for a message are laid out in Redis: chunks under keys by hash and number.

Chunk ``n`` of the bytes with a given SHA-256 is at ``zdk:staged:<sha256>:<n>``, `CHUNK_BYTES` long
but for the last, and expires `STAGED_SECONDS` after it was written.
"""

from __future__ import annotations

from api_client.contract.limits import MIB

CHUNK_BYTES = MIB
STAGED_SECONDS = 3600


def chunk_key(sha256: str, index: int) -> str:
    """The key of chunk ``index`` (from 0)."""
    return f"zdk:staged:{sha256}:{index}"


def chunk_count(size: int) -> int:
    """How many chunks ``size`` bytes make."""
    return -(-size // CHUNK_BYTES)
