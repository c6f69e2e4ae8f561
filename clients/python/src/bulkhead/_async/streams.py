from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Generic, TypeVar

from .._events import CommandEvent, TurnEvent
from .._flow import Flow
from .._models import CommandResult
from .._results import TurnResult
from .._streams import cancel_turn, kept_result, turn_events
from .driver import AsyncDriver, AsyncRunning

T = TypeVar("T")
Self = TypeVar("Self", bound="AsyncStream[Any]")


class AsyncStream(Generic[T]):
    """What comes bit by bit: iterate it. Leaving it early lets go of its connection, at the latest at the end of a ``async with``."""

    def __init__(self, driver: AsyncDriver, flow: Flow[Any]) -> None:
        self._running: AsyncRunning[Any] = AsyncRunning(driver, flow)

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        emitted = None if self._running.ended else await self._running.advance()
        if emitted is None:
            raise StopAsyncIteration
        value: T = emitted.value
        return value

    async def aclose(self) -> None:
        await self._running.aclose()

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class AsyncContentStream(AsyncStream[bytes]):
    async def length(self) -> int | None:
        """Before the first bytes; None where it is not known."""
        emitted = await self._running.advance()
        length: int | None = None if emitted is None else emitted.value
        return length


class AsyncTurnStream(AsyncStream[TurnEvent]):
    """The events of one turn, each exactly once and in order, over as many connections as it takes.

    Leaving the loop leaves the turn alone: ``cancel`` stops the code.
    """

    def __init__(self, driver: AsyncDriver, session: str, turn: str, after: int) -> None:
        super().__init__(driver, turn_events(driver.core, session, turn, after))
        self._driver = driver
        self._session = session
        self.turn_id = turn
        #: The number of the last event that was read: where another reader would go on from.
        self.last_seq = after

    async def __anext__(self) -> TurnEvent:
        event = await super().__anext__()
        self.last_seq = event.seq
        return event

    async def result(self) -> TurnResult:
        """The finished turn; reads what has not been read. How the code failed is in it."""
        async for _ in self:
            pass
        folded: TurnResult | None = self._running.result()
        if folded is not None:
            return folded
        return await self._driver.run(kept_result(self._driver.core, self._session, self.turn_id))

    async def cancel(self) -> None:
        """Interrupts the code; idempotent. The turn ends with ``turn_interrupted``, unless it ended before it noticed."""
        await self._driver.run(cancel_turn(self._driver.core, self._session, self.turn_id))


class AsyncCommandStream(AsyncStream[CommandEvent]):
    """What a command prints, as it prints it; the last event is its end. Leaving the loop ends the program."""

    async def result(self) -> CommandResult:
        """The finished command; reads what has not been read."""
        async for _ in self:
            pass
        ended: CommandResult = self._running.result()
        return ended
