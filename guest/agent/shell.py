"""Python as IPython speaks it, without IPython's cost per cell: one shell, warmed in the zygote, attached to a control socket in a worker.

IPython does what it is good at (its syntax, magics, formatters); the way of a cell through parse, compile, run and result is ours,
because `InteractiveShell.run_cell` costs more than most turns.
"""

import ast
import asyncio
import builtins
import inspect
import linecache
import re
import sys
import warnings

from .display import attach_figures, prepare_formatters, show_figures, to_event
from .tracebacks import describe

CELLS_KEPT_COUNT = 1_000
_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_PARSE = ast.PyCF_ONLY_AST | _FLAGS
_FIRST_WORD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_WARM_MODULES = (
    "numpy",
    "pandas",
    "matplotlib.pyplot",
    "asyncio",
    "concurrent.futures",
    "ssl",
    "json",
    "csv",
    "subprocess",
    "tempfile",
    "uuid",
    "sqlite3",
    "decimal",
    "datetime",
    "statistics",
    "IPython.core.pylabtools",
)
# They have more to import than all of the others together.
_LARGE_MODULES = ("scipy.stats", "scipy.optimize", "scipy.linalg", "statsmodels.api", "sklearn", "sklearn.linear_model", "requests")
_REHEARSAL = """
import math as _bulkhead_a
_bulkhead_b = [i * 2 for i in range(8)]
print(end="")
sum(_bulkhead_b)
"""


_LIBRARY_REHEARSALS = (
    _REHEARSAL,
    """
import numpy, pandas, matplotlib.pyplot
_f = pandas.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
numpy.random.rand(8, 8) @ numpy.random.rand(8, 8)
matplotlib.pyplot.figure(); matplotlib.pyplot.plot([1, 2], label="x"); matplotlib.pyplot.title("x"); matplotlib.pyplot.legend()
_f
""",
    "1/0",
    "pwd",
    "!true",
    "await __import__('asyncio').sleep(0)",
)


def warm_shell(large):
    """The shell of every worker, made once in the zygote; with `large`, the large libraries too."""
    from IPython.core import page
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    class Publisher(DisplayPublisher):
        """`display()` becomes an event at once."""

        def publish(self, data, metadata=None, **ignored):
            """A MIME bundle of user code."""
            self.shell.cells.emit("display", data)

        def clear_output(self, wait=False):
            """What has been sent cannot be unsent."""

    class Hook(DisplayHook):
        """A result becomes an event at the end of the turn."""

        def __call__(self, result=None):
            self.shell.cells.display_result(result)

    class Shell(InteractiveShell):
        """Quiet, without files, without a terminal."""

        def init_virtualenv(self):
            pass

        def enable_matplotlib(self, gui=None):
            """Figures are shown whatever the back end is called."""
            return "inline", "agg"

        def enable_gui(self, gui=None):
            """There is none."""

        def system_raw(self, cmd):
            """`!command`, straight to our outputs."""
            sys.stdout.flush()
            return super().system_raw(cmd)

        system = system_raw

        def _showtraceback(self, etype, evalue, stb):
            self.cells.report(evalue)

        def showtraceback(self, exc_tuple=None, *arguments, **options):
            """Structured, wherever it is raised."""
            error = exc_tuple[1] if exc_tuple else sys.exc_info()[1]
            if error is not None:
                self.cells.report(error)

        def showsyntaxerror(self, filename=None, running_compiled_code=False):
            """Structured too."""
            self.showtraceback()

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "NoColor"
    config.InteractiveShell.autocall = 0
    config.InteractiveShell.display_page = True
    config.InteractiveShell.history_load_length = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shell = Shell.instance(config=config, display_pub_class=Publisher, displayhook_class=Hook)
        for name in (*_WARM_MODULES, *(_LARGE_MODULES if large else ())):
            try:
                __import__(name)
            except ImportError:
                continue  # not in this image
    shell.set_hook("show_in_pager", page.as_hook(page.display_page), 99)
    prepare_formatters(shell)
    cells = Cells(shell)
    shell.cells = cells
    cells.rehearse_libraries()
    return cells


