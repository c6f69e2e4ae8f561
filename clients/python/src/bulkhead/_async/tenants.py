from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from .. import _bodies
from .._bodies import Seconds
from .._models import IssuedKey, Key, Tenant
from .._protocol import Role, Scope, Tier
from .authority import AsyncTenantAuthority
from .driver import AsyncDriver
from .streams import AsyncStream


class AsyncTenants:
    """Tenants, for who administers them. ``quotas`` has the members of ``Quotas``."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def create(
        self,
        name: str,
        *,
        quotas: Mapping[str, int] | None = None,
        minimum_tier: Tier | None = None,
        retention_days: int | None = None,
        idempotency_key: str | None = None,
    ) -> Tenant:
        body = {"name": name, **_bodies.tenant_fields(quotas, minimum_tier, retention_days)}
        flow = self._driver.core.call("createTenant", Tenant, body=body, idempotency_key=idempotency_key)
        return await self._driver.run(flow)

    def list(self, *, limit: int | None = None) -> AsyncStream[Tenant]:
        """Oldest first. ``limit`` is of a page."""
        flow = self._driver.core.items("listTenants", Tenant, {}, _bodies.given(limit=limit))
        return AsyncStream(self._driver, flow)

    async def get(self, tenant: str) -> Tenant:
        return await self._driver.run(self._driver.core.call("getTenant", Tenant, params={"tenant": tenant}))

    async def update(
        self,
        tenant: str,
        *,
        quotas: Mapping[str, int] | None = None,
        minimum_tier: Tier | None = None,
        retention_days: int | None = None,
        if_version: int | None = None,
    ) -> Tenant:
        """What is not named stays. With ``if_version``, only that version is changed: raises ``precondition_failed``."""
        flow = self._driver.core.call(
            "updateTenant",
            Tenant,
            params={"tenant": tenant},
            body=_bodies.tenant_fields(quotas, minimum_tier, retention_days),
            if_match=if_version,
        )
        return await self._driver.run(flow)

    async def delete(self, tenant: str, *, if_version: int | None = None) -> None:
        """Ends every session of it, revokes its keys and removes what was kept of it."""
        flow = self._driver.core.call("deleteTenant", type(None), params={"tenant": tenant}, if_match=if_version)
        await self._driver.run(flow)

    def authority(self, tenant: str) -> AsyncTenantAuthority:
        """What it has set up for its sessions."""
        return AsyncTenantAuthority(self._driver, tenant)

    def keys(self, tenant: str) -> AsyncKeys:
        return AsyncKeys(self._driver, tenant)


class AsyncKeys:
    """The API keys of a tenant."""

    def __init__(self, driver: AsyncDriver, tenant: str) -> None:
        self._driver = driver
        self._params = {"tenant": tenant}

    async def create(
        self,
        name: str,
        *,
        role: Role | None = None,
        scopes: Sequence[Scope] | None = None,
        subject: str | None = None,
        expires_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> IssuedKey:
        """With a role, or with scopes in its place. Its secret is in this answer and nowhere else."""
        body = _bodies.given(
            name=name,
            role=role,
            scopes=None if scopes is None else list(scopes),
            subject=subject,
            expiresAt=_bodies.moment(expires_at),
        )
        flow = self._driver.core.call(
            "createKey", IssuedKey, params=self._params, body=body, idempotency_key=idempotency_key
        )
        return await self._driver.run(flow)

    def list(self, *, limit: int | None = None) -> AsyncStream[Key]:
        """Oldest first, without their secrets. ``limit`` is of a page."""
        flow = self._driver.core.items("listKeys", Key, self._params, _bodies.given(limit=limit))
        return AsyncStream(self._driver, flow)

    async def get(self, key: str) -> Key:
        return await self._driver.run(self._driver.core.call("getKey", Key, params={**self._params, "key": key}))

    async def rotate(self, key: str, *, grace: Seconds | None = None, idempotency_key: str | None = None) -> IssuedKey:
        """A new secret; the one before it works for ``grace`` more, an hour unless said."""
        grace_ms = _bodies.milliseconds(grace)
        flow = self._driver.core.call(
            "rotateKey",
            IssuedKey,
            params={**self._params, "key": key},
            body=_bodies.given(graceSeconds=None if grace_ms is None else round(grace_ms / 1000)),
            idempotency_key=idempotency_key,
        )
        return await self._driver.run(flow)

    async def revoke(self, key: str) -> Key:
        """Ends a key at once."""
        return await self._driver.run(self._driver.core.call("revokeKey", Key, params={**self._params, "key": key}))
