"""The process of a Python context: gives up root, then runs turns that come over its control socket, until it is ended."""

import fcntl
import gc
import json
import os
import random
import select
import signal
import socket
import struct
import sys
import tempfile
import threading

from .spawn import base_environment
from .system import trim_heap
from .worker_messages import ACKNOWLEDGED, DONE, EVENT, EVENT_NOW, HEADER, INTERRUPT, MARKED, RESEED, RESEED_FIRST, RUN, TRIM, VARIABLES, WARM, pack

# Out of the way of user code that counts on low numbers being its own.
CONTROL_FD = 700


class Control:
    """The worker's end of the control socket. Blocking; one thread at a time writes."""

    def __init__(self, descriptor):
        fd = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, CONTROL_FD)
        os.close(descriptor)
        self._socket = socket.socket(fileno=fd)
        self._owner = os.getpid()
        self._waiting = bytearray()
        self._lock = threading.Lock()
        # SIGINT in the middle of a message would garble the socket: it is kept until the message is through.
        self.shielded = False
        self.interrupted = False

    def receive(self):
        """(kind, payload), or None when the agent has gone."""
        header = self._exactly(HEADER.size)
        if header is None:
            return None
        length, kind = HEADER.unpack(header)
        return kind, self._exactly(length)

    def _exactly(self, size):
        data = self._socket.recv(size)
        if len(data) == size:
            return data
        data = bytearray(data)
        while len(data) < size:
            more = self._socket.recv(min(size - len(data), 1 << 20))
            if not more:
                return None
            data += more
        return bytes(data)

    def queue(self, kind, payload=b""):
        """To be sent with the next `flush`. A forked child of user code does not speak for the context."""
        if os.getpid() == self._owner:
            self._waiting += pack(kind, payload)

    def flush(self):
        """Send all that is queued."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            self.shielded = True
            try:
                self._flush()
            finally:
                self.shielded = False
        self._late_interrupt()

    def _flush(self):
        while self._waiting:
            sending, self._waiting = self._waiting, bytearray()
            self._socket.sendall(sending)

    def send_now(self, payload):
        """An event, and wait until the agent has noted where it stands among the outputs.

        Only the main thread waits: another one could take a message that is meant for the main thread.
        """
        if os.getpid() != self._owner or threading.current_thread() is not threading.main_thread():
            self.queue(EVENT, payload)
            self.flush()
            return
        with self._lock:
            self.shielded = True
            try:
                self._waiting += pack(EVENT_NOW, payload)
                self._flush()
                while True:
                    message = self.receive()
                    if message is None:
                        os._exit(0)
                    if message[0] == MARKED:
                        break
                    _take_meanwhile(*message)
            finally:
                self.shielded = False
        self._late_interrupt()

    def interrupted_before(self):
        """Whether the turn was interrupted while its code lay unread: the signal of that has come to nothing."""
        found = False
        with self._lock:
            self.shielded = True
            try:
                while select.select([self._socket], [], [], 0)[0]:
                    message = self.receive()
                    if message is None:
                        os._exit(0)
                    if message[0] == INTERRUPT:
                        found = True
                    _take_meanwhile(*message)
            finally:
                self.shielded = False
        return found

    def _late_interrupt(self):
        if self.interrupted and threading.current_thread() is threading.main_thread():
            self.interrupted = False
            raise KeyboardInterrupt


def _take_meanwhile(kind, payload):
    """What a worker is told in the middle of something else."""
    if kind == RESEED:
        reseed()
    elif kind == VARIABLES:
        os.environ.update(json.loads(payload))


_MT19937_STATE = struct.Struct("624I")


def reseed():
    """Make what user-space generators say next differ from every copy of this memory."""
    # A whole number is taken as it is; bytes would be hashed first.
    random.seed(int.from_bytes(os.urandom(64), "little"))
    tempfile._name_sequence = None  # its generator is made anew on next use
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        # The whole state instead of a seed: seeding goes through a dozen array operations.
        numpy_random.set_state(("MT19937", _MT19937_STATE.unpack(os.urandom(_MT19937_STATE.size)), 624))
    ssl = sys.modules.get("ssl")
    if ssl is not None:
        ssl.RAND_add(os.urandom(64), 64.0)
    uuid = sys.modules.get("uuid")
    if uuid is not None:
        uuid._last_timestamp = None


def serve(shell, surroundings, mark, control_fd, stdout_fd, stderr_fd):
    """Never returns: ends with the agent's end of the control socket."""
    # A turn may end by an exception that user code has thrown at us from a signal; nothing but the loop below may see it.
    os.setsid()
    control = Control(control_fd)
    _take_outputs(stdout_fd, stderr_fd)
    surroundings.groups.join(mark)
    surroundings.become_user()
    os.chdir(surroundings.home)
    os.environ.clear()
    os.environ.update(base_environment(surroundings, mark))
    sys.path[:] = ["", *_packages(surroundings.home), *[entry for entry in sys.path if entry], os.environ["PYTHONPATH"]]
    sys.argv[:] = [""]
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    reseed()
    turn = _Turn(shell, control)
    signal.signal(signal.SIGURG, turn.reseed_signal)
    shell.attach(control, EVENT)
    turn.warm()
    while True:
        message = control.receive()
        if message is None:
            os._exit(0)
        kind, payload = message
        if kind == RUN:
            turn.run(payload)
        elif kind == RESEED_FIRST:
            reseed()
        elif kind == VARIABLES:
            os.environ.update(json.loads(payload))
        elif kind == RESEED:
            reseed()
            control.queue(ACKNOWLEDGED)
            control.flush()
        elif kind == TRIM or kind == WARM:
            if kind == WARM:
                shell.rehearse_libraries()
                shell.forget()
            _trim()
            control.queue(ACKNOWLEDGED)
            control.flush()


