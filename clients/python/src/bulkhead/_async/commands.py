from __future__ import annotations

from collections.abc import Mapping

from .. import _bodies
from .._bodies import CommandLine, Seconds
from .._errors import BulkheadError
from .._models import CommandResult, ProcessList, ProcessStarted, ProcessState
from .._protocol import LIMITS
from .._streams import command_events, content
from .driver import AsyncDriver
from .streams import AsyncCommandStream, AsyncContentStream

#: Of what a background program has printed, in bytes.
OUTPUT_MAX_BYTES = 67_108_864


class AsyncCommands:
    """Programs in a session, beside its turns."""

    def __init__(self, driver: AsyncDriver, session: str) -> None:
        self._driver = driver
        self._session = session
        self._params = {"session": session}

    async def run(
        self,
        command: CommandLine,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | bytes | None = None,
        timeout: Seconds | None = None,
        idempotency_key: str | None = None,
    ) -> CommandResult:
        """Runs a program to its end; a string is a line for bash. An exit code that is not 0 is no error."""
        body = _bodies.command(command, cwd=cwd, env=env, stdin=stdin, timeout=timeout)
        flow = self._driver.core.call(
            "runCommand",
            CommandResult,
            params=self._params,
            body=body,
            timeout=self._patience(timeout),
            idempotency_key=idempotency_key,
        )
        return await self._driver.run(flow)

    def stream(
        self,
        command: CommandLine,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | bytes | None = None,
        timeout: Seconds | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncCommandStream:
        """Runs a program and tells what it prints as it prints it."""
        body = _bodies.command(command, cwd=cwd, env=env, stdin=stdin, timeout=timeout)
        flow = command_events(self._driver.core, self._session, body, self._patience(timeout), idempotency_key)
        return AsyncCommandStream(self._driver, flow)

    async def start(
        self,
        command: CommandLine,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncProcess:
        """Starts a program that goes on in the background."""
        flow = self._driver.core.call(
            "startProcess",
            ProcessStarted,
            params=self._params,
            body=_bodies.command(command, cwd=cwd, env=env),
            idempotency_key=idempotency_key,
        )
        return self.process((await self._driver.run(flow)).process)

    async def processes(self) -> tuple[ProcessState, ...]:
        """The programs that were started in the background."""
        return (await self._driver.run(self._driver.core.call("listProcesses", ProcessList, params=self._params))).items

    def process(self, name: str) -> AsyncProcess:
        """One that was started before."""
        return AsyncProcess(self._driver, self._session, name)

    def _patience(self, timeout: Seconds | None) -> float:
        return _bodies.answer_seconds(timeout, LIMITS["turnTimeoutDefaultMs"], self._driver.core.timeout)


class AsyncProcess:
    """A program in the background."""

    def __init__(self, driver: AsyncDriver, session: str, name: str) -> None:
        self._driver = driver
        self._params = {"session": session, "process": name}
        self.name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    async def output(self) -> str:
        """What it has printed, as far as it is kept."""
        data = bytearray()
        flow = content(self._driver.core, "readProcessOutput", self._params, {})
        async with AsyncContentStream(self._driver, flow) as stream:
            await stream.length()
            async for chunk in stream:
                data += chunk
                if len(data) > OUTPUT_MAX_BYTES:
                    raise BulkheadError("limit_exceeded", f"The output has more than {OUTPUT_MAX_BYTES:,} bytes.")
        return data.decode(errors="replace")

    async def state(self) -> ProcessState:
        """Raises ``not_found``."""
        params = {"session": self._params["session"]}
        listed = await self._driver.run(self._driver.core.call("listProcesses", ProcessList, params=params))
        for state in listed.items:
            if state.process == self.name:
                return state
        raise BulkheadError("not_found", f"There is no background program {self.name}.")

    async def kill(self) -> None:
        await self._driver.run(self._driver.core.call("killProcess", type(None), params=self._params))
