# Made by script/generate from ../_async/client.py. What is changed here is lost.
from __future__ import annotations

from types import TracebackType
from typing import TypeVar

import httpx

from .._core import Core, check_bearer
from .._errors import BulkheadError
from .._models import Caller, Health, Limits, Readiness, Runtime, RuntimeList, Template
from .._retry import RetryPolicy
from .._timeouts import ANSWER_SECONDS
from .authority import Approvals, Decisions
from .driver import Driver, TokenProvider
from .sessions import Sessions
from .streams import Stream
from .tenants import Tenants

Self = TypeVar("Self", bound="Bulkhead")


class Bulkhead:
    """A client of a Bulkhead server.

    ``url`` is where it is, like ``https://bulkhead.example.com``. ``api_key`` says who is asking, or ``token``: it is called before every request and gives
    the token of an identity provider; its argument is whether the server refused the one before. ``retry`` says how requests are repeated, ``timeout``
    how many seconds an answer may take. ``http`` is for a proxy, or certificates of your own: what it is used for else is not our business, so it is not
    closed here.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        token: TokenProvider | None = None,
        retry: RetryPolicy | None = None,
        timeout: float = ANSWER_SECONDS,
        http: httpx.Client | None = None,
    ) -> None:
        if api_key is not None and token is not None:
            raise BulkheadError("invalid_request", "A client has an API key or a token, not both.")
        key = None if api_key is None else check_bearer(api_key, "The API key")
        core = Core(url, retry=retry or RetryPolicy(), timeout=timeout, renewable=token is not None)
        self._owned = http is None
        self._driver = Driver(core, http or httpx.Client(), key, token)
        self.sessions = Sessions(self._driver)
        self.tenants = Tenants(self._driver)
        self.decisions = Decisions(self._driver)
        self.approvals = Approvals(self._driver)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._driver.core.url}>"

    def caller(self) -> Caller:
        """Who is asking, and what they may do."""
        return self._driver.run(self._driver.core.call("getCaller", Caller))

    def limits(self) -> Limits:
        """Every bound, the sizes of machines and the languages."""
        return self._driver.run(self._driver.core.call("getLimits", Limits))

    def templates(self) -> Stream[Template]:
        """The guest images of the server's host, newest first."""
        return Stream(self._driver, self._driver.core.items("listTemplates", Template, {}, {}))

    def runtimes(self) -> tuple[Runtime, ...]:
        """What makes machines on the server's host, with the tier of each."""
        return (self._driver.run(self._driver.core.call("listRuntimes", RuntimeList))).items

    def health(self) -> Health:
        return self._driver.run(self._driver.core.call("getHealth", Health))

    def readiness(self) -> Readiness:
        """Whether the server takes sessions, and why not."""
        return self._driver.run(self._driver.core.call("getReadiness", Readiness, also=(503,)))

    def close(self) -> None:
        """Closes the connections. Sessions go on."""
        if self._owned:
            self._driver.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
