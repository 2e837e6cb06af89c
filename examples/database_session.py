"""Sessions in a database: state in three scopes, events, partial loads, listing.

    python examples/database_session.py [DATABASE_URL]

The URL is sqlite:// (in memory) unless given, for example postgresql+psycopg2://user:password@host/name.
"""

import sys

from api_client import AlreadyExists, Conflict, Event, SessionKey, StorageClient


def main(database_url: str) -> None:
    """Keep sessions in the database at ``database_url``, in this process."""
    with StorageClient.local(database_url) as client:
        key = SessionKey.new("shop", "ada")
        state = {"app:currency": "EUR", "user:tier": "pro", "cart": [], "temp:trace": "not stored"}
        client.sessions.create(key, state=state).result(timeout=5)

        client.sessions.append(key, Event(author="user", content={"text": "a red hat, please"}))
        reply = Event(
            author="agent",
            content={"text": "added"},
            state_delta={"cart": ["hat"], "user:last_item": "hat"},
        )
        done = client.sessions.append(key, reply).result(timeout=5)
        print(f"seq {done.seq}, revision {done.revision}")
        again = client.sessions.append(key, reply).result(timeout=5)
        print(f"the same event again: duplicate={again.events[0].duplicate}, seq {again.seq}")

        session = client.sessions.load(key, last=1).result(timeout=5)
        print(f"state: {session.state}")
        print(f"last event: {session.events[0].content}")

        second = SessionKey.new("shop", "ada")
        client.sessions.create(second).result(timeout=5)
        shared = client.sessions.load(second, events=False).result(timeout=5).state
        print(f"a new session of the same user sees: {shared}")
        client.sessions.update_state(second, delete=["user:last_item"]).result(timeout=5)

        try:
            client.sessions.append(key, Event(author="late"), expected_revision=1).result(timeout=5)
        except Conflict as error:
            print(f"conflict: {error}")
        try:
            client.sessions.create(key).result(timeout=5)
        except AlreadyExists as error:
            print(f"exists: {error}")

        page = client.sessions.list("shop", "ada", order="oldest", limit=10).result(timeout=5)
        print(f"sessions of ada: {len(page)}")
        client.sessions.delete(key).result(timeout=5)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "sqlite://")
