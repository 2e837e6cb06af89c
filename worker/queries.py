"""Answers queries, each from one snapshot."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from api_client.contract import codec
from api_client.contract.checks import check_count
from api_client.contract.limits import MAX_STATUS_IDS
from api_client.contract.operations import (
    FindBlobs,
    ListArtifacts,
    ListSessions,
    ListVersions,
    LoadArtifact,
    LoadSession,
    LoadSharedState,
    MessageStatus,
    PutPart,
    Query,
)
from api_client.contract.outcomes import MessageState
from worker import ledger
from worker.artifacts import parts as artifact_parts
from worker.artifacts import reads as artifact_reads
from worker.artifacts.intake import Intake
from worker.database import Database
from worker.sessions import reads as session_reads


def answer(database: Database, intake: Intake, query: Query) -> Any:
    """The answer to ``query``, to be encoded.

    Raises:
        StorageError: what was asked for is not there, or the query breaks the contract.
    """
    match query:
        case FindBlobs(blobs=blobs):
            return artifact_parts.find_blobs(intake, blobs)
        case PutPart():
            return artifact_parts.put_part(intake, query)
    if isinstance(query, LoadSession):
        with database.single() as connection:
            return session_reads.load(connection, query)
    with database.read.begin() as connection:
        match query:
            case ListSessions():
                return session_reads.list_sessions(connection, query)
            case LoadSharedState():
                return session_reads.load_shared_state(connection, query)
            case ListArtifacts():
                return artifact_reads.list_artifacts(connection, query)
            case ListVersions():
                return artifact_reads.list_versions(connection, query)
            case MessageStatus(message_ids=message_ids):
                return _status(connection, message_ids)
            case LoadArtifact():
                found = artifact_reads.find_version(connection, query)
    return artifact_reads.load(intake.blobs, found, query)


def _status(connection: Connection, message_ids: list[str]) -> list[MessageState]:
    check_count(len(message_ids), "message_ids", most=MAX_STATUS_IDS)
    for message_id in message_ids:
        codec.check_message_id(message_id)
    known = ledger.find(connection, message_ids)
    return [
        MessageState(id_, True, known[id_].outcomes)
        if id_ in known
        else MessageState(id_, False, [])
        for id_ in message_ids
    ]
