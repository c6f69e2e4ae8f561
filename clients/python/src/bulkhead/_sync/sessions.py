# Made by script/generate from ../_async/sessions.py. What is changed here is lost.
from __future__ import annotations

from collections.abc import Mapping, Sequence

from .. import _bodies
from .._bodies import Seconds
from .._models import SessionInfo
from .._protocol import SessionState, Size, Tier
from .driver import Driver
from .session import Session
from .streams import Stream


class Sessions:
    """The sessions of a tenant, as far as the caller may see them."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def create(
        self,
        *,
        size: Size | None = None,
        runtime: str | None = None,
        minimum_tier: Tier | None = None,
        labels: Mapping[str, str] | None = None,
        grant: Sequence[str] | None = None,
        idle: Seconds | None = None,
        sleep: Seconds | None = None,
        lifetime: Seconds | None = None,
        wait: bool = True,
        idempotency_key: str | None = None,
    ) -> Session:
        """A new session with a machine of its own; ``with`` terminates it at the end of its block.

        ``grant`` names the tools that its code may call: ``tool.operation``, or ``tool.*``. ``idle``, ``sleep`` and ``lifetime`` are how long it may do nothing, sleep, and live. With ``wait=False`` it comes at once, in the state ``creating``.
        """
        body = _bodies.create_session(
            size=size,
            runtime=runtime,
            minimum_tier=minimum_tier,
            labels=labels,
            grant=grant,
            idle=idle,
            sleep=sleep,
            lifetime=lifetime,
            wait=wait,
        )
        flow = self._driver.core.call("createSession", SessionInfo, body=body, idempotency_key=idempotency_key)
        return Session(self._driver, self._driver.run(flow))

    def get(self, session: str) -> Session:
        """One that is there. Raises ``not_found``."""
        flow = self._driver.core.call("getSession", SessionInfo, params={"session": session})
        return Session(self._driver, self._driver.run(flow))

    def list(
        self,
        *,
        state: SessionState | None = None,
        subject: str | None = None,
        ended: bool | None = None,
        label: str | None = None,
        label_value: str | None = None,
        limit: int | None = None,
    ) -> Stream[SessionInfo]:
        """Newest first, page by page as it is iterated. ``open`` makes of each what can be worked with. ``limit`` is of a page."""
        query = _bodies.given(
            state=state, subject=subject, ended=ended, labelKey=label, labelValue=label_value, limit=limit
        )
        return Stream(self._driver, self._driver.core.items("listSessions", SessionInfo, {}, query))

    def open(self, info: SessionInfo) -> Session:
        """What a list has described, to work with."""
        return Session(self._driver, info)
