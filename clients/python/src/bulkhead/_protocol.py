# Made by script/generate from packages/protocol. What is changed here is lost.
"""The contract's tables: errors, routes, limits, and the words that are chosen from."""

from __future__ import annotations

from typing import Literal, NamedTuple

VERSION = "0.1.0"

RetryRule = Literal["never", "same_key", "after"]
Accelerator = Literal["kvm", "tcg", "systrap", "ptrace", "none"]
ContextFate = Literal["kept", "lost", "gone"]
Language = Literal["python", "javascript", "bash"]
Role = Literal["viewer", "developer", "operator", "admin"]
Scope = Literal["sessions:read", "sessions:write", "sessions:any", "tenant:read", "authority:read", "authority:write", "keys:read", "keys:write", "installation:admin"]
SessionState = Literal["creating", "ready", "busy", "capturing", "suspending", "suspended", "resuming", "terminating", "terminated", "failed"]
Size = Literal["small", "medium", "large"]
Tier = Literal["vm-kvm", "vm-emulated", "user-kernel", "none"]


class ErrorEntry(NamedTuple):
    """What is said of a code: its HTTP status, whether the same call can succeed later, and its meaning."""

    status: int
    retry: RetryRule
    title: str


class Route(NamedTuple):
    method: str
    path: str
    public: bool
    creates: bool


ERROR_CATALOGUE: dict[str, ErrorEntry] = {
    "invalid_request": ErrorEntry(400, "never", "The request is not valid"),
    "config_invalid": ErrorEntry(500, "never", "The configuration is not valid"),
    "not_found": ErrorEntry(404, "never", "There is no such resource"),
    "unauthenticated": ErrorEntry(401, "never", "The caller is not known"),
    "forbidden": ErrorEntry(403, "never", "The caller may not do this"),
    "method_not_allowed": ErrorEntry(405, "never", "This resource does not take that method"),
    "length_required": ErrorEntry(411, "never", "The length of the content has to be stated"),
    "precondition_failed": ErrorEntry(412, "never", "The resource has changed since it was read"),
    "unsupported_media_type": ErrorEntry(415, "never", "The content has a type that is not taken here"),
    "idempotency_conflict": ErrorEntry(409, "never", "The idempotency key was used for another request"),
    "rate_limited": ErrorEntry(429, "after", "Too many requests"),
    "quota_exceeded": ErrorEntry(429, "after", "A quota of the tenant is used up"),
    "server_stopping": ErrorEntry(503, "after", "The server is stopping"),
    "server_unreachable": ErrorEntry(503, "same_key", "The server does not answer"),
    "host_unavailable": ErrorEntry(503, "after", "The host that has the session does not answer"),
    "state_conflict": ErrorEntry(409, "never", "The resource is not in a state that allows this"),
    "limit_exceeded": ErrorEntry(413, "never", "A limit was exceeded"),
    "unsupported": ErrorEntry(501, "never", "This runtime cannot do that"),
    "cancelled": ErrorEntry(499, "never", "The caller gave up"),
    "turn_failed": ErrorEntry(200, "never", "The code raised an error"),
    "turn_timeout": ErrorEntry(408, "never", "The turn took longer than its limit"),
    "turn_interrupted": ErrorEntry(409, "never", "The turn was interrupted"),
    "context_died": ErrorEntry(409, "never", "The interpreter ended during the turn"),
    "file_error": ErrorEntry(409, "never", "A file operation in the guest failed"),
    "upload_incomplete": ErrorEntry(400, "same_key", "The upload ended before its last byte"),
    "port_unreachable": ErrorEntry(502, "after", "No server in the session answers on that port"),
    "too_many_connections": ErrorEntry(503, "after", "Too many connections are open"),
    "session_ended": ErrorEntry(410, "never", "The session has ended"),
    "machine_lost": ErrorEntry(502, "never", "The machine ended unexpectedly"),
    "guest_protocol_violation": ErrorEntry(502, "never", "The machine broke the channel protocol and was destroyed"),
    "guest_unresponsive": ErrorEntry(504, "never", "The machine stopped answering and was destroyed"),
    "tool_denied": ErrorEntry(403, "never", "The session may not do this with the tool"),
    "tool_failed": ErrorEntry(502, "never", "What is behind the tool refused or failed"),
    "tool_timeout": ErrorEntry(504, "never", "The tool took longer than its limit"),
    "egress_blocked": ErrorEntry(502, "never", "A connection is not what was allowed"),
    "launch_failed": ErrorEntry(503, "after", "The machine could not be launched"),
    "launch_timeout": ErrorEntry(504, "after", "The machine did not start in time"),
    "capacity_exhausted": ErrorEntry(503, "after", "This host has no room for another machine"),
    "host_unsupported": ErrorEntry(503, "never", "This host lacks something that is needed"),
    "tier_unavailable": ErrorEntry(409, "never", "No machine here is isolated as strongly as is required"),
    "image_build_failed": ErrorEntry(503, "after", "The guest image could not be built"),
    "image_missing": ErrorEntry(503, "never", "There is no such guest image on this host"),
    "template_failed": ErrorEntry(503, "after", "The template could not be made"),
    "snapshot_invalid": ErrorEntry(500, "never", "The snapshot is damaged or not this one"),
    "snapshot_incompatible": ErrorEntry(409, "never", "The snapshot was made by something that is not here"),
    "key_unavailable": ErrorEntry(503, "after", "A key is missing or does not fit"),
    "store_unavailable": ErrorEntry(503, "after", "The store does not answer"),
    "data_dir_busy": ErrorEntry(409, "after", "Another process works with this data directory"),
    "disk_full": ErrorEntry(507, "after", "The host has no space left"),
    "internal": ErrorEntry(500, "after", "Bulkhead failed"),
}

