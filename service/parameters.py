"""A request's parameters, wherever they stand: query string, form, multipart or JSON."""

import json
import re
from collections import Counter
from collections.abc import Collection
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from sanic import Request

from service.errors import BadRequestError

MAX_FIELDS = 100

# Bytes that are not UTF-8 become lone surrogates, which every rule for a parameter refuses.
_UNDECODABLE = "surrogateescape"

_BOUNDARY = re.compile(r';[ \t]*boundary=(?:"([^"]{1,70})"|([^\s";]{1,70}))', re.IGNORECASE)
_FIELD = re.compile(
    rb'\r\ncontent-disposition:[ \t]*form-data;[ \t]*name="([^"\r\n]*)"(;[^\r\n]*)?\r\n',
    re.IGNORECASE,
)


def read_parameters(request: Request, names: Collection[str]) -> dict[str, str]:
    """Those of the named parameters that the request has, each once and each a string.

    Raises BadRequestError, which names the parameter; also for one of another name, as that is
    most often the rest of a URL whose `&` was not encoded.
    """
    pairs = _read_pairs(request)
    for name, _ in pairs:
        if name not in names:
            shown = name.encode(errors="replace").decode()[:100]
            rule = (
                f"is no parameter here, those are {', '.join(names)}; an & in a URL is written %26"
            )
            raise BadRequestError("unknown_parameter", f"{shown} {rule}.", shown)
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise BadRequestError(
                "repeated_parameter", f"{name} must be given once, not {count} times.", name
            )
    for name, value in pairs:
        if not isinstance(value, str):
            raise BadRequestError("invalid_parameter", f"{name} must be a string.", name)
    return dict(pairs)


def _read_pairs(request: Request) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = _parse_form(request.query_string, "query string")
    if not request.body:
        return pairs
    content_type = (request.content_type or "").partition(";")[0].strip().lower()
    if content_type == "application/x-www-form-urlencoded":
        return pairs + _parse_form(request.body.decode(errors=_UNDECODABLE), "form")
    if content_type == "multipart/form-data":
        return pairs + _parse_multipart(request)
    if content_type == "application/json":
        return pairs + _parse_json(request.body)
    raise BadRequestError(
        "invalid_body",
        "The Content-Type of the body must be application/x-www-form-urlencoded,"
        " multipart/form-data or application/json.",
    )


def _parse_form(text: str, what: str) -> list[tuple[str, Any]]:
    try:
        return list(
            parse_qsl(text, keep_blank_values=True, errors=_UNDECODABLE, max_num_fields=MAX_FIELDS)
        )
    except ValueError:
        _refuse(f"The {what} must not have more than {MAX_FIELDS} fields.")


def _parse_multipart(request: Request) -> list[tuple[str, Any]]:
    """Its fields. Sanic's parser logs a trace for what it cannot read, takes that for nothing,
    and decodes by whatever charset a part names, some of them in quadratic time.
    """
    boundary = _BOUNDARY.search(request.content_type or "")
    if boundary is None:
        _refuse("The Content-Type of a multipart body must have a boundary.")
    _, *parts = (b"\r\n" + request.body).split(
        b"\r\n--" + (boundary[1] or boundary[2]).encode(errors=_UNDECODABLE), MAX_FIELDS + 2
    )
    if not parts or not parts[-1].startswith(b"--") or len(parts) > MAX_FIELDS + 1:
        _refuse(f"The body is not valid multipart/form-data of up to {MAX_FIELDS} fields.")
    pairs: list[tuple[str, Any]] = []
    for part in parts[:-1]:
        head, blank, value = part.partition(b"\r\n\r\n")
        field = _FIELD.search(head + b"\r\n")
        if not blank or field is None:
            _refuse("The body is not valid multipart/form-data.")
        is_file = field[2] is not None  # which stays bytes, and is refused as no string
        name = field[1].decode(errors=_UNDECODABLE)
        pairs.append((name, value if is_file else value.decode(errors=_UNDECODABLE)))
    return pairs


def _parse_json(body: bytes) -> list[tuple[str, Any]]:
    try:
        pairs = json.loads(body, object_pairs_hook=_Object)
    except (ValueError, RecursionError):
        _refuse("The body is not valid JSON.")
    if not isinstance(pairs, _Object):
        _refuse("The body must be a JSON object.")
    return pairs


class _Object(list[tuple[str, Any]]):
    """A JSON object whose repeated names are still to be seen."""


def _refuse(message: str) -> NoReturn:
    raise BadRequestError("invalid_body", message)
