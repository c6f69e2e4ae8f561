"""Client of Bulkhead: sessions that run code nobody has reviewed, each in a machine of its own.

``Bulkhead`` does one thing after the other, ``AsyncBulkhead`` the same on asyncio or trio::

    with Bulkhead("http://127.0.0.1:8420", api_key) as client, client.sessions.create() as session:
        print(session.run("6 * 7").text)
"""

from ._async.client import AsyncBulkhead
from ._async.session import AsyncSession
from ._async.streams import AsyncCommandStream, AsyncStream, AsyncTurnStream
from ._authority_models import (
    Approval,
    ApprovalDetail,
    Authority,
    Decision,
    DecisionChangesPage,
    DecisionExplanation,
    DecisionReplay,
    PolicyCheck,
)
from ._errors import BulkheadError
from ._events import (
    CommandEndEvent,
    CommandEvent,
    CommandText,
    EndEvent,
    ExceptionEvent,
    ResultEvent,
    TextEvent,
    TruncatedEvent,
    TurnEvent,
    UnknownEvent,
)
from ._models import (
    Caller,
    Checkpoint,
    CommandResult,
    Context,
    ErrorInfo,
    ExposedPort,
    FileEntry,
    FileList,
    FileStat,
    GuestException,
    Health,
    IssuedKey,
    Key,
    Limits,
    Port,
    ProcessState,
    Quotas,
    Readiness,
    Runtime,
    SessionInfo,
    Template,
    Tenant,
    TimeLimits,
    TracebackFrame,
)
from ._protocol import ERROR_CATALOGUE, ErrorEntry
from ._protocol import VERSION as __version__
from ._results import ResultImage, ResultTable, Turn, TurnResult
from ._retry import RetryPolicy
from ._sync.client import Bulkhead
from ._sync.session import Session
from ._sync.streams import CommandStream, Stream, TurnStream

__all__ = [
    "ERROR_CATALOGUE",
    "Approval",
    "ApprovalDetail",
    "AsyncBulkhead",
    "AsyncCommandStream",
    "AsyncSession",
    "AsyncStream",
    "AsyncTurnStream",
    "Authority",
    "Bulkhead",
    "BulkheadError",
    "Caller",
    "Checkpoint",
    "CommandEndEvent",
    "CommandEvent",
    "CommandResult",
    "CommandStream",
    "CommandText",
    "Context",
    "Decision",
    "DecisionChangesPage",
    "DecisionExplanation",
    "DecisionReplay",
    "EndEvent",
    "ErrorEntry",
    "ErrorInfo",
    "ExceptionEvent",
    "ExposedPort",
    "FileEntry",
    "FileList",
    "FileStat",
    "GuestException",
    "Health",
    "IssuedKey",
    "Key",
    "Limits",
    "PolicyCheck",
    "Port",
    "ProcessState",
    "Quotas",
    "Readiness",
    "ResultEvent",
    "ResultImage",
    "ResultTable",
    "RetryPolicy",
    "Runtime",
    "Session",
    "SessionInfo",
    "Stream",
    "Template",
    "Tenant",
    "TextEvent",
    "TimeLimits",
    "TracebackFrame",
    "TruncatedEvent",
    "Turn",
    "TurnEvent",
    "TurnResult",
    "TurnStream",
    "UnknownEvent",
    "__version__",
]
