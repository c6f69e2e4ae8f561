"""Files, up and down, from everything that holds bytes."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_server import SESSION_ID, Answer, ScriptedServer, session

from bulkhead import BulkheadError

ONE = f"/v1/sessions/{SESSION_ID}"
CONTENT = f"{ONE}/files/content"
BYTES = {"content-type": "application/octet-stream"}
DATA = os.urandom(700_001)


@pytest.fixture
def files(client: Any, server: ScriptedServer) -> Any:
    server.on(f"GET {ONE}", Answer(json=session()))
    server.on(f"PUT {CONTENT}", Answer(json={"path": "/home/user/f", "sizeBytes": 0}))
    return client.sessions.get(SESSION_ID).files


def chunks() -> Iterator[bytes]:
    yield DATA[:10]
    yield b""
    yield DATA[10:]


@pytest.mark.parametrize("kind", ["text", "bytes", "bytearray", "memoryview", "path", "file", "buffer", "iterable"])
def test_what_can_be_written(files: Any, server: ScriptedServer, tmp_path: Path, kind: str) -> None:
    local = tmp_path / "local"
    local.write_bytes(DATA)
    with local.open("rb") as file:
        content: Any = {
            "text": "häßlich",
            "bytes": DATA,
            "bytearray": bytearray(DATA),
            "memoryview": memoryview(DATA),
            "path": local,
            "file": file,
            "buffer": io.BytesIO(DATA),
            "iterable": chunks(),
        }[kind]
        told: list[tuple[int, int | None]] = []
        size = len(DATA) if kind == "iterable" else None
        files.write("f ü&?.bin", content, size=size, progress=lambda done, total: told.append((done, total)))
    expected = "häßlich".encode() if kind == "text" else DATA
    asked = server.asked[-1]
    assert asked.body == expected
    assert asked.query == {"path": "f ü&?.bin"}
    assert asked.headers["content-length"] == str(len(expected))
    assert "transfer-encoding" not in asked.headers
    assert asked.headers["content-type"] == "application/octet-stream"
    assert told[-1] == (len(expected), len(expected))


def test_an_asynchronous_iterable(files: Any, server: ScriptedServer) -> None:
    async def later() -> AsyncIterator[bytes]:
        for chunk in chunks():
            yield chunk

    if hasattr(files, "target"):
        files.write("f", later(), size=len(DATA))
        assert server.asked[-1].body == DATA
    else:
        with pytest.raises(BulkheadError, match="AsyncBulkhead"):
            files.write("f", later(), size=len(DATA))


def test_what_can_be_read_again_is_sent_again(files: Any, server: ScriptedServer) -> None:
    buffer = io.BytesIO(b"xx" + DATA)
    buffer.seek(2)
    server.on(f"PUT {CONTENT}", Answer(502), Answer(json={"path": "f", "sizeBytes": 1}))
    files.write("f", buffer)
    assert [asked.body == DATA for asked in server.asked_for(f"PUT {CONTENT}")] == [True, True]
    server.on(f"PUT {CONTENT}", Answer(502), Answer(json={"path": "f", "sizeBytes": 1}))
    with pytest.raises(BulkheadError, match="server_unreachable"):
        files.write("f", chunks(), size=len(DATA))
    assert len(server.asked_for(f"PUT {CONTENT}")) == 3


@pytest.mark.parametrize(("size", "told"), [(len(DATA) + 5, "ended after"), (5, "more than")])
def test_a_length_that_is_not_kept_is_told(files: Any, size: int, told: str) -> None:
    with pytest.raises(BulkheadError, match=told):
        files.write("f", chunks(), size=size)


def test_what_cannot_be_written(files: Any, server: ScriptedServer, tmp_path: Path) -> None:
    with pytest.raises(BulkheadError, match="length of the content is not known"):
        files.write("f", chunks())
    with pytest.raises(BulkheadError, match="3 bytes and not 4"):
        files.write("f", b"abc", size=4)
    with pytest.raises(BulkheadError, match="open as text"):
        files.write("f", io.StringIO("text"))
    with pytest.raises(FileNotFoundError):
        files.write("f", tmp_path / "missing")
    assert server.asked_for(f"PUT {CONTENT}") == []


def test_reading(files: Any, server: ScriptedServer) -> None:
    server.on(f"GET {CONTENT}", Answer(body=DATA, headers=BYTES))
    assert files.read("f") == DATA
    assert b"".join(files.stream("f")) == DATA
    with pytest.raises(BulkheadError, match="limit_exceeded"):
        files.read("f", max_bytes=1000)
    server.on(f"GET {CONTENT}", Answer(body="häßlich".encode(), headers=BYTES))
    assert files.read_text("f") == "häßlich"
    server.on(f"GET {CONTENT}", Answer(body=b"\xff", headers=BYTES))
    with pytest.raises(BulkheadError, match="file_error"):
        files.read_text("f")


def test_downloading(files: Any, server: ScriptedServer, tmp_path: Path) -> None:
    server.on(f"GET {CONTENT}", Answer(body=DATA, headers=BYTES))
    target = tmp_path / "target"
    told: list[tuple[int, int | None]] = []
    assert files.download("f", target, progress=lambda done, total: told.append((done, total))) == len(DATA)
    assert target.read_bytes() == DATA
    assert told[-1] == (len(DATA), len(DATA))
    buffer = io.BytesIO()
    files.download("f", buffer)
    assert buffer.getvalue() == DATA


def test_a_download_that_is_cut_leaves_what_was_there(files: Any, server: ScriptedServer, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"before")
    server.on(f"GET {CONTENT}", Answer(body=DATA, headers=BYTES, cut_after=300_000))
    with pytest.raises(BulkheadError, match="server_unreachable"):
        files.download("f", target)
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_the_rest(files: Any, server: ScriptedServer) -> None:
    stat = {"kind": "file", "sizeBytes": 3, "mode": 420, "modifiedAt": "2026-01-02T03:04:05.678Z"}
    server.on(f"GET {ONE}/files", Answer(json={"items": [{"name": "a", **stat}], "truncated": False}))
    server.on(f"GET {ONE}/files/stat", Answer(json=stat))
    server.on(f"POST {ONE}/files/move", Answer(204))
    server.on(f"POST {ONE}/files/directory", Answer(204))
    server.on(f"DELETE {ONE}/files", Answer(204))
    assert [entry.name for entry in files.list("d").items] == ["a"]
    assert files.stat("a").size_bytes == 3
    files.move("a", "b")
    assert server.asked[-1].json == {"from": "a", "to": "b"}
    files.make_directory("d")
    files.remove("d", recursive=True)
    assert server.asked[-1].query == {"path": "d", "recursive": "true"}
