"""Requests, what they carry, when they are sent again, and what a refusal is."""

from __future__ import annotations

import logging
import pickle
import traceback
from typing import Any

import pytest
from conftest import API_KEY, QUICK
from scripted_server import NOW, SESSION_ID, TENANT_ID, Answer, ScriptedServer, problem, session

from bulkhead import Bulkhead, BulkheadError, RetryPolicy

CREATE = "POST /v1/sessions"
ONE = f"/v1/sessions/{SESSION_ID}"


def test_a_request_carries_what_the_table_says(client: Any, server: ScriptedServer) -> None:
    server.on(CREATE, Answer(201, session()))
    made = client.sessions.create(size="small", labels={"team": "risk"}, idle=1.5)
    assert made.id == SESSION_ID
    assert made.info.created_at.isoformat() == NOW.replace("Z", "000+00:00")
    (asked,) = server.asked
    assert asked.json == {"size": "small", "labels": {"team": "risk"}, "timeLimits": {"idleMs": 1500}}
    assert asked.headers["authorization"] == f"Bearer {API_KEY}"
    assert asked.headers["accept"] == "application/json"
    assert len(asked.headers["idempotency-key"]) >= 16


@pytest.mark.parametrize("refusal", [problem("capacity_exhausted", 503), problem("rate_limited", 429), Answer(502)])
def test_what_can_succeed_later_is_sent_again_with_the_same_key(
    client: Any, server: ScriptedServer, refusal: Answer
) -> None:
    server.on(CREATE, refusal, refusal, Answer(201, session()))
    client.sessions.create()
    keys = {asked.headers["idempotency-key"] for asked in server.asked}
    assert len(server.asked) == 3
    assert len(keys) == 1
    client.sessions.create()
    assert server.asked[-1].headers["idempotency-key"] not in keys


def test_an_answer_that_is_cut_is_asked_for_again(client: Any, server: ScriptedServer) -> None:
    server.on(CREATE, Answer(201, session(), cut_after=40), Answer(201, session()))
    client.sessions.create(idempotency_key="mine")
    assert [asked.headers["idempotency-key"] for asked in server.asked] == ["mine", "mine"]


def test_what_cannot_succeed_is_not_sent_again(client: Any, server: ScriptedServer) -> None:
    server.on(CREATE, problem("forbidden", 403, hint="Ask for it.", details={"scope": "sessions:write"}))
    with pytest.raises(BulkheadError) as caught:
        client.sessions.create()
    error = caught.value
    assert (error.code, error.message, error.hint, error.request_id) == (
        "forbidden",
        "It is forbidden.",
        "Ask for it.",
        "req_1",
    )
    assert error.details == {"scope": "sessions:write"}
    assert error.retry == "never"
    assert str(error) == "forbidden: It is forbidden.\nAsk for it. (request req_1)"
    again = pickle.loads(pickle.dumps(error))
    assert (again.code, again.hint, again.details, again.request_id) == (
        error.code,
        error.hint,
        error.details,
        error.request_id,
    )
    assert len(server.asked) == 1


def test_what_changes_something_and_has_no_key_is_not_repeated_blindly(client: Any, server: ScriptedServer) -> None:
    server.on(f"GET {ONE}", Answer(json=session()))
    server.on(f"POST {ONE}/suspend", Answer(502), Answer(json=session("suspended")))
    found = client.sessions.get(SESSION_ID)
    with pytest.raises(BulkheadError, match="server_unreachable"):
        found.suspend()
    assert len(server.asked_for(f"POST {ONE}/suspend")) == 1
    # A refusal before anything was done is another matter.
    server.on(f"POST {ONE}/suspend", problem("server_stopping", 503), Answer(json=session("suspended", version=4)))
    assert found.suspend().state == "suspended"
    assert found.state == "suspended"


def test_retry_after_is_kept_to_and_a_long_one_is_told(connect: Any, server: ScriptedServer) -> None:
    client = connect(server.url, retry=RetryPolicy(attempts=2, first_delay=0, max_delay=2))
    server.on(CREATE, problem("quota_exceeded", 429, headers={"retry-after": "3600"}))
    with pytest.raises(BulkheadError, match="quota_exceeded"):
        client.sessions.create()
    assert len(server.asked) == 1
    server.on(CREATE, problem("quota_exceeded", 429, headers={"retry-after": "0"}), Answer(201, session()))
    client.sessions.create()
    assert len(server.asked) == 3


def test_the_attempts_have_an_end(client: Any, server: ScriptedServer) -> None:
    server.on(CREATE, problem("capacity_exhausted", 503))
    with pytest.raises(BulkheadError, match="capacity_exhausted"):
        client.sessions.create()
    assert len(server.asked) == QUICK.attempts


