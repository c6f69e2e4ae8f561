"""Carries out flows, one thing after the other. Its twin is ``_async/driver.py``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import httpx

from .._content import Measured, Upload
from .._core import Core, check_bearer
from .._errors import BulkheadError
from .._flow import Bearer, Close, Effect, Emit, Flow, Read, Secret, Send, Wait
from .._timeouts import timeouts

T = TypeVar("T")
#: Gives a token. ``refused``: the server did not take the one before.
TokenProvider = Callable[[bool], str]


class Driver:
    def __init__(self, core: Core, http: httpx.Client, key: Secret | None, token: TokenProvider | None) -> None:
        self.core = core
        self._http = http
        self._key = key
        self._token = token

    def run(self, flow: Flow[T]) -> T:
        running = Running(self, flow)
        while running.advance() is not None:
            pass
        return running.result()

    def finish(self, flow: Flow[T]) -> T:
        """What has to be done even for whoever gives up."""
        return self.run(flow)

    def blocking(self, work: Callable[..., T], *arguments: Any) -> T:
        return work(*arguments)

    def close(self) -> None:
        self._http.close()

    def perform(self, effect: Effect, bodies: dict[httpx.Response, Iterator[bytes]]) -> Any:
        if isinstance(effect, Send):
            response = self._send(effect)
            bodies[response] = response.iter_raw()
            return response
        if isinstance(effect, Read):
            return next(bodies[effect.response], b"")
        if isinstance(effect, Close):
            effect.response.close()
            return bodies.pop(effect.response, None)
        if isinstance(effect, Wait):
            return time.sleep(effect.seconds)
        if isinstance(effect, Bearer):
            return self._key if self._token is None else check_bearer(self._token(effect.refused), "The token")
        raise TypeError(f"no effect: {effect!r}")

    def _send(self, effect: Send) -> httpx.Response:
        body = _chunks(effect.body) if isinstance(effect.body, Upload) else effect.body
        request = self._http.build_request(
            effect.method, effect.url, headers=effect.headers, content=body, timeout=timeouts(effect.timeout)
        )
        if effect.bearer is not None:
            request.headers["authorization"] = f"Bearer {effect.bearer.reveal()}"
        # Another host is never given what was meant for this one.
        return self._http.send(request, stream=True, auth=None, follow_redirects=False)


def _chunks(upload: Upload) -> Iterator[bytes]:
    measured = Measured(upload)
    content = upload.open()
    if not isinstance(content, Iterator):
        raise BulkheadError("invalid_request", "This client cannot read an asynchronous iterable.", hint="Use AsyncBulkhead.")
    for chunk in content:
        yield measured.passes(chunk)
    measured.ends()


class Running(Generic[T]):
    """A flow that is being carried out, up to each value that it emits. What it has opened is closed when it ends, in whatever way."""

    def __init__(self, driver: Driver, flow: Flow[T]) -> None:
        self._driver = driver
        self._flow = flow
        self._bodies: dict[httpx.Response, Iterator[bytes]] = {}
        self._ended: list[T] = []

    def advance(self) -> Emit | None:
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
                    answer = self._driver.perform(effect, self._bodies)
                except Exception as error:
                    failure = error
        except StopIteration as end:
            self._ended.append(end.value)
            self.close()
            return None
        except BaseException:
            self.close()
            raise

    def result(self) -> T:
        if not self._ended:
            raise BulkheadError("invalid_request", "This stream was not read to its end.")
        return self._ended[0]

    @property
    def ended(self) -> bool:
        return bool(self._ended)

    def close(self) -> None:
        self._flow.close()
        while self._bodies:
            response, _ = self._bodies.popitem()
            response.close()