ROUTES: dict[str, Route] = {
    "getHealth": Route("GET", "/healthz", True, False),
    "getReadiness": Route("GET", "/readyz", True, False),
    "getOpenApi": Route("GET", "/v1/openapi.json", True, False),
    "getCaller": Route("GET", "/v1/caller", False, False),
    "getLimits": Route("GET", "/v1/limits", False, False),
    "listTemplates": Route("GET", "/v1/templates", False, False),
    "listRuntimes": Route("GET", "/v1/runtimes", False, False),
    "createTenant": Route("POST", "/v1/tenants", False, True),
    "listTenants": Route("GET", "/v1/tenants", False, False),
    "getTenant": Route("GET", "/v1/tenants/{tenant}", False, False),
    "updateTenant": Route("PATCH", "/v1/tenants/{tenant}", False, False),
    "deleteTenant": Route("DELETE", "/v1/tenants/{tenant}", False, False),
    "createKey": Route("POST", "/v1/tenants/{tenant}/keys", False, True),
    "listKeys": Route("GET", "/v1/tenants/{tenant}/keys", False, False),
    "getKey": Route("GET", "/v1/tenants/{tenant}/keys/{key}", False, False),
    "rotateKey": Route("POST", "/v1/tenants/{tenant}/keys/{key}/rotate", False, True),
    "revokeKey": Route("DELETE", "/v1/tenants/{tenant}/keys/{key}", False, False),
    "getAuthority": Route("GET", "/v1/tenants/{tenant}/authority", False, False),
    "putPolicies": Route("PUT", "/v1/tenants/{tenant}/policies", False, False),
    "checkPolicies": Route("POST", "/v1/tenants/{tenant}/policies/check", False, False),
    "putTool": Route("PUT", "/v1/tenants/{tenant}/tools/{tool}", False, False),
    "deleteTool": Route("DELETE", "/v1/tenants/{tenant}/tools/{tool}", False, False),
    "putSecret": Route("PUT", "/v1/tenants/{tenant}/secrets/{secret}", False, False),
    "deleteSecret": Route("DELETE", "/v1/tenants/{tenant}/secrets/{secret}", False, False),
    "listDecisions": Route("GET", "/v1/decisions", False, False),
    "getDecision": Route("GET", "/v1/decisions/{decision}", False, False),
    "replayDecision": Route("POST", "/v1/decisions/{decision}/replay", False, False),
    "createSession": Route("POST", "/v1/sessions", False, True),
    "listSessions": Route("GET", "/v1/sessions", False, False),
    "getSession": Route("GET", "/v1/sessions/{session}", False, False),
    "updateSession": Route("PATCH", "/v1/sessions/{session}", False, False),
    "terminateSession": Route("DELETE", "/v1/sessions/{session}", False, False),
    "suspendSession": Route("POST", "/v1/sessions/{session}/suspend", False, False),
    "resumeSession": Route("POST", "/v1/sessions/{session}/resume", False, False),
    "forkSession": Route("POST", "/v1/sessions/{session}/fork", False, True),
    "listCheckpoints": Route("GET", "/v1/sessions/{session}/checkpoints", False, False),
    "createCheckpoint": Route("POST", "/v1/sessions/{session}/checkpoints", False, True),
    "restoreCheckpoint": Route("POST", "/v1/sessions/{session}/checkpoints/{checkpoint}/restore", False, False),
    "deleteCheckpoint": Route("DELETE", "/v1/sessions/{session}/checkpoints/{checkpoint}", False, False),
    "startTurn": Route("POST", "/v1/sessions/{session}/turns", False, True),
    "listTurns": Route("GET", "/v1/sessions/{session}/turns", False, False),
    "getTurn": Route("GET", "/v1/sessions/{session}/turns/{turn}", False, False),
    "listTurnEvents": Route("GET", "/v1/sessions/{session}/turns/{turn}/events", False, False),
    "cancelTurn": Route("POST", "/v1/sessions/{session}/turns/{turn}/cancel", False, False),
    "listContexts": Route("GET", "/v1/sessions/{session}/contexts", False, False),
    "restartContext": Route("POST", "/v1/sessions/{session}/contexts/restart", False, False),
    "readFile": Route("GET", "/v1/sessions/{session}/files/content", False, False),
    "writeFile": Route("PUT", "/v1/sessions/{session}/files/content", False, False),
    "listFiles": Route("GET", "/v1/sessions/{session}/files", False, False),
    "statFile": Route("GET", "/v1/sessions/{session}/files/stat", False, False),
    "moveFile": Route("POST", "/v1/sessions/{session}/files/move", False, False),
    "makeDirectory": Route("POST", "/v1/sessions/{session}/files/directory", False, False),
    "removeFile": Route("DELETE", "/v1/sessions/{session}/files", False, False),
    "runCommand": Route("POST", "/v1/sessions/{session}/commands", False, True),
    "startProcess": Route("POST", "/v1/sessions/{session}/processes", False, True),
    "listProcesses": Route("GET", "/v1/sessions/{session}/processes", False, False),
    "readProcessOutput": Route("GET", "/v1/sessions/{session}/processes/{process}/output", False, False),
    "killProcess": Route("DELETE", "/v1/sessions/{session}/processes/{process}", False, False),
    "createTerminalToken": Route("POST", "/v1/sessions/{session}/terminal/tokens", False, False),
    "openTerminal": Route("GET", "/v1/sessions/{session}/terminal", False, False),
    "exposePort": Route("POST", "/v1/sessions/{session}/ports", False, True),
    "listPorts": Route("GET", "/v1/sessions/{session}/ports", False, False),
    "closePort": Route("DELETE", "/v1/sessions/{session}/ports/{port}", False, False),
}

