"""Reaping: every child of the agent is watched by a pidfd, so that an exit is an event like any other."""

import os

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

    def watch(self, pid, ended):
        """Call `ended(exit_code, signal)` once `pid` is reaped."""
        descriptor = os.pidfd_open(pid)

        def ready(events):
            self._loop.forget(descriptor)
            os.close(descriptor)
            ended(*exit_of(os.waitpid(pid, 0)[1]))

        self._loop.watch(descriptor, READ, ready)
