"""What is made of bytes and JSON: events, dataclasses, and what a notebook shows."""

from __future__ import annotations

import base64
import dataclasses
import sys
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from typing import Any

import pytest

from bulkhead import BulkheadError, RetryPolicy, TurnResult
from bulkhead._bodies import milliseconds, moment
from bulkhead._decode import Misunderstood, decode
from bulkhead._models import GuestException, Health, SessionInfo, TurnTimings, TurnTruncated
from bulkhead._retry import parse_retry_after
from bulkhead._sse import EventParser

STREAM = b': hello\n\nid: 1\nevent: x\ndata: {"a":\ndata: 1}\n\ndata\n\ndata:  two\r\n\r\ndata:three\r\rnot: this\n\ndata: cut'
EXPECTED = ['{"a":\n1}', "", " two", "three"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
def test_events_are_the_same_however_they_are_cut(size: int) -> None:
    parser = EventParser()
    found = [data for start in range(0, len(STREAM), size) for data in parser.feed(STREAM[start : start + size])]
    assert found == EXPECTED


def test_an_event_has_a_bound_over_its_lines_too() -> None:
    for chunk in (b"data: " + b"x" * 200, b"data: xxxxxxxxxx\n" * 20, b"y" * 200):
        with pytest.raises(BulkheadError, match="limit_exceeded"):
            list(EventParser(100).feed(chunk))
    parser = EventParser(100)
    assert len(list(parser.feed(b"data: 0123456789\n\n" * 50))) == 50


def test_decoding_says_what_is_wrong() -> None:
    assert decode(Health, {"status": "ok", "version": "1", "more": [1]}) == Health("ok", "1")
    for wrong in (None, [], {"status": "ok"}, {"status": 1, "version": "1"}, {"status": True, "version": "1"}):
        with pytest.raises(Misunderstood):
            decode(Health, wrong)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("2", 2.0), (" 0 ", 0.0), (None, None), ("soon", None), ("-1", None), ("9" * 40, None), ("²", None)],
)
def test_retry_after(given: str | None, expected: float | None) -> None:
    assert parse_retry_after(given) == expected
    assert parse_retry_after("Thu, 01 Jan 1970 00:00:00 GMT") == 0.0


def test_times() -> None:
    assert milliseconds(1.5) == 1500
    assert milliseconds(timedelta(minutes=1)) == 60_000
    for wrong in (-1, float("nan"), float("inf"), "5"):
        with pytest.raises(BulkheadError):
            milliseconds(wrong)  # type: ignore[arg-type]
    berlin = timezone(timedelta(hours=2))
    assert moment(datetime(2026, 1, 2, 3, 4, 5, 678901, berlin)) == "2026-01-02T01:04:05.678Z"
    with pytest.raises(BulkheadError):
        RetryPolicy(attempts=0)


# -- notebooks ----------------------------------------------------------------------------------------------------

PNG = base64.b64encode(b"\x89PNG fake").decode()
TABLE = {
    "columns": [{"name": "a", "type": "int64"}, {"name": "b", "type": "object"}],
    "rows": [[1, "x"], [2, "y"]],
    "totalRows": 2000,
}
HOSTILE = "<script>steal()</script>'\"><img src=x onerror=steal()>"


def result(**more: Any) -> TurnResult:
    members: dict[str, Any] = {
        "session_id": "ses",
        "turn_id": "trn",
        "status": "ok",
        "stdout": "",
        "stderr": "",
        "results": (),
        "error": None,
        "exception": None,
        "context": "kept",
        "truncated": TurnTruncated(),
        "timings": TurnTimings(1, 1),
    }
    return TurnResult(**{**members, **more})


