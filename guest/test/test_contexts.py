"""Turns in the three languages, and how contexts end."""

import json
import os
import random
import shutil
import time
import unittest

from client import Host, has_module


# Code to keep a value, to run on, to end at once, to print the value.
_INTERRUPTIBLE = {
    "python": ("kept = 7", "while True: pass", "x = 1", "print(kept)"),
    "bash": ("kept=7", "while :; do :; done", "x=1", "echo $kept"),
}
if shutil.which("node"):
    _INTERRUPTIBLE["javascript"] = ("globalThis.kept = 7", "while (true) {}", "x = 1", "console.log(kept)")


class AgentCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host()

    @classmethod
    def tearDownClass(cls):
        host = getattr(cls, "host", None)
        if host is not None:
            code = host.close()
            assert code == 0, f"the agent ended with {code}: {host.errors}"
            assert "Traceback" not in host.errors, host.errors

    def status(self, turn):
        return turn.result["status"], turn.result["fate"]


class PythonTest(AgentCase):
    def test_hello(self):
        self.assertEqual(self.host.hello, {"version": 1, "agent": "0.1.0", "contexts": ["python", "bash"]})

    def test_result_and_state(self):
        self.host.run("value = 41")
        turn = self.host.run("print('said')\nvalue + 1")
        self.assertEqual(turn.out, "said\n")
        self.assertEqual(turn.messages, [{"type": "result", "data": {"text/plain": "42"}}])
        self.assertEqual(turn.order, [b"said\n", "result"])

    def test_quiet_and_history(self):
        self.assertEqual(self.host.run("7;").messages, [])
        self.assertEqual(self.host.run("8").messages[0]["data"]["text/plain"], "8")
        self.assertEqual(self.host.run("_ + 1").messages[0]["data"]["text/plain"], "9")

    def test_top_level_await(self):
        turn = self.host.run("import asyncio\nawait asyncio.sleep(0.001)\nawait asyncio.gather(asyncio.sleep(0, 3))")
        self.assertEqual(turn.messages[0]["data"]["text/plain"], "[3]")

    def test_magics_and_shell(self):
        self.assertEqual(self.host.run("!echo one; echo two >&2").out, "one\n")
        self.assertIn("/", self.host.run("%pwd").messages[0]["data"]["text/plain"])
        self.assertEqual(self.host.run("%%bash\necho from bash").out, "from bash\n")
        self.assertEqual(self.host.run("x = !echo a\nx[0]").messages[0]["data"]["text/plain"], "'a'")

    def test_exception_is_structured(self):
        turn = self.host.run("def inner():\n    return 1 / 0\n\ninner()")
        self.assertEqual(self.status(turn), ("error", "kept"))
        event = turn.messages[0]
        self.assertEqual((event["type"], event["name"], event["value"]), ("exception", "ZeroDivisionError", "division by zero"))
        self.assertEqual([frame["name"] for frame in event["frames"]], ["<module>", "inner"])
        self.assertEqual(event["frames"][1]["source"], "return 1 / 0")
        self.assertNotIn("\x1b", event["traceback"])
        self.assertNotIn("guest/agent", event["traceback"])

    def test_syntax_error(self):
        event = self.host.run("x = 1\ndef f(:\n").messages[0]
        self.assertEqual((event["name"], event["frames"][0]["line"]), ("SyntaxError", 2))
        self.assertNotIn("guest/agent", event["traceback"])

    def test_exceptions_that_fight_back(self):
        code = "class Bad(Exception):\n    def __str__(self): raise RuntimeError\n    __repr__ = __str__\nraise Bad()"
        self.assertEqual(self.host.run(code).messages[0]["name"], "Bad")
        turn = self.host.run("def f(): f()\nf()")
        self.assertEqual(turn.messages[0]["name"], "RecursionError")
        self.assertLessEqual(len(turn.messages[0]["frames"]), 200)
        self.assertEqual(self.status(self.host.run("raise MemoryError('x' * 10**6)")), ("error", "kept"))

    def test_exit_input_stdin(self):
        self.host.run("kept = 'yes'")
        turn = self.host.run("import sys; sys.exit(3)")
        self.assertEqual((self.status(turn), turn.messages[0]["name"]), (("error", "kept"), "SystemExit"))
        self.assertEqual(self.host.run("input('? ')").messages[0]["name"], "EOFError")
        self.assertEqual(self.host.run("import sys; sys.stdin.read()").messages[0]["data"]["text/plain"], "''")
        self.assertEqual(self.host.run("kept").messages[0]["data"]["text/plain"], "'yes'")

    def test_display_keeps_order(self):
        turn = self.host.run("print('a'); display({'x': 1}); print('b')\nimport os\n_ = os.write(1, b'c')\n'end'")
        self.assertEqual((turn.order[:2], turn.order[-1]), ([b"a\n", "display"], "result"))
        self.assertEqual(turn.out, "a\nb\nc")

    def test_deep_json_result_does_not_break_the_channel(self):
        code = "from IPython.display import JSON\nx = []\nfor _ in range(40): x = [x]\nJSON(x)"
        turn = self.host.run(code)
        self.assertEqual(self.status(turn), ("ok", "kept"))
        self.assertNotIn("application/json", turn.messages[0]["data"])

    def test_binary_and_long_output(self):
        turn = self.host.run("import sys\nn = sys.stdout.buffer.write(b'\\xff\\x00' * 1000)\nprint('x' * 3_000_000)")
        self.assertEqual(len(turn.lanes[1]), 2_000 + 3_000_001)
        self.assertEqual(turn.result["dropped"], {"stdout": 0, "stderr": 0, "events": 0})

    def test_output_beyond_the_limit_is_counted(self):
        code = "import os\nb = b'x' * 1_000_000\nfor _ in range(300):\n    left = len(b)\n    while left: left -= os.write(1, b[:left])"
        turn = self.host.run(code, max_output=100_000)
        self.assertEqual(len(turn.lanes[1]), 100_000)
        self.assertEqual(turn.result["dropped"]["stdout"], 300_000_000 - 100_000)
        self.assertEqual(self.status(turn), ("ok", "kept"))

    def test_events_beyond_the_limit_are_counted(self):
        turn = self.host.run("for i in range(50): display('x' * 1000)", max_events=10_000)
        self.assertEqual(len(turn.messages) + turn.result["dropped"]["events"], 50)
        self.assertGreater(turn.result["dropped"]["events"], 30)

    def test_back_pressure(self):
        turn = self.host.open("run", language="python", context="default", maxOutputBytes=1 << 30, maxEventBytes=1 << 20)
        turn.auto_credit = False
        self.host.data(turn, b"print('x' * 2_000_000)\n1")
        self.host.wait(lambda: turn.received == 262_144)
        with self.assertRaises(TimeoutError):
            self.host.wait(lambda: turn.received > 262_144, 0.3)
        turn.auto_credit = True
        self.host.credit(turn, 262_144)
        self.host.finish(turn)
        self.assertEqual(len(turn.lanes[1]), 2_000_001)
        self.assertEqual(turn.order[-1], "result")

    def test_interrupt_keeps_the_context(self):
        for code in ("kept = 5\nwhile True: pass", "import time; time.sleep(60)", "import asyncio\nawait asyncio.sleep(60)", "!sleep 60"):
            with self.subTest(code):
                turn = self.host.start(code)
                with self.assertRaises(TimeoutError):
                    self.host.wait(lambda: turn.close, 0.3)
                self.host.signal(turn, "interrupt")
                self.host.finish(turn, 5)
                self.assertEqual(turn.result["fate"], "kept")
                if not code.startswith("!"):
                    self.assertEqual(turn.result["status"], "interrupted")
        self.assertEqual(self.host.run("kept").messages[0]["data"]["text/plain"], "5")

    def test_interrupt_before_the_code_begins(self):
        for language, (before, endless, _, after) in _INTERRUPTIBLE.items():
            with self.subTest(language):
                self.host.run(before, language)
                for _ in range(20):
                    turn = self.host.start(endless, language)
                    self.host.signal(turn, "interrupt")
                    self.host.finish(turn, 5)
                    self.assertEqual(self.status(turn), ("interrupted", "kept"))
                    self.assertEqual(self.host.run(after, language).out, "7\n")

    def test_interrupt_at_any_moment(self):
        delays = random.Random(7)
        for language, (before, _, short, after) in _INTERRUPTIBLE.items():
            self.host.run(before, language)
            for round in range(60):
                with self.subTest(language, round=round):
                    turn = self.host.start(short, language)
                    time.sleep(delays.random() * 0.002)
                    self.host.signal(turn, "interrupt")
                    self.host.finish(turn, 5)
                    self.assertIn(self.status(turn), (("interrupted", "kept"), ("ok", "kept")))
                    self.assertEqual(self.host.run(after, language).out, "7\n")

    def test_kill_and_restart_are_quick(self):
        code = "import os, signal, time, subprocess\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        code += "p = subprocess.Popen(['setsid', 'sleep', '600'])\nprint(p.pid, flush=True)\nwhile True: time.sleep(1)"
        turn = self.host.start(code, context="doomed")
        self.host.wait(lambda: turn.out.endswith("\n"))
        self.host.signal(turn, "kill")
        self.host.finish(turn, 5)
        self.assertEqual((self.status(turn), turn.result["signal"]), (("died", "lost"), 9))
        self.assertFalse(_is_running(int(turn.out)))
        started = time.monotonic()
        self.assertEqual(self.host.run("1 + 1", context="doomed").messages[0]["data"]["text/plain"], "2")
        self.assertLess(time.monotonic() - started, 2)

    def test_death(self):
        turn = self.host.run("import os; print('last words'); os._exit(7)", context="dying")
        self.assertEqual((self.status(turn), turn.result["exitCode"]), (("died", "lost"), 7))
        turn = self.host.run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", context="dying")
        self.assertEqual((self.status(turn), turn.result["signal"]), (("died", "lost"), 11))

    def test_death_between_turns_is_told(self):
        self.host.run("import threading, os\nthreading.Timer(0.05, os._exit, [4]).start()", context="later")
        deadline = time.monotonic() + 10
        while self._alive("later"):
            self.assertLess(time.monotonic(), deadline)
        turn = self.host.run("1", context="later")
        self.assertEqual((self.status(turn), turn.result["exitCode"]), (("died", "lost"), 4))
        self.assertEqual(self.status(self.host.run("1", context="later")), ("ok", "kept"))

    def _alive(self, name):
        contexts = self.host.call("context.list").result["contexts"]
        return next(context["alive"] for context in contexts if context["context"] == name)

    def test_closed_descriptors_end_the_context_not_the_agent(self):
        turn = self.host.run("import os; os.closerange(3, 2000)", context="closer")
        self.assertEqual(self.status(turn), ("died", "lost"))
        self.assertEqual(self.status(self.host.run("1", context="closer")), ("ok", "kept"))

    def test_garbage_on_the_control_socket_ends_the_context_not_the_agent(self):
        code = "import os\nfor fd in range(700, 720):\n    try: os.write(fd, b'\\xff' * 100)\n    except OSError: pass\nwhile True: pass"
        self.assertEqual(self.status(self.host.run(code, context="liar")), ("died", "lost"))
        forged = 'import os, struct\np = b\'{"type":"result","data":\' + b"[" * 50 + b"]" * 50 + b"}"\n'
        forged += "for fd in range(700, 720):\n    try: os.write(fd, struct.pack('>IB', len(p), ord('E')) + p)\n    except OSError: pass"
        turn = self.host.run(forged, context="liar")
        self.assertEqual((self.status(turn), turn.messages, turn.result["dropped"]["events"]), (("ok", "kept"), [], 1))

    def test_output_between_turns_comes_with_the_next(self):
        self.host.run("import threading\nt = threading.Timer(0.05, print, ['late']); t.start()", context="back")
        time.sleep(0.3)
        self.assertEqual(self.host.run("t.join()", context="back").out, "late\n")

    def test_busy_and_restart(self):
        turn = self.host.start("while True: pass", context="busy")
        self.assertEqual(self.host.run("1", context="busy").code, "busy")
        self.assertEqual(self.host.call("context.restart", language="python", context="busy").result, {})
        self.host.finish(turn)
        self.assertEqual(self.status(turn), ("died", "lost"))
        self.host.run("gone = 1", context="busy")
        self.assertEqual(self.host.call("context.restart", language="python", context="busy").result, {})
        self.assertEqual(self.host.run("gone", context="busy").messages[0]["name"], "NameError")

    def test_ten_megabytes_of_code(self):
        code = "x = '" + "y" * 10_000_000 + "'\nlen(x)"
        self.assertEqual(self.host.run(code).messages[0]["data"]["text/plain"], "10000000")
        self.assertEqual(self.host.run(b"\xff\xfe").code, "invalid")

    def test_identity_again_reseeds(self):
        self.host.run("import random, tempfile\nrandom.seed(1)")
        self.host.identify()
        code = "random.random()"
        first = self.host.run(code).messages[0]["data"]["text/plain"]
        self.assertNotEqual(first, "0.13436424411240122")

    def test_turn_is_quick(self):
        times = []
        for _ in range(200):
            started = time.perf_counter()
            self.host.run("1 + 1")
            times.append(time.perf_counter() - started)
        times.sort()
        print(f"\nwarm python turn: median {times[100] * 1e3:.2f} ms, p95 {times[190] * 1e3:.2f} ms")
        self.assertLess(times[0], 0.0015)


