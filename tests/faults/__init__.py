"""Attacks on real processes, and the audit of what they have done: ``make chaos``.

Clients write a history of what they asked for and were told; a seeded scheduler injects faults
into workers, broker, database and the clients themselves; afterwards everything is healed, drained
and audited against the database. Nothing here needs a switch in the product: `worker_process` and
`client` patch their own process from outside.
"""
