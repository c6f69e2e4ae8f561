"""`egress`: the proxy in this machine that leads out of it, for sessions that may.

We listen on loopback and join each connection to a stream of the host, byte for byte. What a client says, and where that may lead, is the host's to
read: nothing is parsed and nothing decided here. Guest code finds the proxy by the usual variables.
"""

import socket

from .connections import Relay
from .conversation import Conversation, accept_one
from .loop import READ
from .stream import OperationError, need_count

# The host has the same bound; who comes meanwhile waits to be accepted.
CONNECTIONS_MAX_COUNT = 16
_ADDRESS = "127.0.0.1"
_NOT_THROUGH_IT = "localhost,127.0.0.1,::1"
_BACKLOG = 128


def proxy_variables(port):
    """What makes clients use the proxy; they do not agree on the case."""
    url = f"http://{_ADDRESS}:{port}"
    lower = {"http_proxy": url, "https_proxy": url, "no_proxy": _NOT_THROUGH_IT}
    return lower | {name.upper(): value for name, value in lower.items()}


class Egress(Conversation):
    """Open from the moment that a session may reach out until its epoch ends."""

    def __init__(self, agent, number):
        super().__init__(agent, number)
        self._listener = None
        self._accepted = {}  # sockets that the host has not yet opened a stream for, by number
        self._joined = 0
        self._last = 0

    def begin(self):
        """Listen, and tell guest code where."""
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((_ADDRESS, self.agent.surroundings.proxy_port))
        self._listener.listen(_BACKLOG)
        self.agent.contexts.set_variables(proxy_variables(self._listener.getsockname()[1]))
        self._look()

    def _look(self):
        """Accept while there is room."""
        if self._listener is not None:
            room = len(self._accepted) + self._joined < CONNECTIONS_MAX_COUNT
            self.agent.loop.watch(self._listener.fileno(), READ if room else 0, self._accept)

    def _accept(self, events):
        accepted = accept_one(self._listener)
        if accepted is None:
            return
        self._last += 1
        self._accepted[self._last] = accepted
        self._look()
        self.say({"type": "connect", "connection": self._last})

    def heard(self, message):
        """A connection that the host has no stream for."""
        refused = self._accepted.pop(message.get("refused"), None)
        if refused is not None:
            refused.close()
        self._look()

    def take(self, number):
        """The socket of a connection that now has a stream; None when there is none."""
        accepted = self._accepted.pop(number, None)
        if accepted is not None:
            self._joined += 1
        return accepted

    def ended(self):
        """One that was taken is over."""
        self._joined -= 1
        self._look()

    def signal(self, name, message):
        """`kill` closes the way out."""
        if name == "kill":
            self.fail("cancelled", "the host has closed the way out")

    def abandon(self):
        """The epoch is over."""
        super().abandon()
        self._release()

    def fail(self, code, message):
        """Whatever ends it, nothing listens any more."""
        self._release()
        super().fail(code, message)

    def _release(self):
        if self._listener is not None:
            self.agent.loop.forget(self._listener.fileno())
            self._listener.close()
            self._listener = None
        for accepted in self._accepted.values():
            accepted.close()
        self._accepted.clear()


class EgressConnection(Relay):
    """`egress.connection`: one client of the proxy."""

    def __init__(self, agent, number, egress, accepted):
        super().__init__(agent, number)
        self._egress = egress
        self._socket = accepted

    def begin(self):
        """It is connected already."""
        self.begin_relay()

    def release(self):
        """Its place is free again."""
        egress, self._egress = self._egress, None
        if egress is not None:
            egress.ended()
        super().release()


def open_egress(agent, number, message):
    """`egress`."""
    if _find(agent) is not None:
        raise OperationError("exists", "there is a way out already")
    return Egress(agent, number)


def open_connection(agent, number, message):
    """`egress.connection`."""
    wanted = need_count(message, "connection", 2**53)
    egress = _find(agent)
    accepted = None if egress is None else egress.take(wanted)
    if accepted is None:
        raise OperationError("not_found", "nobody waits for that connection")
    return EgressConnection(agent, number, egress, accepted)


def _find(agent):
    return next((stream for stream in agent.streams.values() if isinstance(stream, Egress)), None)


OPERATIONS = {"egress": open_egress, "egress.connection": open_connection}
