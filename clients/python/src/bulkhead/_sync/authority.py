# Made by script/generate from ../_async/authority.py. What is changed here is lost.
from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .. import _bodies
from .._authority_models import (
    Approval,
    ApprovalDetail,
    Authority,
    Decision,
    DecisionChangesPage,
    DecisionExplanation,
    DecisionReplay,
    PolicyCheck,
)
from .driver import Driver
from .streams import Stream


class TenantAuthority:
    """What a tenant has set up for its sessions.

    Every change answers with all of it, one version later; calls of tools meet it from the next on. With ``if_version``, only that version is changed:
    raises ``precondition_failed``.
    """

    def __init__(self, driver: Driver, tenant: str) -> None:
        self._driver = driver
        self._params = {"tenant": tenant}

    def get(self) -> Authority:
        return self._driver.run(self._driver.core.call("getAuthority", Authority, params=self._params))

    def set_policies(self, policies: str, *, if_version: int | None = None) -> Authority:
        """Raises ``invalid_request`` with every problem in ``details["problems"]``."""
        return self._change("putPolicies", {}, {"policies": policies}, if_version)

    def check_policies(self, policies: str) -> PolicyCheck:
        """What is wrong with them, without setting them."""
        body = {"policies": policies}
        flow = self._driver.core.call("checkPolicies", PolicyCheck, params=self._params, body=body)
        return self._driver.run(flow)

    def diff_policies(
        self,
        policies: str,
        *,
        session: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> DecisionChangesPage:
        """Which recorded decisions would come out differently under these; a page of decisions at a time, newest first."""
        body = {"policies": policies, **_bodies.recorded(session, since, limit, cursor)}
        flow = self._driver.core.call("diffPolicies", DecisionChangesPage, params=self._params, body=body)
        return self._driver.run(flow)

    def replay_decisions(
        self,
        *,
        session: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> DecisionChangesPage:
        """Asks recorded decisions again of the policies that each names: none should come out differently."""
        body = _bodies.recorded(session, since, limit, cursor)
        flow = self._driver.core.call("replayDecisions", DecisionChangesPage, params=self._params, body=body)
        return self._driver.run(flow)

    def set_tool(self, name: str, settings: Mapping[str, Any], *, if_version: int | None = None) -> Authority:
        """It is opened first. For who administers the installation: tools run on its host."""
        return self._change("putTool", {"tool": name}, dict(settings), if_version)

    def remove_tool(self, name: str, *, if_version: int | None = None) -> Authority:
        return self._change("deleteTool", {"tool": name}, None, if_version)

    def set_secret(self, name: str, value: str, *, if_version: int | None = None) -> Authority:
        """No answer ever has it. For who administers the installation."""
        return self._change("putSecret", {"secret": name}, {"value": value}, if_version)

    def remove_secret(self, name: str, *, if_version: int | None = None) -> Authority:
        return self._change("deleteSecret", {"secret": name}, None, if_version)

    def disable_subject(self, subject: str, *, if_version: int | None = None) -> Authority:
        """Refuses its keys and tokens, and the calls of tools of its sessions."""
        return self._change("disableSubject", {"subject": subject}, None, if_version)

    def enable_subject(self, subject: str, *, if_version: int | None = None) -> Authority:
        return self._change("enableSubject", {"subject": subject}, None, if_version)

    def _change(
        self, operation: str, params: dict[str, str], body: dict[str, Any] | None, if_version: int | None
    ) -> Authority:
        flow = self._driver.core.call(
            operation, Authority, params={**self._params, **params}, body=body, if_match=if_version
        )
        return self._driver.run(flow)


class Decisions:
    """What was decided about calls of tools, for who may read it."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def list(
        self,
        *,
        session: str | None = None,
        outcome: str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> Stream[Decision]:
        """Newest first. ``limit`` is of a page."""
        query = _bodies.given(session=session, outcome=outcome, since=_bodies.moment(since), limit=limit)
        return Stream(self._driver, self._driver.core.items("listDecisions", Decision, {}, query))

    def get(self, decision: str) -> Decision:
        flow = self._driver.core.call("getDecision", Decision, params={"decision": decision})
        return self._driver.run(flow)

    def explain(self, decision: str) -> DecisionExplanation:
        """The policies that determined it, their text, what they saw, what the session was granted."""
        flow = self._driver.core.call("explainDecision", DecisionExplanation, params={"decision": decision})
        return self._driver.run(flow)

    def replay(self, decision: str) -> DecisionReplay:
        """Asks the policies that it names again. Raises ``state_conflict`` where none was asked."""
        flow = self._driver.core.call("replayDecision", DecisionReplay, params={"decision": decision})
        return self._driver.run(flow)


class Approvals:
    """Calls of tools that wait for a person. Answering is for somebody else than who runs the session."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def list(
        self, *, state: str | None = None, session: str | None = None, limit: int | None = None
    ) -> Stream[Approval]:
        """Newest first, without their arguments. ``limit`` is of a page."""
        query = _bodies.given(state=state, session=session, limit=limit)
        return Stream(self._driver, self._driver.core.items("listApprovals", Approval, {}, query))

    def get(self, approval: str) -> ApprovalDetail:
        """With the exact arguments: what is approved, and nothing else. They are a guest's words."""
        flow = self._driver.core.call("getApproval", ApprovalDetail, params={"approval": approval})
        return self._driver.run(flow)

    def approve(self, approval: str, *, reason: str | None = None) -> Approval:
        """Raises ``forbidden``, or ``state_conflict`` with ``details["state"]`` when it is not pending any more."""
        body = _bodies.given(reason=reason)
        flow = self._driver.core.call("approveCall", Approval, params={"approval": approval}, body=body)
        return self._driver.run(flow)

    def refuse(self, approval: str, reason: str) -> Approval:
        """Raises as ``approve``."""
        body = {"reason": reason}
        flow = self._driver.core.call("refuseCall", Approval, params={"approval": approval}, body=body)
        return self._driver.run(flow)
