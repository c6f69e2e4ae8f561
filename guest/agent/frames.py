"""The frames of docs/channel.md, as bytes and back.

Every bound of the contract is checked here, before anything else looks at a frame. The host is trusted, so a frame that breaks
a rule means that the stream is damaged: `ProtocolError`, after which the agent ends, and the machine with it.
"""

import json
import struct

HELLO, IDENTIFY, CONFIRM, OPEN, DATA, CLOSE, SIGNAL, CREDIT, PING, PONG = range(1, 11)

HEADER = struct.Struct(">IBBHI")
HEADER_BYTES = HEADER.size
PAYLOAD_MAX_BYTES = 65_536
JSON_MAX_DEPTH = 16

LANE_INPUT, LANE_STDOUT, LANE_STDERR, LANE_EVENTS = 0, 1, 2, 3
LANE_MASK = 0x07
FLAG_END = 0x40
FLAG_MORE = 0x80

CREDIT_START_BYTES = 262_144
CREDIT_MAX_BYTES = 16_777_216
STREAMS_MAX_COUNT = 64
EPOCH_MAX = 65_535

_FROM_HOST = frozenset((IDENTIFY, OPEN, DATA, SIGNAL, CREDIT, PING))
_ON_CHANNEL = frozenset((IDENTIFY, PING))
_FIXED_BYTES = {CREDIT: 4, PING: 8}


class ProtocolError(Exception):
    """The host's bytes break the contract."""


def encode(kind, flags, epoch, stream, payload=b""):
    """One frame as bytes."""
    return HEADER.pack(len(payload), kind, flags, epoch, stream) + payload


def dump_json(value):
    """JSON as the channel carries it: compact ASCII, so lone surrogates (odd file names) stay representable."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def _refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def load_json(payload):
    """A JSON object within the depth bound, or ValueError."""
    try:
        # Not `decode`: it looks for white space with regular expressions.
        text = str(payload, "utf-8")
        value, end = _decoder.raw_decode(text)
        if end != len(text):
            raise ValueError("more than one JSON value")
    except RecursionError as error:
        raise ValueError("JSON is nested too deeply") from error
    if type(value) is not dict:
        raise ValueError("JSON is not an object")
    if not depth_within(value, JSON_MAX_DEPTH):
        raise ValueError("JSON is nested too deeply")
    return value


def depth_within(value, levels):
    """Whether `value` has at most `levels` levels of objects and arrays."""
    kind = type(value)
    if kind is dict:
        children = value.values()
    elif kind is list or kind is tuple:
        children = value
    else:
        return True
    if levels == 0:
        return False
    for child in children:
        kind = type(child)
        if (kind is dict or kind is list or kind is tuple) and not depth_within(child, levels - 1):
            return False
    return True


class Decoder:
    """Cuts the host's byte stream into checked frames. Holds at most one incomplete frame plus one read."""

    def __init__(self):
        self._rest = b""

    def feed(self, data):
        """Frames completed by `data`, as a list of (kind, flags, epoch, stream, payload bytes)."""
        if self._rest:
            data = self._rest + data
        frames = []
        position, end = 0, len(data)
        while end - position >= HEADER_BYTES:
            length, kind, flags, epoch, stream = HEADER.unpack_from(data, position)
            if length > PAYLOAD_MAX_BYTES:
                raise ProtocolError(f"frame of {length} bytes")
            start = position + HEADER_BYTES
            if end - start < length:
                break
            _check(kind, flags, stream, length)
            position = start + length
            frames.append((kind, flags, epoch, stream, data[start:position]))
        self._rest = data[position:] if position < end else b""
        return frames

    def reset(self):
        """Forget an incomplete frame: the connection that it came on is gone."""
        self._rest = b""


def _check(kind, flags, stream, length):
    if kind not in _FROM_HOST:
        raise ProtocolError(f"frame type {kind} from the host")
    if (stream == 0) != (kind in _ON_CHANNEL):
        raise ProtocolError(f"frame type {kind} on stream {stream}")
    if kind == DATA:
        if flags & ~FLAG_END:
            raise ProtocolError(f"DATA flags {flags:#x} from the host")
        if length == 0 and not flags & FLAG_END:
            raise ProtocolError("empty DATA without END")
    elif flags:
        raise ProtocolError(f"flags {flags:#x} on frame type {kind}")
    fixed = _FIXED_BYTES.get(kind)
    if fixed is not None and length != fixed:
        raise ProtocolError(f"frame type {kind} of {length} bytes")
