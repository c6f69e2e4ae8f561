"""What every session does first, done once before the machine is frozen.

After the caches were dropped, so that what it touches is in memory when the machine is frozen and nothing else is. It goes through the
same code as the host's frames; what it would send is swallowed.
"""

import base64
import os
import time

from .frames import CLOSE, FLAG_END, dump_json
from .identity import Identity, proof

_WAIT_S = 60.0
_OUTPUT_MAX_BYTES = 65_536
# As long as those of sessions: then nothing changes its size when a session takes it over.
_HOSTNAME = "bulkhead".ljust(len("ses-") + 26, "0")
_TURNS = (("python", b"print(6 * 7)\n6 * 7"), ("python", b"1 / 0"), ("bash", b"echo 42 | cat"))


class Rehearsal:
    """`done()` is called when it is over, and the agent is as it was."""

    def __init__(self, agent, done):
        self._agent = agent
        self._done = done
        self._turns = iter(_TURNS)
        self._stream = -1

    def begin(self):
        """First the identity, then the turns, then the contexts forget."""
        agent = self._agent
        agent.send = self._swallow
        who = Identity.parse(agent.host_json(_identify_payload()))
        agent.surroundings.take(who)
        proof(who)
        agent.contexts.reseed(_WAIT_S, self._next_turn)

    def _next_turn(self):
        agent = self._agent
        language, code = next(self._turns, (None, None))
        if language is None:
            agent.contexts.warm(_WAIT_S, self._finish)
            return
        self._stream += 2
        limits = {"maxOutputBytes": _OUTPUT_MAX_BYTES, "maxEventBytes": _OUTPUT_MAX_BYTES}
        agent.open(self._stream, 0, dump_json({"op": "run", "language": language, "context": "default", **limits}))
        agent.data(self._stream, FLAG_END, code)

    def _swallow(self, kind, flags, stream, payload=b""):
        if kind == CLOSE:
            self._agent.loop.call_soon(self._next_turn)

    def _finish(self):
        agent = self._agent
        del agent.send
        agent.forget_streams()
        agent.contexts.forget_use()
        self._done()


def _identify_payload():
    return dump_json(
        {
            "epoch": 1,
            "key": base64.b64encode(bytes(32)).decode("ascii"),
            "challenge": base64.b64encode(bytes(32)).decode("ascii"),
            "entropy": base64.b64encode(os.urandom(256)).decode("ascii"),
            "unixTimeNs": str(time.time_ns()),
            "hostname": _HOSTNAME,
            "machineId": "0" * 32,
            "renew": True,
        }
    )
