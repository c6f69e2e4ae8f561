"""A finished turn, with what is usually asked of it, and how it looks in a notebook."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ._errors import BulkheadError
from ._models import ErrorInfo, GuestException, TurnOutcome, TurnTimings, TurnTruncated
from ._notebook import show_turn
from ._protocol import ContextFate

if TYPE_CHECKING:
    import pandas

TABLE_MIME = "application/vnd.bulkhead.table+json"
VECTOR_IMAGE = "image/svg+xml"
BINARY_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")


@dataclass(frozen=True)
class ResultImage:
    """A figure. SVG is markup of the guest's: never put it into a page as it is."""

    mime: str
    data: bytes

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        if self.mime not in BINARY_IMAGES:
            return {"text/plain": repr(self)}
        return {"text/plain": repr(self), self.mime: base64.b64encode(self.data).decode()}

    def __repr__(self) -> str:
        return f"<ResultImage {self.mime}, {len(self.data):,} bytes>"


@dataclass(frozen=True)
class ResultTable:
    """A data frame; at most its first rows."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    total_rows: int

    def to_pandas(self) -> pandas.DataFrame:
        """Needs pandas (``pip install bulkhead[pandas]``)."""
        try:
            import pandas
        except ImportError:
            raise BulkheadError(
                "unsupported", "pandas is not installed here.", hint="pip install 'bulkhead[pandas]'"
            ) from None
        return pandas.DataFrame(list(self.rows), columns=list(self.columns))


@dataclass(frozen=True)
class TurnResult:
    """What a turn printed and gave. Every string of it is the guest's."""

    session_id: str
    turn_id: str
    status: str
    stdout: str
    stderr: str
    #: Each result in every form that the interpreter offered, by MIME type; binary forms are base64.
    results: tuple[dict[str, Any], ...]
    error: ErrorInfo | None
    exception: GuestException | None
    #: What is left of the interpreter: ``kept`` (variables live), ``lost`` (a new one starts with the next turn), ``gone`` (no machine).
    context: ContextFate
    truncated: TurnTruncated
    timings: TurnTimings

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    @property
    def text(self) -> str:
        """What a reader of a terminal would have seen: standard output, then each result as text."""
        shown = self.stdout
        for bundle in self.results:
            part = bundle.get("text/plain") or bundle.get("text/markdown")
            if isinstance(part, str):
                shown += part if shown == "" or shown.endswith("\n") else f"\n{part}"
        return shown

    @property
    def images(self) -> tuple[ResultImage, ...]:
        """The figures, one for each result that has one."""
        found = (image_of(bundle) for bundle in self.results)
        return tuple(image for image in found if image is not None)

    @property
    def tables(self) -> tuple[ResultTable, ...]:
        """The data frames; ``to_pandas()`` makes one of each."""
        found = (table_of(bundle) for bundle in self.results)
        return tuple(table for table in found if table is not None)

    def check(self) -> TurnResult:
        """Itself when the code went well. Raises the error of the turn, with the traceback of the guest."""
        if self.error is None:
            return self
        message = self.error.message
        if self.exception is not None:
            message = f"{message}\n{self.exception.traceback}"
        raise BulkheadError(self.error.code, message, hint=self.error.hint, details=self.error.details)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return show_turn(self)


@dataclass(frozen=True)
class Turn:
    """A turn as it was when the server answered."""

    id: str
    session: str
    state: str
    started_at: datetime
    ended_at: datetime | None
    #: None while it runs, and in lists.
    result: TurnResult | None


def image_of(bundle: Mapping[str, Any]) -> ResultImage | None:
    for mime in BINARY_IMAGES:
        data = bundle.get(mime)
        if isinstance(data, str):
            try:
                return ResultImage(mime, base64.b64decode("".join(data.split()), validate=True))
            except (binascii.Error, ValueError):
                # The guest may have said anything.
                continue
    markup = bundle.get(VECTOR_IMAGE)
    return ResultImage(VECTOR_IMAGE, markup.encode()) if isinstance(markup, str) else None


def table_of(bundle: Mapping[str, Any]) -> ResultTable | None:
    """None for what is none: the guest may have said anything."""
    data = bundle.get(TABLE_MIME)
    if not isinstance(data, dict):
        return None
    columns, rows, total = data.get("columns"), data.get("rows"), data.get("totalRows")
    if (
        not isinstance(columns, list)
        or not isinstance(rows, list)
        or isinstance(total, bool)
        or not isinstance(total, int)
    ):
        return None
    if not all(isinstance(column, dict) and isinstance(column.get("name"), str) for column in columns):
        return None
    if not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
        return None
    return ResultTable(
        columns=tuple(column["name"] for column in columns),
        types=tuple(str(column.get("type", "")) for column in columns),
        rows=tuple(tuple(row) for row in rows),
        total_rows=total,
    )


class TurnFold:
    """A finished turn from its events, by the rules that the server keeps it by."""

    def __init__(self, session_id: str, turn_id: str) -> None:
        self._ids = (session_id, turn_id)
        self._text: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._results: list[dict[str, Any]] = []
        self._dropped = {"stdout": 0.0, "stderr": 0.0, "results": 0.0}

    def text(self, stream: str, text: str) -> None:
        self._text[stream].append(text)

    def result(self, data: dict[str, Any]) -> None:
        self._results.append(data)

    def truncated(self, stream: str, dropped_bytes: float) -> None:
        self._dropped[stream if stream in ("stdout", "stderr") else "results"] += dropped_bytes

    def end(self, outcome: TurnOutcome) -> TurnResult:
        dropped = self._dropped
        return TurnResult(
            session_id=self._ids[0],
            turn_id=self._ids[1],
            status=outcome.status,
            stdout="".join(self._text["stdout"]),
            stderr="".join(self._text["stderr"]),
            results=tuple(self._results),
            error=outcome.error,
            exception=outcome.exception,
            context=outcome.context,
            truncated=TurnTruncated(dropped["stdout"], dropped["stderr"], dropped["results"]),
            timings=TurnTimings(turn_ms=outcome.turn_ms, guest_ms=outcome.guest_ms),
        )
