"""How each language's worker is started and spoken to."""

import os
import re
import secrets
import shlex
import signal

from .context import Context
from .spawn import base_environment, spawn
from .stream import OperationError
from .worker_messages import DONE, INTERRUPT, RESEED, pack

_FOLDER = os.path.dirname(os.path.abspath(__file__))
_BASH_INTERRUPT_AGAIN_S = (0.25, 0.75)
_NODE_ANSWERS_S = 0.05
# Where bash finds its ends of the control socket and of the file with the code: above what scripts use.
_BASH_CONTROL_FD = 90
_BASH_CODE_FD = 91
_BASH_STDERR_FD = 92


class PythonContext(Context):
    """Forked from the warmed zygote."""

    language = "python"
    can_reseed_first = True

    def launch(self, control, stdout, stderr):
        """The zygote's child."""
        self.contexts.zygote.fork(self, [control, stdout, stderr])


class _Spawned(Context):
    def _spawn(self, argv, files):
        surroundings = self.agent.surroundings
        nothing = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        try:
            environment = base_environment(surroundings, self.mark)
            self._variables = surroundings.variables
            self.pid = spawn(surroundings, self.mark, argv, environment, surroundings.home, {0: nothing, **files})
        finally:
            os.close(nothing)
        self.agent.children.watch(self.pid, self.ended)


class JavascriptContext(_Spawned):
    """Node with our worker script."""

    language = "javascript"

    def launch(self, control, stdout, stderr):
        """Descriptor 3 of Node is the control socket."""
        argv = ["node", "--expose-gc", os.path.join(_FOLDER, "javascript_worker.cjs")]
        self._spawn(argv, {1: stdout, 2: stderr, 3: control})

    def interrupt(self):
        """A message, which Node answers unless code runs that does not let it read; SIGINT is for that code. One that comes while Node enters
        or leaves such code ends Node, or breaks the next turn.
        """
        self.tell(pack(INTERRUPT))
        turn = self.turn
        self.agent.loop.call_later(_NODE_ANSWERS_S, lambda: self.turn is turn and turn.running and self.signal(signal.SIGINT))


class BashContext(_Spawned):
    """One bash. It reads two lines a turn from its control socket, says when it has begun, and answers with the exit code and the number of
    the turn; the code itself lies in a file in memory, because bash reads a socket byte by byte. SIGINT costs it what it has read of a line, so
    none is sent before it has begun, and the line that asks for the answer is told again.
    """

    language = "bash"
    can_acknowledge = False
    _ANSWER_MAX_BYTES = 64

    def launch(self, control, stdout, stderr):
        """Interactive, because only then does SIGINT end what runs and keep the shell."""
        self._code = os.memfd_create("turn", os.MFD_CLOEXEC)
        if self.agent.surroundings.is_machine:
            self.agent.surroundings.own(self._code)
        self._reseed = ""
        self._exports = ""
        self._answer = b""
        self._number = 0
        self._begun = False
        self._interrupt_when_begun = False
        argv = ["bash", "--noprofile", "--rcfile", os.path.join(_FOLDER, "bash_worker.sh"), "--noediting", "-i"]
        # What it says at its start (that there is no terminal) is not the user's: the script takes stderr when it runs.
        nothing = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        try:
            files = {0: control, 1: stdout, 2: nothing, _BASH_CONTROL_FD: control, _BASH_CODE_FD: self._code, _BASH_STDERR_FD: stderr}
            self._spawn(argv, files)
        finally:
            os.close(nothing)

    def begin_turn(self, code):
        """Into the file, then the line."""
        if b"\0" in code:
            raise OperationError("invalid", "a NUL in the code")
        os.ftruncate(self._code, 0)
        position = 0
        while position < len(code):
            position += os.pwrite(self._code, code[position:], position)
        self._number += 1
        self._begun = self._interrupt_when_begun = False
        line = f'{self._exports}{self._reseed}eval "$__b"\n{self._done_line()}'
        self._reseed = self._exports = ""
        self.tell(line.encode("ascii"))

    def _done_line(self):
        return f"__bulkhead_done $? {self._number}\n"

    def interrupt(self):
        """Bash goes on when the command that it waits for ends by itself at that moment, so a turn that runs on is asked again."""
        if not self._begun:
            self._interrupt_when_begun = True
            return
        self.signal(signal.SIGINT)
        turn = self.turn

        def again():
            if self.turn is turn and turn.running:
                self.signal(signal.SIGINT)
                self.tell(f"\n{self._done_line()}".encode("ascii"))

        for delay in _BASH_INTERRUPT_AGAIN_S:
            self.agent.loop.call_later(delay, again)

    def ask(self, kind):
        """$RANDOM is the only generator of its own; it is seeded before the next turn."""
        if kind == RESEED:
            self._reseed = f"RANDOM={secrets.randbelow(1 << 31)} ; "

    def change_environment(self, variables):
        """Exported before the next turn."""
        self._exports = "".join(f"export {name}={shlex.quote(value)} ; " for name, value in variables.items())

    def parse(self, data):
        """An empty line begins a turn; one with the exit code and the turn's number ends it."""
        *lines, self._answer = (self._answer + data).split(b"\n")
        if len(self._answer) > self._ANSWER_MAX_BYTES:
            raise ValueError("more than an answer")
        done = []
        for line in lines:
            if not line:
                self._begin()
                continue
            match = re.fullmatch(rb"([0-9]{1,3}) ([0-9]{1,18})", line)
            if match is None:
                raise ValueError("not an answer")
            if int(match[2]) == self._number:
                done.append((DONE, match[1]))
        return done

    def _begin(self):
        self._begun = True
        if self._interrupt_when_begun and self.turn is not None and self.turn.running:
            self._interrupt_when_begun = False
            self.interrupt()

    def outcome(self, payload):
        """128 + SIGINT after an interrupt is the interrupt."""
        exit_code = int(payload) & 255
        if exit_code == 130 and self.turn.interrupted:
            return "interrupted", exit_code
        return ("ok" if exit_code == 0 else "error"), exit_code

    def release(self):
        """The file too."""
        super().release()
        os.close(self._code)
