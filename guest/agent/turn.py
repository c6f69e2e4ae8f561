"""`run`: one turn of a context, as a stream. Counts what it sends and what it drops; the context drives it."""

import array
import fcntl
import os
import termios
import time

from . import frames
from .frames import LANE_STDERR, LANE_STDOUT
from .stream import OperationError, Stream, need, need_count
from .tracebacks import FRAMES_MAX_COUNT
from .worker_messages import EVENT_MAX_BYTES, JSON_VALUES_MAX_COUNT, MIME_TYPE, MIME_TYPES_MAX_COUNT

CODE_MAX_BYTES = 16_777_216
OUTPUT_MAX_BYTES = 1 << 40
DISCARD_BYTES = 1_048_576
STATUSES = ("ok", "error", "interrupted")
_NAMES = {LANE_STDOUT: "stdout", LANE_STDERR: "stderr"}


class Run(Stream):
    """Reserved for its context from OPEN on; starts when the code is complete."""

    def __init__(self, agent, number, message, context):
        super().__init__(agent, number)
        self.output_left = need_count(message, "maxOutputBytes", OUTPUT_MAX_BYTES)
        self.event_left = need_count(message, "maxEventBytes", OUTPUT_MAX_BYTES)
        self.dropped = {"stdout": 0, "stderr": 0, "events": 0}
        self.interrupted = False
        self.running = False
        self._context = context
        self._code = bytearray()
        self._sent = 0
        self._checked = False
        context.turn = self

    def begin(self):
        """The code comes first."""

    def input(self, data, ended):
        """Code."""
        self._code += data
        if len(self._code) > CODE_MAX_BYTES:
            self._let_go()
            raise OperationError("too_large", f"code of more than {CODE_MAX_BYTES} bytes")
        self.consumed(len(data))
        if ended:
            code, self._code = bytes(self._code), b""
            try:
                code.decode("utf-8")
            except UnicodeDecodeError as error:
                self._let_go()
                raise OperationError("invalid", "the code is not UTF-8") from error
            self.running = True
            self.started = time.monotonic_ns()
            try:
                self._context.run(code)
            except BaseException:
                self._let_go()
                raise

    def _let_go(self):
        self._context.turn = None
        self.running = False

    def pump(self):
        """More may be sent."""
        self._context.pump()

    def signal(self, name, message):
        """Before it runs, a signal only ends the turn."""
        if name == "resize":
            return
        if not self.running:
            self._let_go()
            self.fail("cancelled", "ended before it was started")
        elif name == "kill":
            self._context.kill()
        else:
            self.interrupted = True
            self._context.interrupt()

    def abandon(self):
        """A turn that runs goes on unheard; its context stays busy until it ends."""
        super().abandon()
        if not self.running:
            self._let_go()

    def take(self, output, most):
        """Move up to `most` bytes of an output: to the host, or to nowhere. How many; 0 when the host must first give credit."""
        if self.output_left == 0 or not self.open:
            count = output.discard(min(most, DISCARD_BYTES))
            self.dropped[_NAMES[output.lane]] += count
            return count
        size = min(self.allowance(), self.output_left, most)
        if size == 0:
            return 0
        data = output.read(size)
        if data:
            self.output_left -= len(data)
            self.send_data(output.lane, data)
        return len(data)

    def blocked(self):
        """Whether outputs must wait."""
        return self.open and self.output_left > 0 and self.allowance() == 0

    def send_event(self, payload):
        """Check, count and send an event; False while the host must first give credit."""
        if not self._checked:
            if payload is None or not self.open or len(payload) > min(self.event_left, EVENT_MAX_BYTES) or not _is_event(payload):
                self.dropped["events"] += 1
                return True
            self.event_left -= len(payload)
            self._checked = True
        self._sent = self.send_message(payload, self._sent)
        if self._sent < len(payload):
            return False
        self._sent = 0
        self._checked = False
        return True

    def end(self, status, fate, exit_code=None, number=None):
        """CLOSE."""
        self.running = False
        self.finish(
            {
                "status": status,
                "elapsedNs": str(time.monotonic_ns() - self.started),
                "dropped": self.dropped,
                "fate": fate,
                "exitCode": exit_code,
                "signal": number,
            }
        )


def _is_event(payload):
    """Whether a worker's event may reach the host: the agent vouches for its shape."""
    try:
        event = frames.load_json(payload)
    except ValueError:
        return False
    kind = event.get("type")
    if kind == "result" or kind == "display":
        data = event.get("data")
        return type(data) is dict and len(data) <= MIME_TYPES_MAX_COUNT and all(map(MIME_TYPE.fullmatch, data)) and _few_values(payload, event)
    if kind != "exception":
        return False
    if any(type(event.get(name)) is not str for name in ("name", "value", "traceback")):
        return False
    listed = event.get("frames")
    return type(listed) is list and len(listed) <= FRAMES_MAX_COUNT and all(map(_is_frame, listed))


def _few_values(payload, event):
    """Whether the JSON has no more values than the host takes. Counting bytes counts too many, and is enough for nearly all."""
    if payload.count(b",") + payload.count(b"[") + payload.count(b"{") <= JSON_VALUES_MAX_COUNT:
        return True
    return _count_values(event) <= JSON_VALUES_MAX_COUNT


def _count_values(value):
    if type(value) is dict:
        value = value.values()
    elif type(value) is not list:
        return 1
    return 1 + sum(map(_count_values, value))


def _is_frame(frame):
    return (
        type(frame) is dict
        and type(frame.get("line")) is int
        and 0 <= frame["line"] < 1 << 31
        and all(type(frame.get(name)) is str for name in ("file", "name", "source"))
    )


class Output:
    """Our end of a context's stdout or stderr, with what came between two turns."""

    KEPT_BYTES = 65_536

    def __init__(self, fd, lane):
        self.fd = fd
        self.lane = lane
        self.backlog = bytearray()
        self.lost = 0
        self.taken = 0
        os.set_blocking(fd, False)

    def read(self, size):
        """Up to `size` bytes; empty when there are none."""
        if self.backlog:
            data = bytes(self.backlog[:size])
            del self.backlog[:size]
        else:
            try:
                data = os.read(self.fd, size)
            except BlockingIOError:
                return b""
        self.taken += len(data)
        return data

    def reach(self):
        """The position in the whole output up to which it exists now."""
        fcntl.ioctl(self.fd, termios.FIONREAD, _count)
        return self.taken + len(self.backlog) + _count[0]

    def discard(self, size):
        """Throw away up to `size` bytes without copying them; how many."""
        if self.backlog:
            return len(self.read(size))
        try:
            count = os.splice(self.fd, _nowhere(), size)
        except BlockingIOError:
            return 0
        self.taken += count
        return count

    def keep(self):
        """Between turns: take what is there, keep the end of it; False at end of file."""
        try:
            data = os.read(self.fd, self.KEPT_BYTES)
        except BlockingIOError:
            return True
        self.backlog += data
        excess = len(self.backlog) - self.KEPT_BYTES
        if excess > 0:
            del self.backlog[:excess]
            self.lost += excess
            self.taken += excess
        return bool(data)


_null = []
_count = array.array("i", [0])


def _nowhere():
    if not _null:
        _null.append(os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC))
    return _null[0]


def language_of(message, languages):
    """The (language, context name) that a message speaks of."""
    language = need(message, "language", str)
    name = need(message, "context", str)
    if language not in languages:
        raise OperationError("invalid", f"no such language; there are {', '.join(languages)}")
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise OperationError("invalid", "context must be a name of 1 to 64 printable characters")
    return language, name
