"""What the server answers with about what sessions may reach, what was decided, and persons' answers. As ``_models``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class NamedTool:
    name: str
    #: Of its kind; passwords in them are names of secrets.
    settings: dict[str, Any]


@dataclass(frozen=True)
class NamedSecret:
    name: str
    changed_at: datetime


@dataclass(frozen=True)
class Authority:
    """What a tenant has set up for its sessions. Of secrets, the names."""

    version: int
    policies: str
    tools: tuple[NamedTool, ...]
    secrets: tuple[NamedSecret, ...]
    disabled_subjects: tuple[str, ...]


@dataclass(frozen=True)
class PolicyProblem:
    policy: str | None
    line: int | None
    message: str
    hint: str | None


@dataclass(frozen=True)
class PolicyCheck:
    problems: tuple[PolicyProblem, ...]
    warnings: tuple[PolicyProblem, ...]
    policies: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """What was decided about a call of a tool."""

    id: str
    session: str
    epoch: int
    action: str
    outcome: str
    reason: str
    policies: tuple[str, ...]
    policy_version: str | None
    arguments_digest: str | None
    approval: str | None
    decided_at: datetime
    ended_at: datetime | None
    error: str | None
    sent_bytes: int | None
    received_bytes: int | None


@dataclass(frozen=True)
class DecisionReplay:
    same: bool
    outcome: str
    policies: tuple[str, ...]
    context: dict[str, Any]


@dataclass(frozen=True)
class PolicyText:
    id: str
    text: str


@dataclass(frozen=True)
class ResourceName:
    type: str
    id: str


@dataclass(frozen=True)
class AskedResource:
    type: str
    id: str
    #: From the nearest to the farthest.
    within: tuple[ResourceName, ...]


@dataclass(frozen=True)
class AskedSession:
    facts: dict[str, Any]
    labels: dict[str, str]
    subject: str


@dataclass(frozen=True)
class AskedPolicies:
    """What the policies saw."""

    session: AskedSession
    resource: AskedResource
    context: dict[str, Any]


@dataclass(frozen=True)
class DecisionExplanation:
    decision: Decision
    policies: tuple[PolicyText, ...]
    grant: tuple[str, ...] | None
    #: None where no policy was asked.
    asked: AskedPolicies | None


@dataclass(frozen=True)
class DecisionAnswer:
    outcome: str
    reason: str
    policies: tuple[str, ...]


@dataclass(frozen=True)
class DecisionChange:
    decision: str
    session: str
    action: str
    decided_at: datetime
    before: DecisionAnswer
    after: DecisionAnswer


@dataclass(frozen=True)
class DecisionChangesPage:
    """Recorded decisions that come out differently, and how many do not."""

    compared: int
    not_asked: int
    unreadable: int
    items: tuple[DecisionChange, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class Approval:
    """A call of a tool that waits for a person, or did."""

    id: str
    state: str
    decision: str
    session: str
    subject: str
    action: str
    policies: tuple[str, ...]
    arguments_digest: str
    created_at: datetime
    expires_at: datetime
    answered_at: datetime | None
    answered_by: str | None
    answered_with: str | None
    reason: str | None


@dataclass(frozen=True)
class ApprovalDetail(Approval):
    resource: str
    #: Byte for byte, in their canonical form (RFC 8785): what is approved, and nothing else.
    arguments: str
