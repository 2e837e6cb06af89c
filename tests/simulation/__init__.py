"""A deterministic simulation of outbox, queue and ledger, driven by a string of bytes.

The outbox and the rules for sessions are the real ones; clock, disk, queue, workers and ledger are
models that lose, double, reorder and delay. Each schedule is decided by its bytes alone, so a
failing one can be run again: ``make simulate REPLAY=<hex>``.
"""
