"""What the server answers with. Each class has the members of the schema of that name in docs/openapi.json, in snake case.

Whatever a guest said (output, results, names, tracebacks) is here as it said it: escape it before showing it as HTML.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ._protocol import ContextFate, Language, Scope, SessionState, Size, Tier


@dataclass(frozen=True)
class ErrorInfo:
    """Why a turn or a session failed."""

    code: str
    message: str
    hint: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TimeLimits:
    idle_ms: int
    sleep_ms: int
    lifetime_ms: int


@dataclass(frozen=True)
class SessionInfo:
    """A session as it was when the server answered."""

    id: str
    tenant: str
    subject: str
    labels: dict[str, str]
    state: SessionState
    version: int
    size: Size
    runtime: str
    tier: Tier
    minimum_tier: Tier | None
    created_at: datetime
    active_at: datetime
    ended_at: datetime | None
    turn: str | None
    turn_count: int
    parent: str | None
    epoch: int
    #: Tools that its code may call: ``tool.operation``, or ``tool.*``. Policies decide about each call of these.
    grant: tuple[str, ...]
    time_limits: TimeLimits
    launch_ms: float | None
    error: ErrorInfo | None


@dataclass(frozen=True)
class ForkedSessions:
    sessions: tuple[SessionInfo, ...]


@dataclass(frozen=True)
class Checkpoint:
    id: str
    name: str
    created_at: datetime
    bytes: int


@dataclass(frozen=True)
class CheckpointList:
    items: tuple[Checkpoint, ...]


@dataclass(frozen=True)
class TracebackFrame:
    file: str
    line: int
    name: str
    source: str | None = None


@dataclass(frozen=True)
class GuestException:
    """What the code raised."""

    name: str
    value: str
    frames: tuple[TracebackFrame, ...]
    traceback: str


@dataclass(frozen=True)
class TurnTruncated:
    """Bytes that were left out, because there were too many."""

    stdout_bytes: float = 0
    stderr_bytes: float = 0
    result_bytes: float = 0


@dataclass(frozen=True)
class TurnTimings:
    turn_ms: float
    guest_ms: float


@dataclass(frozen=True)
class TurnOutcome:
    """How a turn ended, and what is left of its context."""

    status: str
    error: ErrorInfo | None
    exception: GuestException | None
    context: ContextFate
    guest_ms: float
    turn_ms: float


@dataclass(frozen=True)
class Context:
    language: Language
    context: str
    alive: bool
    busy: bool


@dataclass(frozen=True)
class ContextList:
    items: tuple[Context, ...]


@dataclass(frozen=True)
class FileStat:
    kind: str
    size_bytes: float
    mode: int
    modified_at: datetime


@dataclass(frozen=True)
class FileEntry:
    name: str
    kind: str
    size_bytes: float
    mode: int
    modified_at: datetime


@dataclass(frozen=True)
class FileList:
    items: tuple[FileEntry, ...]
    #: The directory has more.
    truncated: bool


@dataclass(frozen=True)
class FileWritten:
    path: str
    size_bytes: float


@dataclass(frozen=True)
class CommandTruncated:
    stdout_bytes: float
    stderr_bytes: float


@dataclass(frozen=True)
class CommandEnd:
    """How a command ended."""

    exit_code: int | None
    signal: int | None
    timed_out: bool
    truncated: CommandTruncated
    elapsed_ms: float


@dataclass(frozen=True)
class CommandResult:
    exit_code: int | None
    signal: int | None
    timed_out: bool
    stdout: str
    stderr: str
    truncated: CommandTruncated
    elapsed_ms: float


@dataclass(frozen=True)
class ProcessState:
    """A program that was started in the background, as it was when the server answered."""

    process: str
    argv: tuple[str, ...]
    running: bool
    exit_code: int | None
    signal: int | None
    output_bytes: float


@dataclass(frozen=True)
class ProcessStarted:
    process: str


@dataclass(frozen=True)
class ProcessList:
    items: tuple[ProcessState, ...]


@dataclass(frozen=True)
class Port:
    """An HTTP server in the session that is reachable below ``path`` of the server."""

    id: str
    port: int
    path: str
    expires_at: datetime


@dataclass(frozen=True)
class ExposedPort:
    id: str
    port: int
    path: str
    expires_at: datetime
    #: Shown this once.
    token: str = field(repr=False)


@dataclass(frozen=True)
class PortList:
    items: tuple[Port, ...]


@dataclass(frozen=True)
class Quotas:
    sessions: int
    machines: int
    memory_mib: int
    disk_mib: int
    requests_per_second: int


@dataclass(frozen=True)
class Tenant:
    id: str
    name: str
    version: int
    quotas: Quotas
    minimum_tier: Tier | None
    retention_days: int
    created_at: datetime


@dataclass(frozen=True)
class Key:
    """An API key, without its secret."""

    id: str
    name: str
    subject: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True)
class IssuedKey:
    """With its secret, which is shown this once."""

    id: str
    name: str
    subject: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Caller:
    tenant: str
    subject: str
    scopes: tuple[Scope, ...]
    #: None for whoever came with a token.
    key: str | None


@dataclass(frozen=True)
class SizeSpec:
    vcpus: int
    memory_mib: int
    scratch_mib: int


@dataclass(frozen=True)
class Limits:
    limits: dict[str, float]
    sizes: dict[str, SizeSpec]
    languages: tuple[Language, ...]


@dataclass(frozen=True)
class Template:
    digest: str
    kernel_version: str
    built_at: str
    package_count: int


@dataclass(frozen=True)
class Runtime:
    runtime: str
    tier: Tier
    accelerator: str
    memory_suspend: bool
    fork: bool
    network: str


@dataclass(frozen=True)
class RuntimeList:
    items: tuple[Runtime, ...]


@dataclass(frozen=True)
class Health:
    status: str
    version: str


@dataclass(frozen=True)
class Readiness:
    status: str
    reasons: tuple[str, ...]
