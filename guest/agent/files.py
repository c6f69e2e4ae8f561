"""Files, with the user's rights. Paths are the guest's own: any bytes but NUL, relative ones from the user's home.

Nothing here may block: what is opened is opened O_NONBLOCK and refused unless it is a regular file.
"""

import errno
import os
import secrets
import shutil
import stat

from .frames import FLAG_END, LANE_STDOUT, dump_json
from .stream import OperationError, Stream, need, need_count
from .system import Child

PATH_MAX_BYTES = 4_096
FILE_MAX_BYTES = 1 << 50
LIST_MAX_COUNT = 10_000
# Entries or chunks handled before other streams get their turn.
SLICE_COUNT = 128

_CODES = {
    errno.ENOENT: "not_found",
    errno.ESRCH: "not_found",
    errno.EEXIST: "exists",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
    errno.EROFS: "denied",
    errno.ENOSPC: "no_space",
    errno.EDQUOT: "no_space",
    errno.ENOTDIR: "not_a_directory",
    errno.EISDIR: "is_a_directory",
    errno.EFBIG: "too_large",
    errno.ENAMETOOLONG: "invalid",
    errno.EINVAL: "invalid",
    errno.ELOOP: "invalid",
    errno.ENOTEMPTY: "invalid",
    errno.ENOEXEC: "invalid",
    errno.EXDEV: "invalid",
    errno.E2BIG: "too_large",
    errno.EBUSY: "busy",
    errno.ETXTBSY: "busy",
    errno.EMFILE: "limit",
    errno.ENFILE: "limit",
    errno.EAGAIN: "limit",
    errno.ENOMEM: "limit",
}


def describe(error):
    """(code of the contract, message) of an OSError."""
    code = _CODES.get(error.errno, "io")
    return code, f"{error.strerror or error}"


def path_of(agent, message, name):
    """A path member, absolute."""
    path = need(message, name, str)
    try:
        size = len(os.fsencode(path))
    except UnicodeEncodeError as error:
        raise OperationError("invalid", f"{name} is not a path") from error
    if not path or "\0" in path or size > PATH_MAX_BYTES:
        raise OperationError("invalid", f"{name} must be 1 to {PATH_MAX_BYTES} bytes without NUL")
    return os.path.join(agent.surroundings.home, path)


def stat_of(found):
    """The members of `file.stat`."""
    mode = found.st_mode
    if stat.S_ISREG(mode):
        kind = "file"
    elif stat.S_ISDIR(mode):
        kind = "directory"
    elif stat.S_ISLNK(mode):
        kind = "symlink"
    else:
        kind = "other"
    return {"kind": kind, "size": found.st_size, "mode": stat.S_IMODE(mode), "modifiedNs": str(found.st_mtime_ns)}


def _refuse_special(found, fd):
    if stat.S_ISDIR(found.st_mode):
        raise OperationError("is_a_directory", "it is a directory")
    if not stat.S_ISREG(found.st_mode):
        raise OperationError("invalid", "it is not a regular file")
    # The agent's own /proc entries are open to itself whatever its rights; they are not the user's files.
    if os.readlink(f"/proc/self/fd/{fd}").startswith(f"/proc/{os.getpid()}/"):
        raise OperationError("denied", "it belongs to the agent")


class _Simple(Stream):
    """One quick call with the user's rights."""

    def __init__(self, agent, number, work):
        super().__init__(agent, number)
        self._work = work

    def begin(self):
        """Answers at once."""
        with self.agent.surroundings.with_user_rights():
            result = self._work()
        self.finish(result or {})


class _Cancellable(Stream):
    def release(self):
        """Close and remove what is half done."""

    def signal(self, name, message):
        """Interrupt and kill both end it."""
        if name != "resize":
            self.release()
            self.fail("cancelled", "ended before it was done")

    def fail(self, code, message):
        """Also lets go."""
        self.release()
        super().fail(code, message)

    def abandon(self):
        """Also lets go."""
        self.release()
        super().abandon()


