"""Reaping: every child of the agent is watched by a pidfd, so that an exit is an event like any other. On a kernel without, SIGCHLD says that one of
them may have ended.
"""

import errno
import os
import signal

from .loop import READ


def exit_of(status):
    """(exit code, signal) of a wait status; one of them is None."""
    if os.WIFSIGNALED(status):
        return None, os.WTERMSIG(status)
    return os.WEXITSTATUS(status), None


class Children:
    """The agent's own children."""

    def __init__(self, loop):
        self._loop = loop
        self._wake = None
        self._watched = {}

    def watch(self, pid, ended):
        """Call `ended(exit_code, signal)` once `pid` is reaped."""
        try:
            descriptor = os.pidfd_open(pid)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            self._watch_by_signal(pid, ended)
            return

        def ready(events):
            self._loop.forget(descriptor)
            os.close(descriptor)
            ended(*exit_of(os.waitpid(pid, 0)[1]))

        self._loop.watch(descriptor, READ, ready)

    def _watch_by_signal(self, pid, ended):
        self._watched[pid] = ended
        if self._wake is None:
            self._wake, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            signal.signal(signal.SIGCHLD, lambda number, frame: None)
            signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
            self._loop.watch(self._wake, READ, self._woken)
        # It may have ended before anybody listened.
        self._loop.call_soon(self._reap)

    def _woken(self, events):
        os.read(self._wake, 4096)
        self._reap()

    def _reap(self):
        for pid in list(self._watched):
            reaped, status = os.waitpid(pid, os.WNOHANG)
            if reaped == pid:
                self._watched.pop(pid)(*exit_of(status))
