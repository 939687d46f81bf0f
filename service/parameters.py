"""The parameters of a request, in its query string, form, multipart or JSON body."""

import json
from collections import Counter
from collections.abc import Collection, Iterator
from functools import partial
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from sanic import Request

from service.broken_rules import BrokenRules
from service.errors import AS_A_FILE, BadRequestError

LIST = "urls"  # the parameter that may be a file, or a list of strings
MAX_FIELDS = 100
MAX_PART_HEADERS = 8  # RFC 7578 § 4 allows three
MAX_BRACKETS = 100_000  # in JSON: an empty list of two bytes takes 64 bytes of memory

# Bytes that are not UTF-8 become lone surrogates, which every rule for a parameter refuses.
_UNDECODABLE = "surrogateescape"


def read_parameters(request: Request, names: Collection[str]) -> dict[str, str]:
    """Return the parameters of a request, each of which is one of `names`, once, and a string.

    Raises BadRequestError, which names the parameters.
    """
    with BrokenRules() as broken:
        return collect_parameters(request, names, broken)


def collect_parameters(
    request: Request, names: Collection[str], broken: BrokenRules
) -> dict[str, str]:
    """Do as `read_parameters`, but collect the rules that they break.

    A parameter of another name is most often the rest of a URL whose `&` was not encoded.
    """
    pairs = _read_pairs(request)
    counts = Counter(name for name, _ in pairs)
    return {
        name: broken.read(partial(_read_one, name, value, counts[name], names), "")
        for name, value in dict(pairs).items()
    }


def _read_one(name: str, value: object, count: int, names: Collection[str]) -> str:
    if name not in names:
        _refuse_unknown(name, names)
    if count > 1:
        raise BadRequestError.of_field(
            "repeated_parameter", name, f"must be given once, not {count} times"
        )
    if name == LIST and isinstance(value, list) and not isinstance(value, _Object):
        return _joined(value)
    if not isinstance(value, str):
        raise BadRequestError.of_field("invalid_parameter", name, "must be a string")
    return value


def _joined(items: list[Any]) -> str:
    """Return the text of a list, with an item in each line."""
    for number, item in enumerate(items, 1):
        if not isinstance(item, str) or "\n" in item:
            raise BadRequestError(
                "invalid_parameter", f"Item {number} of {LIST} must be a string of one line.", LIST
            )
    return "\n".join(items)


def _refuse_unknown(name: str, names: Collection[str]) -> NoReturn:
    if _is_of_list(name):
        _refuse_list()
    shown = name.encode(errors="replace").decode()[:100]
    raise BadRequestError(
        "unknown_parameter",
        f"{shown} is not a parameter; expected {', '.join(names)}. If your URL contains &, encode"
        " it as %26.",
        shown,
    )


def _is_of_list(name: str) -> bool:
    """Whether the name of a field is the beginning of a list, as `curl -d @FILE` sends it."""
    return "://" in name or "\n" in name or name.lstrip("\ufeff ").startswith("#")


def _refuse_list() -> NoReturn:
    _refuse(f"The body looks like a list of URLs without a name. {AS_A_FILE}")


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
        if _is_of_list(text.partition("=")[0]):
            _refuse_list()
        _refuse(f"The {what} must not have more than {MAX_FIELDS} fields.")


def _parse_multipart(request: Request) -> list[tuple[str, Any]]:
    """Return the fields of a multipart body. The value of a file stays bytes.

    Sanic's own parser logs a trace for what it cannot read, takes that for an empty form, and
    decodes by the charset that a part names, for some of them in quadratic time.
    """
    _, options = parse_options_header(request.content_type or "")
    boundary = options.get("boundary")
    if not boundary:
        _refuse("The Content-Type of a multipart body must have a boundary.")
    try:
        with PushMultipartParser(
            boundary.encode(errors=_UNDECODABLE),
            max_header_count=MAX_PART_HEADERS,
            max_segment_count=MAX_FIELDS,
            strict=True,
        ) as parser:
            return list(_read_parts(parser, request.body))
    except (MultipartError, UnicodeError) as error:
        _refuse(f"The body is not valid multipart/form-data of up to {MAX_FIELDS} fields: {error}.")


def _read_parts(parser: PushMultipartParser, body: bytes) -> Iterator[tuple[str, Any]]:
    part: MultipartSegment | None = None
    chunks: list[bytes] = []
    for event in parser.parse(body):
        if isinstance(event, MultipartSegment):
            part, chunks = event, []
        elif event:
            chunks.append(bytes(event))
        elif part is not None:
            value = b"".join(chunks)
            # A file is refused later, as it is not a string, unless it is a list.
            is_text = part.filename is None or part.name == LIST
            yield part.name, value.decode(errors=_UNDECODABLE) if is_text else value


def _parse_json(body: bytes) -> list[tuple[str, Any]]:
    if body.count(b"[") + body.count(b"{") > MAX_BRACKETS:
        _refuse(f"The JSON must not have more than {MAX_BRACKETS:,} brackets.")
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