def _packages(home):
    """Where pip installs for a user who cannot write where the system's packages are; this interpreter leaves it out."""
    return [f"{home}/.local/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"]


def _take_outputs(stdout_fd, stderr_fd):
    nothing = os.open("/dev/null", os.O_RDONLY)
    for source, target in ((nothing, 0), (stdout_fd, 1), (stderr_fd, 2)):
        os.dup2(source, target)
        os.close(source)
    top = os.sysconf("SC_OPEN_MAX")
    os.closerange(3, CONTROL_FD)
    os.closerange(CONTROL_FD + 1, min(top, 4096))
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)
    for name, fd in (("stdout", 1), ("stderr", 2)):
        stream = open(fd, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=8192)
        stream.reconfigure(line_buffering=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _trim():
    gc.collect()
    trim_heap()


class _Turn:
    """What happens around the user's code, and what SIGINT means when."""

    def __init__(self, shell, control):
        self._shell = shell
        self._control = control
        self._running = False

    def _interrupted(self, number, frame):
        if not self._running:
            return
        if self._control.shielded:
            self._control.interrupted = True
            return
        raise KeyboardInterrupt

    def reseed_signal(self, number, frame):
        """While a turn runs: at once, instead of after it."""
        reseed()

    def run(self, code):
        """One turn; always answers."""
        if signal.getsignal(signal.SIGINT) != self._interrupted:
            signal.signal(signal.SIGINT, self._interrupted)
        status = "error"
        try:
            try:
                self._running = True
                if self._control.interrupted_before():
                    raise KeyboardInterrupt
                status = self._shell.run_turn(code.decode("utf-8"))
            finally:
                self._running = False
                self._control.interrupted = False
        except KeyboardInterrupt:
            self._running = False
            status = "interrupted"  # it came before the code or between its end and here
        except BaseException as error:  # noqa: BLE001 - MemoryError while reporting, or an exception thrown by a signal handler
            status = "error"
            try:
                self._shell.report(error)
            except BaseException:  # noqa: BLE001
                pass  # the status still says that the turn failed
        _flush(sys.stdout)
        _flush(sys.stderr)
        self._control.queue(DONE, b'{"status":"%s"}' % status.encode("ascii"))
        self._control.flush()

    def warm(self):
        """Touch in this process what a first turn touches, so that it pays for no page faults. Leaves no trace."""
        signal.signal(signal.SIGINT, self._interrupted)
        self._shell.rehearse()
        gc.collect()
        gc.freeze()


def _flush(stream):
    try:
        stream.flush()
    except (OSError, ValueError, AttributeError):
        pass  # user code has closed or replaced it


