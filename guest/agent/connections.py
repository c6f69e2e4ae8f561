"""`connect`: a stream of the channel joined to a TCP connection to a server in this machine.

Only ever to this machine's own loopback addresses. Each direction ends by itself: END on lane 0 is the end of what the server reads, its own
end becomes END on lane 1.
"""

import errno
import socket

from . import frames
from .frames import FLAG_END, LANE_EVENTS, LANE_STDOUT
from .loop import READ, WRITE
from .stream import OperationError, Stream, need_count

# A server that listens and takes nobody: the kernel would try for two minutes.
CONNECT_WAIT_S = 10.0
ADDRESSES = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


class Relay(Stream):
    """A stream joined to a socket: ends when both directions have, when the connection breaks, or when it is killed."""

    def __init__(self, agent, number):
        super().__init__(agent, number)
        self._socket = None
        self._connected = False
        self._waiting = bytearray()
        # Whether there is nothing more to write, or to read.
        self._write_ended = False
        self._read_ended = False

    def begin_relay(self):
        """The socket is connected: say so, and relay."""
        self._connected = True
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send_data(LANE_EVENTS, frames.dump_json({"type": "connected"}))
        self._write()
        self._look()

    def relay(self, events):
        """Runs outside the agent's guard: what fails here is this connection's, too."""
        if events & ~READ:
            self._write()
        if events & ~WRITE and self.open:
            self._read()
        self._look()

    def _read(self):
        size = self.allowance()
        if self._read_ended or size == 0:
            return
        try:
            data = self._socket.recv(size)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._broke(error)
            return
        if data:
            self.send_data(LANE_STDOUT, data)
        else:
            self._read_ended = True
            self.send_data(LANE_STDOUT, b"", FLAG_END)

    def _write(self):
        """What the other side does not want any more is swallowed: it may still have something to say."""
        try:
            while self._waiting and not self._write_ended:
                count = self._socket.send(self._waiting)
                del self._waiting[:count]
                self.consumed(count)
            if self.input_ended and not self._write_ended:
                self._write_ended = True
                self._socket.shutdown(socket.SHUT_WR)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._write_ended = True
        if self._write_ended and self._waiting:
            self.consumed(len(self._waiting))
            self._waiting.clear()

    def _look(self):
        """Watch for exactly what can be done now; close when nothing is left to do."""
        if not self.open or not self._connected:
            return
        if self._read_ended and self.input_ended and not self._waiting:
            self.release()
            self.finish({})
            return
        mask = 0
        if not self._read_ended and self.allowance() > 0:
            mask |= READ
        if self._waiting:
            mask |= WRITE
        self.agent.loop.watch(self._socket.fileno(), mask, self.relay)

    def _broke(self, error):
        self.fail("reset" if error.errno in (errno.ECONNRESET, errno.EPIPE) else "io", error.strerror or "the connection broke")

    def fail(self, code, message):
        """Whatever ends it, nothing of it is left."""
        self.release()
        super().fail(code, message)

    def drop(self):
        """Let go of the socket; idempotent."""
        if self._socket is not None:
            self.agent.loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def input(self, data, ended):
        """Bytes for the other side; bounded by the stream's credit."""
        if self._write_ended:
            self.consumed(len(data))
        else:
            self._waiting += data
            if self._connected:
                self._write()
        self._look()

    def pump(self):
        """More may be sent."""
        if self._connected:
            self._look()

    def signal(self, name, message):
        """`kill` is the only one that means something here."""
        if name == "kill":
            self.fail("cancelled", "the connection was closed by the host")

    def abandon(self):
        """The epoch is over."""
        super().abandon()
        self.release()

    def release(self):
        """Let go of everything; idempotent."""
        self.drop()


class Connection(Relay):
    """`connect`: to a server in this machine."""

    def __init__(self, agent, number, port):
        super().__init__(agent, number)
        self._port = port
        self._addresses = list(ADDRESSES)
        self._timer = None

    def begin(self):
        """Try the first address."""
        self._timer = self.agent.loop.call_later(CONNECT_WAIT_S, self._too_late)
        self._try_next()

    def _try_next(self):
        while self._addresses:
            family, address = self._addresses.pop(0)
            try:
                self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
                error = self._socket.connect_ex((address, self._port))
            except OSError as failure:  # no IPv6 in this machine
                error = failure.errno
            if error == errno.EINPROGRESS:
                self.agent.loop.watch(self._socket.fileno(), WRITE, self._ready)
                return
            if error == 0:
                self._connect_done()
                return
            self.drop()
        self.fail("refused", f"nothing listens on port {self._port}")

    def _too_late(self):
        self.fail("refused", f"what listens on port {self._port} takes no connection")

    def _ready(self, events):
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0:
            self.drop()
            self._try_next()
            return
        try:
            self._socket.getpeername()
        except OSError:
            return  # the event was that of a socket that had this number before
        self._connect_done()

    def _connect_done(self):
        self._timer.cancel()
        self.begin_relay()

    def release(self):
        """The timer too."""
        if self._timer is not None:
            self._timer.cancel()
        super().release()


def open_connect(agent, number, message):
    """`connect`."""
    port = need_count(message, "port", 65_535)
    if port == 0:
        raise OperationError("invalid", "port must be from 1 to 65535")
    return Connection(agent, number, port)


OPERATIONS = {"connect": open_connect}
