"""The agent: takes the host's frames apart, keeps the streams, starts operations.

Frames that break the contract raise ProtocolError and end the process. An operation that fails ends as a CLOSE; an unexpected
exception inside one ends that stream with `io` and leaves the agent running.
"""

import sys
import traceback

from . import calls
from . import connections
from . import egress
from . import files
from . import frames
from . import processes
from . import system
from .background import Background
from .channel import Channel
from .children import Children
from .contexts import Contexts
from .frames import CLOSE, CONFIRM, CREDIT, CREDIT_MAX_BYTES, DATA, EPOCH_MAX, FLAG_END, HELLO, IDENTIFY
from .frames import LANE_INPUT, OPEN, PING, PONG, SIGNAL, STREAMS_MAX_COUNT, ProtocolError
from .identity import Identity, confirmation
from .loop import Loop
from .rehearsal import Rehearsal
from .stream import OperationError

VERSION = "0.1.0"
# How long contexts may take to reseed before CONFIRM; one that is idle and does not answer is ended.
RESEED_WAIT_S = 10.0
# Before HELLO, so that what the kernel still does for processes that have ended is not done again in every session.
_QUIET_S = 0.5


def log(text):
    """One line for whoever reads the machine's console."""
    print(f"bulkhead-agent: {text}", file=sys.stderr, flush=True)


