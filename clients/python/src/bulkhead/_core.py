"""Requests: their address, headers and body from the table of routes; sent, sent again where that is right, and their answers read."""

from __future__ import annotations

import json
import random
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import httpx

from ._content import Upload
from ._decode import Misunderstood, decode
from ._errors import BulkheadError
from ._flow import Bearer, Close, Emit, Flow, Read, Secret, Send, Wait
from ._protocol import ERROR_CATALOGUE, ROUTES, VERSION, Route
from ._retry import Failure, RetryPolicy, is_repeatable, parse_retry_after, retry_delay

T = TypeVar("T")

#: The largest answer in JSON: all that is kept of a turn, escaped.
ANSWER_MAX_BYTES = 134_217_728
PROBLEM_MAX_BYTES = 1_048_576
JSON_TYPE = "application/json"
BYTES_TYPE = "application/octet-stream"
EVENTS_TYPE = "text/event-stream"


def check_bearer(text: Any, what: str) -> Secret:
    """Raises BulkheadError ``invalid_request``, without the value."""
    if isinstance(text, str) and re.fullmatch(r"[\x21-\x7e]{1,16384}", text):
        return Secret(text)
    raise BulkheadError(
        "invalid_request",
        f"{what} is not one: it is empty, or has spaces or control characters.",
        hint="It is one word of printable ASCII characters. Is there a line break at its end?",
    )


def check_url(url: str) -> str:
    """Raises BulkheadError ``invalid_request``, without the value: it may hold a password."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        raise BulkheadError(
            "invalid_request",
            "The URL of the server is not one.",
            hint="Write it like https://bulkhead.example.com or http://127.0.0.1:8420.",
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise BulkheadError(
            "invalid_request",
            "The URL of a server has no user, query or fragment.",
            hint="The API key is an argument of its own.",
        )
    return url.rstrip("/")


class Core:
    """All that a client knows, without its connections. Its credential is not here: see ``Bearer``."""

    def __init__(self, url: str, *, retry: RetryPolicy, timeout: float, renewable: bool) -> None:
        self.url = check_url(url)
        self.retry = retry
        self.timeout = timeout
        self._renewable = renewable

    # -- one answer -----------------------------------------------------------------------------------------------

    def call(
        self,
        operation: str,
        kind: type[T],
        *,
        params: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        upload: Upload | None = None,
        idempotency_key: str | None = None,
        if_match: int | None = None,
        timeout: float | None = None,
        also: tuple[int, ...] = (),
        repeatable: bool = False,
    ) -> Flow[T]:
        """The answer of a route as a ``kind``; ``also`` are statuses beside 2xx that have such an answer."""

        def read(response: httpx.Response) -> Flow[T]:
            if kind is type(None):
                yield Close(response)
                return None
            data = yield from read_all(response, ANSWER_MAX_BYTES)
            try:
                return decode(kind, parse_json(data))
            except Misunderstood as cause:
                raise misunderstood(operation, response) from cause

        headers = {} if if_match is None else {"if-match": f'"{if_match}"'}
        return self.send(
            operation,
            read,
            params=params,
            query=query,
            body=body,
            upload=upload,
            headers=headers,
            idempotency_key=idempotency_key,
            timeout=timeout,
            also=also,
            repeatable=repeatable,
        )

    def items(self, operation: str, kind: type[T], params: Mapping[str, str], query: Mapping[str, Any]) -> Flow[None]:
        """Emits every item of a list, page by page as they are asked for."""
        cursor: str | None = None
        while True:
            asked = dict(query) if cursor is None else {**query, "cursor": cursor}
            page = yield from self.call(operation, dict[str, Any], params=params, query=asked)
            items, following = page.get("items"), page.get("nextCursor")
            if not isinstance(items, list) or not (following is None or isinstance(following, str)):
                raise BulkheadError("internal", f"The answer to {operation} is no page.")
            for item in items:
                try:
                    yield Emit(decode(kind, item))
                except Misunderstood as cause:
                    raise BulkheadError("internal", f"The answer to {operation} is not one of Bulkhead's.") from cause
            # A list that leads back to itself would never end.
            if following is not None and following == cursor:
                raise BulkheadError("internal", "A page of the list leads to itself.")
            if following is None:
                return
            cursor = following

    # -- any answer -----------------------------------------------------------------------------------------------

    def send(
        self,
        operation: str,
        read: Callable[[httpx.Response], Flow[T]],
        *,
        params: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        upload: Upload | None = None,
        accept: str = JSON_TYPE,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        also: tuple[int, ...] = (),
        repeatable: bool = False,
    ) -> Flow[T]:
        """What ``read`` makes of the response of a route. ``repeatable``: it does nothing twice, though the table does not say so. Raises BulkheadError."""
        route = ROUTES[operation]
        request = Send(
            method=route.method,
            url=self.address(route, params or {}, query or {}),
            headers={
                "accept": accept,
                # What is unpacked has no length that anybody has promised.
                "accept-encoding": "identity",
                "user-agent": f"bulkhead-python/{VERSION}",
                **({} if body is None else {"content-type": JSON_TYPE}),
                **({} if upload is None else {"content-type": BYTES_TYPE, "content-length": str(upload.size)}),
                **({"idempotency-key": idempotency_key or new_idempotency_key()} if route.creates else {}),
                **(headers or {}),
            },
            body=upload if body is None else json.dumps(body, ensure_ascii=False, allow_nan=False).encode(),
            timeout=self.timeout if timeout is None else timeout,
        )
        repeatable = (repeatable or is_repeatable(route)) and not (upload is not None and upload.once)
        refused = False
        attempt = 0
        while True:
            attempt += 1
            failure = yield from self._attempt(operation, route, request, refused, also)
            if isinstance(failure, httpx.Response):
                try:
                    return (yield from read(failure))
                except (httpx.TransportError, httpx.StreamError) as cause:
                    failure = Failure(unreachable(cause))
            if failure.error.code == "unauthenticated" and self._renewable and not refused:
                refused = True
                attempt -= 1
                continue
            delay = retry_delay(self.retry, attempt, failure, repeatable, random.random())
            if delay is None:
                raise failure.error
            yield Wait(delay)

    def _attempt(
        self, operation: str, route: Route, request: Send, refused: bool, also: tuple[int, ...]
    ) -> Flow[httpx.Response | Failure]:
        bearer = None if route.public else (yield Bearer(refused))
        try:
            response: httpx.Response = yield replace(request, bearer=bearer)
        except (httpx.TransportError, httpx.InvalidURL) as cause:
            return Failure(unreachable(cause))
        kind = response.headers.get("content-type", "")
        if response.is_success or (response.status_code in also and kind.startswith(JSON_TYPE)):
            if response.headers.get("content-encoding", "identity") != "identity":
                raise misunderstood(operation, response)
            return response
        return (yield from read_problem(response, operation))

    def address(self, route: Route, params: Mapping[str, str], query: Mapping[str, Any]) -> str:
        path = re.sub(r"\{([a-z]+)\}", lambda name: quote(params[name.group(1)], safe=""), route.path)
        fields = {name: _query_text(value) for name, value in query.items() if value is not None}
        return self.url + path + (f"?{urlencode(fields)}" if fields else "")


def _query_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def new_idempotency_key() -> str:
    return secrets.token_urlsafe(24)


# -- reading ------------------------------------------------------------------------------------------------------


def read_all(response: httpx.Response, max_bytes: int) -> Flow[bytes]:
    """The whole body. Raises BulkheadError ``limit_exceeded``."""
    chunks: list[bytes] = []
    size = 0
    while chunk := (yield Read(response)):
        size += len(chunk)
        if size > max_bytes:
            yield Close(response)
            raise BulkheadError("limit_exceeded", f"The answer has more than {max_bytes:,} bytes.")
        chunks.append(chunk)
    return b"".join(chunks)


def parse_json(data: bytes | str) -> Any:
    """Raises Misunderstood."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Misunderstood("it is no JSON") from None


