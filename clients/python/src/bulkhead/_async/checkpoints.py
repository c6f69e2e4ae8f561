from __future__ import annotations

from collections.abc import Callable

from .._models import Checkpoint, CheckpointList, SessionInfo
from .driver import AsyncDriver


class AsyncCheckpoints:
    """What a session was, kept under a name."""

    def __init__(self, driver: AsyncDriver, session: str, learn: Callable[[SessionInfo], SessionInfo]) -> None:
        self._driver = driver
        self._params = {"session": session}
        self._learn = learn

    async def list(self) -> tuple[Checkpoint, ...]:
        """Oldest first."""
        flow = self._driver.core.call("listCheckpoints", CheckpointList, params=self._params)
        return (await self._driver.run(flow)).items

    async def create(self, name: str, *, idempotency_key: str | None = None) -> Checkpoint:
        """Keeps what the session is now; one of that name is replaced."""
        flow = self._driver.core.call(
            "createCheckpoint", Checkpoint, params=self._params, body={"name": name}, idempotency_key=idempotency_key
        )
        return await self._driver.run(flow)

    async def restore(self, name: str) -> SessionInfo:
        """Puts the session back to it."""
        params = {**self._params, "checkpoint": name}
        return self._learn(
            await self._driver.run(self._driver.core.call("restoreCheckpoint", SessionInfo, params=params))
        )

    async def delete(self, name: str) -> None:
        params = {**self._params, "checkpoint": name}
        await self._driver.run(self._driver.core.call("deleteCheckpoint", type(None), params=params))
