"""What schemathesis cannot know of the API: which ids exist, and which acts would end the run itself.

A random id of a session never exists, so that every route would answer 404 and be tested no further: most requests are given sessions that do. Requests are
counted, with those that succeeded, so that the run can be held to have tested something.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import threading
import urllib.request
from collections import Counter
from typing import Any

import schemathesis

URL = os.environ["BULKHEAD_TEST_URL"]
KEY = os.environ["BULKHEAD_TEST_KEY"]
COUNTS_FILE = os.environ["BULKHEAD_TEST_COUNTS"]
POOL_COUNT = 4

_checkpoint_names: dict[str, str] = {}
_port_ids: dict[tuple[str, str], str] = {}
_lock = threading.Lock()
_asked: Counter[str] = Counter()
_answered: Counter[str] = Counter()
_statuses: Counter[int] = Counter()


def _ask(method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(
        URL + path,
        method=method,
        data=body if body is None or isinstance(body, bytes) else json.dumps(body).encode(),
        headers={
            "authorization": f"Bearer {KEY}",
            "content-type": "application/octet-stream" if isinstance(body, bytes) else "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


CALLER = _ask("GET", "/v1/caller")


class Pool:
    """Sessions that are there, each with a turn, a file, a checkpoint and a background program."""

    def __init__(self) -> None:
        self._sessions: dict[str, dict[str, str]] = {}

    def take(self) -> dict[str, str]:
        with _lock:
            if len(self._sessions) < POOL_COUNT:
                made = _make_session()
                self._sessions[made["session"]] = made
            return random.choice(list(self._sessions.values()))

    def forget(self, session: str | None) -> None:
        with _lock:
            self._sessions.pop(session or "", None)


def _make_session() -> dict[str, str]:
    session = _ask("POST", "/v1/sessions", {})["id"]
    one = f"/v1/sessions/{session}"
    turn = _ask("POST", f"{one}/turns", {"code": "x = 41\nprint(x + 1)"})["id"]
    process = _ask("POST", f"{one}/processes", {"argv": ["echo", "hello"]})["process"]
    _ask("PUT", f"{one}/files/content?path=a.txt", b"hello")
    checkpoint = _ask("POST", f"{one}/checkpoints", {"name": "one"})["name"]
    return {"session": session, "turn": turn, "process": process, "checkpoint": checkpoint, "tenant": CALLER["tenant"]}


POOL = Pool()
#: Operations that take away what the run needs.
_DEADLY = {"deleteTenant", "updateTenant", "rotateKey", "revokeKey"}


def _operation_id(case: Any) -> str:
    return case.operation.definition.raw.get("operationId", "")


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """The run keeps its own tenant and key, and code that is sent to a fake guest does not wait."""
    parameters = case.path_parameters or {}
    if _operation_id(case) not in _DEADLY:
        return True
    return parameters.get("tenant") != CALLER["tenant"] and parameters.get("key") != CALLER["key"]


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Valid requests are given what exists. What breaks a schema is sent as it was made up."""
    if case.meta.generation.mode.value != "positive":
        return
    parameters = case.path_parameters
    if parameters and str(parameters.get("checkpoint", "")).startswith("snp_"):
        # It was taken for the id that the answer has too; a checkpoint is found by its name.
        parameters["checkpoint"] = _checkpoint_names.get(parameters["checkpoint"], "one")
    if parameters and not str(parameters.get("port", "prt_")).startswith("prt_"):
        # It was taken for the number that the answer has too; a port is found by its id.
        parameters["port"] = _port_ids.get((parameters["session"], str(parameters["port"])), "prt_" + "0" * 26)
    if case.headers and case.meta.phase.name.value == "stateful":
        # The answer to a key that was used before tells of what may have been removed since.
        case.headers.pop("Idempotency-Key", None)
    if isinstance(case.query, dict):
        # A cursor is what a page gave and nothing else: another one is refused, rightly.
        case.query.pop("cursor", None)
        if "labelKey" not in case.query:
            case.query.pop("labelValue", None)
    if isinstance(case.body, dict):
        # Which runtimes a host has is its own affair.
        case.body.pop("runtime", None)
        # Nor which tools a tenant has.
        case.body.pop("grant", None)
        # A key that has expired is not made.
        if "expiresAt" in case.body:
            case.body["expiresAt"] = "2100-01-01T00:00:00Z"
    # The stateful phase knows what it has made.
    if case.meta.phase.name.value == "stateful" or random.random() < 0.2:
        return
    known = POOL.take()
    if parameters and ("session" in parameters or _operation_id(case) not in _DEADLY):
        parameters.update({name: known[name] for name in parameters if name in known})
    if isinstance(case.query, dict) and "path" in case.query:
        case.query["path"] = "a.txt"
    if isinstance(case.body, dict) and "from" in case.body:
        case.body["from"] = "a.txt"


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    operation = _operation_id(case)
    with _lock:
        _asked[operation] += 1
        _statuses[response.status_code] += 1
        if 200 <= response.status_code < 300:
            _answered[operation] += 1
    if operation == "createCheckpoint" and response.status_code == 201:
        made = response.json()
        _checkpoint_names[made["id"]] = made["name"]
    if operation == "exposePort" and response.status_code == 201:
        made = response.json()
        _port_ids[(case.path_parameters["session"], str(made["port"]))] = made["id"]
    if response.status_code == 410 or (operation == "terminateSession" and response.status_code == 200):
        POOL.forget((case.path_parameters or {}).get("session"))


@atexit.register
def _tell() -> None:
    with open(COUNTS_FILE, "w", encoding="utf-8") as file:
        json.dump({"asked": _asked, "answered": _answered, "statuses": _statuses}, file)
