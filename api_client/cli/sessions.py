"""``zdk sessions``."""

from __future__ import annotations

from typing import Annotated

import typer

from api_client.cli.append import append_events
from api_client.cli.command import Run, verb
from api_client.cli.inputs import confirm, parse_assignments, parse_object
from api_client.cli.options import (
    AllOption,
    AppArgument,
    CursorOption,
    LimitOption,
    SessionArgument,
    UserArgument,
    YesOption,
)
from api_client.cli.paging import collect, page_view
from api_client.cli.session_views import count_events, session_view, sessions_table
from api_client.contract.errors import InvalidRequest
from api_client.contract.keys import SessionKey
from api_client.contract.operations import Order

sessions = typer.Typer(help="Sessions: their state and their events.", no_args_is_help=True)


@verb(sessions, "list")
def list_sessions(
    run: Run,
    app: AppArgument,
    user: Annotated[
        str | None, typer.Option(metavar="USER", help="Only those of this user.")
    ] = None,
    oldest: Annotated[bool, typer.Option("--oldest", help="Oldest first, not newest.")] = False,
    state: Annotated[bool, typer.Option("--state", help="With each session's state.")] = False,
    limit: LimitOption = 100,
    everything: AllOption = False,
    cursor: CursorOption = None,
) -> None:
    """List the sessions of an app, or of one of its users.

    With --json: {"items": [...], "next_cursor": ...}; give next_cursor to --cursor for the next
    page.

    Example: zdk sessions list shop --user ann --limit 20
    """
    order: Order = "oldest" if oldest else "newest"
    with run.connect() as storage:
        page = collect(
            lambda cursor: storage.read(
                storage.sessions.list(
                    app, user, order=order, limit=limit, cursor=cursor, state=state
                )
            ),
            cursor,
            everything,
        )
    run.show(page, lambda page: page_view(page, sessions_table, "sessions"))


@verb(sessions, "show")
def show_session(
    run: Run,
    app: AppArgument,
    user: UserArgument,
    session: SessionArgument,
    last: Annotated[int | None, typer.Option(metavar="N", help="Only the newest N events.")] = None,
    after_seq: Annotated[
        int, typer.Option(metavar="SEQ", help="Only events after this place.")
    ] = 0,
    state_only: Annotated[bool, typer.Option("--state-only", help="No events.")] = False,
) -> None:
    """Show a session: its state, merged with the app's and the user's, and its events.

    Example: zdk sessions show shop ann s-1 --last 10
    """
    key = SessionKey(app, user, session)
    with run.connect() as storage:
        found = storage.read(
            storage.sessions.load(key, last=last, after_seq=after_seq, events=not state_only)
        )
    run.show(found, lambda found: session_view(found, with_events=not state_only))


@verb(sessions, "create")
def create_session(
    run: Run,
    app: AppArgument,
    user: UserArgument,
    session: Annotated[
        str | None, typer.Argument(metavar="[SESSION]", help="Its id; a fresh one if not given.")
    ] = None,
    state: Annotated[
        str | None, typer.Option(metavar="JSON", help="Its first state, a JSON object.")
    ] = None,
) -> None:
    """Create a session.

    Keys of the state that begin with app: or user: are set for the whole app or user.

    Example: zdk sessions create shop ann s-1 --state '{"lang": "en", "user:tier": "pro"}'
    """
    key = SessionKey.new(app, user) if session is None else SessionKey(app, user, session)
    first = parse_object(state, "state")
    with run.connect() as storage:
        created = storage.write(storage.sessions.create(key, first))
    run.show(created, lambda created: f"created session {created.key.session}")


verb(sessions, "append")(append_events)


@verb(sessions, "update-state")
def update_state(
    run: Run,
    app: AppArgument,
    user: UserArgument,
    session: SessionArgument,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=JSON", help="A key to set. May be repeated."),
    ] = None,
    delete: Annotated[
        list[str] | None,
        typer.Option("--delete", metavar="KEY", help="A key to remove. May be repeated."),
    ] = None,
) -> None:
    """Set and delete state keys, without an event.

    Example: zdk sessions update-state shop ann s-1 --set 'lang="de"' --set step=2 --delete draft
    """
    key = SessionKey(app, user, session)
    delta = parse_assignments(assignments or [], "--set")
    if not delta and not delete:
        raise InvalidRequest("nothing to do: use --set KEY=JSON or --delete KEY", field="set")
    with run.connect() as storage:
        updated = storage.write(storage.sessions.update_state(key, delta, delete=delete or ()))
    run.show(updated, lambda _: f"updated the state of session {session}")


@verb(sessions, "delete")
def delete_session(
    run: Run,
    app: AppArgument,
    user: UserArgument,
    session: SessionArgument,
    yes: YesOption = False,
) -> None:
    """Delete a session with its events and its own state; artifacts stay.

    Asks on a terminal; elsewhere it wants --yes.

    Example: zdk sessions delete shop ann s-1 --yes
    """
    key = SessionKey(app, user, session)
    confirm(f"Delete session {session} of user {user} in app {app} with all its events?", yes)
    with run.connect() as storage:
        deleted = storage.write(storage.sessions.delete(key))
    run.show(deleted, lambda gone: f"deleted session {session} with {count_events(gone.events)}")
