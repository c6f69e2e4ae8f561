"""The agent's event loop: one thread, epoll, callbacks.

Not asyncio: a turn must cost few instructions, because the guest may run under software emulation.
"""

import heapq
import select
import time

READ = select.EPOLLIN
WRITE = select.EPOLLOUT


class Timer:
    """A callback that is due once; `cancel` makes it not happen."""

    __slots__ = ("due", "callback")

    def __init__(self, due, callback):
        self.due = due
        self.callback = callback

    def __lt__(self, other):
        return self.due < other.due

    def cancel(self):
        """Idempotent."""
        self.callback = None


class Loop:
    """Callbacks by file descriptor, timers, and `after_batch`, which runs when a batch of events has been handled."""

    def __init__(self):
        self._epoll = select.epoll()
        self._callbacks = {}
        self._masks = {}
        self._timers = []
        self._soon = []
        self.after_batch = lambda: None
        self.stopped = False

    def watch(self, fd, mask, callback):
        """Call `callback(events)` while `fd` is ready for `mask`; a mask of 0 forgets the descriptor."""
        old = self._masks.get(fd)
        if mask == 0:
            if old is not None:
                del self._masks[fd], self._callbacks[fd]
                try:
                    self._epoll.unregister(fd)
                except OSError:
                    pass  # closed by its owner: the kernel has already forgotten it
            return
        self._callbacks[fd] = callback
        if old is None:
            self._epoll.register(fd, mask)
        elif old != mask:
            self._epoll.modify(fd, mask)
        self._masks[fd] = mask

    def forget(self, fd):
        """Stop watching; before the owner closes `fd`."""
        self.watch(fd, 0, None)

    def call_later(self, seconds, callback):
        """A Timer."""
        timer = Timer(time.monotonic() + seconds, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def call_soon(self, callback):
        """Run in the next round, after the descriptors that are ready now."""
        self._soon.append(callback)

    def run(self):
        """Until `stopped`."""
        poll = self._epoll.poll
        callbacks = self._callbacks
        while not self.stopped:
            for fd, events in poll(self._timeout(), 64):
                callback = callbacks.get(fd)
                if callback is not None:
                    callback(events)
            if self._soon:
                soon, self._soon = self._soon, []
                for callback in soon:
                    callback()
            if self._timers:
                self._run_timers()
            self.after_batch()

    def _timeout(self):
        if self._soon:
            return 0
        timers = self._timers
        while timers and timers[0].callback is None:
            heapq.heappop(timers)
        return max(0.0, timers[0].due - time.monotonic()) if timers else -1

    def _run_timers(self):
        now = time.monotonic()
        timers = self._timers
        while timers and timers[0].due <= now:
            callback = heapq.heappop(timers).callback
            if callback is not None:
                callback()
