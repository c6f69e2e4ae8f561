from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from .._content import AsyncContent, Progress, to_upload
from .._errors import BulkheadError
from .._models import FileList, FileStat, FileWritten
from .._streams import content
from .driver import AsyncDriver
from .streams import AsyncContentStream

#: What ``read`` keeps in memory, unless it is told otherwise.
READ_MAX_BYTES = 268_435_456


class AsyncFiles:
    """The files of a session. A path is absolute, or relative to ``/home/user``."""

    def __init__(self, driver: AsyncDriver, session: str) -> None:
        self._driver = driver
        self._params = {"session": session}

    async def read(self, path: str, *, max_bytes: int = READ_MAX_BYTES) -> bytes:
        """All of a file, when it has no more than ``max_bytes``. Raises ``limit_exceeded`` otherwise: see ``download``."""
        data = bytearray()
        async with self._open(path) as stream:
            await stream.length()
            async for chunk in stream:
                data += chunk
                if len(data) > max_bytes:
                    raise BulkheadError(
                        "limit_exceeded",
                        f"The file has more than {max_bytes:,} bytes.",
                        hint="`download` writes it to a file; `max_bytes` raises the bound.",
                    )
        return bytes(data)

    async def read_text(self, path: str, *, max_bytes: int = READ_MAX_BYTES) -> str:
        """All of a file that is UTF-8. Raises ``file_error`` when it is not."""
        data = await self.read(path, max_bytes=max_bytes)
        try:
            return data.decode()
        except UnicodeDecodeError as cause:
            raise BulkheadError("file_error", f"{path} is not text in UTF-8.", hint="Use `read` for bytes.") from cause

    async def stream(self, path: str) -> AsyncIterator[bytes]:
        """A file as it comes; the reader's pace is the server's."""
        async with self._open(path) as stream:
            await stream.length()
            async for chunk in stream:
                yield chunk

    async def download(
        self, path: str, target: str | os.PathLike[str] | IO[bytes], *, progress: Progress | None = None
    ) -> int:
        """Writes a file of the session to a local one, all of it or nothing, or into a file that is open. Gives the number of bytes."""
        if not isinstance(target, (str, os.PathLike)):
            return await self._copy(path, target, progress)
        place = Path(target)
        part = place.with_name(f".{place.name}.{secrets.token_hex(4)}.part")
        try:
            with part.open("xb") as file:
                size = await self._copy(path, file, progress)
            os.replace(part, place)
        finally:
            part.unlink(missing_ok=True)
        return size

    async def _copy(self, path: str, file: IO[bytes], progress: Progress | None) -> int:
        size = 0
        async with self._open(path) as stream:
            total = await stream.length()
            async for chunk in stream:
                await self._driver.blocking(file.write, chunk)
                size += len(chunk)
                if progress is not None:
                    progress(size, total)
        return size

    async def write(
        self, path: str, content: AsyncContent, *, size: int | None = None, progress: Progress | None = None
    ) -> FileWritten:
        """Writes a file: all of it, or nothing. ``content`` is text, bytes, a local ``Path``, an open file, or an iterable of bytes, which needs its ``size``.

        What can be read again is sent again when the network failed.
        """
        upload = to_upload(content, size, progress)
        flow = self._driver.core.call(
            "writeFile", FileWritten, params=self._params, query={"path": path}, upload=upload
        )
        return await self._driver.run(flow)

    async def list(self, path: str = ".") -> FileList:
        """The entries of a directory; the session's home unless said."""
        flow = self._driver.core.call("listFiles", FileList, params=self._params, query={"path": path})
        return await self._driver.run(flow)

    async def stat(self, path: str) -> FileStat:
        """What lies at a path; a link is not followed."""
        flow = self._driver.core.call("statFile", FileStat, params=self._params, query={"path": path})
        return await self._driver.run(flow)

    async def move(self, source: str, target: str) -> None:
        body = {"from": source, "to": target}
        await self._driver.run(self._driver.core.call("moveFile", type(None), params=self._params, body=body))

    async def make_directory(self, path: str) -> None:
        """A directory, and those above it."""
        body = {"path": path}
        await self._driver.run(self._driver.core.call("makeDirectory", type(None), params=self._params, body=body))

    async def remove(self, path: str, *, recursive: bool = False) -> None:
        """A file, or with ``recursive`` a directory and all in it."""
        query = {"path": path, "recursive": recursive}
        await self._driver.run(self._driver.core.call("removeFile", type(None), params=self._params, query=query))

    def _open(self, path: str) -> AsyncContentStream:
        return AsyncContentStream(self._driver, content(self._driver.core, "readFile", self._params, {"path": path}))
