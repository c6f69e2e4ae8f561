from __future__ import annotations

from .. import _bodies
from .._bodies import Seconds
from .._models import ExposedPort, Port, PortList
from .driver import AsyncDriver


class AsyncPorts:
    """HTTP servers in a session that are reachable through the server."""

    def __init__(self, driver: AsyncDriver, session: str) -> None:
        self._driver = driver
        self._params = {"session": session}

    async def expose(
        self, port: int, *, expires_in: Seconds | None = None, idempotency_key: str | None = None
    ) -> ExposedPort:
        """Makes a port reachable, for an hour unless said. The token is in this answer and nowhere else."""
        expires_ms = _bodies.milliseconds(expires_in)
        seconds = None if expires_ms is None else max(1, round(expires_ms / 1000))
        flow = self._driver.core.call(
            "exposePort",
            ExposedPort,
            params=self._params,
            body=_bodies.given(port=port, expiresInSeconds=seconds),
            idempotency_key=idempotency_key,
        )
        return await self._driver.run(flow)

    def url(self, port: ExposedPort | Port) -> str:
        """Where it is reachable, for whoever has its token."""
        return self._driver.core.url + port.path

    async def list(self) -> tuple[Port, ...]:
        return (await self._driver.run(self._driver.core.call("listPorts", PortList, params=self._params))).items

    async def close(self, port: str) -> None:
        """Makes a port unreachable again; connections to it are closed."""
        flow = self._driver.core.call("closePort", type(None), params={**self._params, "port": port})
        await self._driver.run(flow)
