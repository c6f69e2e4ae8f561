"""Commands, background processes, files, and hosts that break the contract."""

import json
import os
import socket
import time
import unittest

from client import CREDIT, DATA, END, OPEN, PING, PONG, SIGNAL, Host
from test_contexts import AgentCase, _is_running


class ExecTest(AgentCase):
    def exec(self, *argv, data=b"", **options):
        return self.host.call("exec", data=data, argv=list(argv), **options)

    def test_streams_and_code(self):
        turn = self.exec("sh", "-c", "cat; echo err >&2; exit 5", data=b"in\xff")
        self.assertEqual((bytes(turn.lanes[1]), turn.err, turn.result["exitCode"]), (b"in\xff", "err\n", 5))

    def test_environment_and_folder(self):
        turn = self.exec("sh", "-c", "pwd; echo $X; env | cut -d= -f1 | sort | tr '\\n' ' '", cwd="/", env={"X": "y z"})
        lines = turn.out.splitlines()
        self.assertEqual(lines[:2], ["/", "y z"])
        self.assertLessEqual(set(lines[2].split()), {"BULKHEAD_GROUP", "HOME", "LANG", "LOGNAME", "MPLBACKEND", "PATH", "PWD", "SHELL", "USER", "X", "_", "SHLVL", "OLDPWD"})

    def test_only_the_three_descriptors_are_inherited(self):
        turn = self.exec("ls", "/proc/self/fd")
        self.assertEqual(turn.out.split(), ["0", "1", "2", "3"])  # 3 is ls reading the folder

    def test_failures(self):
        self.assertEqual(self.exec("no-such-program").code, "not_found")
        self.assertEqual(self.exec("/").code, "denied")
        self.assertEqual(self.exec("true", cwd="/no/such").code, "not_found")
        self.assertEqual(self.host.call("exec", argv=[]).code, "invalid")
        self.assertEqual(self.host.call("exec", argv=["a\0b"]).code, "invalid")
        self.assertEqual(self.host.call("exec", argv=["true"], env={"A=B": "x"}).code, "invalid")

    def test_much_both_ways(self):
        data = os.urandom(3_000_000)
        turn = self.exec("cat", data=data)
        self.assertEqual(bytes(turn.lanes[1]), data)

    def test_back_pressure(self):
        turn = self.host.open("exec", argv=["head", "-c", "1000000", "/dev/zero"])
        turn.auto_credit = False
        self.host.wait(lambda: turn.received == 262_144)
        with self.assertRaises(TimeoutError):
            self.host.wait(lambda: turn.close or turn.received > 262_144, 0.4)
        turn.auto_credit = True
        self.host.credit(turn, 262_144)
        self.host.finish(turn)
        self.assertEqual(turn.received, 1_000_000)

    def test_signals(self):
        turn = self.host.open("exec", argv=["sleep", "60"])
        time.sleep(0.1)
        self.host.signal(turn, "interrupt")
        self.assertEqual(self.host.finish(turn, 5).result["signal"], 2)
        turn = self.host.open("exec", argv=["sh", "-c", "trap '' INT; setsid sleep 600 & echo $!; sleep 600"])
        self.host.wait(lambda: turn.out.endswith("\n"))
        self.host.signal(turn, "kill")
        self.assertEqual(self.host.finish(turn, 5).result["signal"], 9)
        self.assertFalse(_is_running(int(turn.out)))

    def test_a_child_that_keeps_the_output_open_does_not_hold_the_turn(self):
        started = time.monotonic()
        turn = self.exec("sh", "-c", "sleep 5 & echo said")
        self.assertEqual((turn.out, turn.result["exitCode"]), ("said\n", 0))
        self.assertLess(time.monotonic() - started, 3)

    def test_terminal(self):
        turn = self.host.open("exec", argv=["sh", "-c", "tty; stty size; read x; echo got $x; stty size"], pty={"columns": 90, "rows": 33})
        self.host.wait(lambda: "33 90" in turn.out)
        self.host.signal(turn, "resize", columns=70, rows=20)
        self.host.data(turn, b"word\n", end=False)
        self.host.finish(turn, 5)
        self.assertIn("got word", turn.out)
        self.assertIn("20 70", turn.out)
        self.assertTrue(turn.out.startswith("/dev/pts/"))
        turn = self.host.open("exec", argv=["cat"], pty={"columns": 80, "rows": 24})
        time.sleep(0.1)
        self.host.signal(turn, "interrupt")
        self.assertEqual(self.host.finish(turn, 5).result["signal"], 2)
        self.assertEqual(self.host.call("exec", argv=["true"], pty={"columns": 0, "rows": 1}).code, "invalid")

    def test_background(self):
        name = self.host.call("process.start", argv=["sh", "-c", "echo begun; head -c 3000000 /dev/zero; sleep 600"]).result["process"]
        deadline = time.monotonic() + 10
        while True:
            found = next(p for p in self.host.call("process.list").result["processes"] if p["process"] == name)
            if found["outputBytes"] >= 3_000_006:
                break
            self.assertLess(time.monotonic(), deadline)
        self.assertTrue(found["running"])
        turn = self.host.call("process.output", process=name)
        self.assertEqual((len(turn.lanes[1]), turn.result["skippedBytes"]), (1_048_576, 3_000_006 - 1_048_576))
        self.assertEqual(self.host.call("process.kill", process=name).result, {"exitCode": None, "signal": 9})
        self.assertEqual(self.host.call("process.kill", process="p999").code, "not_found")


