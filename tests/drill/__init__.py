"""The drill: back up under load, destroy, restore, and account for every operation.

`make drill` runs it. It uses the commands that an operator uses (docs/backup.md).
"""