def test_a_client_opens_and_closes_its_own_connections(server: ScriptedServer) -> None:
    server.on("GET /healthz", Answer(json={"status": "ok", "version": "1"}))
    with Bulkhead(server.url) as client:
        assert client.health().status == "ok"
    with pytest.raises(RuntimeError, match="closed"):
        client.health()


def test_nobody_there(connect: Any) -> None:
    client = connect("http://127.0.0.1:1")
    with pytest.raises(BulkheadError) as caught:
        client.caller()
    assert caught.value.code == "server_unreachable"
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(403, body=b"<html>no</html>"), "forbidden"),
        (Answer(404, json={"detail": "not here"}), "not_found"),
        (Answer(302, headers={"location": "http://127.0.0.1:1/elsewhere"}), "internal"),
        (Answer(418, json={"code": "a_code_of_tomorrow", "detail": "Teapot."}), "invalid_request"),
        (Answer(200, body=b"no json"), "internal"),
        (Answer(200, json=[1]), "internal"),
        (Answer(200, json={"tenant": 5}), "internal"),
        (Answer(200, body=b"[" * 100_000), "internal"),
        (Answer(200, body=b"{}", headers={"content-encoding": "gzip"}), "internal"),
    ],
)
def test_answers_of_who_does_not_speak_our_language(
    client: Any, server: ScriptedServer, answer: Answer, code: str
) -> None:
    server.on("GET /v1/caller", answer)
    with pytest.raises(BulkheadError) as caught:
        client.caller()
    assert caught.value.code == code


