"""Commands: `exec` in the foreground of a stream, `process.*` in the background."""

import errno
import fcntl
import os
import signal
import struct
import termios
import time

from .frames import LANE_STDERR, LANE_STDOUT
from .loop import READ, WRITE
from .spawn import base_environment, spawn
from .stream import OperationError, Stream, need
from .system import signal_group

READ_BYTES = 65_536
BACKGROUND_MAX_COUNT = 32
BACKGROUND_KEPT_BYTES = 1_048_576
ARGUMENTS_MAX_COUNT = 4_096
# After the command itself has ended, output of what it left behind is waited for this long.
LINGER_S = 0.25


def parse_command(agent, message, mark):
    argv = need(message, "argv", list)
    if not 1 <= len(argv) <= ARGUMENTS_MAX_COUNT or any(type(item) is not str for item in argv) or not argv[0]:
        raise OperationError("invalid", "argv must be a list of strings, the first one not empty")
    cwd = message.get("cwd", agent.surroundings.home)
    variables = message.get("env", {})
    if type(cwd) is not str or type(variables) is not dict:
        raise OperationError("invalid", "cwd or env is of the wrong type")
    environment = base_environment(agent.surroundings, mark)
    for name, value in variables.items():
        if type(value) is not str or not name or "=" in name or "\0" in name + value:
            raise OperationError("invalid", "env must map names to strings")
        environment[name] = value
    if any("\0" in text for text in (*argv, cwd)):
        raise OperationError("invalid", "a NUL in argv or cwd")
    return argv, environment, os.path.join(agent.surroundings.home, cwd)


class Source:
    """One of a child's outputs: read when its stream has credit, at end of file closed."""

    def __init__(self, loop, fd, lane, stream, on_end):
        self._loop = loop
        self.fd = fd
        self._lane = lane
        self._stream = stream
        self._on_end = on_end
        self._watching = False
        os.set_blocking(fd, False)
        self.pump()

    def pump(self):
        """Watch exactly while something may be sent."""
        watching = self.fd is not None and self._stream.allowance() > 0
        if watching != self._watching:
            self._watching = watching
            self._loop.watch(self.fd, READ if watching else 0, self._ready)

    def _ready(self, events):
        if not self.read_once() and self.fd is not None:
            self.pump()

    def read_once(self):
        """Send one read's worth; False when nothing was there, or nothing may be sent."""
        size = self._stream.allowance()
        if self.fd is None or size == 0:
            return False
        try:
            data = os.read(self.fd, size)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:  # a terminal whose other side is closed
                raise
            data = b""
        if data:
            self._stream.send_data(self._lane, data)
            return True
        self.close()
        self._on_end()
        return False

    def close(self):
        """Idempotent."""
        if self.fd is not None:
            self._loop.forget(self.fd)
            os.close(self.fd)
            self.fd = None


class Sink:
    """A child's standard input: what the host sends, credited when the child has taken it."""

    def __init__(self, loop, fd, stream, on_end=None):
        self._loop = loop
        self.fd = fd
        self._stream = stream
        self._on_end = on_end
        self._waiting = bytearray()
        self._ended = False
        os.set_blocking(fd, False)

    def feed(self, data, ended):
        """Queue; bounded by the stream's credit."""
        if self.fd is None:
            self._stream.consumed(len(data))
            return
        self._waiting += data
        self._ended = self._ended or ended
        self._write()

    def _write(self, events=0):
        try:
            while self._waiting:
                count = os.write(self.fd, self._waiting)
                del self._waiting[:count]
                self._stream.consumed(count)
        except BlockingIOError:
            self._loop.watch(self.fd, WRITE, self._write)
            return
        except OSError:
            # The child does not read any more: what it does not want is swallowed.
            self._stream.consumed(len(self._waiting))
            self._waiting.clear()
            self._ended = True
        self._loop.forget(self.fd)
        if self._ended:
            if self._on_end is not None:
                self._on_end()
            else:
                self.close()

    def close(self):
        """Idempotent."""
        if self.fd is not None:
            self._loop.forget(self.fd)
            os.close(self.fd)
            self.fd = None


