"""What a person is told of an error of the database."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

#: https://www.postgresql.org/docs/current/errcodes-appendix.html: no such table, no such column.
_MISSING_STATES = ("42P01", "42703")
_MISSING_IN_SQLITE = ("no such table: ", "no such column: ")


def in_words(error: DBAPIError) -> str:
    """The driver's text in one line, without the statement, and with what to do if the schema is
    not that of this release."""
    text = _text(error)
    missing = getattr(error.orig, "pgcode", None) in _MISSING_STATES
    if missing or text.startswith(_MISSING_IN_SQLITE):
        return f"{text}; if zdk migrate --check says that the schema is behind, run zdk migrate"
    return text


def _text(error: DBAPIError) -> str:
    # The server's own message leaves out its LINE, which quotes the statement. A connection that
    # broke has only the text.
    diagnostics = getattr(error.orig, "diag", None)
    text = getattr(diagnostics, "message_primary", None) or str(error.orig)
    return " ".join(text.split()) or type(error.orig).__name__