class FileTest(AgentCase):
    def test_a_home_starts_empty(self):
        host = Host()
        try:
            self.assertEqual(host.call("file.list", path=".", limit=10).messages, [])
        finally:
            host.close()

    def test_write_read_stat(self):
        data = os.urandom(2_000_000)
        self.assertEqual(self.host.call("file.write", data=data, path="a file\n", size=len(data), mode=0o640).result, {"size": len(data)})
        turn = self.host.call("file.read", path="a file\n")
        self.assertEqual((bytes(turn.lanes[1]), turn.result["size"]), (data, len(data)))
        found = self.host.call("file.stat", path="a file\n").result
        self.assertEqual((found["kind"], found["size"], found["mode"]), ("file", len(data), 0o640))

    def test_a_cut_upload_leaves_nothing(self):
        self.host.call("file.write", data=b"old", path="target", size=3)
        before = set(os.listdir(self.host.home))
        self.assertEqual(self.host.call("file.write", data=b"12", path="target", size=3).code, "invalid")
        self.assertEqual(self.host.call("file.write", data=b"1234", path="target", size=3).code, "too_large")
        turn = self.host.open("file.write", path="target", size=100)
        self.host.data(turn, b"half", end=False)
        self.host.signal(turn, "kill")
        self.assertEqual(self.host.finish(turn).code, "cancelled")
        turn = self.host.open("file.write", path="target", size=100)
        self.host.data(turn, b"half", end=False)
        self.host.call("info")
        self.host.identify()
        self.assertEqual(set(os.listdir(self.host.home)), before)
        self.assertEqual(bytes(self.host.call("file.read", path="target").lanes[1]), b"old")

    def test_refusals(self):
        self.host.call("file.mkdir", path="folder/inner")
        os.mkfifo(os.path.join(self.host.home, "fifo"))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.join(self.host.home, "socket"))
        call = self.host.call
        self.assertEqual(call("file.read", path="fifo").code, "invalid")
        self.assertIn(call("file.read", path="socket").code, ("invalid", "io"))
        self.assertEqual(call("file.read", path="/dev/zero").code, "invalid")
        self.assertEqual(call("file.read", path="folder").code, "is_a_directory")
        self.assertEqual(call("file.read", path="none").code, "not_found")
        self.assertEqual(call("file.read", path="a\0b").code, "invalid")
        self.assertEqual(call("file.read", path="").code, "invalid")
        self.assertEqual(call("file.read", path="x" * 5000).code, "invalid")
        self.assertEqual(call("file.read", path="\ud800x").code, "invalid")
        self.assertEqual(call("file.read", path="/proc/self/environ").code, "denied")
        self.assertEqual(call("file.write", data=b"", path="fifo", size=0).code, "invalid")
        self.assertEqual(call("file.write", data=b"", path="folder", size=0).code, "is_a_directory")
        self.assertEqual(call("file.write", path="x", size=-1).code, "invalid")
        self.assertEqual(call("file.remove", path="folder").code, "invalid")
        self.assertEqual(call("file.remove", path="folder", recursive=True).result, {})
        self.assertEqual(call("file.remove", path="folder", recursive=True).code, "not_found")
        self.assertEqual(call("file.list", path="fifo", limit=5).code, "not_a_directory")
        self.assertEqual(call("nonsense").code, "invalid")

    def test_list_and_move(self):
        self.host.call("file.mkdir", path="many")
        for number in range(600):
            with open(os.path.join(self.host.home, "many", f"f{number}"), "wb"):
                pass
        odd = os.fsdecode(b"odd \xff\n")
        with open(os.path.join(self.host.home, "many", odd), "wb"):
            pass
        turn = self.host.call("file.list", path="many", limit=10_000)
        self.assertEqual((len(turn.messages), turn.result), (601, {"truncated": False}))
        self.assertIn(odd, [message["name"] for message in turn.messages])
        turn = self.host.call("file.list", path="many", limit=10)
        self.assertEqual((len(turn.messages), turn.result), (10, {"truncated": True}))
        self.assertEqual(self.host.call("file.move", **{"from": f"many/{odd}", "to": "many/even"}).result, {})
        self.assertEqual(self.host.call("file.stat", path="many/even").result["kind"], "file")

    def test_info_and_settle(self):
        self.assertGreater(self.host.call("info").result["memoryFreeBytes"], 0)
        self.assertEqual(self.host.call("settle", seconds=60).result, {})


