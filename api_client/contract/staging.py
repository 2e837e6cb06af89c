"""How bytes too large for a message are laid out in Redis: chunks under keys by hash and number.

Chunk ``n`` of the bytes with a given SHA-256 is at ``zdk:staged:<sha256>:<n>``, `CHUNK_BYTES` long
but for the last, and expires `STAGED_SECONDS` after it was written.

What is larger than `PART_BYTES` goes in parts of that size, each of them staged like bytes of its
own and at once taken into the blob store by a worker (``blob.put_part``), so that Redis never
holds more than a few of them.
"""

from __future__ import annotations

from api_client.contract.limits import MIB

CHUNK_BYTES = MIB
STAGED_SECONDS = 3600
PART_BYTES = 8 * MIB


def chunk_key(sha256: str, index: int) -> str:
    """The key of chunk ``index`` (from 0)."""
    return f"zdk:staged:{sha256}:{index}"


def chunk_count(size: int) -> int:
    """How many chunks ``size`` bytes make."""
    return -(-size // CHUNK_BYTES)


def part_count(size: int) -> int:
    """How many parts ``size`` bytes make."""
    return -(-size // PART_BYTES)


def part_size(size: int, index: int) -> int:
    """How many bytes part ``index`` (from 0) of ``size`` bytes has; 0 if there is no such part."""
    return max(0, min(PART_BYTES, size - index * PART_BYTES))