class Read(_Cancellable):
    """`file.read`: to the end of the file, whatever its size said."""

    def __init__(self, agent, number, path):
        super().__init__(agent, number)
        self._path = path
        self._fd = None
        self._size = 0
        self._scheduled = False

    def begin(self):
        """Open, then send as far as credit goes."""
        with self.agent.surroundings.with_user_rights():
            self._fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        _refuse_special(os.fstat(self._fd), self._fd)
        self.pump()

    def pump(self):
        """A slice, then the others' turn."""
        for _ in range(SLICE_COUNT):
            size = self.allowance()
            if size == 0 or self._fd is None:
                return
            data = os.read(self._fd, size)
            if not data:
                self.send_data(LANE_STDOUT, b"", FLAG_END)
                self.release()
                self.finish({"size": self._size})
                return
            self._size += len(data)
            self.send_data(LANE_STDOUT, data)

    def release(self):
        """Idempotent."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class Write(_Cancellable):
    """`file.write`: into a file beside the target, renamed when all has come, removed when not."""

    def __init__(self, agent, number, path, size, mode):
        super().__init__(agent, number)
        self._path = path
        self._size = size
        self._mode = mode
        self._fd = None
        self._temporary = None
        self._written = 0

    def begin(self):
        """Make the temporary file, so that a refusal comes before the content."""
        with self.agent.surroundings.with_user_rights():
            self._path = os.path.realpath(self._path)
            kept_mode = self._look_at_target()
            folder = os.path.dirname(self._path)
            name = os.path.join(folder, f".upload-{secrets.token_hex(8)}")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(name, flags, 0o600)
            self._temporary = name
        if self._mode is None:
            self._mode = kept_mode

    def _look_at_target(self):
        try:
            found = os.lstat(self._path)
        except FileNotFoundError:
            if self._path.endswith("/"):
                raise
            return 0o644
        if stat.S_ISDIR(found.st_mode):
            raise OperationError("is_a_directory", "it is a directory")
        if not stat.S_ISREG(found.st_mode):
            raise OperationError("invalid", "it is not a regular file")
        return stat.S_IMODE(found.st_mode) & 0o777

    def input(self, data, ended):
        """Content."""
        if self._fd is None:
            self.consumed(len(data))
            return
        self._written += len(data)
        if self._written > self._size:
            raise OperationError("too_large", f"more than the {self._size} bytes that were announced")
        view = memoryview(data)
        # Under the user's rights, so that a quota or a full disk is the user's, and root's reserve stays untouched.
        with self.agent.surroundings.with_user_rights():
            while view:
                view = view[os.write(self._fd, view) :]
        self.consumed(len(data))
        if ended:
            self._complete()

    def _complete(self):
        if self._written != self._size:
            raise OperationError("invalid", f"{self._written} bytes came, {self._size} were announced")
        with self.agent.surroundings.with_user_rights():
            os.fchmod(self._fd, self._mode)
            os.rename(self._temporary, self._path)
        self._temporary = None
        self.release()
        self.finish({"size": self._size})

    def release(self):
        """Idempotent: no half upload stays."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        if self._temporary is not None:
            try:
                with self.agent.surroundings.with_user_rights():
                    os.unlink(self._temporary)
            except OSError:
                pass  # the user has moved or removed it: it is theirs
            self._temporary = None


class List(_Cancellable):
    """`file.list`: one message an entry, in slices."""

    def __init__(self, agent, number, path, limit):
        super().__init__(agent, number)
        self._path = path
        self._limit = limit
        self._count = 0
        self._entries = None
        self._message = None

    def begin(self):
        """Open the directory."""
        with self.agent.surroundings.with_user_rights():
            self._entries = os.scandir(self._path)
        self.pump()

    def pump(self):
        """A slice, then the others' turn."""
        if self._entries is None:
            return
        with self.agent.surroundings.with_user_rights():
            for _ in range(SLICE_COUNT):
                if self._message is None and not self._next():
                    return
                if self._message is not None:
                    # Whole or not at all: a list that is cancelled must not end within a message.
                    if self.allowance() < len(self._message):
                        return
                    self.send_message(self._message)
                    self._message = None
        self.agent.loop.call_soon(self._again)

    def _again(self):
        if self.open:
            self.agent.guarded(self, self.pump)

    def _next(self):
        entry = next(self._entries, None)
        if entry is None or self._count >= self._limit:
            self.release()
            self.finish({"truncated": entry is not None})
            return False
        try:
            found = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return True  # removed since: not in the list
        self._count += 1
        self._message = dump_json({"name": entry.name, **stat_of(found)})
        return True

    def release(self):
        """Idempotent."""
        if self._entries is not None:
            self._entries.close()
            self._entries = None


def _open_write(agent, number, message):
    mode = need_count(message, "mode", 0o7777) & 0o777 if "mode" in message else None
    size = need_count(message, "size", FILE_MAX_BYTES)
    return Write(agent, number, path_of(agent, message, "path"), size, mode)


def _open_list(agent, number, message):
    limit = need_count(message, "limit", LIST_MAX_COUNT)
    return List(agent, number, path_of(agent, message, "path"), limit)


def _open_move(agent, number, message):
    source, target = path_of(agent, message, "from"), path_of(agent, message, "to")
    return _Simple(agent, number, lambda: os.rename(source, target))


def _open_remove(agent, number, message):
    path = path_of(agent, message, "path")
    if message.get("recursive", False) is True:
        return Child(agent, number, lambda: _remove_tree(path), as_user=True)
    return _Simple(agent, number, lambda: _remove(path))


def _remove(path):
    if stat.S_ISDIR(os.lstat(path).st_mode):
        os.rmdir(path)
    else:
        os.unlink(path)


def _remove_tree(path):
    if stat.S_ISDIR(os.lstat(path).st_mode):
        shutil.rmtree(path)
    else:
        os.unlink(path)


OPERATIONS = {
    "file.read": lambda agent, number, message: Read(agent, number, path_of(agent, message, "path")),
    "file.write": _open_write,
    "file.list": _open_list,
    "file.stat": lambda agent, number, message: _stat(agent, number, path_of(agent, message, "path")),
    "file.move": _open_move,
    "file.remove": _open_remove,
    "file.mkdir": lambda agent, number, message: _mkdir(agent, number, path_of(agent, message, "path")),
}


def _stat(agent, number, path):
    return _Simple(agent, number, lambda: stat_of(os.lstat(path)))


def _mkdir(agent, number, path):
    return _Simple(agent, number, lambda: os.makedirs(path, exist_ok=True))
