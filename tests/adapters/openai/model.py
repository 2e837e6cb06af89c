"""A model in this process, which plays what it is given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from agents import Model, ModelResponse, Usage
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)


def says(text: str) -> Any:
    """A message of the model's."""
    part = ResponseOutputText(text=text, type="output_text", annotations=[])
    return ResponseOutputMessage(
        id=f"msg_{text}", content=[part], role="assistant", status="completed", type="message"
    )


def calls(tool: str, arguments: str, call_id: str) -> Any:
    """A call of a tool."""
    return ResponseFunctionToolCall(
        id=f"fc_{call_id}",
        call_id=call_id,
        name=tool,
        arguments=arguments,
        type="function_call",
        status="completed",
    )


class PlayedModel(Model):  # type: ignore[misc]
    """Gives one output after another.

    Attributes:
        inputs: what it was asked, oldest first.
    """

    def __init__(self, *outputs: Any):
        self._outputs = [*outputs]
        self.inputs: list[Any] = []

    async def get_response(
        self, system_instructions: str | None, input: Any, *settings: Any, **more: Any
    ) -> Any:
        self.inputs.append(input)
        return ModelResponse(output=[self._outputs.pop(0)], usage=Usage(), response_id=None)

    async def stream_response(
        self, system_instructions: str | None, input: Any, *settings: Any, **more: Any
    ) -> AsyncIterator[Any]:
        played = await self.get_response(system_instructions, input)
        response = Response(
            id="resp",
            created_at=0,
            model="played",
            object="response",
            output=played.output,
            parallel_tool_calls=False,
            tool_choice="none",
            tools=[],
        )
        yield ResponseCompletedEvent(
            type="response.completed", response=response, sequence_number=0
        )
