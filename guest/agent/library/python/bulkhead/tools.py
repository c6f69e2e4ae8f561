"""The client of the session's tools."""

import inspect
import json
import keyword
import os
import socket

_ANNOTATIONS = {
    "name": "str",
    "path": "str",
    "text": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "names": "list[str]",
    "json": "object",
    "file": "str",
}


class ToolError(Exception):
    """A call that was refused, or failed. `code` is one of Bulkhead's error codes, `decision` names the record of a refusal."""

    def __init__(self, code, message, hint=None, details=None):
        super().__init__(message if hint is None else f"{message} {hint}")
        self.code = code
        self.message = message
        self.hint = hint
        self.details = details or {}

    @property
    def decision(self):
        """The id of the decision that refused the call, or None."""
        return self.details.get("decision")


class ToolFile:
    """A result that came as a file: it lies at `path` in this machine."""

    def __init__(self, path, content_type, size):
        self.path = path
        self.content_type = content_type
        self.size = size

    def __fspath__(self):
        return self.path

    def open(self, mode="rb", **options):
        """The file, open."""
        return open(self.path, mode, **options)

    def read(self):
        """All of it, as bytes."""
        with self.open() as file:
            return file.read()

    def text(self, encoding="utf-8"):
        """All of it, as text."""
        return self.read().decode(encoding)

    def __repr__(self):
        return f"<ToolFile {self.path!r} ({self.content_type}, {self.size} bytes)>"


class Rows(dict):
    """The answer of a statement: `columns`, `rows`, `rowCount`."""

    def frame(self):
        """As a pandas data frame."""
        import pandas

        return pandas.DataFrame(self["rows"], columns=[column["name"] for column in self["columns"]])


class Operation:
    """One operation of a tool. Call it with its arguments by name."""

    def __init__(self, tool, name, description):
        self.__name__ = name
        self.__qualname__ = f"{tool}.{name}"
        self._tool = tool
        self._names = {_written(parameter): parameter for parameter in description["parameters"]}
        self._files = {name for name, parameter in description["parameters"].items() if parameter["kind"] == "file"}
        self.__doc__ = _document(description)
        self.__signature__ = inspect.Signature([_parameter(*item) for item in _in_order(description["parameters"])])

    def __call__(self, **arguments):
        given = {
            self._names.get(name, name): self._given(self._names.get(name, name), value)
            for name, value in arguments.items()
            if value is not None
        }
        return call_tool(self._tool, self.__name__, given)

    def _given(self, name, value):
        # A file is named by where it is, not by where this process is: the host reads it.
        return os.path.abspath(os.fspath(value)) if name in self._files else value

    def __repr__(self):
        return f"{self.__qualname__}{self.__signature__}"


class Tool:
    """A tool, with its operations as members."""

    def __init__(self, description):
        self._name = description["name"]
        self.__doc__ = description["description"]
        self._operations = {
            name: Operation(self._name, name, operation) for name, operation in description["operations"].items()
        }

    def __getattr__(self, name):
        operations = self.__dict__.get("_operations", {})
        operation = operations.get(name) or operations.get(_unwritten(name))
        if operation is None:
            known = ", ".join(map(_written, self._operations))
            raise AttributeError(f"{self._name} has no operation {name!r}; it has: {known}")
        return operation

    def __dir__(self):
        return sorted(map(_written, self._operations))

    def __repr__(self):
        lines = [f"{self._name}: {self.__doc__}", *(f"  {operation!r}" for operation in self._operations.values())]
        return "\n".join(lines)


class Tools:
    """The tools that this session was granted, as members. They are looked up anew each time: what was granted may change."""

    def _all(self):
        return {description["name"]: Tool(description) for description in _ask({"catalogue": True})["tools"]}

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        found = self._all()
        if name not in found:
            known = ", ".join(found) or "none"
            raise AttributeError(f"this session has no tool {name!r}; it has: {known}")
        return found[name]

    def __dir__(self):
        return sorted(self._all())

    def __repr__(self):
        return "\n".join(map(repr, self._all().values())) or "no tools: this session was granted none"


def _in_order(parameters):
    return sorted(parameters.items(), key=lambda item: bool(item[1].get("optional")))


def _written(name):
    """A name as Python can write it: `from` is `from_`."""
    return f"{name}_" if keyword.iskeyword(name) else name


def _unwritten(name):
    return name[:-1] if name.endswith("_") and keyword.iskeyword(name[:-1]) else name


def _parameter(name, parameter):
    default = None if parameter.get("optional") else inspect.Parameter.empty
    annotation = _ANNOTATIONS.get(parameter["kind"], "object")
    return inspect.Parameter(_written(name), inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _document(description):
    lines = [description["description"]]
    for name, parameter in _in_order(description["parameters"]):
        values = parameter.get("values")
        choice = f" One of: {', '.join(values)}." if values else ""
        lines.append(f"\n{_written(name)}: {parameter['description']}{choice}{_bounds(parameter)}")
    return "\n".join(lines)


def _bounds(parameter):
    least, most, longest = (parameter.get(bound) for bound in ("minimum", "maximum", "maxLength"))
    said = [
        *([] if least is None else [f"at least {least}"]),
        *([] if most is None else [f"at most {most}"]),
        *([] if longest is None else [f"at most {longest} characters"]),
    ]
    return f" {', '.join(said).capitalize()}." if said else ""


def call_tool(tool, operation, arguments):
    """The result of one call, by the names of its parts."""
    text = json.dumps(arguments, allow_nan=False, ensure_ascii=False)
    return _ask({"tool": tool, "operation": operation, "arguments": text})


def _ask(request):
    """One request on a connection of its own, so that threads and forks need not share one."""
    path = os.environ.get("BULKHEAD_TOOLS", "/run/bulkhead-tools")
    connection = socket.socket(socket.AF_UNIX)
    try:
        try:
            connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise ToolError("not_found", "This session has no tools.") from error
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as lines:
            line = lines.readline()
    finally:
        connection.close()
    if not line.endswith(b"\n"):
        raise ToolError("cancelled", "The call was cut off; the session was put to sleep, or its tools were taken away.")
    return _result(json.loads(line))


def _result(answer):
    if not answer["ok"]:
        error = answer["error"]
        raise ToolError(error["code"], error["message"], error.get("hint"), error.get("details")) from None
    if "file" in answer:
        return ToolFile(answer["file"], answer["contentType"], answer["size"])
    value = answer["value"]
    return Rows(value) if isinstance(value, dict) and {"columns", "rows"} <= value.keys() else value
