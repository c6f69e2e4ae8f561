"""What this package says of the API is what docs/openapi.json says."""

from __future__ import annotations

import dataclasses
import inspect
import json
import typing
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

import bulkhead
from bulkhead import _authority_models, _events, _models, _protocol, _results
from bulkhead._decode import wire_name

DOCUMENT: dict[str, Any] = json.loads((Path(__file__).parents[3] / "docs/openapi.json").read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]

#: Classes whose schema has another name, or is inside of one.
ELSEWHERE: dict[str, dict[str, Any]] = {
    "ErrorInfo": SCHEMAS["Error"],
    "SessionInfo": SCHEMAS["Session"],
    "ProcessState": SCHEMAS["Process"],
    "TracebackFrame": SCHEMAS["GuestException"]["properties"]["frames"]["items"],
    "TurnTruncated": SCHEMAS["TurnResult"]["properties"]["truncated"],
    "TurnTimings": SCHEMAS["TurnResult"]["properties"]["timings"],
    "CommandTruncated": SCHEMAS["CommandResult"]["properties"]["truncated"],
    "NamedTool": SCHEMAS["Authority"]["properties"]["tools"]["items"],
    "NamedSecret": SCHEMAS["Authority"]["properties"]["secrets"]["items"],
    "PolicyProblem": SCHEMAS["PolicyCheck"]["properties"]["problems"]["items"],
    "PolicyText": SCHEMAS["DecisionExplanation"]["properties"]["policies"]["items"],
    "DecisionChange": SCHEMAS["DecisionChangesPage"]["properties"]["items"]["items"],
    "SizeSpec": SCHEMAS["Limits"]["properties"]["sizes"]["additionalProperties"],
}


def variants(name: str) -> dict[str, dict[str, Any]]:
    """The schemas of a union, by each of their types."""
    found = {}
    for schema in SCHEMAS[name]["oneOf"]:
        kind = schema["properties"]["type"]
        for each in kind.get("enum", [kind.get("const")]):
            found[each] = schema
    return found


for union, classes in (("TurnEvent", _events._TURN_EVENTS), ("CommandEvent", _events._COMMAND_EVENTS)):
    for kind, event_class in classes.items():
        ELSEWHERE[event_class.__name__] = variants(union)[kind]
ELSEWHERE["TurnOutcome"] = ELSEWHERE["EndEvent"]["properties"]["outcome"]
ELSEWHERE["CommandEnd"] = ELSEWHERE["CommandEndEvent"]["properties"]["result"]

_asked = next(each for each in SCHEMAS["DecisionExplanation"]["properties"]["asked"]["anyOf"] if "properties" in each)
ELSEWHERE["AskedPolicies"] = _asked
ELSEWHERE["AskedSession"] = _asked["properties"]["session"]
ELSEWHERE["AskedResource"] = _asked["properties"]["resource"]
ELSEWHERE["ResourceName"] = ELSEWHERE["AskedResource"]["properties"]["within"]["items"]
ELSEWHERE["DecisionAnswer"] = ELSEWHERE["DecisionChange"]["properties"]["before"]

MODELS = [
    model
    for module in (_models, _authority_models, _events, _results)
    for _, model in inspect.getmembers(module, dataclasses.is_dataclass)
    if model.__module__ == module.__name__
    and model.__name__ not in {"UnknownEvent", "ResultImage", "ResultTable"}
]


def test_the_document_is_valid() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_each_class_has_the_members_of_its_schema(model: Any) -> None:
    schema = ELSEWHERE[model.__name__] if model.__name__ in ELSEWHERE else SCHEMAS[model.__name__]
    fields = {wire_name(field.name): field for field in dataclasses.fields(model)}
    assert set(fields) == set(schema["properties"])
    hints = typing.get_type_hints(model)
    for key, field in fields.items():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        # What may be missing has a default. (TurnTruncated has them for its own maker.)
        assert optional or key in schema["required"], key
        assert _nullable(schema["properties"][key]) <= (type(None) in typing.get_args(hints[field.name])), key


def _nullable(schema: dict[str, Any]) -> bool:
    kinds = schema.get("type", [])
    return "null" in kinds if isinstance(kinds, list) else any(_nullable(each) for each in schema.get("anyOf", [])) or kinds == "null"


def test_every_answer_has_a_class() -> None:
    answers = {
        content["schema"].get("$ref", "").rpartition("/")[2]
        for methods in DOCUMENT["paths"].values()
        for operation in methods.values()
        for status, response in operation["responses"].items()
        if status.startswith("2")
        for kind, content in response.get("content", {}).items()
        if kind == "application/json"
    }
    known = {model.__name__ for model in MODELS} | {"Session", "OpenApiDocument", "TerminalToken"}
    # Pages are read item by item.
    assert {name for name in answers if not name.endswith("Page")} <= known


def test_the_tables_are_the_document_s() -> None:
    operations = {
        operation["operationId"]: (method.upper(), path, operation)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }
    assert set(_protocol.ROUTES) == set(operations)
    for name, (method, path, operation) in operations.items():
        creates = any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", []))
        assert _protocol.ROUTES[name] == _protocol.Route(method, path, operation["security"] == [], creates)
    assert set(_protocol.ERROR_CATALOGUE) == set(SCHEMAS["Error"]["properties"]["code"]["enum"])


def test_every_route_is_used_but_those_that_are_not_for_this_client() -> None:
    source = "".join(path.read_text() for path in Path(bulkhead.__file__).parent.rglob("*.py") if path.name != "_protocol.py")
    unused = {name for name in _protocol.ROUTES if f'"{name}"' not in source}
    # The document is for programs that make clients, terminals are for people, through the command line.
    assert unused == {"getOpenApi", "openTerminal", "createTerminalToken"}


def test_the_two_clients_have_the_same_surface() -> None:
    pairs = [
        (bulkhead.Bulkhead, bulkhead.AsyncBulkhead),
        (bulkhead.Session, bulkhead.AsyncSession),
        (bulkhead.TurnStream, bulkhead.AsyncTurnStream),
    ]
    for one, other in pairs:
        names = {name for name in dir(one) if not name.startswith("_")}
        assert {name.replace("aclose", "close") for name in dir(other) if not name.startswith("_")} == names


def test_everything_that_is_exported_is_there_and_typed() -> None:
    assert all(hasattr(bulkhead, name) for name in bulkhead.__all__)
    assert (Path(bulkhead.__file__).parent / "py.typed").exists()
