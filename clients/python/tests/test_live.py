"""The client and the server together."""

from __future__ import annotations

import io
import random
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from live_server import LiveServer

from bulkhead import BulkheadError, RetryPolicy


class CuttingProxy:
    """Passes bytes on to a server, and cuts connections that answer after so many bytes as it is told."""

    def __init__(self, url: str, cut_after: Callable[[], int]) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._target = (host, int(port))
        self._cut_after = cut_after
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near, socket.create_connection(self._target) as far:
            upwards = threading.Thread(target=self._pass, args=(near, far, None), daemon=True)
            upwards.start()
            self._pass(far, near, self._cut_after())
            upwards.join()

    def _pass(self, source: socket.socket, sink: socket.socket, left: int | None) -> None:
        try:
            while data := source.recv(4096):
                if left is not None and len(data) >= left:
                    sink.sendall(data[:left])
                    self.cuts += 1
                    break
                left = None if left is None else left - len(data)
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@pytest.fixture
def session(connect: Callable[..., Any], live: LiveServer) -> Iterator[Any]:
    with connect(live.url, live.key).sessions.create(labels={"test": "live"}) as made:
        yield made


def test_who_is_asking_and_what_there_is(connect: Callable[..., Any], live: LiveServer) -> None:
    client = connect(live.url, live.key)
    assert client.caller().tenant == live.tenant
    assert client.health().status == "ok"
    assert client.readiness().status == "ready"
    assert client.limits().limits["codeMaxBytes"] > 0
    assert "python" in client.limits().languages
    assert [runtime.runtime for runtime in client.runtimes()] == ["fake"]
    assert list(client.templates()) == []
    with pytest.raises(BulkheadError) as caught:
        connect(live.url, "bh_wrong").caller()
    assert caught.value.code == "unauthenticated"
    assert str(caught.value.request_id).startswith("req_")


def test_turns(session: Any) -> None:
    session.run("x = 41")
    result = session.run("x + 1")
    assert (result.text, result.ok, result.context) == ("42", True, "kept")
    failed = session.run('raise ValueError("no")')
    assert (failed.exception.name, failed.error.code) == ("ValueError", "turn_failed")
    assert session.run("fake.figure()").images[0].mime == "image/png"
    assert session.run("fake.table()").tables[0].rows == ((1,),)
    stream = session.stream('print("a")\nprint("b")')
    assert [event.type for event in stream] == ["stdout", "stdout", "end"]
    assert stream.result().stdout == "a\nb\n"
    assert session.follow(stream.turn_id, after=1).result().stdout == "a\nb\n"
    assert session.turn(stream.turn_id).result.stdout == "a\nb\n"
    assert len(list(session.turns(limit=2))) == 6
    assert [context.context for context in session.contexts()] == ["default"]
    session.restart_context("python")
    assert session.run("x").error.code == "turn_failed"


def test_a_turn_is_cancelled(session: Any) -> None:
    stream = session.stream('print("begun")\nsleep(100)')
    for event in stream:
        if event.type == "stdout":
            stream.cancel()
    assert stream.result().error.code == "turn_interrupted"


def test_a_session_sleeps_wakes_forks_and_goes_back(session: Any) -> None:
    session.run("x = 1")
    session.checkpoints.create("one")
    session.run("x = 2")
    forks = session.fork(count=2)
    assert [fork.run("x").text for fork in forks] == ["2", "2"]
    for fork in forks:
        assert fork.terminate().state == "terminated"
    assert session.suspend().state == "suspended"
    assert session.run("x").text == "2"
    assert session.refresh().state == "ready"
    session.checkpoints.restore("one")
    assert session.run("x").text == "1"
    session.checkpoints.delete("one")
    assert session.checkpoints.list() == ()


def test_files_and_commands(session: Any) -> None:
    data = random.Random(1).randbytes(3_000_000)
    written = session.files.write("data.bin", io.BytesIO(data))
    assert written.size_bytes == len(data)
    assert session.files.read("data.bin") == data
    session.files.move("data.bin", "moved ü.bin")
    assert session.files.stat("moved ü.bin").size_bytes == len(data)
    assert [entry.name for entry in session.files.list().items] == ["moved ü.bin"]
    session.files.remove("moved ü.bin")
    with pytest.raises(BulkheadError) as caught:
        session.files.read("data.bin")
    assert (caught.value.code, caught.value.details["reason"]) == ("file_error", "not_found")
    assert session.commands.run(["echo", "a b"]).stdout == "a b\n"
    assert session.commands.stream(["echo", "c"]).result().stdout == "c\n"
    process = session.commands.start(["sleep", "100"])
    assert process.state().running
    process.kill()
    assert not process.state().running
    assert session.commands.start(["echo", "d"]).output() == "d\n"


def test_labels_find_sessions(connect: Callable[..., Any], live: LiveServer, session: Any) -> None:
    label = f"of-{session.id[-8:]}"
    session.set_labels({label: "yes"}, if_unchanged=True)
    found = [info.id for info in connect(live.url, live.key).sessions.list(label=label, label_value="yes")]
    assert found == [session.id]


