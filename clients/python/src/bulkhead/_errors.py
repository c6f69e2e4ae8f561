"""The one exception of this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._protocol import ERROR_CATALOGUE, RetryRule


class BulkheadError(Exception):
    """What went wrong: ``code`` and ``details`` are for programs, ``message`` and ``hint`` for people, who may find them reworded.

    The codes are the keys of ``ERROR_CATALOGUE``; a code never changes its meaning.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str | None = None,
        details: Mapping[str, Any] | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.details: Mapping[str, Any] = dict(details or {})
        #: Names the request in the server's log.
        self.request_id = request_id

    @property
    def retry(self) -> RetryRule:
        """Whether the same call can succeed later: ``never``, ``after`` a while, or with the ``same_key``."""
        entry = ERROR_CATALOGUE.get(self.code)
        return "never" if entry is None else entry.retry

    def __str__(self) -> str:
        told = f"{self.code}: {self.message}"
        if self.hint:
            told += f"\n{self.hint}"
        return told if self.request_id is None else f"{told} (request {self.request_id})"

    def __repr__(self) -> str:
        return f"BulkheadError({self.code!r}, {self.message!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.code, self.message, self.hint, dict(self.details), self.request_id)


def _rebuild(
    code: str, message: str, hint: str | None, details: Mapping[str, Any], request_id: str | None
) -> BulkheadError:
    return BulkheadError(code, message, hint=hint, details=details, request_id=request_id)
