"""What a client does, without doing it: generators that yield each effect (send this, read on, wait) and are given what came of it.

So requests, retries and streams are written once. What carries the effects out is a dozen lines for each of the two worlds: ``_sync.py`` and
``_async.py``. A flow never yields in a ``finally``: whoever drives it closes what it has opened.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, Union

import httpx

from ._content import Upload

T = TypeVar("T")


class Secret:
    """An API key or a token. What prints objects, a traceback with its variables say, does not print it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not written out")


@dataclass(frozen=True)
class Send:
    """Gives the response, with its headers read and its body not. ``timeout`` is in seconds, between two bytes."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | Upload | None
    timeout: float
    bearer: Secret | None = None


@dataclass(frozen=True)
class Read:
    """Gives the next bytes of a body, or none at its end."""

    response: httpx.Response


@dataclass(frozen=True)
class Close:
    response: httpx.Response


@dataclass(frozen=True)
class Bearer:
    """Gives the API key or a token, as a Secret. ``refused``: the server did not take the one before."""

    refused: bool


@dataclass(frozen=True)
class Wait:
    seconds: float


@dataclass(frozen=True)
class Emit:
    """For whoever iterates."""

    value: Any


Effect = Union[Send, Read, Close, Bearer, Wait, Emit]
Flow = Generator[Effect, Any, T]
