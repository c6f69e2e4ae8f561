"""The machine as a whole: its processes, `info`, `settle`."""

import ctypes
import os
import signal
import sys
import time

from .stream import Stream

_REHEARSE_WAIT_S = 10.0
_FREEZE_WAIT_S = 1.0
_FREEZE_POLL_S = 0.002
_MCL_CURRENT, _MCL_ONFAULT = 1, 4  # linux/mman.h
_M_TRIM_THRESHOLD = -1  # glibc's malloc.h
_HEAP_SPARE_BYTES = 1_048_576
# Left to the kernel while the rest of the free memory is zeroed, so that it need not take back what has been warmed.
_KEPT_FREE_BYTES = 25_165_824


class _Process:
    __slots__ = ("pid", "parent", "session", "zombie")

    def __init__(self, pid, parent, session, zombie):
        self.pid = pid
        self.parent = parent
        self.session = session
        self.zombie = zombie


def processes(surroundings):
    """Every process of guest code, read from /proc."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if not surroundings.is_users(os.stat(f"/proc/{name}").st_uid):
                continue
            with open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                text = file.read(1024)
        except OSError:
            continue  # it has ended meanwhile
        # The command name may hold anything, parentheses too: the fields start after the last one.
        fields = text[text.rindex(b")") + 2 :].split()
        found.append(_Process(int(name), int(fields[1]), int(fields[3]), fields[0] in (b"Z", b"X")))
    return found


def signal_process(pid, number):
    """A signal to one process; one that is gone is success."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def signal_group(leader, number):
    """A signal to the process group of `leader`; one that is gone is success."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        pass


def trim_heap():
    """Give this process's free memory back to the kernel, but for what the next turns need anyway."""
    try:
        library = ctypes.CDLL(None)
        library.mallopt(_M_TRIM_THRESHOLD, 4 * _HEAP_SPARE_BYTES)
        library.malloc_trim(_HEAP_SPARE_BYTES)
    except AttributeError:
        pass  # a C library without malloc_trim


def zero_free_memory():
    """Make pages that nobody uses hold nothing, so that a template does not carry what boot and warm-up left in them.

    Files' pages that no process has mapped count as unused: what was read ahead.
    """
    _write_vm("drop_caches", b"1")
    size = _meminfo(b"MemFree:") - _KEPT_FREE_BYTES
    if size > 0:
        # Not a fork: every page that the agent writes to would have to be taken back from it, in every session.
        command = [sys.executable, "-I", "-S", "-c", f"import mmap; mmap.mmap(-1, {size}, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)"]
        os.waitpid(os.posix_spawn(command[0], command, {}), 0)


def stay_in_memory():
    """Keep what this process has in memory there: also when guest code has filled the machine, which then reads programs again and again.

    Raises OSError.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if library.mlockall(_MCL_CURRENT | _MCL_ONFAULT) != 0:
        raise OSError(ctypes.get_errno(), "mlockall")


def _meminfo(name):
    with open("/proc/meminfo", "rb") as file:
        for line in file:
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


def settle_kernel():
    """Write back, drop clean caches, gather free pages: what is free is not in a snapshot."""
    os.sync()
    _write_vm("drop_caches", b"3")
    _write_vm("compact_memory", b"1")


def _write_vm(name, text):
    try:
        fd = os.open(f"/proc/sys/vm/{name}", os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # a kernel without it
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


class Child(Stream):
    """An operation whose slow part runs in a forked child, so that a big tree or a long sync does not hold up the agent."""

    def __init__(self, agent, number, work, as_user):
        super().__init__(agent, number)
        self._work = work
        self._as_user = as_user
        self._pid = None

    def begin(self):
        """Fork; the child's exit code is an errno."""
        self._pid = os.fork()
        if self._pid == 0:
            code = 5
            try:
                if self._as_user:
                    self.agent.surroundings.become_user()
                self._work()
                code = 0
            except OSError as error:
                code = min(error.errno or 5, 255)
            finally:
                os._exit(code)
        self.agent.children.watch(self._pid, self._ended)

    def signal(self, name, message):
        """Interrupt and kill both end it."""
        if name != "resize":
            signal_process(self._pid, signal.SIGKILL)

    def _ended(self, exit_code, number):
        if exit_code:
            raise_as_user_error = OSError(exit_code, os.strerror(exit_code))
            from .files import describe

            self.fail(*describe(raise_as_user_error))
        elif number is not None:
            self.fail("cancelled", "ended before it was done")
        else:
            self.finish({})


class Info(Stream):
    """`info`."""

    def begin(self):
        """Answers at once."""
        disk = os.statvfs(self.agent.surroundings.home)
        self.finish(
            {
                "memoryFreeBytes": _meminfo(b"MemAvailable:"),
                "scratchFreeBytes": disk.f_bavail * disk.f_frsize,
                "processes": sum(not process.zombie for process in processes(self.agent.surroundings)),
            }
        )


class Settle(Child):
    """`settle`: first the contexts give memory back, then the agent, then the kernel."""

    def __init__(self, agent, number):
        super().__init__(agent, number, settle_kernel if agent.surroundings.is_machine else os.sync, as_user=False)

    def begin(self):
        """The kernel's part comes last."""
        trim_heap()
        self.agent.contexts.trim(1.0, self._trimmed)

    def _trimmed(self):
        if self.open:
            super().begin()


class Rehearse(Stream):
    """`rehearse`: the contexts do what a session may do first, and forget all that they have run."""

    def begin(self):
        """In their own time."""
        self.agent.contexts.warm(_REHEARSE_WAIT_S, self._rehearsed)

    def _rehearsed(self):
        if self.open:
            self.finish({})


class Freeze(Stream):
    """`freeze`: no guest code runs from its answer to the next identity."""

    def __init__(self, agent, number):
        super().__init__(agent, number)
        self._groups = agent.surroundings.groups
        self._deadline = 0.0

    def begin(self):
        """Soon: who waits for a disk is frozen when it is done."""
        self._deadline = time.monotonic() + _FREEZE_WAIT_S
        self._groups.freeze()
        self._look()

    def _look(self):
        if not self.open:
            return
        if self._groups.frozen():
            self.finish({})
        elif time.monotonic() < self._deadline:
            self.agent.loop.call_later(_FREEZE_POLL_S, lambda: self.agent.guarded(self, self._look))
        else:
            self._groups.thaw()
            self.fail("busy", "a process cannot be stopped")


OPERATIONS = {
    "freeze": lambda agent, number, message: Freeze(agent, number),
    "rehearse": lambda agent, number, message: Rehearse(agent, number),
    "info": lambda agent, number, message: Info(agent, number),
    "settle": lambda agent, number, message: Settle(agent, number),
}
