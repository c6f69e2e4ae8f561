# Made by script/generate from ../_async/checkpoints.py. What is changed here is lost.
from __future__ import annotations

from collections.abc import Callable

from .._models import Checkpoint, CheckpointList, SessionInfo
from .driver import Driver


class Checkpoints:
    """What a session was, kept under a name."""

    def __init__(self, driver: Driver, session: str, learn: Callable[[SessionInfo], SessionInfo]) -> None:
        self._driver = driver
        self._params = {"session": session}
        self._learn = learn

    def list(self) -> tuple[Checkpoint, ...]:
        """Oldest first."""
        flow = self._driver.core.call("listCheckpoints", CheckpointList, params=self._params)
        return (self._driver.run(flow)).items

    def create(self, name: str, *, idempotency_key: str | None = None) -> Checkpoint:
        """Keeps what the session is now; one of that name is replaced."""
        flow = self._driver.core.call(
            "createCheckpoint", Checkpoint, params=self._params, body={"name": name}, idempotency_key=idempotency_key
        )
        return self._driver.run(flow)

    def restore(self, name: str) -> SessionInfo:
        """Puts the session back to it."""
        params = {**self._params, "checkpoint": name}
        return self._learn(
            self._driver.run(self._driver.core.call("restoreCheckpoint", SessionInfo, params=params))
        )

    def delete(self, name: str) -> None:
        params = {**self._params, "checkpoint": name}
        self._driver.run(self._driver.core.call("deleteCheckpoint", type(None), params=params))