def test_an_answer_has_a_bound(client: Any, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkhead._core.ANSWER_MAX_BYTES", 1000)
    server.on("GET /v1/caller", Answer(body=b" " * 2000))
    with pytest.raises(BulkheadError, match="limit_exceeded"):
        client.caller()


def test_the_key_is_in_no_text(client: Any, server: ScriptedServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.on("GET /v1/caller", Answer(200, body=b"no json"), Answer(401))
    shown = [repr(client), str(vars(client.target if hasattr(client, "target") else client))]
    for _ in range(2):
        with pytest.raises(BulkheadError) as caught:
            client.caller()
        told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        shown += [str(caught.value), repr(caught.value), "".join(told.format())]
    assert server.asked[0].headers["authorization"].endswith(API_KEY)
    assert not any(API_KEY in text for text in [*shown, caplog.text])


@pytest.mark.parametrize("key", ["", "two words", "line\n", "ü", "x" * 20_000])
def test_a_key_that_is_none_is_refused_and_not_quoted(connect: Any, key: str) -> None:
    with pytest.raises(BulkheadError) as caught:
        connect("http://127.0.0.1:1", key)
    assert caught.value.code == "invalid_request"
    assert key == "" or key not in str(caught.value)


@pytest.mark.parametrize("url", ["", "localhost:7070", "ftp://a", "http://", "http://u:pw@a", "http://a?x=1", "http://a:x"])
def test_a_url_that_is_none_is_refused_and_not_quoted(connect: Any, url: str) -> None:
    with pytest.raises(BulkheadError) as caught:
        connect(url)
    assert caught.value.code == "invalid_request"
    assert "pw" not in str(caught.value)


def test_a_token_is_asked_for_again_when_it_was_refused(connect: Any, server: ScriptedServer) -> None:
    given: list[bool] = []

    def token(refused: bool) -> str:
        given.append(refused)
        return "new" if refused else "old"

    client = connect(server.url, None, token=token)
    caller = {"tenant": TENANT_ID, "subject": "s", "scopes": ["sessions:read"], "key": None}
    server.on(
        "GET /v1/caller",
        lambda asked: Answer(json=caller) if asked.headers["authorization"] == "Bearer new" else problem("unauthenticated", 401),
    )
    assert client.caller().scopes == ("sessions:read",)
    assert given == [False, True]
    server.on("GET /v1/caller", problem("unauthenticated", 401))
    with pytest.raises(BulkheadError, match="unauthenticated"):
        client.caller()
    assert given == [False, True, False, True]


def test_public_routes_are_asked_without_the_key(client: Any, server: ScriptedServer) -> None:
    server.on("GET /healthz", Answer(json={"status": "ok", "version": "1.2.3"}))
    server.on("GET /readyz", Answer(503, json={"status": "starting", "reasons": ["the store"]}))
    assert client.health().version == "1.2.3"
    assert client.readiness().reasons == ("the store",)
    assert all("authorization" not in asked.headers for asked in server.asked)


def test_lists_come_page_by_page(client: Any, server: ScriptedServer) -> None:
    ids = [SESSION_ID[:-1] + last for last in "abcde"]
    pages = {None: (ids[:2], "c1"), "c1": (ids[2:4], "c2"), "c2": (ids[4:], None)}

    def page(asked: Any) -> Answer:
        items, following = pages[asked.query.get("cursor")]
        return Answer(json={"items": [session(id=each) for each in items], "nextCursor": following})

    server.on("GET /v1/sessions", page)
    listed = client.sessions.list(state="ready", ended=True, label="team", limit=2)
    assert [info.id for info in listed] == ids
    assert list(listed) == []
    first = {"state": "ready", "ended": "true", "labelKey": "team", "limit": "2"}
    assert [asked.query for asked in server.asked] == [first, {**first, "cursor": "c1"}, {**first, "cursor": "c2"}]
    # Whoever stops early asks for no more.
    for _ in client.sessions.list():
        break
    assert len(server.asked) == 4


def test_a_list_that_leads_to_itself_ends(client: Any, server: ScriptedServer) -> None:
    server.on("GET /v1/sessions", Answer(json={"items": [], "nextCursor": "same"}))
    with pytest.raises(BulkheadError, match="leads to itself"):
        list(client.sessions.list())


def test_a_session_is_terminated_at_the_end_of_its_block(client: Any, server: ScriptedServer) -> None:
    server.on(CREATE, Answer(201, session()))
    server.on(f"DELETE {ONE}", Answer(json=session("terminated", version=9)))
    with client.sessions.create() as made:
        assert made.state == "ready"
    assert made.state == "terminated"
    # The first error is the one that is told, and what is gone is gone.
    server.on(f"DELETE {ONE}", problem("host_unavailable", 500))
    with pytest.raises(ZeroDivisionError), client.sessions.create():
        raise ZeroDivisionError
    server.on(f"DELETE {ONE}", problem("not_found", 404))
    with client.sessions.create():
        pass


def test_labels_with_and_without_their_version(client: Any, server: ScriptedServer) -> None:
    server.on(f"GET {ONE}", Answer(json=session()))
    server.on(f"PATCH {ONE}", Answer(json=session(labels={"a": "b"}, version=4)))
    found = client.sessions.get(SESSION_ID)
    found.set_labels({"a": "b"}, if_unchanged=True)
    found.set_labels({})
    first, second = server.asked_for(f"PATCH {ONE}")
    assert first.headers["if-match"] == '"3"'
    assert "if-match" not in second.headers
    assert found.labels == {"a": "b"}


def test_an_older_answer_does_not_overwrite_a_newer_one(client: Any, server: ScriptedServer) -> None:
    server.on(f"GET {ONE}", Answer(json=session(version=7)), Answer(json=session("suspended", version=6)))
    found = client.sessions.get(SESSION_ID)
    found.refresh()
    assert (found.state, found.info.version) == ("ready", 7)


def test_secrets_are_given_once_and_not_printed(client: Any, server: ScriptedServer) -> None:
    key = {
        "id": "key_1",
        "name": "ci",
        "subject": "s",
        "scopes": [],
        "createdAt": NOW,
        "expiresAt": None,
        "revokedAt": None,
        "lastUsedAt": None,
    }
    server.on(f"POST /v1/tenants/{TENANT_ID}/keys", Answer(201, {**key, "secret": "bh_very_secret"}))
    issued = client.tenants.keys(TENANT_ID).create("ci", role="developer")
    assert issued.secret == "bh_very_secret"
    assert "bh_very_secret" not in repr(issued)
    assert server.asked[-1].json == {"name": "ci", "role": "developer"}
    port = {"id": "prt_1", "port": 8000, "path": "/p/1/", "expiresAt": NOW}
    server.on(f"GET {ONE}", Answer(json=session()))
    server.on(f"POST {ONE}/ports", Answer(201, {**port, "token": "tok_secret"}))
    ports = client.sessions.get(SESSION_ID).ports
    exposed = ports.expose(8000, expires_in=60)
    assert server.asked[-1].json == {"port": 8000, "expiresInSeconds": 60}
    assert ports.url(exposed) == f"{server.url}/p/1/"
    assert "tok_secret" not in repr(exposed)


def test_an_id_cannot_leave_its_place_in_the_path(client: Any, server: ScriptedServer) -> None:
    with pytest.raises(BulkheadError, match="not_found"):
        client.sessions.get("../tenants/x?y=1#z")
    assert server.asked[0].path == "/v1/sessions/..%2Ftenants%2Fx%3Fy%3D1%23z"
