"""Servers which run as children of this process: no installation, nothing left behind.

::

    EmbeddedError
    ├── EmbeddedUnavailable    there is no server program to run here; the message says what to do
    └── EmbeddedStartFailed    the program ran but did not become ready; the message ends its log
"""


class EmbeddedError(RuntimeError):
    """Base of the errors of embedded servers."""


class EmbeddedUnavailable(EmbeddedError):
    """The server's program is missing, or cannot be executed on this platform."""


class EmbeddedStartFailed(EmbeddedError):
    """The server ended, or did not answer in time, while it was being started."""
