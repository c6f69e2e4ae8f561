# Made by script/generate from ../_async/streams.py. What is changed here is lost.
from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

from .._events import CommandEvent, TurnEvent
from .._flow import Flow
from .._models import CommandResult
from .._results import TurnResult
from .._streams import cancel_turn, kept_result, turn_events
from .driver import Driver, Running

T = TypeVar("T")
Self = TypeVar("Self", bound="Stream[Any]")


class Stream(Generic[T]):
    """What comes bit by bit: iterate it. Leaving it early lets go of its connection, at the latest at the end of a ``with``."""

    def __init__(self, driver: Driver, flow: Flow[Any]) -> None:
        self._running: Running[Any] = Running(driver, flow)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        emitted = None if self._running.ended else self._running.advance()
        if emitted is None:
            raise StopIteration
        value: T = emitted.value
        return value

    def close(self) -> None:
        self._running.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ContentStream(Stream[bytes]):
    def length(self) -> int | None:
        """Before the first bytes; None where it is not known."""
        emitted = self._running.advance()
        length: int | None = None if emitted is None else emitted.value
        return length


class TurnStream(Stream[TurnEvent]):
    """The events of one turn, each exactly once and in order, over as many connections as it takes.

    Leaving the loop leaves the turn alone: ``cancel`` stops the code.
    """

    def __init__(self, driver: Driver, session: str, turn: str, after: int) -> None:
        super().__init__(driver, turn_events(driver.core, session, turn, after))
        self._driver = driver
        self._session = session
        self.turn_id = turn
        #: The number of the last event that was read: where another reader would go on from.
        self.last_seq = after

    def __next__(self) -> TurnEvent:
        event = super().__next__()
        self.last_seq = event.seq
        return event

    def result(self) -> TurnResult:
        """The finished turn; reads what has not been read. How the code failed is in it."""
        for _ in self:
            pass
        folded: TurnResult | None = self._running.result()
        if folded is not None:
            return folded
        return self._driver.run(kept_result(self._driver.core, self._session, self.turn_id))

    def cancel(self) -> None:
        """Interrupts the code; idempotent. The turn ends with ``turn_interrupted``, unless it ended before it noticed."""
        self._driver.run(cancel_turn(self._driver.core, self._session, self.turn_id))


class CommandStream(Stream[CommandEvent]):
    """What a command prints, as it prints it; the last event is its end. Leaving the loop ends the program."""

    def result(self) -> CommandResult:
        """The finished command; reads what has not been read."""
        for _ in self:
            pass
        ended: CommandResult = self._running.result()
        return ended
