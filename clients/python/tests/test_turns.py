"""Turns as streams that are cut, and commands."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from scripted_server import EVENTS, SESSION_ID, TURN_ID, Answer, ScriptedServer, events, problem, session, turn

from bulkhead import BulkheadError, EndEvent, TextEvent, UnknownEvent

ONE = f"/v1/sessions/{SESSION_ID}"
STREAM = f"GET {ONE}/turns/{TURN_ID}/events"
OUTCOME = {"status": "ok", "error": None, "exception": None, "context": "kept", "guestMs": 1, "turnMs": 2.5}


def told(count: int) -> list[dict[str, Any]]:
    printed = [{"seq": seq, "type": "stdout", "text": f"line {seq}\n"} for seq in range(1, count)]
    return [*printed, {"seq": count, "type": "end", "outcome": OUTCOME}]


@pytest.fixture
def opened(client: Any, server: ScriptedServer) -> Any:
    server.on(f"GET {ONE}", Answer(json=session()))
    server.on(f"POST {ONE}/turns", Answer(201, turn()))
    return client.sessions.get(SESSION_ID)


def test_a_turn_is_run_to_its_end(opened: Any, server: ScriptedServer) -> None:
    all_events = [
        {"seq": 1, "type": "stdout", "text": "a"},
        {"seq": 2, "type": "stderr", "text": "b"},
        {"seq": 3, "type": "display", "data": {"text/plain": "shown"}},
        {"seq": 4, "type": "stdout", "text": "c\n"},
        {"seq": 5, "type": "result", "data": {"text/plain": "42"}},
        {"seq": 6, "type": "truncated", "stream": "stdout", "droppedBytes": 10, "exact": True},
        {"seq": 7, "type": "truncated", "stream": "events", "droppedBytes": 5, "exact": False},
        {"seq": 8, "type": "end", "outcome": OUTCOME},
    ]
    server.on(STREAM, Answer(body=events(*all_events), headers=EVENTS))
    result = opened.run("code", language="python", context="c", timeout=2)
    assert server.asked_for(f"POST {ONE}/turns")[0].json == {
        "code": "code",
        "language": "python",
        "context": "c",
        "timeoutMs": 2000,
        "wait": "none",
    }
    assert (result.ok, result.stdout, result.stderr, result.context) == (True, "ac\n", "b", "kept")
    assert result.text == "ac\nshown\n42"
    assert (result.session_id, result.turn_id) == (SESSION_ID, TURN_ID)
    assert (result.truncated.stdout_bytes, result.truncated.result_bytes) == (10, 5)
    assert result.timings.turn_ms == 2.5
    assert result.check() is result


@pytest.mark.parametrize("cut_bytes", [0, 1, 57, 200, 333])
def test_each_event_comes_once_however_often_the_connection_is_cut(
    opened: Any, server: ScriptedServer, cut_bytes: int
) -> None:
    all_events = told(30)

    def from_where(asked: Any) -> Answer:
        after = int(asked.headers.get("last-event-id", 0))
        # Some servers tell the last one again.
        rest = events(*all_events[max(0, after - 1) :])
        # Every connection brings a little: what is cut in the middle of an event is not an event.
        once = len(events(all_events[after])) + len(events(all_events[max(0, after - 1)]))
        return Answer(body=rest, headers=EVENTS, cut_after=min(len(rest), once + cut_bytes))

    server.on(STREAM, from_where)
    stream = opened.stream("code")
    found = list(stream)
    assert [event.seq for event in found] == list(range(1, 31))
    assert stream.result().stdout == "".join(event["text"] for event in all_events[:-1])
    asked = server.asked_for(STREAM)
    assert len(asked) > 5
    assert "last-event-id" not in asked[0].headers
    assert len(server.asked_for(f"POST {ONE}/turns")) == 1


def test_a_stream_that_ends_in_order_before_the_turn_goes_on(opened: Any, server: ScriptedServer) -> None:
    first, second = events(*told(3)[:2]), events(*told(3)[2:])
    server.on(STREAM, Answer(body=first, headers=EVENTS), problem("server_stopping", 503), Answer(body=second, headers=EVENTS))
    assert opened.run("code").stdout == "line 1\nline 2\n"
    assert server.asked_for(STREAM)[-1].headers["last-event-id"] == "2"


def test_a_reader_that_goes_on_later(opened: Any, server: ScriptedServer) -> None:
    server.on(STREAM, Answer(body=events(*told(4)[2:]), headers=EVENTS))
    result = {
        "sessionId": SESSION_ID,
        "turnId": TURN_ID,
        "status": "ok",
        "stdout": "all",
        "stderr": "",
        "results": [],
        "error": None,
        "exception": None,
        "context": "kept",
        "truncated": {"stdoutBytes": 0, "stderrBytes": 0, "resultBytes": 0},
        "timings": {"turnMs": 1, "guestMs": 1},
    }
    server.on(f"GET {ONE}/turns/{TURN_ID}", Answer(json=turn(result)))
    stream = opened.follow(TURN_ID, after=2)
    assert [event.seq for event in stream] == [3, 4]
    assert stream.last_seq == 4
    # The beginning was not read here: the server has it.
    assert stream.result().stdout == "all"


def test_a_type_of_a_newer_server_is_handed_on(opened: Any, server: ScriptedServer) -> None:
    newer = [{"seq": 1, "type": "hologram", "x": 1}, {"seq": 2, "type": "end", "outcome": OUTCOME}]
    server.on(STREAM, Answer(body=events(*newer), headers=EVENTS))
    first, second = list(opened.stream("code"))
    assert isinstance(first, UnknownEvent)
    assert first.raw["x"] == 1
    assert isinstance(second, EndEvent)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(json={}), "internal"),
        (Answer(body=b"data: nonsense\n\n", headers=EVENTS), "internal"),
        (Answer(body=b"data: \xff\xfe\n\n", headers=EVENTS), "internal"),
        (Answer(body=b'data: {"seq": 1, "type": "stdout"}\n\n', headers=EVENTS), "internal"),
        (problem("not_found", 404), "not_found"),
    ],
)
def test_a_stream_that_is_none_is_told(opened: Any, server: ScriptedServer, answer: Answer, code: str) -> None:
    server.on(STREAM, answer)
    with pytest.raises(BulkheadError) as caught:
        opened.run("code")
    assert caught.value.code == code


def test_an_event_has_a_bound(opened: Any, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkhead._sse.EventParser.__init__.__defaults__", (1000,))
    server.on(STREAM, Answer(body=b"data: " + b"x" * 5000, headers=EVENTS))
    with pytest.raises(BulkheadError, match="limit_exceeded"):
        opened.run("code")


def test_a_stream_that_brings_nothing_is_given_up(
    opened: Any, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bulkhead._streams.FIRST_DELAY_SECONDS", 0.0001)
    monkeypatch.setattr("bulkhead._streams.DELAY_MAX_SECONDS", 0.001)
    server.on(STREAM, Answer(body=b": still here\n\n", headers=EVENTS))
    with pytest.raises(BulkheadError, match="server_unreachable"):
        opened.run("code")
    assert len(server.asked_for(STREAM)) == 13


def test_what_the_code_did_wrong_is_in_the_result(opened: Any, server: ScriptedServer) -> None:
    exception = {
        "name": "ZeroDivisionError",
        "value": "division by zero",
        "frames": [{"file": "<turn>", "line": 1, "name": "<module>"}],
        "traceback": "Traceback: 1/0",
    }
    error = {"code": "turn_failed", "message": "ZeroDivisionError: division by zero"}
    outcome = {**OUTCOME, "status": "error", "error": error, "exception": exception}
    server.on(STREAM, Answer(body=events({"seq": 1, "type": "end", "outcome": outcome}), headers=EVENTS))
    result = opened.run("1/0")
    assert not result.ok
    assert result.exception.frames[0].line == 1
    with pytest.raises(BulkheadError) as caught:
        result.check()
    assert caught.value.code == "turn_failed"
    assert "Traceback: 1/0" in caught.value.message


def test_leaving_a_stream_leaves_the_turn_alone_and_cancel_stops_it(opened: Any, server: ScriptedServer) -> None:
    server.on(STREAM, Answer(body=events(*told(3)), headers=EVENTS))
    cancel = f"POST {ONE}/turns/{TURN_ID}/cancel"
    server.on(cancel, Answer(502), Answer(202, turn()))
    with opened.stream("code") as stream:
        for event in stream:
            assert isinstance(event, TextEvent)
            break
    assert server.asked_for(cancel) == []
    stream.cancel()
    assert len(server.asked_for(cancel)) == 2


def test_a_stream_is_read_as_it_comes(opened: Any, server: ScriptedServer) -> None:
    """The first event is there before the server has the second."""
    read_first = threading.Event()
    first, rest = told(2)[:1], told(2)[1:]
    server.on(
        STREAM,
        Answer(body=events(*first), headers=EVENTS),
        Answer(body=events(*rest), headers=EVENTS, before=lambda: read_first.wait(20)),
    )
    seen = []
    for event in opened.stream("code"):
        seen.append(event.seq)
        read_first.set()
    assert seen == [1, 2]


COMMAND_END = {
    "exitCode": 3,
    "signal": None,
    "timedOut": False,
    "truncated": {"stdoutBytes": 0, "stderrBytes": 7},
    "elapsedMs": 1.5,
}


def test_commands(opened: Any, server: ScriptedServer) -> None:
    server.on(f"POST {ONE}/commands", Answer(201, {**COMMAND_END, "stdout": "out", "stderr": "err"}))
    result = opened.commands.run("ls | wc -l", env={"A": "b"}, stdin=b"\x00\xff", timeout=1)
    assert (result.exit_code, result.stdout, result.truncated.stderr_bytes) == (3, "out", 7)
    assert server.asked[-1].json == {
        "argv": ["bash", "-c", "ls | wc -l"],
        "env": {"A": "b"},
        "stdin": "AP8=",
        "stdinEncoding": "base64",
        "timeoutMs": 1000,
    }
    opened.commands.run(["ls", "-l"], stdin="text")
    assert server.asked[-1].json == {"argv": ["ls", "-l"], "stdin": "text"}


def test_a_command_as_a_stream(opened: Any, server: ScriptedServer) -> None:
    printed = [{"type": "stdout", "text": "a"}, {"type": "stderr", "text": "b"}, {"type": "progress"}]
    body = events(*printed, {"type": "stdout", "text": "c"}, {"type": "end", "result": COMMAND_END})
    server.on(f"POST {ONE}/commands", Answer(201, body=body, headers=EVENTS))
    stream = opened.commands.stream(["ls"])
    assert [event.type for event in stream] == ["stdout", "stderr", "stdout", "end"]
    assert (stream.result().stdout, stream.result().stderr, stream.result().exit_code) == ("ac", "b", 3)
    server.on(f"POST {ONE}/commands", Answer(201, body=body, headers=EVENTS, cut_after=60))
    with pytest.raises(BulkheadError, match="server_unreachable"):
        opened.commands.stream(["ls"]).result()


def test_background_programs(opened: Any, server: ScriptedServer) -> None:
    state = {"process": "p1", "argv": ["x"], "running": True, "exitCode": None, "signal": None, "outputBytes": 3}
    server.on(f"POST {ONE}/processes", Answer(201, {"process": "p1"}))
    server.on(f"GET {ONE}/processes", Answer(json={"items": [state]}))
    server.on(f"GET {ONE}/processes/p1/output", Answer(body=b"abc\xff", headers={"content-type": "application/octet-stream"}))
    server.on(f"DELETE {ONE}/processes/p1", Answer(204))
    process = opened.commands.start(["x"])
    assert process.state().running
    assert process.output() == "abc�"
    process.kill()
    with pytest.raises(BulkheadError, match="not_found"):
        opened.commands.process("other").state()


def test_forks_and_checkpoints(opened: Any, server: ScriptedServer) -> None:
    child = session(id=SESSION_ID[:-1] + "x", parent=SESSION_ID)
    server.on(f"POST {ONE}/fork", Answer(201, {"sessions": [child, child]}))
    forks = opened.fork(count=2)
    assert [fork.info.parent for fork in forks] == [SESSION_ID, SESSION_ID]
    assert "idempotency-key" in server.asked[-1].headers
    kept = {"id": "snp_1", "name": "before", "createdAt": "2026-01-02T03:04:05.678Z", "bytes": 10}
    server.on(f"POST {ONE}/checkpoints", Answer(201, kept))
    server.on(f"GET {ONE}/checkpoints", Answer(json={"items": [kept]}))
    server.on(f"POST {ONE}/checkpoints/before/restore", Answer(json=session(epoch=2, version=5)))
    server.on(f"DELETE {ONE}/checkpoints/before", Answer(204))
    assert opened.checkpoints.create("before").bytes == 10
    assert [checkpoint.name for checkpoint in opened.checkpoints.list()] == ["before"]
    opened.checkpoints.restore("before")
    assert opened.info.epoch == 2
    opened.checkpoints.delete("before")