class ChannelTest(AgentCase):
    def test_ping(self):
        self.host.send(PING, 0, 0, b"12345678")
        self.host.wait(lambda: self.host.channel)
        self.assertEqual(self.host.channel.pop()[::2], (PONG, b"12345678"))

    def test_frames_that_cross_a_close_are_ignored(self):
        turn = self.host.call("info")
        self.host.send(CREDIT, 0, turn.number, b"\0\0\0\1")
        self.host.send(DATA, END, turn.number, b"x")
        self.host.send(SIGNAL, 0, turn.number, b'{"signal":"kill"}')
        self.host.call("info")


class ViolationTest(AgentCase):
    """A host that breaks the contract ends the agent, with exit code 1 and a reason."""

    def test_violations(self):
        def flood(host):
            turn = host.open("exec", argv=["sleep", "5"])
            for _ in range(9):
                host.send(DATA, 0, turn.number, b"x" * 65_536)

        def credit(host):
            turn = host.open("exec", argv=["sleep", "5"])
            host.credit(turn, 1 << 31)

        run = json.dumps({"op": "info"}).encode()
        cases = {
            "even stream": lambda host: host.send(OPEN, 0, 2, run),
            "stream again": lambda host: (host.send(OPEN, 0, 5, run), host.send(OPEN, 0, 3, run)),
            "old epoch": lambda host: host.send(OPEN, 0, 1, run, epoch=0),
            "never opened": lambda host: host.send(CREDIT, 0, 9, b"\0\0\0\1"),
            "not JSON": lambda host: host.send(OPEN, 0, 1, b"{"),
            "beyond credit": flood,
            "too much credit": credit,
            "too many streams": lambda host: [host.open("exec", argv=["sleep", "5"]) for _ in range(65)],
        }
        for name, break_it in cases.items():
            with self.subTest(name):
                host = Host()
                try:
                    try:
                        break_it(host)
                    except OSError:
                        pass  # the agent was quicker
                    self.assertEqual(host.process.wait(10), 1)
                finally:
                    host.close()
                self.assertIn("protocol violation", host.errors)


if __name__ == "__main__":
    unittest.main()
