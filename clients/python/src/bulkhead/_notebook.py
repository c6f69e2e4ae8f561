"""How results look in a notebook.

What a guest said is hostile: a notebook runs the scripts of the HTML that a cell shows, with all that the notebook may do. So text is
escaped, pictures are pictures (an SVG in an ``img`` runs nothing), and HTML of the guest's is in a frame that has no scripts and no origin and loads
nothing. A terminal obeys control characters, so plain text has none.
"""

from __future__ import annotations

import base64
import html
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._results import TurnResult

#: What is shown of each text; all of it is in the result.
SHOWN_MAX_CHARACTERS = 100_000
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_FRAME_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def show_turn(result: TurnResult) -> dict[str, Any]:
    parts = [_pre(result.stdout), _pre(result.stderr, "color:#a40000")]
    parts += [_show_bundle(dict(bundle)) for bundle in result.results]
    if result.exception is not None:
        parts.append(_pre(result.exception.traceback, "color:#a40000"))
    elif result.error is not None:
        parts.append(_pre(f"{result.error.code}: {result.error.message}", "color:#a40000"))
    return {"text/plain": _plain(result), "text/html": "".join(parts) or "<i>No output.</i>"}


def _plain(result: TurnResult) -> str:
    parts = [_cut(result.text), _cut(result.stderr)]
    if result.exception is not None:
        parts.append(_cut(result.exception.traceback))
    elif result.error is not None:
        parts.append(f"{result.error.code}: {result.error.message}")
    return _CONTROLS.sub(
        lambda found: f"\\x{ord(found.group()):02x}", "\n".join(part.rstrip("\n") for part in parts if part)
    )


def _show_bundle(bundle: dict[str, Any]) -> str:
    from ._results import VECTOR_IMAGE, image_of

    image = image_of(bundle)
    if image is not None and image.mime != VECTOR_IMAGE:
        return _picture(image.mime, image.data)
    table = bundle.get("text/html")
    if isinstance(table, str) and len(table) <= SHOWN_MAX_CHARACTERS:
        return _frame(table)
    if image is not None:
        return _picture(image.mime, image.data)
    text = bundle.get("text/plain") or bundle.get("text/markdown") or ", ".join(bundle)
    return _pre(text if isinstance(text, str) else repr(text))


def _cut(text: str) -> str:
    left_out = len(text) - SHOWN_MAX_CHARACTERS
    return text if left_out <= 0 else f"{text[:SHOWN_MAX_CHARACTERS]}\n… {left_out:,} characters more"


def _pre(text: str, style: str = "") -> str:
    return f'<pre style="{style}">{html.escape(_cut(text))}</pre>' if text else ""


def _picture(mime: str, data: bytes) -> str:
    return f'<img alt="" src="data:{mime};base64,{base64.b64encode(data).decode()}">'


def _frame(markup: str) -> str:
    page = f'<meta http-equiv="Content-Security-Policy" content="{_FRAME_POLICY}">{markup}'
    return (
        f'<iframe sandbox referrerpolicy="no-referrer" srcdoc="{html.escape(page)}" '
        'style="width:100%;height:20em;border:0;background:white"></iframe>'
    )
