"""An agent that never waits for its storage. Needs a broker and workers:

zdk up                                      # in one terminal
source zdk-data/env                         # in another
python examples/fire_and_forget_agent.py
"""

import asyncio

from api_client import ArtifactKey, Event, SessionKey, StorageClient


async def think(step: int) -> str:
    """Stands for a model's answer."""
    await asyncio.sleep(0)
    return f"thought number {step}"


async def main() -> None:
    """Think a hundred times; each thought is durable before the next begins."""
    async with StorageClient.from_env() as client:
        key = SessionKey.new("agent", "ada")
        client.sessions.create(key)
        for step in range(100):
            thought = await think(step)
            event = Event(author="agent", content={"text": thought}, state_delta={"step": step})
            await client.sessions.append(key, event).accepted
        notes = ArtifactKey("agent", "ada", key.session, "notes.txt")
        client.artifacts.save(notes, "the answer is 42")

        # Only a reader has to wait, and it sees all that this client has written before.
        session = await client.sessions.load(key)
        print(f"{len(session.events)} events, state {session.state}, pending {client.pending}")


if __name__ == "__main__":
    asyncio.run(main())
