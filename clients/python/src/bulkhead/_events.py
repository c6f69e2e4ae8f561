"""What a turn or a command tells while it runs. Every string is the guest's: escape it before showing it as HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union

from ._decode import Misunderstood, decode
from ._models import CommandEnd, GuestException, TurnOutcome


@dataclass(frozen=True)
class TextEvent:
    """A piece of what was printed."""

    seq: int
    type: Literal["stdout", "stderr"]
    text: str


@dataclass(frozen=True)
class ResultEvent:
    """The value of the code's last expression (``result``), or what it displayed before, in every form that there is."""

    seq: int
    type: Literal["result", "display"]
    data: dict[str, Any]


@dataclass(frozen=True)
class ExceptionEvent:
    seq: int
    type: Literal["exception"]
    exception: GuestException


@dataclass(frozen=True)
class TruncatedEvent:
    """Something was left out, because there was too much."""

    seq: int
    type: Literal["truncated"]
    stream: str
    dropped_bytes: float
    #: False when the guest may have dropped more than the host saw.
    exact: bool


@dataclass(frozen=True)
class EndEvent:
    """The last one."""

    seq: int
    type: Literal["end"]
    outcome: TurnOutcome


@dataclass(frozen=True)
class UnknownEvent:
    """Of a type that a newer server has."""

    seq: int
    type: str
    raw: Mapping[str, Any]


TurnEvent = Union[TextEvent, ResultEvent, ExceptionEvent, TruncatedEvent, EndEvent, UnknownEvent]


@dataclass(frozen=True)
class CommandText:
    type: Literal["stdout", "stderr"]
    text: str


@dataclass(frozen=True)
class CommandEndEvent:
    type: Literal["end"]
    result: CommandEnd


CommandEvent = Union[CommandText, CommandEndEvent]

_TURN_EVENTS: Mapping[str, type[Any]] = {
    "stdout": TextEvent,
    "stderr": TextEvent,
    "result": ResultEvent,
    "display": ResultEvent,
    "exception": ExceptionEvent,
    "truncated": TruncatedEvent,
    "end": EndEvent,
}
_COMMAND_EVENTS: Mapping[str, type[Any]] = {"stdout": CommandText, "stderr": CommandText, "end": CommandEndEvent}


def decode_turn_event(value: Any) -> TurnEvent:
    """Raises Misunderstood."""
    if not isinstance(value, dict) or not isinstance(value.get("seq"), int) or not isinstance(value.get("type"), str):
        raise Misunderstood("an event has no seq or no type")
    kind = _TURN_EVENTS.get(value["type"])
    if kind is None:
        return UnknownEvent(value["seq"], value["type"], value)
    event: TurnEvent = decode(kind, value)
    return event


def decode_command_event(value: Any) -> CommandEvent | None:
    """None for a type that a newer server has. Raises Misunderstood."""
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise Misunderstood("an event has no type")
    kind = _COMMAND_EVENTS.get(value["type"])
    if kind is None:
        return None
    event: CommandEvent = decode(kind, value)
    return event