@unittest.skipUnless(has_module("pandas") and has_module("matplotlib"), "pandas or matplotlib is not installed for this interpreter")
class LibrariesTest(AgentCase):
    def test_data_frame(self):
        code = "import pandas as pd, numpy as np\n"
        code += "pd.DataFrame({'n': [1, 2], 'f': [0.5, np.nan], 's': ['a', None], 't': pd.to_datetime(['2024-01-01', None])})"
        data = self.host.run(code).messages[0]["data"]
        self.assertEqual(sorted(data), ["application/vnd.bulkhead.table+json", "text/html", "text/plain"])
        table = data["application/vnd.bulkhead.table+json"]
        self.assertEqual(table["rows"], [[1, 0.5, "a", "2024-01-01 00:00:00"], [2, None, None, None]])
        self.assertEqual((table["columns"][0], table["totalRows"]), ({"name": "n", "type": "int64"}, 2))

    def test_big_frame_and_series(self):
        data = self.host.run("import pandas as pd\npd.DataFrame({'n': range(5000)})").messages[0]["data"]
        table = data["application/vnd.bulkhead.table+json"]
        self.assertEqual((len(table["rows"]), table["totalRows"]), (1000, 5000))
        data = self.host.run("import pandas as pd\npd.Series([1, 2], index=['x', 'y'], name='v')").messages[0]["data"]
        self.assertEqual(data["application/vnd.bulkhead.table+json"]["rows"], [["x", 1], ["y", 2]])

    def test_figures(self):
        turn = self.host.run("import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])")
        self.assertTrue(turn.messages[0]["data"]["image/png"].startswith("iVBOR"))
        self.assertEqual(self.host.run("plt.get_fignums()").messages[0]["data"]["text/plain"], "[]")
        turn = self.host.run("%matplotlib inline\nfig, ax = plt.subplots(); ax.plot([1])\nplt.show()\nprint('after')")
        self.assertEqual(turn.order, ["display", b"after\n"])
        turn = self.host.run("fig, ax = plt.subplots(); ax.plot([1])\nfig")
        self.assertEqual([message["type"] for message in turn.messages], ["result"])
        self.assertIn("image/png", turn.messages[0]["data"])

    def test_numpy_is_reseeded(self):
        self.host.run("import numpy as np\nnp.random.seed(1)")
        self.host.identify()
        self.assertNotEqual(self.host.run("float(np.random.rand())").messages[0]["data"]["text/plain"], "0.417022004702574")


