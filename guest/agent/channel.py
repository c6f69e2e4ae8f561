"""The byte stream to the host: opening it, reading frames, writing them in batches.

A virtio-serial port outlives the host's connection to it: after a restore the host appears a moment later, and until then the port
reads as hung up. That is waited out. On an inherited descriptor (other runtimes, tests) end of file is the end.
"""

import errno
import fcntl
import os
import select
import time

from . import frames
from .loop import READ, WRITE

READ_BYTES = 65_536
WRITE_MAX_BYTES = 262_144
# Producers pause while this much waits to be written, whatever credit they have.
CONGESTED_BYTES = 524_288
HANGUP_POLL_FIRST_S = 0.002
HANGUP_POLL_S = 0.02


def open_port(path, wait_s=30.0):
    """The descriptor of a virtio-serial port or of any other character device or socket path; waits until it appears."""
    deadline = time.monotonic() + wait_s
    while True:
        for candidate in (path, _device_of_port(os.path.basename(path))):
            if candidate is None:
                continue
            try:
                return os.open(candidate, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENXIO, errno.EBUSY, errno.ENODEV):
                    raise
        if time.monotonic() > deadline:
            raise FileNotFoundError(f"no channel at {path}")
        time.sleep(0.01)


def _device_of_port(name):
    """/dev/vportXpY of a port's name, without udev's help."""
    base = "/sys/class/virtio-ports"
    try:
        for port in os.listdir(base):
            with open(f"{base}/{port}/name", encoding="utf-8") as file:
                if file.read().strip() == name:
                    return f"/dev/{port}"
    except OSError:
        return None  # no virtio ports on this machine, or one that has just gone
    return None


def take_standard_streams():
    """The channel of a container: standard input and output, which nothing else is given from here on."""
    fds = tuple(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in (0, 1))
    nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1):
        os.dup2(nothing, fd)
    os.close(nothing)
    return fds


class Channel:
    """Frames in, frames out. `on_frame(kind, flags, epoch, stream, payload)` gets each; `on_drained()` says that congestion is over."""

    def __init__(self, loop, fds, reconnects, on_frame, on_drained):
        self._loop = loop
        self._fd, self._out_fd = fds[0], fds[-1]
        self._reconnects = reconnects
        self._on_frame = on_frame
        self._on_drained = on_drained
        self._decoder = frames.Decoder()
        self._out = bytearray()
        self._blocked = False
        self._was_congested = False
        self._hung_up = False
        # HELLO waits for a host; what belongs to an identity is only for the host that gave it.
        self.keeps_queued = True
        for fd in fds:
            os.set_blocking(fd, False)
        loop.watch(self._fd, READ, self._ready)

    @property
    def congested(self):
        """Whether producers should wait for `on_drained`."""
        if len(self._out) >= CONGESTED_BYTES:
            self._was_congested = True
            return True
        return False

    def send(self, kind, flags, epoch, stream, payload=b""):
        """Queue one frame; `flush` sends what is queued."""
        self._out += frames.HEADER.pack(len(payload), kind, flags, epoch, stream)
        self._out += payload

    def _ready(self, events):
        if events & WRITE:
            self._unblocked()
        if events & ~WRITE:
            self._read()

    def _unblocked(self, events=WRITE):
        self._blocked = False
        if self._out_fd == self._fd:
            self._loop.watch(self._fd, READ, self._ready)
        else:
            self._loop.forget(self._out_fd)
        self.flush()

    def _wait_to_write(self):
        self._blocked = True
        if self._out_fd == self._fd:
            self._loop.watch(self._fd, READ | WRITE, self._ready)
        else:
            self._loop.watch(self._out_fd, WRITE, self._unblocked)

    def _read(self):
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            if not self._reconnects and error.errno not in (errno.ECONNRESET, errno.EPIPE):
                raise
            data = b""
        if not data:
            self._hang_up()
            return
        on_frame = self._on_frame
        for frame in self._decoder.feed(data):
            on_frame(*frame)

    def flush(self):
        """Write as much as the other side takes now."""
        out = self._out
        if not out or self._blocked or self._hung_up:
            return
        try:
            while out:
                with memoryview(out) as view:
                    count = os.write(self._out_fd, view[:WRITE_MAX_BYTES])
                del out[:count]
        except BlockingIOError:
            self._wait_to_write()
        except OSError as error:
            if not self._reconnects and error.errno not in (errno.ECONNRESET, errno.EPIPE):
                raise
            self._hang_up()
            return
        if self._was_congested and len(out) < CONGESTED_BYTES // 2:
            self._was_congested = False
            self._loop.call_soon(self._on_drained)

    def _hang_up(self):
        if not self._reconnects:
            self._loop.stopped = True
            return
        if self._hung_up:
            return
        # What was under way belongs to a connection that is gone; epoll cannot mask a hang-up, so the port is polled by a timer.
        self._hung_up = True
        if not self.keeps_queued:
            self._out.clear()
        self._blocked = False
        self._decoder.reset()
        self._loop.forget(self._fd)
        self._hangup_since = time.monotonic()
        self._loop.call_later(HANGUP_POLL_FIRST_S, self._look_again)

    def _look_again(self):
        poll = select.poll()
        poll.register(self._fd, select.POLLIN | select.POLLOUT)
        state = dict(poll.poll(0)).get(self._fd, 0)
        if state & select.POLLHUP and not state & select.POLLIN:
            early = time.monotonic() - self._hangup_since < 0.5
            self._loop.call_later(HANGUP_POLL_FIRST_S if early else HANGUP_POLL_S, self._look_again)
            return
        self._hung_up = False
        self._loop.watch(self._fd, READ, self._ready)
        self.flush()

    def forget_queued(self):
        """Drop what has not been written; frames of an epoch that is over."""
        if not self._blocked:
            self._out.clear()
