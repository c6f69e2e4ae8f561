# Made by script/generate from ../_async/session.py. What is changed here is lost.
from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TypeVar

from .. import _bodies
from .._authority_models import Approval
from .._bodies import Seconds
from .._errors import BulkheadError
from .._models import Context, ContextList, ForkedSessions, SessionInfo
from .._protocol import Language, SessionState
from .._results import Turn, TurnResult
from .._streams import cancel_turn
from .checkpoints import Checkpoints
from .commands import Commands
from .driver import Driver
from .files import Files
from .ports import Ports
from .streams import Stream, TurnStream

Self = TypeVar("Self", bound="Session")


class Session:
    """A session: a machine that keeps variables, files and processes from turn to turn. ``with`` terminates it at the end of its block."""

    def __init__(self, driver: Driver, info: SessionInfo) -> None:
        self._driver = driver
        self._params = {"session": info.id}
        self.id = info.id
        #: As the server last told of it.
        self.info = info
        self.files = Files(driver, info.id)
        self.commands = Commands(driver, info.id)
        self.ports = Ports(driver, info.id)
        self.checkpoints = Checkpoints(driver, info.id, self._learn)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.info.state}>"

    @property
    def state(self) -> SessionState:
        return self.info.state

    @property
    def labels(self) -> dict[str, str]:
        return self.info.labels

    # -- turns ----------------------------------------------------------------------------------------------------

    def run(
        self,
        code: str,
        *,
        language: Language | None = None,
        context: str | None = None,
        timeout: Seconds | None = None,
        idempotency_key: str | None = None,
    ) -> TurnResult:
        """Runs code to its end; a session that sleeps is woken. What the code did wrong is in the result; ``check`` makes an error of it.

        Whoever interrupts this (Ctrl-C, a cancelled task) stops the code.
        """
        stream = self.stream(
            code, language=language, context=context, timeout=timeout, idempotency_key=idempotency_key
        )
        try:
            return stream.result()
        except Exception:
            raise
        except BaseException:
            self._driver.finish(cancel_turn(self._driver.core, self.id, stream.turn_id))
            raise

    def stream(
        self,
        code: str,
        *,
        language: Language | None = None,
        context: str | None = None,
        timeout: Seconds | None = None,
        idempotency_key: str | None = None,
    ) -> TurnStream:
        """Starts code, and tells of it while it runs. Leaving the loop leaves the code alone; ``cancel`` stops it."""
        flow = self._driver.core.call(
            "startTurn",
            Turn,
            params=self._params,
            body=_bodies.start_turn(code, language, context, timeout),
            idempotency_key=idempotency_key,
        )
        return self.follow((self._driver.run(flow)).id)

    def follow(self, turn: str, *, after: int = 0) -> TurnStream:
        """The events of a turn that was started elsewhere, or before: from the first, or after ``after``."""
        return TurnStream(self._driver, self.id, turn, after)

    def approvals(self, *, state: str | None = None, limit: int | None = None) -> Stream[Approval]:
        """Its calls of tools that wait for a person, or did, newest first: why a turn does not go on."""
        query = _bodies.given(state=state, limit=limit)
        return Stream(
            self._driver, self._driver.core.items("listSessionApprovals", Approval, self._params, query)
        )

    def turns(self, *, limit: int | None = None) -> Stream[Turn]:
        """Its turns, oldest first, without their results. ``limit`` is of a page."""
        query = _bodies.given(limit=limit)
        return Stream(self._driver, self._driver.core.items("listTurns", Turn, self._params, query))

    def turn(self, turn: str) -> Turn:
        return self._driver.run(self._driver.core.call("getTurn", Turn, params={**self._params, "turn": turn}))

    def contexts(self) -> tuple[Context, ...]:
        """Its interpreters, when it is awake."""
        return (self._driver.run(self._driver.core.call("listContexts", ContextList, params=self._params))).items

    def restart_context(self, language: Language, *, context: str | None = None) -> None:
        """Ends an interpreter; the next turn starts a new one. Files are kept."""
        body = _bodies.given(language=language, context=context)
        self._driver.run(self._driver.core.call("restartContext", type(None), params=self._params, body=body))

    # -- its life -------------------------------------------------------------------------------------------------

    def refresh(self) -> SessionInfo:
        return self._learn(
            self._driver.run(self._driver.core.call("getSession", SessionInfo, params=self._params))
        )

    def suspend(self) -> SessionInfo:
        """Puts it to sleep: it takes neither memory nor processor time. The next turn wakes it."""
        flow = self._driver.core.call("suspendSession", SessionInfo, params=self._params)
        return self._learn(self._driver.run(flow))

    def resume(self) -> SessionInfo:
        flow = self._driver.core.call("resumeSession", SessionInfo, params=self._params)
        return self._learn(self._driver.run(flow))

    def fork(
        self, *, count: int = 1, grant: Sequence[str] | None = None, idempotency_key: str | None = None
    ) -> list[Session]:
        """New sessions that begin as copies of it: all of them, or none. ``grant`` is a part of its own; all of it unless said."""
        flow = self._driver.core.call(
            "forkSession",
            ForkedSessions,
            params=self._params,
            body=_bodies.given(count=count, grant=None if grant is None else list(grant)),
            idempotency_key=idempotency_key,
        )
        return [Session(self._driver, info) for info in (self._driver.run(flow)).sessions]

    def set_labels(self, labels: Mapping[str, str], *, if_unchanged: bool = False) -> SessionInfo:
        """Replaces its labels. With ``if_unchanged``, only when nobody else has changed it since ``info`` was read: raises ``precondition_failed``."""
        flow = self._driver.core.call(
            "updateSession",
            SessionInfo,
            params=self._params,
            body={"labels": dict(labels)},
            if_match=self.info.version if if_unchanged else None,
        )
        return self._learn(self._driver.run(flow))

    def terminate(self) -> SessionInfo:
        """Ends it, in any state; idempotent. Answers when nothing of its machine is left."""
        flow = self._driver.core.call("terminateSession", SessionInfo, params=self._params)
        return self._learn(self._driver.finish(flow))

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.terminate()
        except BulkheadError as failure:
            # Already gone is gone.
            if failure.code == "not_found":
                return
            if error is None:
                raise
            # What went wrong first is what is told; Python 3.10 cannot add to it.
            if hasattr(error, "add_note"):
                error.add_note(f"The session {self.id} could not be terminated: {failure}")

    def _learn(self, info: SessionInfo) -> SessionInfo:
        # Answers may pass each other on the way.
        if info.version >= self.info.version:
            self.info = info
        return info
