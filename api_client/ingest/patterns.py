"""Which files of a folder are meant, by patterns as of gitignore."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from api_client.contract.checks import check_text
from api_client.contract.errors import InvalidRequest
from api_client.contract.limits import MAX_NAME_BYTES

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec


class Selection:
    """Files that match one of ``include``, if there are any, and none of ``exclude``.

    Names are relative to the folder, in bytes, with ``/`` between their parts. The patterns are
    those of gitignore (https://git-scm.com/docs/gitignore): one without a slash but at its end
    matches at any depth, one that ends with a slash only folders, ``**`` any number of folders,
    and ``!`` takes back what a former one has matched.

    Parameters:
        include, exclude: the patterns, in order.

    Raises:
        InvalidRequest: one of them is no pattern.
    """

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()):
        self._include = _spec(include, "include")
        self._exclude = _spec(exclude, "exclude")

    def takes(self, name: bytes) -> bool:
        """Whether a file is meant."""
        if self._include is None and self._exclude is None:
            return True
        text = os.fsdecode(name)
        if self._exclude is not None and self._exclude.match_file(text):
            return False
        return self._include is None or self._include.match_file(text)

    def enters(self, folder: bytes) -> bool:
        """Whether a folder, whose name ends with a slash, may hold files that are meant."""
        return self._exclude is None or not self._exclude.match_file(os.fsdecode(folder))


def _spec(patterns: Sequence[str], field: str) -> GitIgnoreSpec | None:
    if not patterns:
        return None
    # Imported late, because the command line's other verbs load this module too.
    from pathspec import GitIgnoreSpec

    for pattern in patterns:
        check_text(pattern, field, MAX_NAME_BYTES)
        try:
            parsed = GitIgnoreSpec.from_lines([pattern]).patterns
        except (ValueError, re.error):
            parsed = []
        # A comment, for one, is nothing but read over.
        if not any(one.include is not None for one in parsed):
            raise InvalidRequest(
                f"{field}: {pattern!r} matches nothing; patterns are those of gitignore, such as "
                "'*.pdf', 'build/' or 'docs/**/*.md'",
                field=field,
            )
    return GitIgnoreSpec.from_lines(patterns)
