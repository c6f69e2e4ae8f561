"""The zygote: a root-owned Python with everything imported, which forks a worker for each Python context.

It runs no user code and reads nothing from a worker. Its children are reaped only when the agent says so (zygote_client.py). Where a fork would
double its memory instead of sharing it, it becomes the worker itself, once.
"""

import gc
import os
import select
import signal
import socket
import sys

from . import python_worker
from .shell import warm_shell
from .system import trim_heap


def serve(descriptor, surroundings):
    """Warm up, then fork on request until the agent's end of the socket closes."""
    agent = socket.socket(fileno=descriptor)
    os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    os.makedirs(surroundings.warm_home, mode=0o755, exist_ok=True)
    os.chdir(surroundings.warm_home)
    shell = warm_shell(surroundings.forks_share)
    surroundings.own_tree(surroundings.warm_home)
    gc.collect()
    trim_heap()
    gc.freeze()
    children = {}
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    agent.send(b"W")
    while True:
        for ready, _ in poll.poll():
            if ready == wake_read:
                os.read(wake_read, 4096)
                _tell_exits(agent, children)
                continue
            try:
                message, descriptors, _, _ = socket.recv_fds(agent, 256, 3)
            except ConnectionResetError:
                message = b""
            if not message:
                os._exit(0)  # without exit handlers: they are the workers', not ours
            words = message.decode("ascii").split()
            if words[0] == "R":
                os.waitpid(children.pop(int(words[1]))[0], 0)
            elif words[0] == "B":
                agent.close()
                _close_fonts()
                python_worker.serve(shell, surroundings, words[1], *descriptors)
            elif words[0] == "F":
                _fork(agent, surroundings, shell, children, int(words[1]), words[2], descriptors)


def _close_fonts():
    """A worker closes every file that it did not open itself; after a fork Matplotlib forgets its fonts by itself."""
    fonts = sys.modules.get("matplotlib.font_manager")
    if fonts is not None:
        fonts._get_font.cache_clear()


def _tell_exits(agent, children):
    for token, (pid, told) in children.items():
        if told:
            continue
        result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if result is None:
            continue
        children[token] = (pid, True)
        killed = result.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
        status = result.si_status if killed else result.si_status << 8
        agent.send(f"X {token} {status}".encode("ascii"))


def _fork(agent, surroundings, shell, children, token, mark, descriptors):
    try:
        pid = os.fork()
    except OSError:
        # No memory or no processes: the agent sees a context that has died at once.
        for fd in descriptors:
            os.close(fd)
        pid = os.posix_spawn("/bin/false", ["false"], {})
    if pid == 0:
        try:
            agent.close()
            python_worker.serve(shell, surroundings, mark, *descriptors)
        finally:
            os._exit(1)
    for fd in descriptors:
        os.close(fd)
    children[token] = (pid, False)
    try:
        # It joins by itself too; here, so that it has joined when the agent hears of it and may want to end it.
        surroundings.groups.join(mark, pid)
    except OSError:
        pass  # it has ended
    agent.send(f"P {token} {pid}".encode("ascii"))