class BashTest(AgentCase):
    def run_bash(self, code, **options):
        return self.host.run(code, "bash", **options)

    def test_state(self):
        self.run_bash("cd /; x=3; f() { echo \"f $1\"; }; declare -A m=([k]=v)")
        turn = self.run_bash("pwd; echo $x; f 1; echo ${m[k]}; echo err >&2")
        self.assertEqual((turn.out, turn.err, turn.result["exitCode"]), ("/\n3\nf 1\nv\n", "err\n", 0))

    def test_codes_and_scripts(self):
        turn = self.run_bash("false")
        self.assertEqual((turn.result["status"], turn.result["exitCode"]), ("error", 1))
        self.assertEqual(self.run_bash("echo $?").out, "1\n")
        self.assertEqual(self.run_bash("cat <<'E'\nhere $x\nE\nfor i in 1 2; do\n echo $i\ndone").out, "here $x\n1\n2\n")
        self.assertEqual(self.run_bash("cat; read x; echo \"[$x]\"").out, "[]\n")
        self.assertEqual(self.run_bash("if").result["status"], "error")
        self.assertEqual(self.run_bash("(exit 4)").result["exitCode"], 4)
        self.assertEqual(self.run_bash("echo a\0b").code, "invalid")

    def test_interrupt(self):
        self.run_bash("y=kept")
        for code in ("sleep 60; echo no", "while :; do :; done", "while true; do sleep 0.05; done"):
            with self.subTest(code):
                turn = self.host.start(code, "bash")
                with self.assertRaises(TimeoutError):
                    self.host.wait(lambda: turn.close, 0.3)
                self.host.signal(turn, "interrupt")
                self.host.finish(turn, 5)
                self.assertEqual(self.status(turn), ("interrupted", "kept"))
                self.assertEqual(self.run_bash("echo $y").out, "kept\n")

    def test_exit_ends_the_context(self):
        turn = self.run_bash("exit 3", context="leaving")
        self.assertEqual((self.status(turn), turn.result["exitCode"], turn.err), (("died", "lost"), 3, ""))
        self.assertEqual(self.run_bash("echo new", context="leaving").out, "new\n")

    def test_background_job_lives_on(self):
        self.run_bash("(sleep 0.2; echo done > \"$HOME/flag\") & ", context="jobs")
        time.sleep(0.5)
        self.assertEqual(self.run_bash("cat ~/flag", context="jobs").out, "done\n")

    def test_a_big_script_is_quick(self):
        turn = self.run_bash("x='" + "y" * 3_000_000 + "'; echo ${#x}")
        self.assertEqual(turn.out, "3000000\n")


