"""Stores the files of a folder as artifacts, only those that are new or have changed."""

from api_client.ingest.count import Total
from api_client.ingest.run import ingest
from api_client.ingest.summary import Failure, OnFailure, OnProgress, Progress, Summary
from api_client.ingest.walk import Skipped

__all__ = [
    "Failure",
    "OnFailure",
    "OnProgress",
    "Progress",
    "Skipped",
    "Summary",
    "Total",
    "ingest",
]
