"""Messages between the agent and the worker of a context, over a socket: length, kind, payload.

The worker runs as the user, so the agent treats what it sends as hostile: every length is bounded and nothing waits for it.
"""

import re
import struct

HEADER = struct.Struct(">IB")

RUN, RESEED, TRIM, MARKED, WARM, RESEED_FIRST, INTERRUPT, VARIABLES = b"RSTMWFIV"
# RESEED_FIRST is a RESEED that nobody waits for: it comes before the first code that the worker is told to run.
# INTERRUPT comes before the SIGINT for a turn: a worker that the signal reached before it had begun with the code finds it behind the code.
# VARIABLES, an object in JSON, joins the environment before the next code; nobody waits for it either.
EVENT, DONE, ACKNOWLEDGED, EVENT_NOW = b"EDAN"
# EVENT_NOW is an EVENT whose worker waits for MARKED: the agent has noted how far the outputs reached, so that what is printed next
# comes after the event.

EVENT_MAX_BYTES = 8_388_608
JSON_VALUES_MAX_COUNT = 262_144
MIME_TYPES_MAX_COUNT = 32
MIME_TYPE = re.compile(r"(?=.{3,127}$)[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*")


def pack(kind, payload=b""):
    """One message as bytes."""
    return HEADER.pack(len(payload), kind) + payload


class Reader:
    """Cuts what a worker sends into (kind, payload). A payload beyond `EVENT_MAX_BYTES` is skipped and comes as None."""

    def __init__(self):
        self._rest = bytearray()
        self._skip = 0
        self._skipped_kind = 0

    def feed(self, data):
        """Messages completed by `data`. ValueError when the worker's framing is nonsense."""
        rest = self._rest
        rest += data
        messages = []
        while True:
            if self._skip:
                count = min(self._skip, len(rest))
                del rest[:count]
                self._skip -= count
                if self._skip:
                    return messages
                messages.append((self._skipped_kind, None))
            if len(rest) < HEADER.size:
                return messages
            length, kind = HEADER.unpack_from(rest)
            if kind not in (EVENT, DONE, ACKNOWLEDGED, EVENT_NOW):
                raise ValueError("unknown message of a worker")
            if length > EVENT_MAX_BYTES:
                del rest[: HEADER.size]
                self._skip, self._skipped_kind = length, kind
                continue
            end = HEADER.size + length
            if len(rest) < end:
                return messages
            messages.append((kind, bytes(rest[HEADER.size : end])))
            del rest[:end]
