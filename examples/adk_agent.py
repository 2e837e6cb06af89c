"""A google-adk agent that keeps its sessions in ZDK Storage. Needs the extras adk and worker:

    python examples/adk_agent.py [DATABASE_URL]

The URL is sqlite:// (in memory) unless given. The model is a few lines of this file, so that
neither a network nor a key is needed; put "gemini-flash-latest" in its place.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator

from google.adk.agents import Agent
from google.adk.models import BaseLlm, LlmRequest, LlmResponse
from google.adk.runners import Runner
from google.adk.tools import ToolContext
from google.genai import types

from api_client import StorageClient
from api_client.adapters.adk import ZdkSessionService

APP, USER = "weather", "ada"


class SmallModel(BaseLlm):
    """Asks for the weather of the city it is told of, then says what the tool has found."""

    model: str = "small"

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        """Answer the last content of the request."""
        last = llm_request.contents[-1].parts[-1]
        if last.function_response:
            part = types.Part(text=last.function_response.response["report"])
        else:
            city = last.text.split()[-1].rstrip("?")
            part = types.Part.from_function_call(name="get_weather", args={"city": city})
        yield LlmResponse(content=types.Content(role="model", parts=[part]))


def get_weather(city: str, tool_context: ToolContext) -> dict[str, str]:
    """Give the weather of a city.

    Args:
        city: its name.
    """
    tool_context.state["user:cities"] = [*tool_context.state.get("user:cities", []), city]
    return {"report": f"It is sunny in {city}."}


root_agent = Agent(
    name="weather_agent",
    model=SmallModel(),
    instruction="Answer questions about the weather.",
    tools=[get_weather],
    output_key="last_report",
)


async def ask(runner: Runner, session_id: str, question: str) -> str:
    """Put a question to the agent, and return the invocation's id."""
    print(f"> {question}")
    message = types.Content(role="user", parts=[types.Part(text=question)])
    async for event in runner.run_async(user_id=USER, session_id=session_id, new_message=message):
        if event.is_final_response():
            print(event.content.parts[0].text)
    return event.invocation_id


async def main(database_url: str) -> None:
    """Ask twice, take the second question back, and look at what is stored."""
    async with StorageClient.local(database_url) as client:
        session_service = ZdkSessionService(client)  # instead of InMemorySessionService()
        runner = Runner(app_name=APP, agent=root_agent, session_service=session_service)
        session = await session_service.create_session(app_name=APP, user_id=USER)

        await ask(runner, session.id, "What is the weather in Paris?")
        second = await ask(runner, session.id, "And in Rome?")
        await runner.rewind_async(
            user_id=USER, session_id=session.id, rewind_before_invocation_id=second
        )

        stored = await session_service.get_session(
            app_name=APP, user_id=USER, session_id=session.id
        )
        print(f"{len(stored.events)} events, state {stored.state}")
        print(f"user state {await session_service.get_user_state(app_name=APP, user_id=USER)}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "sqlite://"))
