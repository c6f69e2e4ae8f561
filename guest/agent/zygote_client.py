"""The agent's end of the zygote: asks it for Python processes and hears of their exits.

The zygote reaps a child only after the agent has heard of its exit, so a pid that the agent signals is never somebody else's.
"""

import os
import signal
import socket

from .children import exit_of
from .loop import READ


class ZygoteClient:
    """Starts the zygote; `warmed()` is called once it can fork."""

    def __init__(self, agent, warmed):
        self._agent = agent
        self._warmed = warmed
        self._contexts = {}
        self._count = 0
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        os.set_inheritable(theirs.fileno(), True)
        command = [*agent.surroundings.zygote_command(), "--zygote", str(theirs.fileno())]
        self._pid = os.posix_spawn(command[0], command, dict(os.environ, MPLBACKEND="agg", HOME=agent.surroundings.warm_home))
        theirs.close()
        self._socket.setblocking(False)
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
