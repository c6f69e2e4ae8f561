"""What requests are sent with: arguments in the words of Python, in seconds, as the members of the wire contract."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Union

from ._decode import wire_name
from ._errors import BulkheadError

Seconds = Union[float, timedelta]
#: The program and its arguments; a string is a line for bash.
CommandLine = Union[str, Sequence[str]]


def given(**members: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in members.items() if value is not None}


def milliseconds(value: Seconds | None) -> int | None:
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < 1e10:
        raise BulkheadError("invalid_request", "A time has to be a number of seconds or a timedelta, and not negative.")
    return round(seconds * 1000)


def moment(value: datetime | None) -> str | None:
    """As the wire has it: in UTC. One without a time zone is the local time, as everywhere in Python."""
    if value is None:
        return None
    return value.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def create_session(
    *,
    size: str | None,
    runtime: str | None,
    minimum_tier: str | None,
    labels: Mapping[str, str] | None,
    grant: Sequence[str] | None,
    idle: Seconds | None,
    sleep: Seconds | None,
    lifetime: Seconds | None,
    wait: bool,
) -> dict[str, Any]:
    limits = given(idleMs=milliseconds(idle), sleepMs=milliseconds(sleep), lifetimeMs=milliseconds(lifetime))
    return given(
        size=size,
        runtime=runtime,
        minimumTier=minimum_tier,
        labels=None if labels is None else dict(labels),
        grant=None if grant is None else list(grant),
        timeLimits=limits or None,
        wait=None if wait else "none",
    )


def start_turn(code: str, language: str | None, context: str | None, timeout: Seconds | None) -> dict[str, Any]:
    return given(code=code, language=language, context=context, timeoutMs=milliseconds(timeout), wait="none")


def command(
    line: CommandLine,
    *,
    cwd: str | None,
    env: Mapping[str, str] | None,
    stdin: str | bytes | None = None,
    timeout: Seconds | None = None,
) -> dict[str, Any]:
    argv = ["bash", "-c", line] if isinstance(line, str) else list(line)
    body = given(argv=argv, cwd=cwd, env=None if env is None else dict(env), timeoutMs=milliseconds(timeout))
    if isinstance(stdin, str):
        body["stdin"] = stdin
    elif stdin is not None:
        body.update(stdin=base64.b64encode(stdin).decode(), stdinEncoding="base64")
    return body


def answer_seconds(timeout: Seconds | None, default_ms: int, slack: float) -> float:
    """How long the answer of something may take that has a time limit of its own."""
    limit = milliseconds(timeout)
    return (default_ms if limit is None else limit) / 1000 + slack


def recorded(
    session: str | None, since: datetime | None, limit: int | None, cursor: str | None
) -> dict[str, Any]:
    """Which recorded decisions are asked again."""
    return given(session=session, since=moment(since), limit=limit, cursor=cursor)


def tenant_fields(
    quotas: Mapping[str, int] | None, minimum_tier: str | None, retention_days: int | None
) -> dict[str, Any]:
    wire = None if quotas is None else {wire_name(name): value for name, value in quotas.items()}
    return given(quotas=wire, minimumTier=minimum_tier, retentionDays=retention_days)
