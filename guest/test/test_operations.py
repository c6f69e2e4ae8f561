"""Commands, background processes, files, and hosts that break the contract."""

import json
import os
import socket
import struct
import threading
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
        self.assertLessEqual(set(lines[2].split()), {"BULKHEAD_GROUP", "BULKHEAD_TOOLS", "HOME", "LANG", "LOGNAME", "MPLBACKEND", "NODE_PATH", "PATH", "PWD", "PYTHONPATH", "SHELL", "USER", "X", "_", "SHLVL", "OLDPWD"})

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


class ConnectTest(AgentCase):
    """`connect`, to servers of the test."""

    def listen(self, family=socket.AF_INET):
        server = socket.socket(family, socket.SOCK_STREAM)
        self.addCleanup(server.close)
        server.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        server.listen()
        server.settimeout(10)
        return server, server.getsockname()[1]

    def connect(self, family=socket.AF_INET):
        server, port = self.listen(family)
        stream = self.host.open("connect", port=port)
        peer, _ = server.accept()
        self.addCleanup(peer.close)
        peer.settimeout(10)
        self.host.wait(lambda: stream.messages)
        self.assertEqual(stream.messages, [{"type": "connected"}])
        return stream, peer

    def test_each_direction_ends_by_itself(self):
        stream, peer = self.connect()
        self.host.data(stream, b"question")
        self.assertEqual(peer.recv(100), b"question")
        self.assertEqual(peer.recv(100), b"")
        peer.sendall(b"answer")
        self.host.wait(lambda: stream.out == "answer")
        self.assertIsNone(stream.close)
        peer.close()
        self.assertEqual(self.host.finish(stream, 5).result, {})

    def test_the_server_ends_first(self):
        stream, peer = self.connect()
        peer.sendall(b"hello")
        peer.shutdown(socket.SHUT_WR)
        self.host.wait(lambda: 1 in stream.ended)
        self.assertIsNone(stream.close)
        self.host.data(stream, b"late")
        self.assertEqual(peer.recv(100), b"late")
        self.assertEqual(self.host.finish(stream, 5).result, {})

    def test_over_ipv6_where_nothing_listens_on_ipv4(self):
        try:
            stream, peer = self.connect(socket.AF_INET6)
        except OSError as error:
            self.skipTest(f"no IPv6 here: {error}")
        self.host.data(stream, b"six")
        self.assertEqual(peer.recv(100), b"six")
        peer.close()
        self.host.finish(stream, 5)

    def test_refusals(self):
        server, port = self.listen()
        server.close()
        self.assertEqual(self.host.call("connect", port=port).code, "refused")
        for port in (0, -1, 65_536, "80", None, True, 8.5):
            self.assertEqual(self.host.call("connect", port=port).code, "invalid")

    def test_much_both_ways_with_back_pressure(self):
        stream, peer = self.connect()
        stream.auto_credit = False
        data = os.urandom(3_000_000)
        sender = threading.Thread(target=lambda: (peer.sendall(data), peer.shutdown(socket.SHUT_WR)))
        sender.start()
        # The message that it is connected was credited.
        window = 262_144 + len('{"type":"connected"}')
        self.host.wait(lambda: stream.received == window)
        with self.assertRaises(TimeoutError):
            self.host.wait(lambda: stream.close or stream.received > window, 0.4)
        stream.auto_credit = True
        self.host.credit(stream, 262_144)
        self.host.wait(lambda: 1 in stream.ended)
        self.assertEqual(bytes(stream.lanes[1]), data)
        sender.join()
        got = []
        reader = threading.Thread(target=lambda: got.append(b"".join(iter(lambda: peer.recv(65_536), b""))))
        reader.start()
        self.host.data(stream, data)
        self.host.finish(stream, 10)
        reader.join()
        self.assertEqual(got, [data])

    def test_a_server_that_does_not_read_gives_no_credit(self):
        stream, peer = self.connect()
        sent = 0
        while stream.credit > 0:
            self.host.send(DATA, 0, stream.number, bytes(min(65_536, stream.credit)))
            sent += min(65_536, stream.credit)
            stream.credit -= min(65_536, stream.credit)
            try:
                self.host.wait(lambda: stream.credit > 0, 0.3)
            except TimeoutError:
                pass
            self.assertLess(sent, 64 << 20)
        self.host.signal(stream, "kill")
        self.assertEqual(self.host.finish(stream, 5).code, "cancelled")

    def test_a_reset_is_told(self):
        stream, peer = self.connect()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        self.assertEqual(self.host.finish(stream, 5).code, "reset")

    def test_a_kill_closes_the_connection(self):
        stream, peer = self.connect()
        self.host.signal(stream, "kill")
        self.assertEqual(self.host.finish(stream, 5).code, "cancelled")
        self.assertEqual(peer.recv(10), b"")

    def test_a_new_epoch_closes_it(self):
        _, peer = self.connect()
        self.host.identify()
        self.assertEqual(peer.recv(10), b"")
        self.host.call("info")

    def test_many_at_once(self):
        server, port = self.listen()
        streams = [self.host.open("connect", port=port) for _ in range(32)]
        peers = [server.accept()[0] for _ in streams]
        for peer in peers:
            peer.sendall(b"x")
            peer.close()
        for stream in streams:
            self.host.data(stream, b"")
            self.assertEqual(self.host.finish(stream, 5).out, "x")


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
