"""Streams: what a turn or a command tells, and the content of files.

A turn's events have numbers. A stream that breaks goes on after the last one that was read, on a new connection, for as long as new events keep
coming: whoever iterates sees each event once, in order. A command's have none; what broke is told.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

import httpx

from ._core import BYTES_TYPE, EVENTS_TYPE, Core, misunderstood, parse_json, unreachable
from ._decode import Misunderstood
from ._errors import BulkheadError
from ._events import (
    CommandEndEvent,
    CommandText,
    EndEvent,
    ResultEvent,
    TextEvent,
    TruncatedEvent,
    decode_command_event,
    decode_turn_event,
)
from ._flow import Close, Emit, Flow, Read, Wait
from ._models import CommandResult
from ._results import Turn, TurnFold, TurnResult
from ._sse import EventParser

#: A connection that is silent for so long is taken for dead. Servers send a comment more often than that.
SILENCE_SECONDS = 60.0
#: So long a reader goes on without any answer of a server.
PATIENCE_SECONDS = 60.0
#: Connections in a row that bring nothing new.
BARREN_MAX_COUNT = 12
FIRST_DELAY_SECONDS = 0.05
DELAY_MAX_SECONDS = 5.0
#: Of what a turn printed and gave, in characters: more than a server keeps of one.
TURN_MAX_CHARACTERS = 268_435_456


def _unread(response: httpx.Response) -> Flow[httpx.Response]:
    """The response as it comes."""
    return response
    yield  # a flow without effects is still one


def turn_events(core: Core, session: str, turn: str, after: int) -> Flow[TurnResult | None]:
    """Emits the events of a turn after ``after``, to its end. Gives the result when they were all there (``after`` is 0)."""
    reader = _TurnReader(TurnFold(session, turn), after)
    barren = 0
    alive_at = time.monotonic()
    while True:
        before = reader.seen
        failure = BulkheadError("server_unreachable", "The stream ended before the turn, again and again.")
        try:
            response = yield from core.send(
                "listTurnEvents",
                _unread,
                params={"session": session, "turn": turn},
                accept=EVENTS_TYPE,
                headers={"last-event-id": str(reader.seen)} if reader.seen > 0 else {},
                timeout=SILENCE_SECONDS,
            )
            alive_at = time.monotonic()
            _check_type(response)
            yield from _read_events(response, reader)
        except BulkheadError as refusal:
            if refusal.retry == "never":
                raise
            failure = refusal
        except (httpx.TransportError, httpx.StreamError) as cause:
            failure = unreachable(cause)
        except Misunderstood as cause:
            raise misunderstood("listTurnEvents", response) from cause
        if reader.ended:
            return reader.result if after == 0 else None
        # A server that stops ends its streams in order, and the next one goes on with them.
        barren = 0 if reader.seen > before else barren + 1
        if barren > BARREN_MAX_COUNT or time.monotonic() - alive_at > PATIENCE_SECONDS:
            raise failure
        delay = min(DELAY_MAX_SECONDS, FIRST_DELAY_SECONDS * 2**barren)
        yield Wait(delay * (0.5 + random.random() / 2))


def kept_result(core: Core, session: str, turn: str) -> Flow[TurnResult]:
    """What the server has kept of a turn that has ended."""
    found = yield from core.call("getTurn", Turn, params={"session": session, "turn": turn})
    if found.result is None:
        raise BulkheadError("state_conflict", "The turn has not ended.", hint="Follow it to its end.")
    return found.result


def cancel_turn(core: Core, session: str, turn: str) -> Flow[Turn]:
    return core.call("cancelTurn", Turn, params={"session": session, "turn": turn}, repeatable=True)


class _TurnReader:
    """Where a reader is in a turn, and what it has read folded up."""

    def __init__(self, fold: TurnFold, seen: int) -> None:
        self.seen = seen
        self.ended = False
        self.result: TurnResult | None = None
        self._fold = fold
        self._characters = 0

    def take(self, data: str) -> Any:
        """The event, or None for one that was read before. Raises BulkheadError for one that does not follow."""
        event = decode_turn_event(parse_json(data))
        if event.seq <= self.seen:
            return None
        if event.seq != self.seen + 1:
            raise BulkheadError("server_unreachable", f"The stream jumped from event {self.seen} to {event.seq}.")
        self.seen = event.seq
        self._characters += len(data)
        if self._characters > TURN_MAX_CHARACTERS:
            raise BulkheadError("limit_exceeded", f"The turn tells more than {TURN_MAX_CHARACTERS:,} characters.")
        if isinstance(event, TextEvent):
            self._fold.text(event.type, event.text)
        elif isinstance(event, ResultEvent):
            self._fold.result(event.data)
        elif isinstance(event, TruncatedEvent):
            self._fold.truncated(event.stream, event.dropped_bytes)
        elif isinstance(event, EndEvent):
            self.result = self._fold.end(event.outcome)
            self.ended = True
        return event


def _read_events(response: httpx.Response, reader: _TurnReader) -> Flow[None]:
    parser = EventParser()
    while chunk := (yield Read(response)):
        for data in parser.feed(chunk):
            event = reader.take(data)
            if event is not None:
                yield Emit(event)
            if reader.ended:
                yield Close(response)
                return


def _check_type(response: httpx.Response) -> None:
    """Raises Misunderstood."""
    if not response.headers.get("content-type", "").startswith(EVENTS_TYPE):
        raise Misunderstood("it is no stream of events")


def command_events(
    core: Core, session: str, body: Mapping[str, Any], timeout: float, idempotency_key: str | None
) -> Flow[CommandResult]:
    """Emits what a command prints, and its end; gives its result."""
    response = yield from core.send(
        "runCommand",
        _unread,
        params={"session": session},
        body=body,
        accept=EVENTS_TYPE,
        timeout=timeout,
        idempotency_key=idempotency_key,
    )
    parser = EventParser()
    text: dict[str, list[str]] = {"stdout": [], "stderr": []}
    characters = 0
    try:
        _check_type(response)
        while chunk := (yield Read(response)):
            for data in parser.feed(chunk):
                characters += len(data)
                if characters > TURN_MAX_CHARACTERS:
                    raise BulkheadError(
                        "limit_exceeded", f"The command tells more than {TURN_MAX_CHARACTERS:,} characters."
                    )
                event = decode_command_event(parse_json(data))
                if isinstance(event, CommandText):
                    text[event.type].append(event.text)
                if event is not None:
                    yield Emit(event)
                if isinstance(event, CommandEndEvent):
                    yield Close(response)
                    end = event.result
                    return CommandResult(
                        exit_code=end.exit_code,
                        signal=end.signal,
                        timed_out=end.timed_out,
                        stdout="".join(text["stdout"]),
                        stderr="".join(text["stderr"]),
                        truncated=end.truncated,
                        elapsed_ms=end.elapsed_ms,
                    )
    except Misunderstood as cause:
        raise misunderstood("runCommand", response) from cause
    except (httpx.TransportError, httpx.StreamError) as cause:
        raise unreachable(cause) from cause
    raise BulkheadError("server_unreachable", "The stream ended before the command.")


def content(core: Core, operation: str, params: Mapping[str, str], query: Mapping[str, Any]) -> Flow[None]:
    """Emits the length of a content, where it is known, and then its bytes as they come. A connection that breaks in the middle is told."""
    response = yield from core.send(operation, _unread, params=params, query=query, accept=BYTES_TYPE)
    length = response.headers.get("content-length", "")
    yield Emit(int(length) if length.isdigit() else None)
    try:
        while chunk := (yield Read(response)):
            yield Emit(chunk)
    except (httpx.TransportError, httpx.StreamError) as cause:
        raise unreachable(cause) from cause
