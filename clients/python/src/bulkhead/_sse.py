"""Server-sent events, as far as a stream of ours has them (WHATWG HTML, "Server-sent events").

What a cut leaves of an event is dropped with the connection: it comes again, whole, on the next one.
"""

from __future__ import annotations

from collections.abc import Iterator

from ._decode import Misunderstood
from ._errors import BulkheadError

#: The largest event is a turn's largest result, escaped.
EVENT_MAX_BYTES = 67_108_864


class EventParser:
    """Give it the bytes as they come; it gives the ``data`` of each event that is complete."""

    def __init__(self, max_bytes: int = EVENT_MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._after_return = False

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Raises BulkheadError ``limit_exceeded``, and Misunderstood for what is not UTF-8."""
        if not chunk:
            return
        # A CR ends a line by itself; the LF that may follow it belongs to it.
        rest = chunk[1:] if self._after_return and chunk.startswith(b"\n") else chunk
        self._after_return = chunk.endswith(b"\r")
        lines = rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines[:-1]:
            self._line += line
            event = self._end_line()
            if event is not None:
                yield event
        self._line += lines[-1]
        self._check(self._size + len(self._line))

    def _end_line(self) -> str | None:
        line = bytes(self._line)
        self._line.clear()
        if line == b"":
            data, self._data, self._size = self._data, [], 0
            try:
                return b"\n".join(data).decode() if data else None
            except UnicodeDecodeError:
                raise Misunderstood("an event is not UTF-8") from None
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value[1:] if value.startswith(b" ") else value)
            self._size += len(value)
            self._check(self._size)
        return None

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise BulkheadError("limit_exceeded", f"An event of the stream has more than {self._max_bytes} bytes.")
