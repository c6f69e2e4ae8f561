"""The contexts of the machine: made on first use, found by language and name, reseeded and trimmed together."""

import os
import signal

from .languages import BashContext, JavascriptContext, PythonContext
from .stream import OperationError, Stream
from .turn import Run, language_of
from .worker_messages import RESEED, TRIM, WARM, pack
from .zygote_client import open_zygotes

CONTEXTS_MAX_COUNT = 16
# A hint for a busy Python worker that its generators must be seeded anew; harmless where user code has reset its handler.
RESEED_SIGNAL = signal.SIGURG


class Contexts:
    """All contexts, dead ones that have not been told about included."""

    def __init__(self, agent):
        self.agent = agent
        self.zygote = None
        self._contexts = {}
        self._classes = {"python": PythonContext, "javascript": JavascriptContext, "bash": BashContext}
        self._count = 0

    def warm_up(self, done):
        """Start the zygote and the first Python context; `done()` when both are ready."""

        def warmed():
            context = self._get("python", "default")

            def acknowledged(context):
                context.acknowledge = None
                done()

            context.acknowledge = acknowledged
            context.tell(pack(WARM))

        self.zygote = open_zygotes(self.agent, warmed)

    def _get(self, language, name):
        context = self._contexts.get((language, name))
        if context is None:
            if len(self._contexts) >= CONTEXTS_MAX_COUNT:
                raise OperationError("limit", f"{CONTEXTS_MAX_COUNT} contexts are there already")
            self._count += 1
            context = self._classes[language](self, name, f"context-{os.getpid()}-{self._count}")
            self._contexts[language, name] = context
            context.set_variables(self.agent.surroundings.variables)
        return context

    def set_variables(self, variables):
        """What all guest code finds in its environment from now on, in contexts that run already too."""
        self.agent.surroundings.variables = variables
        for context in self._contexts.values():
            if context.exit is None:
                context.set_variables(variables)

    def open_run(self, agent, number, message):
        """`run`."""
        context = self._get(*language_of(message, self._classes))
        if context.turn is not None:
            raise OperationError("busy", "a turn of this context is under way")
        return Run(agent, number, message, context)

    def open_restart(self, agent, number, message):
        """`context.restart`."""
        key = language_of(message, self._classes)
        return _Restart(agent, number, self._contexts.get(key), self)

    def open_list(self, agent, number, message):
        """`context.list`."""
        return _List(agent, number, self._contexts)

    def forget(self, context):
        """It is dead, and its turn says so: the next turn starts a new one."""
        if self._contexts.get((context.language, context.name)) is context:
            del self._contexts[context.language, context.name]

    def died_idle(self, context):
        """It stays in the list, not alive, until a turn or a restart has been told."""
        for restart in context.restarts:
            restart.done()

    def reseed(self, seconds, done):
        """Have all seed anew. A busy Python worker does it at its next bytecode; an idle one that does not answer in time is ended.

        One that has run no code yet runs none before it has: it reads the request before the code. An emulator is slow at waking it.
        """

        def late(context):
            if context.exit is None:
                context.kill()

        for context in self._contexts.values():
            if context.turn is not None and context.turn.running:
                context.signal(RESEED_SIGNAL)
        unused = [context for context in self._contexts.values() if context.can_reseed_first and not context.used]
        for context in unused:
            context.reseed_first()
        self._ask(RESEED, seconds, done, late, unused)

    def forget_use(self):
        """What they have run was the rehearsal's, and none of it runs any more."""
        for context in self._contexts.values():
            context.used = False

    def languages_alive(self):
        """Of which languages there is a context that runs."""
        return sorted({context.language for context in self._contexts.values() if context.exit is None}, reverse=True)

    def warm(self, seconds, done):
        """Have the idle ones rehearse what a session may do, and forget all that they have run."""
        self._ask(WARM, seconds, done, lambda context: None)

    def trim(self, seconds, done):
        """Have the idle ones give free memory back; who does not answer in time is left alone."""
        self._ask(TRIM, seconds, done, lambda context: None)

    def _ask(self, kind, seconds, done, late, but=()):
        waiting = set()
        timer = None

        def finish():
            timer.cancel()
            done()

        def acknowledged(context):
            context.acknowledge = None
            waiting.discard(context)
            if not waiting:
                finish()

        def expired():
            for context in list(waiting):
                context.acknowledge = None
                late(context)
            waiting.clear()
            done()

        timer = self.agent.loop.call_later(seconds, expired)
        for context in list(self._contexts.values()):
            if context.exit is not None or context in but:
                continue
            busy = context.turn is not None and context.turn.running
            if not busy and context.can_acknowledge:
                waiting.add(context)
                context.acknowledge = acknowledged
            if not busy or kind == RESEED:
                context.ask(kind)
        if not waiting:
            finish()

    def close(self):
        """The agent ends: so do they."""
        for context in list(self._contexts.values()):
            context.kill()
        if self.zygote is not None:
            self.zygote.close()


class _Restart(Stream):
    def __init__(self, agent, number, context, contexts):
        super().__init__(agent, number)
        self._context = context
        self._contexts = contexts

    def begin(self):
        """Kill, then wait for the exit."""
        context = self._context
        if context is None or context.exit is not None:
            self.done()
            return
        context.restarts.append(self)
        context.kill()

    def done(self):
        """The interpreter has ended."""
        if self._context is not None and self._context.exit is not None:
            self._contexts.forget(self._context)
            self._context.release()
        self.finish({})


class _List(Stream):
    def __init__(self, agent, number, contexts):
        super().__init__(agent, number)
        self._contexts = contexts

    def begin(self):
        """Answers at once."""
        listed = [
            {"language": language, "context": name, "alive": context.exit is None, "busy": context.turn is not None}
            for (language, name), context in self._contexts.items()
        ]
        self.finish({"contexts": listed})
