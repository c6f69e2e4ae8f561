"""Each test is written once and runs with ``Bulkhead`` and with ``AsyncBulkhead``, which is made to wait by a loop of its own."""

from __future__ import annotations

import inspect
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from scripted_server import ScriptedServer

from bulkhead import AsyncBulkhead, Bulkhead, RetryPolicy

API_KEY = "bh_key_that_nobody_may_see_0123456789"
#: Read once: each client of its own would read them again, and that takes longer than a test.
CERTIFICATES = ssl.create_default_context()
QUICK = RetryPolicy(attempts=4, first_delay=0.001, max_delay=1.0)


class Waiting:
    """An asynchronous object, used like its synchronous twin."""

    def __init__(self, portal: BlockingPortal, target: Any) -> None:
        self.__dict__.update(_portal=portal, target=target)

    def __getattr__(self, name: str) -> Any:
        return self._wrap(getattr(self.target, "aclose" if name == "close" and hasattr(self.target, "aclose") else name))

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        async def call() -> Any:
            answer = self.target(*arguments, **named)
            return await answer if inspect.isawaitable(answer) else answer

        return self._wrap(self._portal.call(call))

    def __enter__(self) -> Any:
        return self._wrap(self._portal.call(self.target.__aenter__))

    def __exit__(self, *error: Any) -> Any:
        return self._portal.call(self.target.__aexit__, *error)

    def __iter__(self) -> Iterator[Any]:
        iterator = self.target.__aiter__()
        while True:
            try:
                yield self._portal.call(iterator.__anext__)
            except StopAsyncIteration:
                return

    def __repr__(self) -> str:
        return repr(self.target)

    def _wrap(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._wrap(each) for each in value]
        named = type(value).__name__.startswith("Async") or inspect.isasyncgen(value)
        return Waiting(self._portal, value) if named or inspect.ismethod(value) else value


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture(scope="session")
def portals() -> Iterator[Callable[[str], BlockingPortal]]:
    """A loop for each kind, for as long as the tests last."""
    with ExitStack() as stack:
        yield cache(lambda kind: stack.enter_context(start_blocking_portal(kind)))


@pytest.fixture(params=["sync", "asyncio", "trio"])
def connect(
    request: pytest.FixtureRequest, portals: Callable[[str], BlockingPortal]
) -> Iterator[Callable[..., Any]]:
    """Makes clients; they are closed at the end of the test."""
    with ExitStack() as stack:

        def make(url: str, api_key: str | None = API_KEY, **options: Any) -> Any:
            options.setdefault("retry", QUICK)
            if request.param == "sync":
                http = stack.enter_context(httpx.Client(verify=CERTIFICATES))
                return stack.enter_context(Bulkhead(url, api_key, http=http, **options))
            portal = portals(request.param)

            async def start() -> AsyncBulkhead:
                http = httpx.AsyncClient(verify=CERTIFICATES)
                stack.callback(portal.call, http.aclose)
                return AsyncBulkhead(url, api_key, http=http, **options)

            return stack.enter_context(Waiting(portal, portal.call(start)))

        yield make


@pytest.fixture
def client(connect: Callable[..., Any], server: ScriptedServer) -> Any:
    return connect(server.url)
