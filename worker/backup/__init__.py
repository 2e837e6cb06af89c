"""Backup and restore of database and blobs to one point.

A row never refers to bytes that are not there: a save puts its bytes before it commits its row, and
the sweep removes only what no row refers to. So the point of a backup is one snapshot of the
database, and all the blobs that this snapshot refers to are copied after it: what comes later does
no harm, and nothing is missing, as long as nothing is swept meanwhile (`worker.fence`). The ledger
is part of the database, so a message that was applied before the point is not applied again when
its client sends it to the restored one.

A restore goes the other way: the bytes first, then the rows, in one transaction.
"""
