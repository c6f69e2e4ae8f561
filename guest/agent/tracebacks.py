"""Exceptions as structure: without colours, without our frames and IPython's, bounded whatever user code has made of them."""

import json
import os
import traceback

TEXT_MAX_CHARACTERS = 65_536
VALUE_MAX_CHARACTERS = 16_384
SOURCE_MAX_CHARACTERS = 1_000
FRAMES_MAX_COUNT = 200

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
_HIDDEN = [_OURS]


def hide(folder):
    """Do not show frames of files in this folder."""
    _HIDDEN.append(folder.rstrip(os.sep) + os.sep)


def describe(error):
    """The `exception` event as JSON; never raises because of what `error` does."""
    name = type(error).__name__
    value = _text(lambda: str(error), VALUE_MAX_CHARACTERS)
    frames = []
    try:
        summary = traceback.TracebackException.from_exception(error, compact=True)
        _clean(summary, 0)
        frames = [_frame(frame) for frame in _bounded(summary.stack)]
        if isinstance(error, SyntaxError) and not frames:
            frames = [_syntax_frame(error)]
        text = _text(lambda: "".join(summary.format(chain=True)).rstrip("\n"), TEXT_MAX_CHARACTERS)
    except Exception:  # noqa: BLE001 - an exception class may override anything
        text = f"{name}: {value}"
    event = {"type": "exception", "name": name[:200], "value": value, "traceback": text, "frames": frames}
    return json.dumps(event, separators=(",", ":")).encode("ascii")


def _text(make, most):
    try:
        text = str(make())
    except Exception:  # noqa: BLE001
        return "<it cannot be shown>"
    if len(text) > most:
        half = most // 2
        text = f"{text[:half]}\n[{len(text) - most} characters left out]\n{text[-half:]}"
    return text


def _clean(summary, depth):
    """Take hidden frames out of an exception and of those that led to it."""
    summary.stack[:] = [frame for frame in summary.stack if not frame.filename.startswith(tuple(_HIDDEN))]
    if depth < 50:
        for other in (summary.__cause__, summary.__context__, *(summary.exceptions or () if hasattr(summary, "exceptions") else ())):
            if other is not None:
                _clean(other, depth + 1)


def _bounded(stack):
    if len(stack) <= FRAMES_MAX_COUNT:
        return stack
    half = FRAMES_MAX_COUNT // 2
    return [*stack[:half], *stack[-half:]]


def _frame(frame):
    return {
        "file": frame.filename[:4096],
        "line": frame.lineno or 0,
        "name": frame.name[:200],
        "source": (frame.line or "")[:SOURCE_MAX_CHARACTERS],
    }


def _syntax_frame(error):
    return {
        "file": str(error.filename or "")[:4096],
        "line": error.lineno if type(error.lineno) is int else 0,
        "name": "<module>",
        "source": str(error.text or "").strip()[:SOURCE_MAX_CHARACTERS],
    }
