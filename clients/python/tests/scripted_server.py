"""A server that answers as a test says, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

SESSION_ID = "ses_0123456789abcdefghjkmnpqrs"
TURN_ID = "trn_0123456789abcdefghjkmnpqrs"
TENANT_ID = "ten_0123456789abcdefghjkmnpqrs"
NOW = "2026-01-02T03:04:05.678Z"


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    status: int = 200
    json: Any = None
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    #: Of the body, how many bytes are sent before the connection is cut.
    cut_after: int | None = None
    #: Called before anything is answered.
    before: Callable[[], Any] | None = None


def problem(code: str, status: int, **more: Any) -> Answer:
    headers = more.pop("headers", {})
    told = {"type": f"urn:bulkhead:error:{code}", "title": code, "status": status, "detail": f"It is {code}.", "code": code}
    return Answer(
        status=status,
        json={**told, "requestId": "req_1", **more},
        headers={"content-type": "application/problem+json; charset=utf-8", **headers},
    )


def session(state: str = "ready", **more: Any) -> dict[str, Any]:
    return {
        "id": SESSION_ID,
        "tenant": TENANT_ID,
        "subject": "somebody",
        "labels": {},
        "state": state,
        "version": 3,
        "size": "small",
        "runtime": "fake",
        "tier": "none",
        "minimumTier": None,
        "createdAt": NOW,
        "activeAt": NOW,
        "endedAt": None,
        "turn": None,
        "turnCount": 0,
        "parent": None,
        "epoch": 1,
        "grant": [],
        "timeLimits": {"idleMs": 1000, "sleepMs": 1000, "lifetimeMs": 1000},
        "launchMs": 1.5,
        "error": None,
        "newMember": "of a newer server",
        **more,
    }


def turn(result: Any = None, **more: Any) -> dict[str, Any]:
    state = "running" if result is None else "ended"
    return {"id": TURN_ID, "session": SESSION_ID, "state": state, "startedAt": NOW, "endedAt": None, "result": result, **more}


def events(*told: dict[str, Any]) -> bytes:
    return b"".join(
        f"id: {event.get('seq', '')}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in told
    )


EVENTS = {"content-type": "text/event-stream"}


class ScriptedServer:
    """Answers each route with what was put down for it, in order; the last one again and again."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._answers: dict[str, list[Answer | Callable[[Asked], Answer]]] = {}
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 20

            def handle_one(self) -> None:
                server._handle(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def on(self, route: str, *answers: Answer | Callable[[Asked], Answer]) -> None:
        self._answers[route] = list(answers)

    def asked_for(self, route: str) -> list[Asked]:
        return [asked for asked in self.asked if f"{asked.method} {asked.path}" == route]

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(20)

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        asked = Asked(
            handler.command,
            parts.path,
            {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()},
            {name.lower(): value for name, value in handler.headers.items()},
            handler.rfile.read(int(handler.headers.get("content-length", 0))),
        )
        with self._lock:
            self.asked.append(asked)
            answers = self._answers.get(f"{asked.method} {asked.path}")
            if not answers:
                found: Any = problem("not_found", 404, detail=f"nothing was put down for {asked.method} {asked.path}")
            else:
                found = answers.pop(0) if len(answers) > 1 else answers[0]
        answer = found(asked) if callable(found) else found
        if answer.before is not None:
            answer.before()
        self._send(handler, answer)

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        body = answer.body if answer.json is None else json.dumps(answer.json).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **answer.headers}
        try:
            handler.send_response(answer.status)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body if answer.cut_after is None else body[: answer.cut_after])
            handler.wfile.flush()
        except OSError:
            # The client has gone.
            handler.close_connection = True
        if answer.cut_after is not None:
            handler.close_connection = True
