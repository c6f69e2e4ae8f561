"""What can be written to a file of a session. The server wants to know its length first."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Union, cast

from ._errors import BulkheadError

#: Text is sent as UTF-8, a ``Path`` is a local file. An iterable is sent as it comes, and needs its ``size``; its request is not repeated.
Content = Union[str, bytes, bytearray, memoryview, "os.PathLike[str]", IO[bytes], Iterable[bytes]]
AsyncContent = Union[Content, AsyncIterable[bytes]]
#: Called with the bytes so far, and with all of them where that is known.
Progress = Callable[[int, "int | None"], None]

CHUNK_BYTES = 262_144


@dataclass(frozen=True)
class Upload:
    """The body of a request: opened again for each attempt, when it can be."""

    size: int
    open: Callable[[], Iterator[bytes] | AsyncIterable[bytes]]
    once: bool
    progress: Progress | None = None


def to_upload(content: AsyncContent, size: int | None, progress: Progress | None) -> Upload:
    """Raises BulkheadError ``invalid_request``, and OSError for a local file that cannot be read."""
    if isinstance(content, str):
        content = content.encode()
    if isinstance(content, (bytes, bytearray, memoryview)):
        view = memoryview(content).cast("B")
        return Upload(_same(view.nbytes, size), lambda: _slices(view), once=False, progress=progress)
    if isinstance(content, os.PathLike):
        path = Path(content)
        return Upload(_same(path.stat().st_size, size), lambda: _file_chunks(path), once=False, progress=progress)
    if hasattr(content, "read"):
        return _from_file(cast("IO[bytes]", content), size, progress)
    if size is None:
        raise BulkheadError(
            "invalid_request",
            "The length of the content is not known.",
            hint="Give its number of bytes as `size`, or bytes, a Path or a file.",
        )
    if isinstance(content, AsyncIterable):
        stream = content
        return Upload(size, lambda: stream, once=True, progress=progress)
    chunks = iter(content)
    return Upload(size, lambda: chunks, once=True, progress=progress)


def _from_file(file: IO[bytes], size: int | None, progress: Progress | None) -> Upload:
    if isinstance(file, io.TextIOBase):
        raise BulkheadError("invalid_request", "The file is open as text.", hint="Open it with mode 'rb'.")
    if not file.seekable():
        if size is None:
            raise BulkheadError(
                "invalid_request", "The length of the file is not known.", hint="Give its number of bytes as `size`."
            )
        return Upload(size, lambda: _read_chunks(file), once=True, progress=progress)
    start = file.tell()
    length = file.seek(0, io.SEEK_END) - start
    file.seek(start)

    def again() -> Iterator[bytes]:
        file.seek(start)
        return _read_chunks(file)

    return Upload(_same(length, size), again, once=False, progress=progress)


def _same(length: int, size: int | None) -> int:
    if size is not None and size != length:
        raise BulkheadError("invalid_request", f"The content has {length} bytes and not {size}.")
    return length


def _slices(view: memoryview) -> Iterator[bytes]:
    for start in range(0, view.nbytes, CHUNK_BYTES):
        yield bytes(view[start : start + CHUNK_BYTES])


def _file_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from _read_chunks(file)


def _read_chunks(file: Any) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


class Measured:
    """Holds an upload to its length and tells how far it is. More bytes than were announced are never sent."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._sent = 0

    def passes(self, chunk: bytes) -> bytes:
        self._sent += len(chunk)
        if self._sent > self._upload.size:
            raise BulkheadError(
                "invalid_request", f"The content has more than the {self._upload.size} bytes of its `size`."
            )
        if self._upload.progress is not None:
            self._upload.progress(self._sent, self._upload.size)
        return chunk

    def ends(self) -> None:
        if self._sent < self._upload.size:
            raise BulkheadError(
                "invalid_request",
                f"The content ended after {self._sent} of the {self._upload.size} bytes of its `size`.",
            )
