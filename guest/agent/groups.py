"""The processes of one context or command as a group, so that all of them end at once, however fast they multiply.

A group is named by its mark. `open` comes before its first process, `join` before that process runs guest code, `close` when nothing
more is asked of the group: what still runs in it then goes on.

All groups can be frozen together, and stay so until they are thawed: while a machine is copied, and until a copy has its identity.
"""

import os
import signal

from .system import processes, signal_process

_ROOT = "/sys/fs/cgroup/user"


class ControlGroups:
    """In a machine: control groups, which guest code cannot leave and the kernel ends as one."""

    def __init__(self):
        self._closed = []
        self._frozen = False
        self._freeze = self._events = -1

    def prepare(self):
        """Once, before the first is opened."""
        os.mkdir(_ROOT, 0o755)
        # Open from the boot on: an emulator is slow at walking a path for the first time, and it would in every suspend and resume.
        self._freeze = os.open(f"{_ROOT}/cgroup.freeze", os.O_WRONLY | os.O_CLOEXEC)
        self._events = os.open(f"{_ROOT}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)

    def environment(self, mark):
        """What the environment of its processes must hold."""
        return {}

    def open(self, mark):
        """Raises OSError."""
        os.mkdir(f"{_ROOT}/{mark}", 0o755)

    def join(self, mark, pid=0):
        """For a process that is still root's, by default the calling one. Raises OSError."""
        _write(f"{_ROOT}/{mark}/cgroup.procs", str(pid).encode("ascii"))

    def end(self, leader, mark):
        """SIGKILL to all of it, `leader` included."""
        try:
            _write(f"{_ROOT}/{mark}/cgroup.kill", b"1")
        except FileNotFoundError:
            pass  # closed, and empty since

    def close(self, mark):
        """Forget it when it is empty, now or when another is closed."""
        self._closed.append(mark)
        self._closed = [closed for closed in self._closed if not _removed(f"{_ROOT}/{closed}")]

    def freeze(self):
        """Begin to; see `frozen`."""
        self._frozen = True
        os.pwrite(self._freeze, b"1", 0)

    def thaw(self):
        """Where nothing is frozen, nothing happens."""
        if self._frozen:
            os.pwrite(self._freeze, b"0", 0)
            self._frozen = False

    def frozen(self):
        """Whether nothing of guest code runs any more."""
        return b"frozen 1" in os.pread(self._events, 4096, 0)


class ScannedGroups:
    """On a developer's host, for tests: a mark in the environment, and /proc. Guest code that drops the mark and its parent escapes."""

    _VARIABLE = "BULKHEAD_GROUP"
    _ROUNDS = 20

    def __init__(self, surroundings):
        self._surroundings = surroundings

    def environment(self, mark):
        """What the environment of its processes must hold."""
        return {self._VARIABLE: mark}

    def open(self, mark):
        """Nothing to open."""

    def join(self, mark, pid=0):
        """The environment says it."""

    def close(self, mark):
        """Nothing to close."""

    def freeze(self):
        """Nothing is frozen here."""

    def thaw(self):
        """Nothing is frozen here."""

    def frozen(self):
        """So that tests can go on."""
        return True

    def end(self, leader, mark):
        """SIGKILL to `leader`, its session, its descendants, and whoever carries the mark; until none is left."""
        needle = f"{self._VARIABLE}={mark}\0".encode()
        family = {leader}
        for _ in range(self._ROUNDS):
            alive = [process for process in processes(self._surroundings) if not process.zombie]
            targets = _members(alive, family, leader, needle)
            if not targets:
                return
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in targets:
                    signal_process(pid, number)
            family.update(targets)


def _members(alive, family, leader, needle):
    members = {process.pid for process in alive if process.session == leader or process.pid in family}
    grown = True
    while grown:
        grown = False
        for process in alive:
            if process.pid not in members and (process.parent in members or process.parent in family):
                members.add(process.pid)
                grown = True
    for process in alive:
        if process.pid not in members and needle in _environment(process.pid):
            members.add(process.pid)
    members.discard(os.getpid())
    return members


def _environment(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            return file.read(65_536)
    except OSError:
        return b""  # ended, or not ours to read


def _removed(folder):
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False  # something in it still runs, or is just ending
    return True


def _write(path, data):
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