def test_an_idempotency_key_makes_one_session(connect: Callable[..., Any], live: LiveServer, session: Any) -> None:
    client = connect(live.url, live.key)
    one = client.sessions.create(idempotency_key=f"k-{session.id}")
    two = client.sessions.create(idempotency_key=f"k-{session.id}")
    assert one.id == two.id
    one.terminate()


def test_tenants_and_keys(connect: Callable[..., Any], live: LiveServer, request: pytest.FixtureRequest) -> None:
    client = connect(live.url, live.key)
    tenant = client.tenants.create(f"t-{random.randrange(10**9)}", quotas={"sessions": 1})
    assert tenant.quotas.sessions == 1
    changed = client.tenants.update(tenant.id, quotas={"disk_mib": 1_000_000}, if_version=tenant.version)
    assert (changed.quotas.sessions, changed.quotas.disk_mib) == (1, 1_000_000)
    with pytest.raises(BulkheadError, match="precondition_failed"):
        client.tenants.update(tenant.id, retention_days=5, if_version=tenant.version)
    keys = client.tenants.keys(tenant.id)
    issued = keys.create("ci", role="developer", subject="ci@example.com")
    theirs = connect(live.url, issued.secret)
    assert theirs.caller().subject == "ci@example.com"
    with theirs.sessions.create(), pytest.raises(BulkheadError, match="quota_exceeded"):
        connect(live.url, issued.secret, retry=RetryPolicy(attempts=1)).sessions.create()
    rotated = keys.rotate(issued.id, grace=0)
    assert connect(live.url, rotated.secret).caller().key == issued.id
    keys.revoke(issued.id)
    with pytest.raises(BulkheadError, match="unauthenticated"):
        connect(live.url, rotated.secret).caller()
    client.tenants.delete(tenant.id)
    assert tenant.id not in [each.id for each in client.tenants.list()]


def test_what_sessions_may_reach(connect: Callable[..., Any], live: LiveServer) -> None:
    client = connect(live.url, live.key)
    tenant = client.tenants.create(f"t-{random.randrange(10**9)}").id
    authority = client.tenants.authority(tenant)
    version = authority.set_secret("db", "a secret").version
    assert [secret.name for secret in authority.get().secrets] == ["db"]
    assert "unexpected" in authority.check_policies("nonsense").problems[0].message
    policies = '@id("nothing") forbid(principal, action, resource);'
    assert authority.set_policies(policies, if_version=version).policies == policies
    with pytest.raises(BulkheadError, match="precondition_failed"):
        authority.set_policies("", if_version=version)
    tool = {"kind": "sql", "description": "d", "host": "127.0.0.1", "port": 1, "database": "d", "user": "u", "tls": "off"}
    with pytest.raises(BulkheadError, match="tool_failed"):
        connect(live.url, live.key, retry=RetryPolicy(attempts=1)).tenants.authority(tenant).set_tool("positions", tool)
    assert authority.remove_tool("positions").tools == ()
    assert authority.disable_subject("a/b@c").disabled_subjects == ("a/b@c",)
    assert authority.enable_subject("a/b@c").disabled_subjects == ()
    assert authority.remove_secret("db").secrets == ()
    since = datetime(2026, 1, 1, tzinfo=timezone.utc)
    assert authority.diff_policies("", since=since, limit=10).compared == 0
    assert authority.replay_decisions().items == ()
    client.tenants.delete(tenant)


def test_decisions_and_approvals(connect: Callable[..., Any], live: LiveServer) -> None:
    client = connect(live.url, live.key)
    assert list(client.decisions.list(outcome="deny", since=datetime(2026, 1, 1, tzinfo=timezone.utc))) == []
    assert list(client.approvals.list(state="pending")) == []
    with client.sessions.create(grant=["positions.*"]) as session:
        assert list(session.approvals(state="pending")) == []
        with pytest.raises(BulkheadError, match="forbidden"):
            session.fork(grant=["payments.*"])
    decision, approval = f"dec_{'0' * 26}", f"apr_{'0' * 26}"
    for ask in (
        lambda: client.decisions.get(decision),
        lambda: client.decisions.explain(decision),
        lambda: client.decisions.replay(decision),
        lambda: client.approvals.get(approval),
        lambda: client.approvals.approve(approval, reason="yes"),
        lambda: client.approvals.refuse(approval, "no"),
    ):
        with pytest.raises(BulkheadError, match="not_found"):
            ask()


def test_a_turn_whose_connection_is_cut_again_and_again(
    connect: Callable[..., Any], live: LiveServer, session: Any
) -> None:
    """Byte for byte what the guest printed, and the code ran once."""
    chance = random.Random(20)
    proxy = CuttingProxy(live.url, lambda: chance.randrange(80_000, 140_000))
    try:
        session.run("count = 0")
        far = connect(proxy.url, live.key).sessions.get(session.id)
        result = far.run("count = count + 1\nfake.flood(2000000)")
        whole = session.turn(result.turn_id).result
        assert result.stdout == whole.stdout
        assert len(result.stdout) == 2_000_000
        assert session.run("count").text == "1"
        assert proxy.cuts >= 10
    finally:
        proxy.close()
