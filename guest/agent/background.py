"""`process.*`: commands that go on in the background, the end of their output kept for whoever asks."""

import os

from .loop import READ
from .processes import BACKGROUND_KEPT_BYTES, BACKGROUND_MAX_COUNT, READ_BYTES, parse_command
from .spawn import spawn
from .stream import OperationError, Stream, need
from .frames import FLAG_END, LANE_STDOUT, dump_json

# A list must fit into one CLOSE frame; a longer command line is cut in it.
LISTED_ARGUMENT_BYTES = 256
LISTED_ARGUMENTS_BYTES = 1_200


class _Process:
    def __init__(self, name, argv):
        self.name = name
        self.argv = argv
        self.pid = None
        self.fd = None
        self.exit = None
        self.kept = bytearray()
        self.total = 0
        self.killers = []


class Background:
    """At most 32 that run; of those that have ended, the oldest are forgotten when room is needed."""

    def __init__(self, agent):
        self._agent = agent
        self._processes = {}
        self._count = 0

    def open_start(self, agent, number, message):
        """`process.start`."""
        return _Answer(agent, number, lambda: self._start(message))

    def open_list(self, agent, number, message):
        """`process.list`."""
        return _Answer(agent, number, self._list)

    def open_output(self, agent, number, message):
        """`process.output`."""
        return _Output(agent, number, self._find(message))

    def open_kill(self, agent, number, message):
        """`process.kill`."""
        return _Kill(agent, number, self._find(message))

    def _find(self, message):
        process = self._processes.get(need(message, "process", str))
        if process is None:
            raise OperationError("not_found", "no such background process")
        return process

    def _start(self, message):
        if len(self._processes) >= BACKGROUND_MAX_COUNT:
            ended = next((name for name, process in self._processes.items() if process.exit is not None), None)
            if ended is None:
                raise OperationError("limit", f"{BACKGROUND_MAX_COUNT} background processes are running")
            self._forget(ended)
        self._count += 1
        name = f"p{self._count}"
        argv, environment, cwd = parse_command(self._agent, message, name)
        process = _Process(name, argv)
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        nothing = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        try:
            files = {0: nothing, 1: theirs, 2: theirs}
            process.pid = spawn(self._agent.surroundings, name, argv, environment, cwd, files)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
            os.close(nothing)
        os.set_blocking(ours, False)
        process.fd = ours
        self._processes[name] = process
        self._agent.loop.watch(ours, READ, lambda events: self._read(process))
        self._agent.children.watch(process.pid, lambda code, number: self._ended(process, code, number))
        return {"process": name}

    def _read(self, process):
        if process.fd is None:
            return False
        try:
            data = os.read(process.fd, READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._close(process)
            return False
        process.total += len(data)
        process.kept += data
        # Cut in lumps: cutting on every read would move a mebibyte each time.
        if len(process.kept) > 2 * BACKGROUND_KEPT_BYTES:
            del process.kept[:-BACKGROUND_KEPT_BYTES]
        return True

    def _ended(self, process, exit_code, number):
        for _ in range(64):
            if not self._read(process):
                break
        process.exit = (exit_code, number)
        killers, process.killers = process.killers, []
        for stream in killers:
            stream.pump()

    def _close(self, process):
        if process.fd is not None:
            self._agent.loop.forget(process.fd)
            os.close(process.fd)
            process.fd = None

    def _forget(self, name):
        self._close(self._processes.pop(name))
        self._agent.surroundings.groups.close(name)

    def _list(self):
        listed = []
        for process in self._processes.values():
            exit_code, number = process.exit or (None, None)
            listed.append(
                {
                    "process": process.name,
                    "argv": _cut(process.argv),
                    "running": process.exit is None,
                    "exitCode": exit_code,
                    "signal": number,
                    "outputBytes": process.total,
                }
            )
        return {"processes": listed}

    def close(self):
        """The agent ends: so do they."""
        for process in self._processes.values():
            if process.exit is None:
                self._agent.surroundings.groups.end(process.pid, process.name)


def _cut(argv):
    cut, size = [], 0
    for argument in argv:
        if len(dump_json(argument)) > LISTED_ARGUMENT_BYTES:
            argument = argument[: LISTED_ARGUMENT_BYTES // 12] + "..."
        size += len(dump_json(argument)) + 1
        if size > LISTED_ARGUMENTS_BYTES:
            cut.append("...")
            break
        cut.append(argument)
    return cut


class _Answer(Stream):
    def __init__(self, agent, number, answer):
        super().__init__(agent, number)
        self.begin = lambda: self.finish(answer())


class _Output(Stream):
    """A copy of what is kept now, so that the process can go on writing meanwhile."""

    def __init__(self, agent, number, process):
        super().__init__(agent, number)
        self._data = memoryview(bytes(process.kept[-BACKGROUND_KEPT_BYTES:]))
        self._skipped = process.total - len(self._data)
        self._sent = 0

    def begin(self):
        """Send as far as credit goes."""
        self.pump()

    def pump(self):
        """Go on sending."""
        self._sent += self.send_bytes(self._data[self._sent :])
        if self._sent == len(self._data):
            self.send_data(LANE_STDOUT, b"", FLAG_END)
            self.finish({"skippedBytes": self._skipped})

    def signal(self, name, message):
        """Nobody wants it any more."""
        if name != "resize":
            self.fail("cancelled", "ended before it was done")


class _Kill(Stream):
    def __init__(self, agent, number, process):
        super().__init__(agent, number)
        self._process = process

    def begin(self):
        """Kill, then wait for the exit."""
        if self._process.exit is None:
            self._process.killers.append(self)
        self.agent.surroundings.groups.end(self._process.pid, self._process.name)
        self.pump()

    def pump(self):
        """Answer when it has ended."""
        if self._process.exit is not None and self.open:
            exit_code, number = self._process.exit
            self.finish({"exitCode": exit_code, "signal": number})
