"""`calls`: tools that lie outside the machine, for guest code.

The stream is the session's one road to its tools. Guest code speaks to a socket of ours, a line of JSON each way; we number its calls and carry
them. Nothing is decided here: what a session may do is the host's to say, and an agent that has been taken over can ask for no more.

A line from guest code is `{ "tool", "operation", "arguments": "…" }`, the arguments as the text of a JSON object, or `{ "catalogue": true }`.
"""

import json
import os
import socket

from . import frames
from .conversation import Conversation, accept_one
from .loop import READ, WRITE

CLIENTS_MAX_COUNT = 32
# Calls that the host is at work on; the host has the same bound.
CALLS_MAX_COUNT = 16
LINE_MAX_BYTES = 2_097_152
_READ_BYTES = 65_536


def _refusal(code, message):
    return frames.dump_json({"ok": False, "error": {"code": code, "message": message}}) + b"\n"


class Calls(Conversation):
    """Open from the moment that a session has tools until its epoch ends."""

    def __init__(self, agent, number):
        super().__init__(agent, number)
        self._path = agent.surroundings.tools_socket
        self._listener = None
        self._clients = set()
        self._waiting = {}  # who waits, by the number of the call
        self._last_call = 0
        self._catalogue = b'{"ok":true,"value":{"tools":[]}}\n'

    def begin(self):
        """Listen for guest code."""
        _unlink(self._path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._listener.bind(self._path)
        os.chmod(self._path, 0o666)
        self._listener.listen(CLIENTS_MAX_COUNT)
        self.agent.loop.watch(self._listener.fileno(), READ, self._accept)

    def _accept(self, events):
        accepted = accept_one(self._listener)
        if accepted is None:
            return
        if len(self._clients) >= CLIENTS_MAX_COUNT:
            accepted.close()
            return
        self._clients.add(_Client(self, accepted))

    def line(self, client, line):
        """One request of guest code."""
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            client.answer(_refusal("invalid_request", "a request is one JSON object in a line"))
            return
        if message.get("catalogue") is True:
            client.answer(self._catalogue)
            return
        call = {name: message.get(name) for name in ("tool", "operation", "arguments")}
        if any(type(value) is not str for value in call.values()):
            client.answer(_refusal("invalid_request", "a call has a tool, an operation and arguments, all text"))
            return
        if len(self._waiting) >= CALLS_MAX_COUNT:
            client.answer(_refusal("limit_exceeded", f"a session has at most {CALLS_MAX_COUNT} calls under way at once"))
            return
        self._last_call += 1
        self._waiting[self._last_call] = client
        self.say({"type": "call", "call": self._last_call, **call})

    def gone(self, client):
        """A client that has closed wants no answers any more."""
        self._clients.discard(client)
        for number in [number for number, waiting in self._waiting.items() if waiting is client]:
            self._waiting[number] = None
            self.say({"type": "cancel", "call": number})

    def heard(self, message):
        """The catalogue, or an answer."""
        catalogue = message.get("catalogue")
        if catalogue is not None:
            self._catalogue = frames.dump_json({"ok": True, "value": catalogue}) + b"\n"
            return
        client = self._waiting.pop(message.pop("call"), None)
        if client is not None:
            client.answer(frames.dump_json(message) + b"\n")

    def signal(self, name, message):
        """`kill` ends the road."""
        if name == "kill":
            self._release()
            self.fail("cancelled", "the host has closed the calls")

    def abandon(self):
        """The epoch is over: whoever waits is told by the end of its connection."""
        super().abandon()
        self._release()

    def _release(self):
        if self._listener is not None:
            self.agent.loop.forget(self._listener.fileno())
            self._listener.close()
            self._listener = None
            _unlink(self._path)
        for client in list(self._clients):
            client.close()
        self._clients.clear()
        self._waiting.clear()


class _Client:
    """One connection of guest code; it may ask for several things, one after the other or at once."""

    def __init__(self, calls, connection):
        self._calls = calls
        self._socket = connection
        self._read = bytearray()
        self._unsent = bytearray()
        self._loop = calls.agent.loop
        self._watch()

    def _watch(self):
        if self._socket is not None:
            mask = READ if len(self._unsent) < LINE_MAX_BYTES else 0
            self._loop.watch(self._socket.fileno(), mask | (WRITE if self._unsent else 0), self._ready)

    def _ready(self, events):
        if events & WRITE:
            self._flush()
        if events & ~WRITE and self._socket is not None:
            self._take()

    def _take(self):
        try:
            data = self._socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            self._calls.gone(self)
            return
        self._read += data
        *lines, self._read = self._read.split(b"\n")
        for line in lines:
            self._calls.line(self, bytes(line))
        if len(self._read) > LINE_MAX_BYTES:
            self.answer(_refusal("limit_exceeded", f"a request has at most {LINE_MAX_BYTES} bytes"))
            self.close()
            self._calls.gone(self)

    def answer(self, line):
        """Send a line, as the client takes it."""
        if self._socket is not None:
            self._unsent += line
            self._flush()

    def _flush(self):
        try:
            while self._unsent:
                count = self._socket.send(self._unsent)
                del self._unsent[:count]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._unsent.clear()  # its end is noticed by reading
        self._watch()

    def close(self):
        """Idempotent."""
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None


def _unlink(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def open_calls(agent, number, message):
    """`calls`."""
    return Calls(agent, number)


OPERATIONS = {"calls": open_calls}
