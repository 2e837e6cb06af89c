"""Queries of the transport's own: asked and answered like a caller's, waited for by its threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime

import msgspec

from api_client.contract import codec
from api_client.contract.errors import Unavailable, from_record
from api_client.contract.operations import Query
from api_client.contract.outcomes import QueryReply
from api_client.contract.records import new_id

#: Sends a query's body under an id; it need not be answered after so many seconds.
Send = Callable[[str, bytes, float], None]


class Question:
    """A query that was sent, perhaps more than once.

    Attributes:
        id: names it and its reply.
        body: the query as JSON.
    """

    def __init__(self, query: Query):
        self.id = new_id()
        self.body = codec.encode_query(query)
        self.reply: Future[QueryReply] = Future()


class Questions:
    """Those that have no answer yet.

    Parameters:
        send: sends one.
        forget: told of the ids of those that nobody waits for any more.
    """

    def __init__(self, send: Send, forget: Callable[[str], None]):
        self._send = send
        self._forget = forget
        self._lock = threading.Lock()
        self._open: dict[str, Question] = {}
        self._closed = False

    def ask(self, query: Query, expires: float) -> Question:
        """Send a query.

        Parameters:
            expires: seconds after which nobody waits for the reply any more.

        Raises:
            Unavailable: that is not possible now.
        """
        question = Question(query)
        with self._lock:
            if self._closed:
                raise Unavailable("the client is closed")
            self._open[question.id] = question
        self.repeat(question, expires)
        return question

    def repeat(self, question: Question, expires: float) -> None:
        """Send it once more. Parameters and errors as of `ask`."""
        try:
            self._send(question.id, question.body, expires)
        except BaseException:
            self.drop(question)
            raise

    def wait(self, question: Question, timeout: float) -> msgspec.Raw | None:
        """The answer's JSON; None if none comes within ``timeout`` seconds.

        Raises:
            StorageError: the answer is an error, or the client is closed.
        """
        try:
            reply = question.reply.result(timeout)
        except NotInTime:
            return None
        if reply.error is not None:
            raise from_record(reply.error)
        return reply.ok

    def drop(self, question: Question) -> None:
        """Wait for it no more."""
        with self._lock:
            found = self._open.pop(question.id, None)
        if found is not None:
            self._forget(question.id)

    def answered(self, question_id: str, reply: QueryReply) -> None:
        """Take a reply."""
        with self._lock:
            question = self._open.pop(question_id, None)
        if question is not None:
            self._forget(question_id)
            question.reply.set_result(reply)

    def close(self) -> None:
        """Fail all that have no answer, and whatever comes."""
        with self._lock:
            self._closed = True
            left = [*self._open.values()]
            self._open.clear()
        for question in left:
            question.reply.set_exception(Unavailable("the client is closed"))
