"""`egress`: what leads out of the machine, as guest code finds it and as the host sees it."""

import json
import shutil
import socket
import threading
import unittest

from client import Host

SHOW = "import os; print(sorted((name, value) for name, value in os.environ.items() if 'proxy' in name.lower()))"


class EgressTest(unittest.TestCase):
    def setUp(self):
        self.host = Host()
        self.addCleanup(self.close)

    def close(self):
        """The agent ended well, whatever was open."""
        self.assertEqual(self.host.close(), 0, self.host.errors)
        self.assertNotIn("Traceback", self.host.errors)

    def port(self):
        """Where the proxy listens, as guest code is told."""
        turn = self.host.run("import os; print(os.environ.get('https_proxy', ''))")
        return int(turn.out.strip().rpartition(":")[2])

    def open_egress(self):
        stream = self.host.open("egress")
        self.host.call("info")  # the stream before it has begun, too
        self.assertIsNone(stream.close)
        return stream

    def connect(self, port):
        client = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.addCleanup(client.close)
        return client

    def join(self, egress, count=1):
        """The stream of the connection that was announced as the `count`th."""
        self.host.wait(lambda: len(egress.messages) >= count)
        self.assertEqual(egress.messages[count - 1], {"type": "connect", "connection": count})
        stream = self.host.open("egress.connection", connection=count)
        self.host.wait(lambda: stream.messages or stream.close)
        return stream

    def test_nothing_is_set_without_it(self):
        self.assertEqual(self.host.run(SHOW).out, "[]\n")
        self.assertEqual(self.host.call("egress.connection", connection=1).code, "not_found")

    def test_every_language_is_told_contexts_that_ran_before_too(self):
        languages = ["python", "bash"] + (["javascript"] if shutil.which("node") else [])
        show = {
            "python": "import os; print(os.environ.get('http_proxy'), os.environ.get('HTTPS_PROXY'), os.environ.get('no_proxy'))",
            "bash": "echo ${http_proxy-None} ${HTTPS_PROXY-None} ${no_proxy-None}",
            "javascript": "console.log(process.env.http_proxy ?? 'None', process.env.HTTPS_PROXY ?? 'None', process.env.no_proxy ?? 'None')",
        }
        for language in languages:
            self.assertEqual(self.host.run(show[language], language).out, "None None None\n")
        self.open_egress()
        port = self.port()
        told = f"http://127.0.0.1:{port} http://127.0.0.1:{port} localhost,127.0.0.1,::1\n"
        for language in languages:
            self.assertEqual(self.host.run(show[language], language).out, told, language)
            self.assertEqual(self.host.run(show[language], language, context="fresh").out, told, language)
        command = self.host.call("exec", argv=["bash", "-c", show["bash"]])
        self.assertEqual(command.out, told)
        # What a turn changes stays changed.
        self.host.run("import os; os.environ['http_proxy'] = 'mine'")
        self.assertEqual(self.host.run("print(os.environ['http_proxy'])").out, "mine\n")
        # The exit code of the turn before is what the next one sees.
        self.host.run("(exit 3)", "bash")
        self.assertEqual(self.host.run("echo $?", "bash").out, "3\n")

    def test_bytes_go_both_ways_and_each_direction_ends_by_itself(self):
        egress = self.open_egress()
        client = self.connect(self.port())
        client.sendall(b"request")
        stream = self.join(egress)
        self.assertEqual(stream.messages, [{"type": "connected"}])
        self.host.wait(lambda: stream.out == "request")
        self.host.data(stream, b"answer", end=False)
        self.assertEqual(client.recv(100), b"answer")
        client.shutdown(socket.SHUT_WR)
        self.host.wait(lambda: 1 in stream.ended)
        self.host.data(stream, b"more")
        self.assertEqual(client.recv(100), b"more")
        self.assertEqual(client.recv(100), b"")
        self.host.wait(lambda: stream.close)
        self.assertEqual(stream.result, {})

    def test_a_large_transfer_waits_for_credit(self):
        egress = self.open_egress()
        client = self.connect(self.port())
        sender = threading.Thread(target=lambda: (client.sendall(b"x" * 3_000_000), client.shutdown(socket.SHUT_WR)))
        sender.start()
        stream = self.join(egress)
        self.host.wait(lambda: 1 in stream.ended)
        sender.join(10)
        self.assertEqual(len(stream.lanes[1]), 3_000_000)

    def test_a_client_that_has_gone_ends_its_stream(self):
        egress = self.open_egress()
        port = self.port()
        client = self.connect(port)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        stream = self.join(egress)
        self.host.wait(lambda: stream.close)
        self.assertEqual(stream.code, "reset")
        self.assertEqual(self.join_next(egress, port), [{"type": "connected"}])

    def join_next(self, egress, port):
        self.connect(port)
        return self.join(egress, len(egress.messages) + 1).messages

    def test_who_is_refused_is_closed(self):
        egress = self.open_egress()
        client = self.connect(self.port())
        self.host.wait(lambda: egress.messages)
        self.host.data(egress, json.dumps({"refused": 1}).encode() + b"\n", end=False)
        self.assertEqual(client.recv(10), b"")
        self.assertEqual(self.host.call("egress.connection", connection=1).code, "not_found")

    def test_no_more_than_the_bound_are_under_way(self):
        egress = self.open_egress()
        port = self.port()
        clients = [self.connect(port) for _ in range(20)]
        self.host.wait(lambda: len(egress.messages) == 16)
        self.host.call("info")
        self.assertEqual(len(egress.messages), 16)
        stream = self.join(egress, 1)
        clients[0].close()
        self.host.data(stream, b"")
        self.host.wait(lambda: stream.close)
        self.host.wait(lambda: len(egress.messages) == 17)

    def test_it_ends_with_its_stream_and_its_epoch_and_begins_again(self):
        egress = self.open_egress()
        port = self.port()
        client = self.connect(port)
        stream = self.join(egress)
        self.assertEqual(self.host.call("egress").code, "exists")
        self.host.signal(stream, "kill")
        self.host.wait(lambda: stream.close)
        self.assertEqual(stream.code, "cancelled")
        self.assertEqual(client.recv(10), b"")
        waiting = self.connect(port)
        self.host.wait(lambda: len(egress.messages) == 2)
        self.host.identify()
        self.assertEqual(waiting.recv(10), b"")
        with self.assertRaises(ConnectionRefusedError):
            self.connect(port)
        egress = self.open_egress()
        self.connect(self.port())
        self.join(egress)
        self.host.signal(egress, "kill")
        self.host.wait(lambda: egress.close)
        self.assertEqual(egress.code, "cancelled")


if __name__ == "__main__":
    unittest.main()
