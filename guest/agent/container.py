"""Inside a container on a kernel in user space: what that kernel does not offer is done here, or left to the host.

The host's kernel gives the randomness and the time, so neither needs to be set. There are no control groups: groups are found in /proc, and stopped
by signals. Nothing kills for memory but the host, which would kill all of the container: the agent does it first, the largest process.
"""

import os
import resource
import shutil
import signal
import socket
import sys
import uuid

from . import identity
from .groups import ScannedGroups
from .surroundings import GID, UID, UserRights, main_path
from .system import processes, signal_process

_MIB = 1_048_576
# What the agent, the zygote and the kernel's own bookkeeping may take of the memory.
_HEADROOM_BYTES = 32 * _MIB
_WATCH_BUSY_S = 0.1
_WATCH_CLOSE_S = 0.03
_WATCH_IDLE_S = 1.0
# Each copies megabytes of its parent, quicker than whoever is to end it can look.
_PROCESSES_MAX_COUNT = 96
_HOME_TEMPLATE = "/usr/lib/bulkhead/home"
_BUSYBOX = "/usr/lib/bulkhead/busybox"
_BOOT_ID = "/run/bulkhead/boot-id"


class Container:
    """The agent is the container's root, guest code is `user`."""

    is_machine = True
    has_kernel = False
    # The kernel copies two megabytes at the first write to any of them: soon a fork has all of its memory twice.
    forks_share = False
    home = "/home/user"
    warm_home = "/var/cache/bulkhead"
    tools_socket = "/run/bulkhead-tools"
    # Where guest code finds its proxy, when its session has one.
    proxy_port = 3128
    user = "user"

    def __init__(self, memory_mib):
        self.variables = {}
        self.groups = StoppedGroups(self)
        self._memory_mib = memory_mib
        self._limit_bytes = memory_mib * _MIB
        self._names = {}
        self._boot_id = None
        self._agent = None

    def prepare(self):
        """Before the channel opens. The home is empty memory: what a session finds in it lies in the image."""
        os.setgroups([])
        os.umask(0o022)
        shutil.copytree(_HOME_TEMPLATE, self.home, symlinks=True, dirs_exist_ok=True)
        self.own_tree(self.home)
        os.chmod(self.home, 0o755)
        for folder, mode in (("/run/lock", 0o1777), ("/run/user/1000", 0o700), (os.path.dirname(_BOOT_ID), 0o755)):
            os.makedirs(folder, exist_ok=True)
            os.chmod(folder, mode)
        os.chown("/run/user/1000", UID, GID)
        _replace_what_fails()
        self._names = {name: identity.NameFile(f"/etc/{name}") for name in ("hostname", "machine-id", "hosts")}

    def zygote_command(self):
        """argv of the zygote, but for its descriptor."""
        return [sys.executable, "-I", main_path(), "--container", str(self._memory_mib)]

    def take(self, who):
        """The names. The time and the kernel's generator are the host's own."""
        socket.sethostname(who.hostname)
        self._names["hostname"].replace(who.hostname + "\n")
        self._names["machine-id"].replace(who.machine_id + "\n")
        self._names["hosts"].replace(f"127.0.0.1 localhost {who.hostname}\n::1 localhost ip6-localhost\n")

    def boot_id(self):
        """Made up when it is first asked, which is after the container has its identity; the kernel here has none to give."""
        if self._boot_id is None:
            self._boot_id = str(uuid.uuid4())
            with open(_BOOT_ID, "w", encoding="ascii") as file:
                file.write(self._boot_id + "\n")
        return self._boot_id

    def become_user(self):
        """In a forked child: give up root for good."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NPROC, (_PROCESSES_MAX_COUNT, _PROCESSES_MAX_COUNT))
        os.setgroups([])
        os.setresgid(GID, GID, GID)
        os.setresuid(UID, UID, UID)

    def own_tree(self, folder):
        """Hand what the warm-up has written to the user; before any guest code runs."""
        os.chown(folder, UID, GID)
        for path, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.chown(os.path.join(path, name), UID, GID, follow_symlinks=False)

    def own(self, fd):
        """Hand a terminal to the user."""
        os.fchown(fd, UID, GID)

    def with_user_rights(self):
        """A context in which the agent opens files as the user would."""
        return UserRights()

    def is_users(self, uid):
        """Whether a process of this uid is guest code."""
        return uid == UID

    def memory_free(self):
        """Bytes that guest code may still use."""
        return max(0, self._limit_bytes - self._used_bytes())

    def watch(self, agent):
        """Keep guest code within its memory."""
        self._agent = agent
        self._look()

    def _look(self):
        used = self._used_bytes()
        if used > self._limit_bytes:
            _end_all_of_the_user()
        elif used > self._limit_bytes - _HEADROOM_BYTES:
            self._end_largest()
        wait = _WATCH_BUSY_S if self._agent.streams else _WATCH_IDLE_S
        self._agent.loop.call_later(_WATCH_CLOSE_S if used > self._limit_bytes // 2 else wait, self._look)

    def _used_bytes(self):
        """Files that are mapped are the host's. What lies in the places for files is theirs, up to as much as the memory: they have quotas."""
        with open("/proc/meminfo", "rb", buffering=0) as file:
            lines = file.read(4096).splitlines()
        sizes = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(b":") for line in lines)}
        used = sizes[b"MemTotal"] - sizes[b"MemFree"] - sizes[b"Mapped"]
        return used - min(sizes[b"Shmem"], self._limit_bytes)

    def _end_largest(self):
        """One at a time: what it held is free when we look again."""
        alive = [process for process in processes(self) if not process.zombie]
        largest = max(alive, key=lambda process: _resident_pages(process.pid), default=None)
        if largest is not None:
            signal_process(largest.pid, signal.SIGKILL)


