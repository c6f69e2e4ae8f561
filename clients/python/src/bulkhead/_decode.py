"""From JSON to the dataclasses of the answers.

Members that a class does not have are left out: a newer server may send them. What a class has must be there and of its type, because
what is wrong is found here and not where it is used.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from datetime import datetime
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Misunderstood(ValueError):
    """The answer is not what the protocol has."""


def decode(kind: type[T], value: Any) -> T:
    """``value`` as a ``kind``. Raises Misunderstood."""
    return cast("T", _decode(kind, value, ""))


def wire_name(name: str) -> str:
    """``created_at`` as it is on the wire: ``createdAt``."""
    return re.sub(r"_([a-z])", lambda match: match.group(1).upper(), name)


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


@functools.cache
def _members(kind: Any) -> tuple[tuple[str, str, Any, bool], ...]:
    hints = typing.get_type_hints(kind)
    return tuple(
        (field.name, wire_name(field.name), hints[field.name], _has_default(field))
        for field in dataclasses.fields(kind)
        if field.init
    )


def _decode(kind: Any, value: Any, path: str) -> Any:
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _decode_object(cast("type[Any]", kind), value, path)
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _decode_optional(kind, value, path)
    if origin is tuple:
        item = typing.get_args(kind)[0]
        return tuple(_decode(item, each, f"{path}[{index}]") for index, each in enumerate(_check(value, list, path)))
    if origin is dict:
        item = typing.get_args(kind)[1]
        return {key: _decode(item, each, f"{path}.{key}") for key, each in _check(value, dict, path).items()}
    if origin is typing.Literal:
        # A newer server may know more of them than this client.
        return _check(value, str, path)
    if kind is datetime:
        return _decode_time(value, path)
    if kind is float:
        return float(_check(value, (int, float), path))
    return _check(value, kind, path)


def _decode_object(kind: type[Any], value: Any, path: str) -> Any:
    given = _check(value, dict, path)
    members = {}
    for name, key, hint, optional in _members(cast("Any", kind)):
        if key in given:
            members[name] = _decode(hint, given[key], f"{path}.{key}")
        elif not optional:
            raise Misunderstood(f"{path}.{key} is missing")
    return kind(**members)


def _decode_optional(kind: Any, value: Any, path: str) -> Any:
    if value is None:
        return None
    (inner,) = (each for each in typing.get_args(kind) if each is not type(None))
    return _decode(inner, value, path)


def _decode_time(value: Any, path: str) -> datetime:
    text = _check(value, str, path)
    try:
        # Python 3.10 does not read the Z.
        return datetime.fromisoformat(re.sub(r"Z$", "+00:00", text))
    except ValueError:
        raise Misunderstood(f"{path} is no moment") from None


def _check(value: Any, kind: Any, path: str) -> Any:
    # In Python a bool is an int; in JSON it is not.
    if isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool):
        return value
    raise Misunderstood(f"{path} is a {type(value).__name__}")
