"""openai-agents: a `Session` for ``Runner.run(..., session=...)``. Needs the extra ``openai``.

Importing this without openai-agents raises an ImportError that says how to install it.
"""

from __future__ import annotations

try:
    import agents  # noqa: F401
except ImportError as error:
    raise ImportError(
        "the adapter for openai-agents needs it installed: pip install 'zdk-storage[openai]'"
    ) from error

from api_client.adapters.ack import Ack
from api_client.adapters.openai.session import ZdkSession

__all__ = ["Ack", "ZdkSession"]