class StoppedGroups(ScannedGroups):
    """All guest code can be stopped together, by signals; what was stopped before stays so afterwards."""

    def __init__(self, surroundings):
        super().__init__(surroundings)
        self._stopped = []

    def end(self, leader, mark):
        """The leader too while it is still a zygote, which is root's."""
        super().end(leader, mark)
        if _parent_of(leader) == os.getpid():
            signal_process(leader, signal.SIGKILL)

    def freeze(self):
        """Parents before their children, so that no shell sees a child stop."""
        for process in sorted(self._running(), key=lambda found: found.pid):
            signal_process(process.pid, signal.SIGSTOP)
            self._stopped.append(process.pid)

    def frozen(self):
        """Whoever was started meanwhile is stopped too."""
        late = self._running()
        if late:
            self.freeze()
        return not late

    def thaw(self):
        """Children before their parents."""
        for pid in reversed(self._stopped):
            signal_process(pid, signal.SIGCONT)
        self._stopped = []

    def _running(self):
        return [process for process in processes(self._surroundings) if not process.zombie and not process.stopped]


def _parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            text = file.read(1024)
    except OSError:
        return None  # it has ended
    return int(text[text.rindex(b")") + 2 :].split()[1])


def _replace_what_fails():
    """Some commands ask the kernel for what it does not know (statx with AT_NO_AUTOMOUNT, in a runsc of 2022); busybox's do not."""
    pid = os.posix_spawn("/usr/bin/ls", ["ls", "-d", "/"], os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_WRONLY, 0) for fd in (1, 2)])
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0:
        return
    os.makedirs("/usr/local/bin", exist_ok=True)
    for name in ("ls", "stat"):
        os.symlink(_BUSYBOX, f"/usr/local/bin/{name}")


def _end_all_of_the_user():
    """What multiplies is quicker than whoever looks for it: the kernel ends all that the user may signal, in one call."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setresgid(GID, GID, GID)
            os.setresuid(UID, UID, UID)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _resident_pages(pid):
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:
            return int(file.read(256).split()[1])
    except OSError:
        return 0  # it has ended meanwhile
