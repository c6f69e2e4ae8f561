"""The agent's end of the zygote: asks it for Python processes and hears of their exits.

The zygote reaps a child only after the agent has heard of its exit, so a pid that the agent signals is never somebody else's.
"""

import os
import signal
import socket

from .children import exit_of
from .loop import READ


def open_zygotes(agent, warmed):
    """What makes Python workers here; `warmed()` is called once it can make the first."""
    return ZygoteClient(agent, warmed) if agent.surroundings.forks_share else SingleZygotes(agent, warmed)


def _start(agent):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    os.set_inheritable(theirs.fileno(), True)
    command = [*agent.surroundings.zygote_command(), "--zygote", str(theirs.fileno())]
    pid = os.posix_spawn(command[0], command, dict(os.environ, MPLBACKEND="agg", HOME=agent.surroundings.warm_home))
    theirs.close()
    ours.setblocking(False)
    return pid, ours


class SingleZygotes:
    """A zygote for each worker, which it becomes. One is started when it is needed, but for the first."""

    def __init__(self, agent, warmed):
        self._agent = agent
        self._idle = _start(agent)
        self._first_warmed = warmed
        self._watch(*self._idle)

    def _watch(self, pid, connection):
        def ready(events):
            try:
                words = connection.recv(256)
            except ConnectionResetError:
                words = b""
            # Its end comes by itself when it has become a worker, or has died; whoever waits for it is told by its exit.
            if not words:
                self._agent.loop.forget(connection.fileno())
                connection.close()
                return
            warmed, self._first_warmed = self._first_warmed, None
            if warmed is not None:
                warmed()

        self._agent.loop.watch(connection.fileno(), READ, ready)

    def fork(self, context, descriptors):
        """A worker with these descriptors as control socket, stdout and stderr; it takes them when it is warm."""
        groups = self._agent.surroundings.groups
        groups.open(context.mark)
        if self._idle is None:
            self._idle = _start(self._agent)
            self._watch(*self._idle)
        (pid, connection), self._idle = self._idle, None
        socket.send_fds(connection, [f"B {context.mark}".encode("ascii")], descriptors)
        groups.join(context.mark, pid)
        context.known(pid)
        self._agent.children.watch(pid, context.ended)

    def close(self):
        """The agent ends, and all processes with it."""
        if self._idle is not None:
            os.kill(self._idle[0], signal.SIGKILL)
            os.waitpid(self._idle[0], 0)


class ZygoteClient:
    """Starts the zygote; `warmed()` is called once it can fork."""

    def __init__(self, agent, warmed):
        self._agent = agent
        self._warmed = warmed
        self._contexts = {}
        self._count = 0
        self._pid, self._socket = _start(agent)
        agent.loop.watch(self._socket.fileno(), READ, self._ready)

    def fork(self, context, descriptors):
        """A worker with these descriptors as control socket, stdout and stderr."""
        self._agent.surroundings.groups.open(context.mark)
        self._count += 1
        self._contexts[self._count] = context
        text = f"F {self._count} {context.mark}".encode("ascii")
        socket.send_fds(self._socket, [text], descriptors)

    def _ready(self, events):
        while True:
            try:
                words = self._socket.recv(256).decode("ascii").split()
            except BlockingIOError:
                return
            if not words:
                raise RuntimeError("the zygote has ended")
            if words[0] == "W":
                self._warmed()
                continue
            token, value = int(words[1]), int(words[2])
            context = self._contexts.get(token)
            if words[0] == "P":
                context.known(value)
            elif words[0] == "X":
                del self._contexts[token]
                context.ended(*exit_of(value))
                self._socket.send(f"R {token}".encode("ascii"))

    def close(self):
        """The agent ends: so does the zygote."""
        self._agent.loop.forget(self._socket.fileno())
        self._socket.close()
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
