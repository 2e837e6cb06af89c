"""An openai-agents conversation that goes on after its process has ended.

    python examples/openai_agent.py [DATABASE_URL]

The URL is sqlite:// (in memory) unless given, for example sqlite:///conversations.db: run it again,
and the conversation goes on. The model is a small one in this process, so that no key is needed;
leave out ``model=`` for a real one. Needs ``pip install 'zdk-storage[openai,worker]'``.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from agents import Agent, Model, ModelResponse, RunConfig, Runner, Usage
from openai.types.responses import ResponseOutputMessage, ResponseOutputText

from api_client import StorageClient
from api_client.adapters.openai import ZdkSession


class RecallingModel(Model):
    """Answers with all that the user has said so far."""

    async def get_response(
        self, system_instructions: str | None, input: Any, *settings: Any, **more: Any
    ) -> ModelResponse:
        """See `Model.get_response`."""
        said = [item["content"] for item in input if item.get("role") == "user"]
        text = ResponseOutputText(
            text=f"You said: {', '.join(said)}.", type="output_text", annotations=[]
        )
        message = ResponseOutputMessage(
            id="msg", content=[text], role="assistant", status="completed", type="message"
        )
        return ModelResponse(output=[message], usage=Usage(), response_id=None)

    def stream_response(self, *settings: Any, **more: Any) -> AsyncIterator[Any]:
        """See `Model.stream_response`."""
        raise NotImplementedError("this model does not stream")


async def main(database_url: str) -> None:
    """Hold a conversation in the database at ``database_url``."""
    agent = Agent(name="Assistant", instructions="Remember.", model=RecallingModel())
    # Traces would go to OpenAI.
    quiet = RunConfig(tracing_disabled=True)
    async with StorageClient.local(database_url) as client:
        session = ZdkSession("conversation_123", client)
        for line in ("red hats", "blue shoes"):
            result = await Runner.run(agent, line, session=session, run_config=quiet)
            print(result.final_output)

        # Taking the last turn back.
        await session.pop_item()
        await session.pop_item()
        result = await Runner.run(agent, "green gloves", session=session, run_config=quiet)
        print(result.final_output)
        print(f"{len(await session.get_items())} items in the conversation")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "sqlite://"))