LIMITS: dict[str, int] = {
    "codeMaxBytes": 16777216,
    "turnOutputMaxBytes": 8388608,
    "resultMaxBytes": 8388608,
    "turnResultsMaxBytes": 33554432,
    "turnResultsMaxCount": 256,
    "turnEventsMaxCount": 65536,
    "turnTimeoutDefaultMs": 120000,
    "turnTimeoutMaxMs": 28800000,
    "interruptGraceMs": 1500,
    "killGraceMs": 10000,
    "launchTimeoutMs": 10000,
    "forksMaxCount": 100,
    "streamsMaxCount": 64,
    "contextsMaxCount": 16,
    "backgroundProcessesMaxCount": 32,
    "pathMaxBytes": 4096,
    "fileListMaxCount": 10000,
    "traceDepthMaxCount": 200,
    "bodyMaxBytes": 33554432,
    "jsonDepthMaxCount": 32,
    "jsonValuesMaxCount": 10000,
    "pageMaxCount": 200,
    "pageDefaultCount": 50,
    "cursorMaxLength": 512,
    "eventPageMaxCount": 1000,
    "toolsMaxCount": 100,
    "toolOperationsMaxCount": 200,
    "toolParametersMaxCount": 64,
    "secretsMaxCount": 200,
    "secretMaxLength": 16384,
    "policyTextMaxLength": 1048576,
    "grantEntriesMaxCount": 500,
    "egressHostsMaxCount": 100,
    "egressAddressesMaxCount": 16,
    "egressConnectionsMaxCount": 16,
    "labelsMaxCount": 32,
    "labelValueMaxLength": 256,
    "subjectMaxLength": 256,
    "idempotencyKeyMaxLength": 255,
    "idempotencyKeptMs": 86400000,
    "argumentMaxLength": 131072,
    "argumentsMaxCount": 1024,
    "environmentMaxCount": 256,
    "commandInputMaxLength": 16777216,
    "commandOutputMaxBytes": 4194304,
    "connectionsMaxCount": 2000,
    "portsMaxCount": 32,
    "portConnectionsMaxCount": 32,
    "terminalMessageMaxBytes": 1048576,
    "terminalSilenceMs": 60000,
    "terminalTokenMs": 60000,
    "portIdleMs": 600000,
    "portHeaderMaxBytes": 32768,
    "portTokenDefaultSeconds": 3600,
    "portTokenMaxSeconds": 86400,
    "keyGraceMaxSeconds": 604800,
    "quotaMaximum": 1000000000,
}