class Cells:
    """Runs turns in a shell. Attached to a control socket in a worker; in the zygote and in rehearsals, events go nowhere."""

    def __init__(self, shell):
        self.shell = shell
        self.loop = None
        self._control = None
        self._event = None
        self._count = 0
        self._names = []
        self._shown = set()
        self._failed = False
        self._ending = False
        self._pristine = {}
        sys.displayhook = shell.displayhook
        shell.builtin_trap.activate()
        builtins.get_ipython = shell.get_ipython
        attach_figures(self)

    def attach(self, control, event_kind):
        """From now on events go to this socket."""
        self._control = control
        self._event = event_kind
        self._pristine = dict(self.shell.user_ns)

    def rehearse(self, code=_REHEARSAL):
        """Run code as a turn does, leaving no trace."""
        control, self._control = self._control, None
        namespace = dict(self.shell.user_ns)
        held = sys.stdout, sys.stderr
        try:
            self.run_turn(code)
        finally:
            sys.stdout, sys.stderr = held
            self._control = control
            self._restore(namespace)

    def forget(self):
        """All that has been run since `attach`."""
        self._restore(self._pristine)

    def _restore(self, namespace):
        self.shell.user_ns.clear()
        self.shell.user_ns.update(namespace)
        for name in self._names:
            linecache.cache.pop(name, None)
        self._names.clear()
        self._count = 0
        self.shell.execution_count = 1
        self.shell.history_manager.reset()
        self.shell.user_ns["_oh"].clear()

    def rehearse_libraries(self):
        """Use what is loaded lazily or is slow the first time: fonts, formatters, magics, the event loop."""
        for text in _LIBRARY_REHEARSALS:
            self.rehearse(text)
        if self.loop is not None:
            self.loop.close()
            self.loop = None

    def emit(self, kind, data):
        """A `result` or `display` event; what was printed before it goes first."""
        payload = to_event(kind, data)
        if payload is not None and self._control is not None:
            self._send(payload, now=kind == "display" and not self._ending)

    def report(self, error):
        """An `exception` event."""
        self._failed = True
        payload = describe(error)
        if self._control is not None:
            self._send(payload, now=False)

    def _send(self, payload, now):
        try:
            sys.stdout.flush()
        except (OSError, ValueError, AttributeError):
            pass  # user code has closed or replaced it
        if now:
            self._control.send_now(payload)
        else:
            self._control.queue(self._event, payload)

    def mark_shown(self, figure):
        """A figure that was displayed explicitly is not shown again at the end of the turn."""
        self._shown.add(id(figure))

    def show_figures(self):
        """`plt.show()` and the end of a turn."""
        show_figures(self, self._shown)

    def run_turn(self, code):
        """Run one cell; "ok", "error" or "interrupted"."""
        shell = self.shell
        self._failed = False
        self._count += 1
        shell.execution_count = self._count
        try:
            tree, name = self._parse(code)
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
            self.report(error)
            return "error"
        status = self._run(tree, name, code)
        if status == "ok" and self._failed:
            status = "error"
        self._ending = True
        try:
            self.show_figures()
        except KeyboardInterrupt as error:
            self.report(error)
            return "interrupted"
        except Exception as error:  # noqa: BLE001 - a figure that cannot be drawn is the user's error
            self.report(error)
            return "error"
        finally:
            self._ending = False
            self._shown.clear()
        return status

    def _parse(self, code):
        name = f"<cell {self._count}>"
        tree = None
        if not self._may_be_magic(code):
            try:
                tree = compile(code, name, "exec", _PARSE)
            except SyntaxError:
                pass  # perhaps IPython's syntax
        source = code
        if tree is None:
            source = self.shell.transform_cell(code)
            self._remember(name, source)
            tree = compile(source, name, "exec", _PARSE)
        else:
            self._remember(name, source)
        history = self.shell.history_manager
        history.store_inputs(self._count, source, code)
        history.db_input_cache.clear()
        for transformer in self.shell.ast_transformers:
            tree = transformer.visit(tree)
        return tree, name

    def _may_be_magic(self, code):
        """A single line such as `ls -l` is Python as well as a magic; several lines that parse are never anything but Python."""
        if "\n" in code.strip():
            return False
        word = _FIRST_WORD.match(code.lstrip())
        if word is None:
            return True
        return word[0] not in self.shell.user_ns and self.shell.find_line_magic(word[0]) is not None

    def _remember(self, name, source):
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        self._names.append(name)
        if len(self._names) > CELLS_KEPT_COUNT:
            linecache.cache.pop(self._names.pop(0), None)

    def _run(self, tree, name, code):
        namespace = self.shell.user_ns
        last = tree.body.pop() if tree.body and type(tree.body[-1]) is ast.Expr else None
        events = self.shell.events.callbacks
        try:
            if events["pre_execute"] or events["pre_run_cell"]:
                self._trigger_before(code)
            if tree.body:
                self._execute(compile(tree, name, "exec", _FLAGS, True), namespace)
            if last is not None:
                value = self._execute(compile(ast.Expression(last.value), name, "eval", _FLAGS, True), namespace)
                if value is not None and not _is_quiet(code):
                    sys.displayhook(value)
            if events["post_execute"]:
                self.shell.events.trigger("post_execute")
        except KeyboardInterrupt as error:
            self.report(error)
            return "interrupted"
        except BaseException as error:  # noqa: BLE001 - SystemExit too ends the turn only
            sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__
            self.report(error)
            return "error"
        return "ok"

    def _trigger_before(self, code):
        from IPython.core.interactiveshell import ExecutionInfo

        information = inspect.signature(ExecutionInfo).parameters
        values = {"raw_cell": code, "store_history": True, "silent": False, "shell_futures": True, "cell_id": None}
        info = ExecutionInfo(**{name: values.get(name) for name in information})
        self.shell.events.trigger("pre_execute")
        self.shell.events.trigger("pre_run_cell", info)

    def _execute(self, code, namespace):
        if not code.co_flags & inspect.CO_COROUTINE:
            return eval(code, namespace)  # noqa: S307 - this is what the machine is for
        if self.loop is None or self.loop.is_closed():
            self.loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self.loop)
        task = self.loop.create_task(eval(code, namespace))  # noqa: S307
        try:
            return self.loop.run_until_complete(task)
        except KeyboardInterrupt:
            task.cancel()
            self.loop.run_until_complete(asyncio.wait({task}, timeout=0.5))
            raise

    def display_result(self, value):
        if value is None:
            return
        data, _ = self.shell.display_formatter.format(value)
        namespace, outputs = self.shell.user_ns, self.shell.user_ns.get("_oh")
        if type(outputs) is dict and value is not outputs:
            outputs[self._count] = value
            namespace[f"_{self._count}"] = value
            if len(outputs) > CELLS_KEPT_COUNT:
                oldest = next(iter(outputs))
                del outputs[oldest]
                namespace.pop(f"_{oldest}", None)
            namespace["___"], namespace["__"], namespace["_"] = namespace.get("__"), namespace.get("_"), value
        builtins._ = value
        self.emit("result", data)


def _is_quiet(code):
    """A semicolon at the end keeps the result back, as in IPython."""
    text = code.rstrip()
    if not text.endswith(";"):
        if ";" not in text.rpartition("\n")[2]:
            return False
        text = re.sub(r"#[^'\"]*$", "", text).rstrip()
    return text.endswith(";")