class Agent:
    """`fds` are the channel's, to read and to write, or one for both. `surroundings` is what differs between a machine, a container and a
    developer's host (see surroundings.py).
    """

    def __init__(self, fds, surroundings, reconnects):
        self.surroundings = surroundings
        self.loop = Loop()
        self.epoch = 0
        self.streams = {}
        self._last_stream = 0
        self.channel = Channel(self.loop, fds, reconnects, self._frame, self._pump_all)
        self.loop.after_batch = self.channel.flush
        self.children = Children(self.loop)
        self.contexts = Contexts(self)
        self.background = Background(self)
        self._identity = None
        self._handlers = {
            DATA: self.data,
            CREDIT: self._credit,
            OPEN: self.open,
            SIGNAL: self._signal,
            PING: self._ping,
        }
        self._operations = {
            "run": self.contexts.open_run,
            "context.restart": self.contexts.open_restart,
            "context.list": self.contexts.open_list,
            "exec": processes.open_exec,
            "process.start": self.background.open_start,
            "process.list": self.background.open_list,
            "process.output": self.background.open_output,
            "process.kill": self.background.open_kill,
            **calls.OPERATIONS,
            **connections.OPERATIONS,
            **egress.OPERATIONS,
            **files.OPERATIONS,
            **system.OPERATIONS,
        }

    def start(self):
        """Warm up, settle, say HELLO, then serve until the channel ends."""
        self.contexts.warm_up(self._warmed)
        self.surroundings.watch(self)
        self.loop.run()
        self.contexts.close()
        self.background.close()

    def _warmed(self):
        if self.surroundings.has_kernel:
            system.settle_kernel()
        Rehearsal(self, self._rehearsed).begin()

    def _rehearsed(self):
        system.trim_heap()
        if self.surroundings.has_kernel:
            system.zero_free_memory()
            system.stay_in_memory()
        self.loop.call_later(_QUIET_S if self.surroundings.is_machine else 0.0, self._say_hello)

    def _say_hello(self):
        hello = {"version": 1, "agent": VERSION, "contexts": self.contexts.languages_alive()}
        self.send(HELLO, 0, 0, frames.dump_json(hello))

    def send(self, kind, flags, stream, payload=b""):
        """Queue a frame of the present epoch; it leaves at the end of this round of the loop."""
        self.channel.send(kind, flags, self.epoch, stream, payload)

    def close_stream(self, stream, outcome):
        """The one place where streams end."""
        if self.streams.pop(stream.number, None) is stream:
            self.send(CLOSE, 0, stream.number, frames.dump_json(outcome))

    def _frame(self, kind, flags, epoch, number, payload):
        if kind == IDENTIFY:
            self._identify(epoch, payload)
            return
        if epoch != self.epoch or epoch == 0:
            raise ProtocolError(f"frame of epoch {epoch} in epoch {self.epoch}")
        self._handlers[kind](number, flags, payload)

    def _stream(self, number):
        stream = self.streams.get(number)
        if stream is None and (number > self._last_stream or number % 2 == 0):
            raise ProtocolError(f"frame on stream {number}, which was never opened")
        return stream  # None: the frame crossed our CLOSE on its way

    def open(self, number, flags, payload):
        """OPEN."""
        if number % 2 == 0 or number <= self._last_stream:
            raise ProtocolError(f"OPEN of stream {number} after {self._last_stream}")
        if len(self.streams) >= STREAMS_MAX_COUNT:
            raise ProtocolError("too many streams")
        message = self.host_json(payload)
        self._last_stream = number
        handler = self._operations.get(message.get("op"))
        try:
            if handler is None:
                raise OperationError("invalid", "no such operation")
            stream = handler(self, number, message)
        except OperationError as error:
            refusal = {"ok": False, "error": {"code": error.code, "message": error.message}}
            self.send(CLOSE, 0, number, frames.dump_json(refusal))
            return
        except OSError as error:
            code, text = files.describe(error)
            self.send(CLOSE, 0, number, frames.dump_json({"ok": False, "error": {"code": code, "message": text}}))
            return
        self.streams[number] = stream
        self.guarded(stream, stream.begin)

    def data(self, number, flags, payload):
        """DATA."""
        stream = self._stream(number)
        if stream is None:
            return
        if flags & frames.LANE_MASK != LANE_INPUT or stream.input_ended:
            raise ProtocolError(f"DATA flags {flags:#x} on stream {number}")
        size = len(payload)
        if size > stream.receive_credit:
            raise ProtocolError(f"DATA beyond the credit of stream {number}")
        stream.receive_credit -= size
        ended = bool(flags & FLAG_END)
        stream.input_ended = ended
        self.guarded(stream, stream.input, payload, ended)

    def _credit(self, number, flags, payload):
        stream = self._stream(number)
        if stream is None:
            return
        stream.send_credit += int.from_bytes(payload, "big")
        if stream.send_credit > CREDIT_MAX_BYTES:
            raise ProtocolError(f"credit of stream {number} above the limit")
        self.guarded(stream, stream.pump)

    def _signal(self, number, flags, payload):
        message = self.host_json(payload)
        name = message.get("signal")
        if name not in ("interrupt", "kill", "resize"):
            raise ProtocolError("unknown signal")
        stream = self._stream(number)
        if stream is not None:
            self.guarded(stream, stream.signal, name, message)

    def _ping(self, number, flags, payload):
        self.send(PONG, 0, 0, payload)

    def _pump_all(self):
        for stream in list(self.streams.values()):
            self.guarded(stream, stream.pump)

    def guarded(self, stream, method, *arguments):
        """An operation's failure is the operation's."""
        try:
            method(*arguments)
        except OperationError as error:
            stream.fail(error.code, error.message)
        except OSError as error:
            stream.fail(*files.describe(error))
        except Exception as error:  # noqa: BLE001 - one operation must not take the machine with it
            log("".join(traceback.format_exception(error)))
            stream.fail("io", f"{type(error).__name__} in the guest agent")

    def _identify(self, epoch, payload):
        identity = Identity.parse(self.host_json(payload))
        if self._identity is not None:
            raise ProtocolError("IDENTIFY before the CONFIRM of the one before")
        if epoch not in (self.epoch, identity.epoch) or identity.epoch != self.epoch + 1 or identity.epoch > EPOCH_MAX:
            raise ProtocolError(f"IDENTIFY for epoch {identity.epoch} in epoch {self.epoch}")
        self.forget_streams()
        self.channel.forget_queued()
        self.channel.keeps_queued = False
        self.epoch = identity.epoch
        self._identity = identity
        self.surroundings.take(identity)
        # Guest code that was frozen finds the right time and the new names when it goes on.
        self.surroundings.groups.thaw()
        if identity.renew:
            self.contexts.reseed(RESEED_WAIT_S, self._reseeded)
        else:
            self._reseeded()

    def _reseeded(self):
        identity, self._identity = self._identity, None
        self.send(CONFIRM, 0, 0, frames.dump_json(confirmation(identity, self.surroundings.boot_id())))

    def host_json(self, payload):
        """An object of the host."""
        try:
            return frames.load_json(payload)
        except ValueError as error:
            raise ProtocolError(f"JSON of the host: {error}") from error

    def forget_streams(self):
        """Stream numbers begin anew; the streams of the old epoch are nobody's any more."""
        streams, self.streams = self.streams, {}
        for stream in streams.values():
            stream.abandon()
        self._last_stream = 0
