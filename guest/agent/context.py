"""One context: an interpreter's process, its control socket and its outputs, and the order between them.

What a worker says on its control socket comes after what it had printed before: an event is sent only when the outputs have been
taken as far as they reached when the event arrived. So everything waits for the host's credit in one queue.
"""

import collections
import json
import os
import signal
import socket

from .frames import LANE_STDERR, LANE_STDOUT
from .loop import READ, WRITE
from .system import signal_group
from .turn import STATUSES, Output
from .worker_messages import ACKNOWLEDGED, DONE, EVENT_NOW, INTERRUPT, MARKED, RESEED_FIRST, RUN, VARIABLES, Reader, pack

INBOX_MAX_BYTES = 16_777_216
CONTROL_READ_BYTES = 65_536
# Reads of one output before other descriptors get their turn.
SLICE_COUNT = 32


class Context:
    """The base: a worker that speaks worker_messages. A subclass says how it starts."""

    language = None
    can_acknowledge = True
    # Whether nothing runs in its worker before it is told to run code.
    can_reseed_first = False

    def __init__(self, contexts, name, mark):
        self.contexts = contexts
        self.agent = contexts.agent
        self.name = name
        self.mark = mark
        self.turn = None
        self.pid = None
        self.exit = None
        self.acknowledge = None
        self.restarts = []
        self._control = None
        self._outputs = ()
        self._watched = 0
        self._reader = Reader()
        self._inbox = collections.deque()
        self._inbox_bytes = 0
        self._last_marks = ()
        self._to_worker = bytearray()
        # Come before anything else that the worker is told, by their kind.
        self._first = {}
        # What was added to its environment, at its start or since.
        self._variables = {}
        # Whether it has been told to run code since the machine was made: then some of it may still be running.
        self.used = False
        self._signal_when_known = None
        self._signal_when_told = None
        self._start()

    # What a subclass says.

    def launch(self, control, stdout, stderr):
        """Start the process with these ends of ours-to-be-theirs descriptors; they are closed afterwards."""
        raise NotImplementedError

    def _start(self):
        control, theirs = socket.socketpair()
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
        self._control = control
        control.setblocking(False)
        self._outputs = (Output(out_read, LANE_STDOUT), Output(err_read, LANE_STDERR))
        try:
            self.launch(theirs.fileno(), out_write, err_write)
        except BaseException:
            self.release()
            raise
        finally:
            theirs.close()
            os.close(out_write)
            os.close(err_write)
        self.agent.loop.watch(control.fileno(), READ, self._control_ready)
        self._watch_outputs(True)

    def known(self, pid):
        """The process's id; a signal that came before is sent now."""
        self.pid = pid
        if self._signal_when_known is not None:
            self.signal(self._signal_when_known)

    # Turns.

    def run(self, code):
        """Start the turn that is in `self.turn`."""
        if self.exit is not None:
            self._end_dead()
            return
        for output in self._outputs:
            self.turn.dropped["stdout" if output.lane == LANE_STDOUT else "stderr"] += output.lost
            output.lost = 0
        self.used = True
        self.begin_turn(code)
        if any(output.backlog for output in self._outputs):
            self.pump()

    def begin_turn(self, code):
        """Hand the code to the worker."""
        self.tell(pack(RUN, code))

    def ask(self, kind):
        """A request between turns, or for the end of the one under way."""
        self.tell(pack(kind))

    def reseed_first(self):
        """A request that waits for the next thing that the worker is told, and comes before it. It is not answered."""
        self._first[RESEED_FIRST] = pack(RESEED_FIRST)

    def set_variables(self, variables):
        """What joins its environment before it runs more code."""
        if variables != self._variables:
            self._variables = variables
            self.change_environment(variables)

    def change_environment(self, variables):
        """As its worker has to be told."""
        self._first[VARIABLES] = pack(VARIABLES, json.dumps(variables).encode("ascii"))

    def tell(self, data):
        """Bytes for the worker, as it takes them."""
        self._to_worker += b"".join(self._first.values()) + data
        self._first.clear()
        self._write()

    def _write(self):
        try:
            while self._to_worker:
                count = self._control.send(self._to_worker)
                del self._to_worker[:count]
        except BlockingIOError:
            self.agent.loop.watch(self._control.fileno(), READ | WRITE, self._control_ready)
            return
        except OSError:
            self._to_worker.clear()  # it has ended or closed its end; the exit says the rest
        if self._signal_when_told is not None:
            number, self._signal_when_told = self._signal_when_told, None
            self.signal(number)

    def _control_ready(self, events):
        if events & WRITE:
            self.agent.loop.watch(self._control.fileno(), READ, self._control_ready)
            self._write()
        if events & ~WRITE:
            self._read_control()

    def _read_control(self):
        try:
            data = self._control.recv(CONTROL_READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        try:
            messages = self.parse(data) if data else None
        except ValueError:
            messages = None
        if messages is None:
            # A worker without its control socket is of no use to anyone, whether user code closed it or wrote nonsense on it.
            self.agent.loop.forget(self._control.fileno())
            if self.exit is None:
                self.kill()
            return False
        for message in messages:
            kind, payload = message
            if kind == ACKNOWLEDGED:
                if self.acknowledge is not None:
                    self.acknowledge(self)
                continue
            self._inbox.append((kind, payload, [output.reach() for output in self._outputs]))
            self._inbox_bytes += len(payload or b"") + 64
            if kind == EVENT_NOW:
                self.tell(pack(MARKED))
        self.pump()
        return True

    def parse(self, data):
        """(kind, payload) of what the worker has sent."""
        return self._reader.feed(data)

    def pump(self):
        """Send what may be sent, in order; end the turn when its end is reached."""
        turn = self.turn
        if turn is None or not turn.running:
            # A message without a turn is a stray of the worker.
            self._inbox.clear()
            self._inbox_bytes = 0
            return
        while self._inbox:
            kind, payload, marks = self._inbox[0]
            if not self._take_up_to(marks):
                self._adjust()
                return
            if kind != DONE:
                if not turn.send_event(payload):
                    self._adjust()
                    return
            else:
                self._done(turn, payload)
            if not self._inbox:
                break
            self._inbox.popleft()
            self._inbox_bytes -= len(payload or b"") + 64
            if self.turn is not turn:
                self._adjust()
                return
        for output in self._outputs:
            for _ in range(SLICE_COUNT):
                if not turn.take(output, 1 << 20):
                    break
        if self.exit is not None and self._take_up_to(self._last_marks):
            self._end_dead()
            return
        self._adjust()

    def _take_up_to(self, marks):
        """Take the outputs as far as `marks`; False while the host must first give credit."""
        for output, mark in zip(self._outputs, marks):
            while output.taken < mark:
                if self.turn.take(output, mark - output.taken) == 0:
                    if self.turn.blocked():
                        return False
                    break  # another reader has it: guest code can read its own pipe
        return True

    def _done(self, turn, payload):
        status, exit_code = self.outcome(payload)
        self.turn = None
        self._inbox.clear()
        self._inbox_bytes = 0
        turn.end(status, "kept", exit_code)

    def outcome(self, payload):
        """(status, exit code) of a DONE."""
        try:
            status = json.loads(payload or b"{}").get("status")
        except (ValueError, AttributeError, RecursionError):
            status = None
        return (status if status in STATUSES else "error"), None

    def _adjust(self):
        """Watch exactly what can be taken on."""
        turn = self.turn
        self._watch_outputs(turn is None or not turn.running or not turn.blocked())
        if self._control.fileno() >= 0 and self.exit is None:
            busy = self._inbox_bytes > INBOX_MAX_BYTES
            mask = (0 if busy else READ) | (WRITE if self._to_worker else 0)
            self.agent.loop.watch(self._control.fileno(), mask, self._control_ready)

    def _watch_outputs(self, watching):
        if watching != self._watched:
            self._watched = watching
            for output in self._outputs:
                self.agent.loop.watch(output.fd, READ if watching else 0, lambda events, output=output: self._output(output, events))

    def _output(self, output, events):
        if self.turn is not None and self.turn.running:
            self.pump()
            if not events & READ:
                self.agent.loop.forget(output.fd)  # every writer has closed it
        elif not output.keep():
            self.agent.loop.forget(output.fd)

    # The process.

    def interrupt(self):
        """SIGINT to the worker and what it runs in its process group, once the worker has been told that it comes."""
        self._signal_when_told = signal.SIGINT
        self.tell(pack(INTERRUPT))

    def signal(self, number):
        """To the process group; kept until the process is known."""
        if self.exit is not None:
            return
        if self.pid is None:
            self._signal_when_known = number
        elif number == signal.SIGKILL:
            self.agent.surroundings.groups.end(self.pid, self.mark)
        else:
            signal_group(self.pid, number)

    def kill(self):
        """SIGKILL to it and to every descendant that can be found."""
        self.signal(signal.SIGKILL)

    def ended(self, exit_code, number):
        """The process is gone: first what it still said, then the turn's end."""
        self.exit = (exit_code, number)
        if self.pid is not None:
            self.agent.surroundings.groups.end(self.pid, self.mark)
        if self.acknowledge is not None:
            self.acknowledge(self)
        while self._read_control():
            pass
        self._last_marks = [output.reach() for output in self._outputs]
        self.agent.loop.forget(self._control.fileno())
        if self.turn is not None and self.turn.running:
            self.pump()
        else:
            self.contexts.died_idle(self)

    def _end_dead(self):
        turn, self.turn = self.turn, None
        exit_code, number = self.exit
        self.contexts.forget(self)
        self.release()
        turn.end("died", "lost", exit_code, number)
        for restart in self.restarts:
            restart.finish({})

    def release(self):
        """Close our descriptors."""
        for output in self._outputs:
            self.agent.loop.forget(output.fd)
            os.close(output.fd)
        self._outputs = ()
        self.agent.loop.forget(self._control.fileno())
        self._control.close()
        self.agent.surroundings.groups.close(self.mark)