@unittest.skipUnless(shutil.which("node"), "node is not installed")
class JavascriptTest(AgentCase):
    def run_javascript(self, code, **options):
        return self.host.run(code, "javascript", **options)

    def test_state_and_results(self):
        self.run_javascript("const a = 1; let b = 2; class C {}; function f() { return a + b }")
        self.assertEqual(self.run_javascript("const a = 40; f()").messages[0]["data"], {"text/plain": "42"})
        data = self.run_javascript("({ k: [1, a] })").messages[0]["data"]
        self.assertEqual(data, {"text/plain": "{ k: [ 1, 40 ] }", "application/json": {"k": [1, 40]}})
        self.assertEqual(self.run_javascript("undefined").messages, [])

    def test_await_require_import_output(self):
        turn = self.run_javascript("console.log('x'); console.error('y'); await new Promise(r => setTimeout(() => r(5), 5))")
        self.assertEqual((turn.out, turn.err, turn.messages[0]["data"]["text/plain"]), ("x\n", "y\n", "5"))
        self.assertEqual(self.run_javascript("require('path').sep").messages[0]["data"]["text/plain"], "'/'")
        self.assertEqual(self.run_javascript("(await import('path')).sep").messages[0]["data"]["text/plain"], "'/'")
        self.assertEqual(self.run_javascript("import { sep as s } from 'node:path'\ns").messages[0]["data"]["text/plain"], "'/'")

    def test_errors(self):
        turn = self.run_javascript("function g() { throw new TypeError('no') }\ng()")
        event = turn.messages[0]
        self.assertEqual((event["name"], event["value"], [frame["name"] for frame in event["frames"]]), ("TypeError", "no", ["<anonymous>", "g"]))
        self.assertNotIn("javascript_worker", event["traceback"])
        self.assertEqual(self.run_javascript("foo(").messages[0]["name"], "SyntaxError")
        self.assertEqual(self.run_javascript("throw 5").messages[0]["value"], "5")

    def test_interrupt(self):
        self.run_javascript("globalThis.kept = 6")
        for code in ("while (true) {}", "await new Promise(() => {})"):
            with self.subTest(code):
                turn = self.host.start(code, "javascript")
                with self.assertRaises(TimeoutError):
                    self.host.wait(lambda: turn.close, 0.5)
                self.host.signal(turn, "interrupt")
                self.host.finish(turn, 5)
                self.assertEqual(self.status(turn), ("interrupted", "kept"))
        self.assertEqual(self.run_javascript("kept").messages[0]["data"]["text/plain"], "6")

    def test_exit(self):
        turn = self.run_javascript("process.exit(4)", context="leaving")
        self.assertEqual((self.status(turn), turn.result["exitCode"]), (("died", "lost"), 4))

    def test_reseed(self):
        self.run_javascript("1")
        self.host.identify()
        value = json.loads(self.run_javascript("[Math.random(), require('crypto').randomUUID().length]").messages[0]["data"]["text/plain"])
        self.assertTrue(0 <= value[0] < 1 and value[1] == 36)


def _is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rsplit(b")", 1)[1].split()[0] not in (b"Z", b"X")
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    assert os.name == "posix"
    unittest.main()
