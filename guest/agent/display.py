"""MIME bundles: what a value looks like to the host. Figures, data frames as tables, and bounds on all of it."""

import base64
import io
import json
import sys

from .frames import depth_within
from .tracebacks import hide
from .worker_messages import EVENT_MAX_BYTES, JSON_VALUES_MAX_COUNT, MIME_TYPE, MIME_TYPES_MAX_COUNT

TABLE = "application/vnd.bulkhead.table+json"
TABLE_ROWS_MAX_COUNT = 1_000
TABLE_COLUMNS_MAX_COUNT = 500
TABLE_CELLS_MAX_COUNT = 50_000
CELL_MAX_CHARACTERS = 1_000
# The message is one level, the bundle another; the channel allows 16 in all.
JSON_VALUE_MAX_DEPTH = 12


def to_event(kind, data):
    """An event as JSON, without the representations that JSON or the channel cannot carry; None when none is left."""
    bundle = {}
    for mime, value in data.items():
        if type(mime) is not str or MIME_TYPE.fullmatch(mime) is None or len(bundle) == MIME_TYPES_MAX_COUNT:
            continue
        if isinstance(value, (bytes, bytearray)):
            value = base64.b64encode(value).decode("ascii")
        elif not isinstance(value, str):
            if not (mime.endswith("json") and depth_within(value, JSON_VALUE_MAX_DEPTH)):
                continue
        bundle[mime] = value
    if not bundle:
        return None
    event = {"type": kind, "data": bundle}
    try:
        payload = _dump(event)
    except (TypeError, ValueError, RecursionError):
        event["data"] = {mime: value for mime, value in bundle.items() if _can_dump(value)}
        payload = _dump(event)
    too_many = payload.count(b",") + payload.count(b"[") > JSON_VALUES_MAX_COUNT and any(type(value) is not str for value in bundle.values())
    if (len(payload) > EVENT_MAX_BYTES or too_many) and len(bundle) > 1:
        # Too much as a whole: the plain text alone still says what it was.
        event["data"] = {mime: value for mime, value in bundle.items() if mime == "text/plain"}
        payload = _dump(event)
    return payload


def _dump(value):
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def _can_dump(value):
    try:
        _dump(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def prepare_formatters(shell):
    """Formatters beyond IPython's own: tables, figures."""
    import os

    import IPython

    hide(os.path.dirname(IPython.__file__))
    formatter = shell.display_formatter
    formatter.active_types = list(formatter.format_types)
    formatter.formatters["text/plain"].max_seq_length = 1_000
    from IPython.core.formatters import BaseFormatter
    from traitlets import ObjectName, Unicode

    class TableFormatter(BaseFormatter):
        """Only for what is registered below."""

        format_type = Unicode(TABLE)
        print_method = ObjectName("_repr_bulkhead_table_")
        _return_type = (dict, str)

    table = TableFormatter(parent=formatter)
    formatter.formatters[TABLE] = table
    formatter.active_types = list(formatter.format_types)
    # pandas 3 has moved its classes, in name.
    for frames, series in (("pandas.core.frame", "pandas.core.series"), ("pandas", "pandas")):
        table.for_type_by_name(frames, "DataFrame", table_of)
        table.for_type_by_name(series, "Series", lambda value: table_of(value.to_frame()))
        formatter.formatters["text/html"].for_type_by_name(series, "Series", _series_html)


def _series_html(series):
    return series.to_frame()._repr_html_()


def table_of(frame):
    """A data frame's head as the table of docs/channel.md; the index comes first where it says something."""
    total = len(frame)
    columns_count = min(frame.shape[1], TABLE_COLUMNS_MAX_COUNT)
    rows_count = min(total, TABLE_ROWS_MAX_COUNT, max(1, TABLE_CELLS_MAX_COUNT // max(1, columns_count)))
    head = frame.iloc[:rows_count, :columns_count]
    pandas = sys.modules["pandas"]
    names, lists = [], []
    if not isinstance(frame.index, pandas.RangeIndex):
        for level in range(head.index.nlevels):
            values = head.index.get_level_values(level)
            name = head.index.names[level]
            names.append({"name": "" if name is None else _label(name), "type": str(values.dtype)})
            lists.append(_cells(values))
    for position in range(columns_count):
        series = head.iloc[:, position]
        names.append({"name": _label(head.columns[position]), "type": str(series.dtype)})
        lists.append(_cells(series))
    rows = [list(row) for row in zip(*lists)] if lists else []
    return {"columns": names, "rows": rows, "totalRows": total}


def _label(name):
    return str(name)[:CELL_MAX_CHARACTERS]


def _cells(values):
    return [_cell(value) for value in values.tolist()]


def _cell(value):
    kind = type(value)
    if kind is str:
        return value[:CELL_MAX_CHARACTERS]
    if kind is float:
        return value if value - value == 0 else (None if value != value else str(value))
    if kind is int:
        return value if -(2**53) < value < 2**53 else str(value)
    if kind is bool or value is None:
        return value
    text = str(value)
    return None if text in ("NaT", "<NA>") else text[:CELL_MAX_CHARACTERS]


def attach_figures(cells):
    """Make matplotlib show through us. Nothing happens where it is not installed."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return

    def show(*arguments, **options):
        cells.show_figures()

    def figure_png(figure):
        cells.mark_shown(figure)
        return render(figure)

    pyplot.show = show
    formatter = cells.shell.display_formatter.formatters["image/png"]
    formatter.for_type_by_name("matplotlib.figure", "Figure", figure_png)


def render(figure):
    """PNG bytes; None for a figure with nothing on it."""
    if not figure.axes and not figure.lines and not figure.texts and not figure.images:
        return None
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", facecolor=figure.get_facecolor())
    return buffer.getvalue()


def show_figures(cells, shown):
    """A display event for each open figure that was not shown yet, then close them all."""
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    if helpers is None or not helpers.Gcf.figs:
        return
    managers = list(helpers.Gcf.figs.values())
    try:
        for manager in managers:
            figure = manager.canvas.figure
            if id(figure) not in shown:
                png = render(figure)
                if png is not None:
                    cells.emit("display", {"text/plain": repr(figure), "image/png": png})
    finally:
        sys.modules["matplotlib.pyplot"].close("all")
