"""Artifacts: bytes in a blob store by hash, everything else in the transactional index."""
