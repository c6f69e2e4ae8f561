"""What differs between a machine and a developer's host, so that nothing else asks."""

import os
import resource
import sys

from . import identity
from .groups import ControlGroups, ScannedGroups
from .system import meminfo

UID = 1000
GID = 1000
PROCESSES_MAX_COUNT = 512


class Machine:
    """Inside a session's machine: the agent is root, guest code is `user`."""

    is_machine = True
    # Whether the kernel is the machine's own: its caches, its memory.
    has_kernel = True
    # Whether a forked process shares its parent's memory until it writes, page by page.
    forks_share = True
    home = "/home/user"
    # Where libraries leave their caches while they are warmed: a session starts with an empty home.
    warm_home = "/var/cache/bulkhead"
    user = "user"
    # Where guest code reaches the tools of its session.
    tools_socket = "/run/bulkhead-tools"
    # Where guest code finds its proxy, when its session has one.
    proxy_port = 3128

    def __init__(self):
        self.groups = ControlGroups()
        # What guest code finds in its environment beside what all find.
        self.variables = {}
        self._kernel = None

    def prepare(self):
        """Before the channel opens: the agent is the last that the kernel kills for memory, and what it runs before guest code.

        Its children are ordinary again.
        """
        os.setgroups([])
        os.umask(0o022)
        write_proc("/proc/self/oom_score_adj", "-1000")
        self._kernel = identity.Kernel()
        self.groups.prepare()
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, -20)

    def watch(self, agent):
        """The kernel keeps guest code within its memory."""

    def memory_free(self):
        """Bytes that guest code may still use."""
        return meminfo(b"MemAvailable:")

    def zygote_command(self):
        """argv of the zygote, but for its descriptor."""
        return [sys.executable, "-I", main_path()]

    def take(self, who):
        """The kernel's share of an identity."""
        self._kernel.take(who)

    def boot_id(self):
        """The kernel's, which it makes up when it is first asked: not before there is an identity."""
        return self._kernel.boot_id()

    def become_user(self):
        """In a forked child: give up root for good."""
        write_proc("/proc/self/oom_score_adj", "500")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES_MAX_COUNT, PROCESSES_MAX_COUNT))
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


class UserRights:
    """The effective ids only: the real ones stay root's, so that guest code can neither signal nor trace the agent meanwhile."""

    def __enter__(self):
        os.setegid(GID)
        os.seteuid(UID)

    def __exit__(self, *error):
        os.seteuid(0)
        os.setegid(0)


class _SameRights:
    def __enter__(self):
        pass

    def __exit__(self, *error):
        pass


class Development:
    """On a host, for tests: the present user, and nothing of the host is changed."""

    is_machine = False
    has_kernel = False
    forks_share = True

    def __init__(self, home):
        self.groups = ScannedGroups(self)
        self.home = home
        self.user = "user"
        self.warm_home = home + "-warm"
        self.tools_socket = home + "-tools"
        self.proxy_port = 0
        self.variables = {}
        os.makedirs(home, exist_ok=True)

    def prepare(self):
        """Nothing to prepare."""

    def watch(self, agent):
        """Nothing to keep."""

    def memory_free(self):
        """The host's."""
        return meminfo(b"MemAvailable:")

    def zygote_command(self):
        """argv of the zygote, but for its descriptor."""
        return [sys.executable, "-I", main_path(), "--development", "--home", self.home]

    def take(self, who):
        """The host keeps its clock, names and generator."""

    def boot_id(self):
        """The host's."""
        descriptor = identity.open_boot_id()
        try:
            return identity.read_boot_id(descriptor)
        finally:
            os.close(descriptor)

    def become_user(self):
        """Stay who we are."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def own_tree(self, folder):
        """It is ours already."""

    def own(self, fd):
        """It is ours already."""

    def with_user_rights(self):
        """The rights that we have."""
        return _SameRights()

    def is_users(self, uid):
        """Only what we started is ever asked about; see groups.ScannedGroups."""
        return uid == os.getuid()


def main_path():
    """Where the agent starts."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "main.py")


def write_proc(path, text):
    """Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode("ascii"))
    finally:
        os.close(fd)