def read_problem(response: httpx.Response, operation: str) -> Flow[Failure]:
    """An answer that is no success."""
    retry_after = parse_retry_after(response.headers.get("retry-after"))
    try:
        data = yield from read_all(response, PROBLEM_MAX_BYTES)
        body = parse_json(data)
    except (httpx.TransportError, httpx.StreamError, Misunderstood, BulkheadError):
        # Whoever hangs up in the middle of a refusal has refused.
        body = None
    return Failure(problem_error(response, body if isinstance(body, dict) else {}, operation), retry_after)


def problem_error(response: httpx.Response, body: dict[str, Any], operation: str) -> BulkheadError:
    status = response.status_code
    code = _text(body, "code")
    detail = _text(body, "detail")
    request_id = _text(body, "requestId") or response.headers.get("x-request-id")
    if code in ERROR_CATALOGUE and detail is not None:
        details = body.get("details")
        return BulkheadError(
            code,
            detail,
            hint=_text(body, "hint"),
            details=details if isinstance(details, dict) else None,
            request_id=request_id,
        )
    known = code is not None and re.fullmatch(r"[a-z_]{1,64}", code) is not None
    return BulkheadError(
        _code_of_status(status),
        detail or f"The answer to {operation} was {status}, without a reason.",
        hint=f"The server calls this {code}; a newer client knows what that is."
        if known
        else "It may come from something between here and the server: check the URL, and what it leads to.",
        details={"status": status, **({"code": code} if known else {})},
        request_id=request_id,
    )


def _code_of_status(status: int) -> str:
    """For answers of who does not speak our language, a proxy say."""
    if status in (502, 503, 504):
        return "server_unreachable"
    for code in ("unauthenticated", "forbidden", "not_found", "rate_limited", "limit_exceeded"):
        if ERROR_CATALOGUE[code].status == status:
            return code
    return "invalid_request" if 400 <= status < 500 else "internal"


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    return value if isinstance(value, str) and len(value) <= 100_000 else None


def unreachable(cause: Exception) -> BulkheadError:
    """A request that got no answer, or not all of one."""
    error = BulkheadError(
        "server_unreachable",
        f"The server does not answer ({type(cause).__name__}).",
        hint="Is it running, is the URL right, and does a proxy or a firewall let requests through?",
    )
    error.__cause__ = cause
    return error


def misunderstood(operation: str, response: httpx.Response) -> BulkheadError:
    """An answer that is not what the protocol has."""
    return BulkheadError(
        "internal",
        f"The answer to {operation} is not one of Bulkhead's.",
        hint="Does the URL lead to a Bulkhead server, and is it of the same version as this client?",
        details={"status": response.status_code, "type": response.headers.get("content-type", "")},
        request_id=response.headers.get("x-request-id"),
    )
