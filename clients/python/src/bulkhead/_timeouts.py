"""How long a connection may take, in the words of httpx."""

from __future__ import annotations

import httpx

CONNECT_SECONDS = 10.0
#: Longer than the slowest thing that is waited for, a launch say.
ANSWER_SECONDS = 300.0


def timeouts(seconds: float) -> httpx.Timeout:
    """``seconds`` between two bytes of an answer."""
    return httpx.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds))