class Elements(HTMLParser):
    """What a browser would see as elements of the page itself."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize(
    "hostile",
    [
        result(stdout=HOSTILE, stderr=HOSTILE),
        result(exception=GuestException(HOSTILE, HOSTILE, (), HOSTILE)),
        result(results=({"text/html": HOSTILE},)),
        result(results=({"text/plain": HOSTILE},)),
        result(results=({"text/html": 5, "text/plain": [HOSTILE]},)),
        result(results=({HOSTILE: HOSTILE},)),
        result(results=({"image/png": HOSTILE, "text/plain": HOSTILE},)),
        result(results=({"image/svg+xml": f"<svg>{HOSTILE}</svg>"},)),
        result(results=({"application/javascript": "steal()"},)),
    ],
)
def test_what_a_guest_says_runs_nothing_in_a_notebook(hostile: TurnResult) -> None:
    bundle = hostile._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    elements = Elements(bundle["text/html"]).found
    assert elements
    for tag, attributes in elements:
        assert tag in {"pre", "img", "iframe"}
        assert not any(name.startswith("on") for name in attributes)
        if tag == "img":
            assert str(attributes["src"]).startswith("data:image/")
        if tag == "iframe":
            # Sandboxed without exception, and its own policy comes before the guest's first byte.
            assert attributes["sandbox"] is None
            assert "src" not in attributes
            assert str(attributes["srcdoc"]).startswith("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';")


def test_the_check_above_can_see() -> None:
    assert "script" in {tag for tag, _ in Elements(f"<pre>{HOSTILE}</pre>").found}


def test_a_terminal_is_not_given_control_characters() -> None:
    shown = result(stdout="a\x1b]0;title\x07b\r\n", results=({"text/plain": "\x9b31m"},))._repr_mimebundle_()["text/plain"]
    assert shown == "a\\x1b]0;title\\x07b\\x0d\n\\x9b31m"


def test_figures_and_tables() -> None:
    shown = result(
        stdout="printed\n",
        results=(
            {"image/png": PNG, "text/plain": "<Figure>"},
            {"text/html": "<table>", "application/vnd.bulkhead.table+json": TABLE, "text/plain": "   a  b"},
        ),
    )
    (image,) = shown.images
    assert (image.mime, image.data) == ("image/png", b"\x89PNG fake")
    assert image._repr_mimebundle_()["image/png"] == PNG
    (table,) = shown.tables
    assert (table.columns, table.types, table.rows, table.total_rows) == (
        ("a", "b"),
        ("int64", "object"),
        ((1, "x"), (2, "y")),
        2000,
    )
    html = shown._repr_mimebundle_()["text/html"]
    assert f"data:image/png;base64,{PNG}" in html
    assert [tag for tag, _ in Elements(html).found] == ["pre", "img", "iframe"]
    assert shown._repr_mimebundle_()["text/plain"] == "printed\n<Figure>\n   a  b"


@pytest.mark.parametrize(
    "wrong",
    [None, [], {**TABLE, "columns": [{"type": "x"}]}, {**TABLE, "rows": [[1]]}, {**TABLE, "totalRows": True}],
)
def test_a_table_that_is_none_is_none(wrong: Any) -> None:
    assert result(results=({"application/vnd.bulkhead.table+json": wrong},)).tables == ()


def test_tables_become_data_frames_where_pandas_is(monkeypatch: pytest.MonkeyPatch) -> None:
    (table,) = result(results=({"application/vnd.bulkhead.table+json": TABLE},)).tables

    class Pandas:
        @staticmethod
        def DataFrame(rows: Any, columns: Any) -> Any:  # noqa: N802
            return (rows, columns)

    monkeypatch.setitem(sys.modules, "pandas", Pandas)
    assert table.to_pandas() == ([(1, "x"), (2, "y")], ["a", "b"])
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(BulkheadError, match="pandas is not installed"):
        table.to_pandas()


def test_long_output_is_cut_where_it_is_shown_and_nowhere_else() -> None:
    long = result(stdout="x" * 300_000)
    assert "200,000 characters more" in long._repr_mimebundle_()["text/html"]
    assert len(long.text) == 300_000


def test_answers_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        result().stdout = "else"  # type: ignore[misc]
    assert dataclasses.is_dataclass(SessionInfo)
