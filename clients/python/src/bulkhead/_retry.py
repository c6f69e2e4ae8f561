"""When a request is sent again.

The catalogue says for every error whether that can help. Whether it can harm depends on the request: one that changes something,
and has no idempotency key, is not repeated when nobody knows whether it was done.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from ._errors import BulkheadError
from ._protocol import Route

#: Refusals before anything is done, whatever was asked for.
_REFUSALS = frozenset({"rate_limited", "server_stopping"})


@dataclass(frozen=True)
class RetryPolicy:
    """How requests are repeated. Times are in seconds."""

    #: In all, the first one too; 1: nothing is repeated.
    attempts: int = 4
    #: About so long before the second one, then twice as long each time.
    first_delay: float = 0.25
    #: No wait is longer; a server that asks for more is not asked again.
    max_delay: float = 30.0

    def __post_init__(self) -> None:
        for name, minimum, maximum in (("attempts", 1, 20), ("first_delay", 0, 60), ("max_delay", 0, 600)):
            value = getattr(self, name)
            if not minimum <= value <= maximum:
                raise BulkheadError("invalid_request", f"RetryPolicy: {name} has to be from {minimum} to {maximum}.")


@dataclass(frozen=True)
class Failure:
    error: BulkheadError
    #: What the server asked for, in seconds.
    retry_after: float | None = None


def is_repeatable(route: Route) -> bool:
    """Whether a request of this route does the same when it arrives twice. A creating one always has an idempotency key."""
    return route.creates or route.method in ("GET", "PUT", "DELETE")


def retry_delay(policy: RetryPolicy, attempt: int, failure: Failure, repeatable: bool, random: float) -> float | None:
    """How long to wait before the next attempt; None: there is none. ``random`` is from 0 to 1."""
    error = failure.error
    if attempt >= policy.attempts or error.retry == "never":
        return None
    if not repeatable and error.code not in _REFUSALS:
        return None
    # Half of it at random: clients that failed together do not come back together.
    backoff: float = min(policy.max_delay, policy.first_delay * 2 ** (attempt - 1)) * (0.5 + random / 2)
    if failure.retry_after is None:
        return backoff
    return None if failure.retry_after > policy.max_delay else max(failure.retry_after, backoff)


def parse_retry_after(header: str | None) -> float | None:
    """``Retry-After``, in seconds or as a date."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
