"""A stream that stays open for as long as guest code may ask for something: we say messages, the host answers in lines of JSON."""

import errno
import json

from . import frames
from .stream import Stream


class Conversation(Stream):
    """The base of `calls` and `egress`. A subclass says what it has heard."""

    def __init__(self, agent, number):
        super().__init__(agent, number)
        self._outgoing = []
        self._sent = 0
        self._incoming = bytearray()

    def heard(self, message):
        """A line of the host, parsed."""
        raise NotImplementedError

    def say(self, message):
        """Messages leave whole, one after the other."""
        self._outgoing.append(frames.dump_json(message))
        self.pump()

    def pump(self):
        """More may be sent."""
        while self._outgoing and self.open:
            message = self._outgoing[0]
            self._sent = self.send_message(message, self._sent)
            if self._sent < len(message):
                return
            self._outgoing.pop(0)
            self._sent = 0

    def input(self, data, ended):
        """Lines of the host."""
        self._incoming += data
        self.consumed(len(data))
        *lines, self._incoming = self._incoming.split(b"\n")
        for line in lines:
            self.heard(json.loads(line))


def accept_one(listener):
    """A connection of guest code, not blocking and ours alone; None when there is none after all."""
    try:
        accepted, _ = listener.accept()
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EINTR, errno.ECONNABORTED, errno.EMFILE):
            return None
        raise
    accepted.setblocking(False)
    accepted.set_inheritable(False)
    return accepted
