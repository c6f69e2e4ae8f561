"""One open stream of the channel: its credit in both directions, and its end.

An operation is a subclass. The agent calls `input`, `signal`, `pump` and `abandon`; nothing else reaches it from the host.
"""

from . import frames
from .frames import CREDIT_START_BYTES, DATA, FLAG_MORE, LANE_EVENTS, LANE_STDOUT, PAYLOAD_MAX_BYTES

# Credit goes back in lumps, so that small inputs cost no frame.
CREDIT_LUMP_BYTES = 65_536


class OperationError(Exception):
    """An operation that ends as `{ "ok": false }` with a code of the contract."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
        self.message = message


class Stream:
    """The base of every operation. Ends exactly once: by `finish`, `fail`, or `abandon`."""

    def __init__(self, agent, number):
        self.agent = agent
        self.number = number
        self.open = True
        self.send_credit = CREDIT_START_BYTES
        self.receive_credit = CREDIT_START_BYTES
        self.input_ended = False
        self._unreturned = 0

    # What an operation overrides.

    def input(self, data, ended):
        """Lane 0 of the host; an operation without input swallows it."""
        self.consumed(len(data))

    def signal(self, name, message):
        """SIGNAL of the host."""

    def pump(self):
        """Credit has come, or congestion is over: go on sending."""

    def abandon(self):
        """The epoch is over: let go of everything, send nothing."""
        self.open = False

    # What an operation uses.

    def consumed(self, count):
        """`count` input bytes have been taken; the host may send as many more."""
        self._unreturned += count
        if self._unreturned >= CREDIT_LUMP_BYTES and not self.input_ended and self.open:
            self.agent.send(frames.CREDIT, 0, self.number, self._unreturned.to_bytes(4, "big"))
            self.receive_credit += self._unreturned
            self._unreturned = 0

    def allowance(self):
        """How many bytes may be sent in one DATA frame now."""
        if self.agent.channel.congested:
            return 0
        return min(self.send_credit, PAYLOAD_MAX_BYTES)

    def send_data(self, lane, data, flags=0):
        """One DATA frame; the caller has asked `allowance`."""
        self.send_credit -= len(data)
        self.agent.send(DATA, lane | flags, self.number, data)

    def send_bytes(self, data, lane=LANE_STDOUT):
        """As much of `data` as is allowed now; how many bytes that was."""
        sent = 0
        while sent < len(data):
            size = min(self.allowance(), len(data) - sent)
            if size == 0:
                break
            self.send_data(lane, data[sent : sent + size])
            sent += size
        return sent

    def send_message(self, message, sent=0):
        """Go on with a lane 3 message from byte `sent`; returns the new `sent`, done when it is the length."""
        total = len(message)
        while sent < total:
            size = min(self.allowance(), total - sent)
            if size == 0:
                break
            more = FLAG_MORE if sent + size < total else 0
            self.send_data(LANE_EVENTS, message[sent : sent + size], more)
            sent += size
        return sent

    def finish(self, result):
        """CLOSE with a result."""
        if self.open:
            self.open = False
            self.agent.close_stream(self, {"ok": True, "result": result})

    def fail(self, code, message):
        """CLOSE with an error."""
        if self.open:
            self.open = False
            error = {"code": code, "message": message[:2000]}
            self.agent.close_stream(self, {"ok": False, "error": error})


def need(message, name, *types):
    """A member of an OPEN, of one of `types`; else the operation is `invalid`."""
    value = message.get(name)
    if type(value) not in types:
        raise OperationError("invalid", f"{name} is missing or of the wrong type")
    return value


def need_count(message, name, most):
    """A whole number from 0 to `most`."""
    value = need(message, name, int)
    if not 0 <= value <= most:
        raise OperationError("invalid", f"{name} must be from 0 to {most}")
    return value