class Exec(Stream):
    """`exec`: ends when the command has ended and its output has been sent."""

    def __init__(self, agent, number, message):
        super().__init__(agent, number)
        self._mark = f"exec-{agent.epoch}-{number}"
        self._exit = None
        self._linger = None
        self._argv, self._environment, self._cwd = parse_command(agent, message, self._mark)
        self._terminal = message.get("pty")
        self._sources = []
        self._sink = None
        self._pid = None

    def begin(self):
        """Start the command."""
        self._started = time.monotonic_ns()
        if self._terminal is not None:
            self._start_in_terminal()
        else:
            self._start_with_pipes()
        self.agent.children.watch(self._pid, self._ended)

    def _start_with_pipes(self):
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        theirs = {0: pipes[0][0], 1: pipes[1][1], 2: pipes[2][1]}
        ours = [pipes[0][1], pipes[1][0], pipes[2][0]]
        try:
            self._pid = spawn(self.agent.surroundings, self._mark, self._argv, self._environment, self._cwd, theirs)
        except BaseException:
            for fd in ours:
                os.close(fd)
            raise
        finally:
            for fd in theirs.values():
                os.close(fd)
        loop = self.agent.loop
        self._sink = Sink(loop, ours[0], self)
        self._sources = [
            Source(loop, ours[1], LANE_STDOUT, self, self._check),
            Source(loop, ours[2], LANE_STDERR, self, self._check),
        ]

    def _start_in_terminal(self):
        size = _terminal_size(self._terminal)
        self._environment.setdefault("TERM", "xterm-256color")
        ours, theirs = os.openpty()
        try:
            fcntl.ioctl(ours, termios.TIOCSWINSZ, size)
            self.agent.surroundings.own(theirs)
            files = {0: theirs, 1: theirs, 2: theirs}
            self._pid = spawn(self.agent.surroundings, self._mark, self._argv, self._environment, self._cwd, files, theirs)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self._sources = [Source(self.agent.loop, ours, LANE_STDOUT, self, self._check)]
        # End of input on a terminal is the character that says so (Ctrl-D), not a closed descriptor.
        self._sink = Sink(self.agent.loop, os.dup(ours), self, self._end_terminal_input)

    def _end_terminal_input(self):
        sink, self._sink = self._sink, None
        try:
            os.write(sink.fd, b"\x04")
        except OSError:
            pass  # the terminal is gone or full; the command ends by itself or is killed
        sink.close()

    def input(self, data, ended):
        """Standard input."""
        if self._sink is None:
            self.consumed(len(data))
        else:
            self._sink.feed(data, ended)

    def pump(self):
        """More may be sent."""
        for source in self._sources:
            source.pump()
        self._check()

    def signal(self, name, message):
        """`interrupt` to the foreground's process group, `kill` to everything, `resize` to the terminal."""
        if self._pid is None:
            return
        if name == "kill":
            self.agent.surroundings.groups.end(self._pid, self._mark)
        elif name == "interrupt":
            self._interrupt()
        elif self._terminal is not None and self._sources[0].fd is not None:
            fcntl.ioctl(self._sources[0].fd, termios.TIOCSWINSZ, _terminal_size(message))

    def _interrupt(self):
        group = self._pid
        if self._terminal is not None and self._sources[0].fd is not None:
            answer = fcntl.ioctl(self._sources[0].fd, termios.TIOCGPGRP, b"\0\0\0\0")
            group = struct.unpack("i", answer)[0] or group
        signal_group(group, signal.SIGINT)

    def _ended(self, exit_code, number):
        self._exit = (exit_code, number)
        self._elapsed = time.monotonic_ns() - self._started
        self._check()

    def _check(self):
        """Close when the command has ended and its outputs are at their end, or linger in the hands of its descendants."""
        if self._exit is None or not self.open:
            return
        for source in self._sources:
            while source.read_once():
                pass
        if any(source.fd is not None for source in self._sources):
            if self.allowance() == 0:
                return  # the host has not taken what is there
            if self._linger is None:
                self._linger = self.agent.loop.call_later(LINGER_S, self._close)
            return
        self._close()

    def _close(self):
        self.release()
        exit_code, number = self._exit
        self.finish({"exitCode": exit_code, "signal": number, "elapsedNs": str(self._elapsed)})

    def release(self):
        """Close our descriptors."""
        if self._linger is not None:
            self._linger.cancel()
        for source in self._sources:
            source.close()
        if self._sink is not None:
            self._sink.close()
        self.agent.surroundings.groups.close(self._mark)

    def abandon(self):
        """A foreground command has no one to answer to in another epoch."""
        super().abandon()
        if self._pid is not None and self._exit is None:
            self.agent.surroundings.groups.end(self._pid, self._mark)
        self.release()


def _terminal_size(message):
    if type(message) is not dict:
        raise OperationError("invalid", "pty must be an object")
    columns, rows = message.get("columns"), message.get("rows")
    if type(columns) is not int or type(rows) is not int or not (1 <= columns <= 4096 and 1 <= rows <= 4096):
        raise OperationError("invalid", "columns and rows must be from 1 to 4096")
    return struct.pack("HHHH", rows, columns, 0, 0)


def open_exec(agent, number, message):
    """`exec`."""
    return Exec(agent, number, message)
