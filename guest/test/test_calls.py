"""`calls`: guest code reaches tools through the host, from Python, JavaScript and the shell."""

import json
import os
import shutil
import socket
import unittest

from test_contexts import AgentCase

CATALOGUE = {
    "tools": [
        {
            "name": "prices",
            "description": "prices in an object store",
            "operations": {
                "get": {
                    "description": "reads an object",
                    "parameters": {
                        "rows": {"kind": "integer", "description": "at most so many", "optional": True},
                        "key": {"kind": "path", "description": "which object"},
                    },
                }
            },
        }
    ]
}


class CallsTest(AgentCase):
    def open_calls(self):
        """The stream, with a host that has said what there is."""
        stream = self.host.open("calls")
        self.tell(stream, {"catalogue": CATALOGUE})
        self.host.call("info")  # the stream before it has begun, too
        return stream

    def tell(self, stream, message):
        self.host.data(stream, json.dumps(message).encode() + b"\n", end=False)

    def serve(self, stream, turn, answer):
        """Answer the calls of a turn until it ends; what was asked."""
        asked = []

        def ended():
            while len(asked) < len(stream.messages):
                message = stream.messages[len(asked)]
                asked.append(message)
                if message["type"] == "call":
                    self.tell(stream, {"call": message["call"], **answer(message)})
            return turn.close

        self.host.wait(ended, 30)
        return asked

    def run_code(self, code, language="python"):
        turn = self.host.open("run", language=language, context="default", maxOutputBytes=100_000, maxEventBytes=100_000)
        self.host.data(turn, code.encode())
        return turn

    def test_python(self):
        stream = self.open_calls()
        code = """
from bulkhead import tools, ToolError, ToolFile
import inspect
print(dir(tools), dir(tools.prices), inspect.signature(tools.prices.get), tools.prices.get.__doc__.splitlines()[0])
print(tools.prices.get(key="a/é.csv", rows=3)["rows"])
print(tools.prices.get(key="file").path)
try: tools.prices.get(key="denied")
except ToolError as error: print(error.code, error.decision, error)
for wrong in ("tools.other", "tools.prices.put"):
    try: eval(wrong)
    except AttributeError as error: print(error)
"""

        def answer(message):
            arguments = json.loads(message["arguments"])
            if arguments["key"] == "file":
                return {"ok": True, "file": "/home/user/f", "contentType": "text/csv", "size": 3}
            if arguments["key"] == "denied":
                error = {"code": "tool_denied", "message": "No.", "hint": "Ask.", "details": {"decision": "dec_1"}}
                return {"ok": False, "error": error}
            return {"ok": True, "value": {"columns": [{"name": "a"}], "rows": [[1]], "rowCount": 1}}

        turn = self.run_code(code)
        asked = self.serve(stream, turn, answer)
        self.assertEqual(turn.err, "")
        self.assertEqual(
            turn.out.splitlines(),
            [
                "['prices'] ['get'] (*, key: 'str', rows: 'int' = None) reads an object",
                "[[1]]",
                "/home/user/f",
                "tool_denied dec_1 No. Ask.",
                "this session has no tool 'other'; it has: prices",
                "prices has no operation 'put'; it has: get",
            ],
        )
        self.assertEqual(json.loads(asked[0]["arguments"]), {"key": "a/é.csv", "rows": 3})

    def test_names_that_python_keeps_for_itself(self):
        parameter = {"kind": "integer", "description": "since when", "minimum": 0, "maximum": 9}
        operation = {"description": "all of it", "parameters": {"from": parameter, "class": {**parameter, "optional": True}}}
        stream = self.host.open("calls")
        described = {"name": "old", "description": "old names", "operations": {"import": operation}}
        self.tell(stream, {"catalogue": {"tools": [described]}})
        self.host.call("info")
        code = """
from bulkhead import tools
print(dir(tools.old), tools.old.import_)
print(tools.old.import_.__doc__.splitlines()[2])
print(tools.old.import_(from_=3), tools.old.import_(**{"from": 4}), getattr(tools.old, "import")(from_=5, class_=6))
"""
        turn = self.run_code(code)
        asked = self.serve(stream, turn, lambda message: {"ok": True, "value": message["operation"]})
        self.assertEqual(turn.err, "")
        self.assertEqual(
            turn.out.splitlines(),
            [
                "['import_'] old.import(*, from_: 'int', class_: 'int' = None)",
                "from_: since when At least 0, at most 9.",
                "import import import",
            ],
        )
        given = [json.loads(message["arguments"]) for message in asked]
        self.assertEqual(given, [{"from": 3}, {"from": 4}, {"from": 5, "class": 6}])

    def test_the_shell(self):
        stream = self.open_calls()
        turn = self.run_code("bulkhead-tool prices get key=a/b rows:=3; bulkhead-tool prices get key=no; echo $?; bulkhead-tool x; echo $?", "bash")

        def answer(message):
            if json.loads(message["arguments"])["key"] == "no":
                return {"ok": False, "error": {"code": "tool_denied", "message": "No."}}
            return {"ok": True, "value": [1, "ü"]}

        asked = self.serve(stream, turn, answer)
        self.assertEqual(turn.out.split(), ["[", "1,", '"ü"', "]", "1", "2"])
        self.assertIn("tool_denied: No.", turn.err)
        self.assertEqual(json.loads(asked[0]["arguments"]), {"key": "a/b", "rows": 3})

    @unittest.skipIf(shutil.which("node") is None, "there is no node on this host")
    def test_javascript(self):
        stream = self.open_calls()
        code = """
const { tools, catalogue } = require('bulkhead');
console.log((await catalogue())[0].name, await tools.prices.get({ key: 'a' }));
try { await tools.prices.get({ key: 'no' }) } catch (error) { console.log(error.code) }
"""
        turn = self.run_code(code, "javascript")
        self.serve(
            stream,
            turn,
            lambda message: {"ok": False, "error": {"code": "tool_denied", "message": "No."}}
            if '"no"' in message["arguments"]
            else {"ok": True, "value": 7},
        )
        self.assertEqual(turn.out, "prices 7\ntool_denied\n", turn.messages)

    def connect(self):
        connection = socket.socket(socket.AF_UNIX)
        self.addCleanup(connection.close)
        connection.settimeout(10)
        connection.connect(self.host.home + "-tools")
        return connection

    def ask(self, connection, line):
        connection.sendall(line)
        with connection.makefile("rb") as lines:
            return json.loads(lines.readline())

    def test_guest_code_that_breaks_the_rules_gets_refusals(self):
        self.open_calls()
        for line in (b"nothing\n", b"[]\n", b"{}\n", b'{"tool":1,"operation":"x","arguments":"{}"}\n', b"\xff\n"):
            self.assertEqual(self.ask(self.connect(), line)["error"]["code"], "invalid_request", line)
        # It is cut off as soon as it is too long; the refusal may be lost with what was still on its way.
        with self.assertRaises((BrokenPipeError, ConnectionResetError, KeyError)):
            self.ask(self.connect(), b"x" * 2_200_000)["value"]
        self.host.call("info")

    def test_a_call_that_nobody_waits_for_is_cancelled(self):
        stream = self.open_calls()
        connection = self.connect()
        connection.sendall(b'{"tool":"a","operation":"b","arguments":"{}"}\n')
        self.host.wait(lambda: stream.messages)
        connection.close()
        self.host.wait(lambda: len(stream.messages) == 2)
        self.assertEqual([message["type"] for message in stream.messages], ["call", "cancel"])
        self.tell(stream, {"call": 1, "ok": True, "value": None})  # nobody gets it
        self.host.call("info")

    def test_more_calls_than_there_may_be(self):
        stream = self.open_calls()
        connection = self.connect()
        connection.sendall(b'{"tool":"a","operation":"b","arguments":"{}"}\n' * 17)
        self.assertIn(b"limit_exceeded", connection.recv(65_536))
        self.host.wait(lambda: len(stream.messages) == 16)

    def test_a_new_epoch_ends_it(self):
        self.open_calls()
        connection = self.connect()
        self.ask(connection, b'{"catalogue":true}\n')
        self.host.identify()
        self.assertEqual(connection.recv(10), b"")
        self.assertFalse(os.path.exists(self.host.home + "-tools"))
        turn = self.run_code("from bulkhead import tools, ToolError\ntry: tools.x\nexcept ToolError as error: print(error.code)")
        self.host.wait(lambda: turn.close, 30)
        self.assertEqual(turn.out, "not_found\n")

