"""Carries out flows on asyncio or trio. Its twin is ``_sync/driver.py``."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Generic, TypeVar, cast

import anyio
import anyio.to_thread
import httpx

from .._content import Measured, Upload
from .._core import Core, check_bearer
from .._errors import BulkheadError
from .._flow import Bearer, Close, Effect, Emit, Flow, Read, Secret, Send, Wait
from .._timeouts import timeouts

T = TypeVar("T")
#: Gives a token. ``refused``: the server did not take the one before.
AsyncTokenProvider = Callable[[bool], "str | Awaitable[str]"]

#: How long whoever gives up waits for what has to be done.
FINISH_SECONDS = 30.0


class AsyncDriver:
    def __init__(
        self, core: Core, http: httpx.AsyncClient, key: Secret | None, token: AsyncTokenProvider | None
    ) -> None:
        self.core = core
        self._http = http
        self._key = key
        self._token = token

    async def run(self, flow: Flow[T]) -> T:
        running = AsyncRunning(self, flow)
        while await running.advance() is not None:
            pass
        return running.result()

    async def finish(self, flow: Flow[T]) -> T:
        """What has to be done even for whoever gives up."""
        with anyio.fail_after(FINISH_SECONDS, shield=True):
            answer = await self.run(flow)
        return answer

    async def blocking(self, work: Callable[..., T], *arguments: Any) -> T:
        return await anyio.to_thread.run_sync(work, *arguments)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def perform(self, effect: Effect, bodies: dict[httpx.Response, AsyncGenerator[bytes, None]]) -> Any:
        if isinstance(effect, Send):
            response = await self._send(effect)
            # httpx types it as less than it is.
            bodies[response] = cast("AsyncGenerator[bytes, None]", response.aiter_raw())
            return response
        if isinstance(effect, Read):
            return await anext(bodies[effect.response], b"")
        if isinstance(effect, Close):
            return await _close(effect.response, bodies.pop(effect.response, None))
        if isinstance(effect, Wait):
            return await anyio.sleep(effect.seconds)
        if isinstance(effect, Bearer):
            return self._key if self._token is None else await _ask(self._token, effect.refused)
        raise TypeError(f"no effect: {effect!r}")

    async def _send(self, effect: Send) -> httpx.Response:
        body = _chunks(effect.body) if isinstance(effect.body, Upload) else effect.body
        request = self._http.build_request(
            effect.method, effect.url, headers=effect.headers, content=body, timeout=timeouts(effect.timeout)
        )
        if effect.bearer is not None:
            request.headers["authorization"] = f"Bearer {effect.bearer.reveal()}"
        # Another host is never given what was meant for this one.
        return await self._http.send(request, stream=True, auth=None, follow_redirects=False)


async def _ask(token: AsyncTokenProvider, refused: bool) -> Secret:
    given = token(refused)
    return check_bearer(await given if inspect.isawaitable(given) else given, "The token")


async def _chunks(upload: Upload) -> AsyncIterator[bytes]:
    measured = Measured(upload)
    content = upload.open()
    if isinstance(content, Iterator):
        # Files are read in a thread: the others go on.
        while (chunk := await anyio.to_thread.run_sync(next, content, None)) is not None:
            yield measured.passes(chunk)
    else:
        async for chunk in content:
            yield measured.passes(chunk)
    measured.ends()


async def _close(response: httpx.Response, body: AsyncGenerator[bytes, None] | None) -> None:
    # A generator that nobody closes is closed when it is found to be garbage, on trio with a warning.
    if body is not None:
        await body.aclose()
    await response.aclose()


class AsyncRunning(Generic[T]):
    """A flow that is being carried out, up to each value that it emits. What it has opened is closed when it ends, in whatever way."""

    def __init__(self, driver: AsyncDriver, flow: Flow[T]) -> None:
        self._driver = driver
        self._flow = flow
        self._bodies: dict[httpx.Response, AsyncGenerator[bytes, None]] = {}
        self._ended: list[T] = []

    async def advance(self) -> Emit | None:
        """None at its end."""
        answer: Any = None
        failure: Exception | None = None
        try:
            while True:
                effect = self._flow.send(answer) if failure is None else self._flow.throw(failure)
                answer = failure = None
                if isinstance(effect, Emit):
                    return effect
                try:
                    answer = await self._driver.perform(effect, self._bodies)
                except Exception as error:
                    failure = error
        except StopIteration as end:
            self._ended.append(end.value)
            await self.aclose()
            return None
        except BaseException:
            await self.aclose()
            raise

    def result(self) -> T:
        if not self._ended:
            raise BulkheadError("invalid_request", "This stream was not read to its end.")
        return self._ended[0]

    @property
    def ended(self) -> bool:
        return bool(self._ended)

    async def aclose(self) -> None:
        self._flow.close()
        with anyio.CancelScope(shield=True):
            while self._bodies:
                await _close(*self._bodies.popitem())
