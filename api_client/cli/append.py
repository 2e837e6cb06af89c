"""``zdk sessions append``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from api_client.cli.command import Run
from api_client.cli.connect import Connection
from api_client.cli.event_lines import read_batches
from api_client.cli.inputs import opened, parse_json, parse_object
from api_client.cli.options import AppArgument, SessionArgument, UserArgument
from api_client.cli.session_views import count_events
from api_client.contract.errors import InvalidRequest, StorageError
from api_client.contract.keys import SessionKey
from api_client.contract.outcomes import EventsAppended
from api_client.contract.records import Event

AuthorOption = Annotated[str, typer.Option(metavar="NAME", help="Who caused the event.")]
TextOption = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Short for --content '{\"text\": TEXT}'.")
]
ContentOption = Annotated[
    str | None, typer.Option(metavar="JSON", help="The event's content, any JSON.")
]
FileOption = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="Many events: JSON lines; - for the standard input."),
]
StateDeltaOption = Annotated[
    str | None, typer.Option(metavar="JSON", help="State keys to set, a JSON object.")
]
RevisionOption = Annotated[
    int | None, typer.Option(metavar="N", help="Only if the session is at this revision.")
]


def append_events(
    run: Run,
    app: AppArgument,
    user: UserArgument,
    session: SessionArgument,
    author: AuthorOption = "user",
    text: TextOption = None,
    content: ContentOption = None,
    file: FileOption = None,
    state_delta: StateDeltaOption = None,
    expected_revision: RevisionOption = None,
) -> None:
    """Append an event, or the events of a file, to a session.

    Each line of a file is an object with the fields of an event: content, author, state_delta,
    state_delete, id, timestamp, invocation_id. Give each an id, and appending the file again
    changes nothing. A file of more than 1000 events is appended part by part.

    Example: zdk sessions append shop ann s-1 --text 'Where is my parcel?'

    Example: zdk sessions append shop ann s-1 --author agent --file events.jsonl
    """
    key = SessionKey(app, user, session)
    if file is None:
        batches = [[_event(author, text, content, state_delta)]]
    else:
        _refuse_beside_file(text, content, state_delta)
        with opened(file, "file") as lines:
            batches = read_batches(lines, author)
    with run.connect() as storage:
        appended = append_batches(storage, key, batches, expected_revision)
    run.show(appended, _line)


def _refuse_beside_file(*others: str | None) -> None:
    if any(other is not None for other in others):
        raise InvalidRequest(
            "--file cannot go with --text, --content or --state-delta: its lines have their own",
            field="file",
        )


def _event(author: str, text: str | None, content: str | None, state_delta: str | None) -> Event:
    delta = parse_object(state_delta, "state_delta")
    if text is not None and content is not None:
        raise InvalidRequest("use --text or --content, not both", field="content")
    if text is not None:
        return Event(author=author, content={"text": text}, state_delta=delta)
    if content is not None:
        return Event(author=author, content=parse_json(content, "content"), state_delta=delta)
    if delta:
        return Event(author=author, state_delta=delta)
    raise InvalidRequest("nothing to append: use --text, --content or --file", field="content")


def append_batches(
    storage: Connection, key: SessionKey, batches: Iterable[list[Event]], expected: int | None
) -> EventsAppended:
    """Append batch after batch, as one outcome.

    Each waits for the one before: after a failure nothing more is appended, and the revision to
    expect is known.
    """
    whole = EventsAppended(None, [])
    for batch in batches:
        try:
            part = storage.write(storage.sessions.append(key, batch, expected_revision=expected))
        except StorageError as error:
            message = _with_progress(error.message, whole)
            raise type(error)(message, field=error.field, limit=error.limit) from error
        except TimeoutError as error:
            raise TimeoutError(_with_progress(str(error), whole)) from error
        # A batch of nothing but partial events leaves the session as it was.
        revision = whole.revision if part.revision is None else part.revision
        expected = expected if expected is None else (revision or expected)
        whole = EventsAppended(revision, [*whole.events, *part.events])
    return whole


def _with_progress(message: str, done: EventsAppended) -> str:
    if not done.events:
        return message
    return f"{message}; {count_events(len(done.events))} of the file were appended before"


def _line(appended: EventsAppended) -> str:
    known = sum(event.duplicate for event in appended.events)
    line = f"appended {count_events(len(appended.events) - known)}"
    if known:
        line += f", {known:,} were there before"
    if appended.revision is not None:
        line += f"; the session is at revision {appended.revision}"
    return line
