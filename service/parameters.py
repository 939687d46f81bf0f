"""The parameters of a request, in its query string, form, multipart or JSON body."""

import threading
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from sanic import Request

from service.broken_rules import BrokenRules
from service.errors import BadRequestError
from service.fields import UNDECODABLE, Fields, Parser, Text, is_of_list, refuse_list
from service.forms import FormParser, MultipartParser
from service.json_bodies import JSONParser
from service.lines import LineReader


@dataclass(frozen=True, slots=True)
class Parameters:
    """The texts of parameters by their names, and the list of URLs, if there is one."""

    texts: dict[str, str]
    lines: LineReader | None
    are_truncated: bool  # the texts were too long


class ParameterReader:
    """Reads the parameters of a request while its body arrives. It must be closed."""

    def __init__(self, request: Request, most_lines: int | None = None) -> None:
        """Read at most `most_lines` of a list, and count the others. None: there is no list."""
        self.size = 0  # of the body so far, in bytes
        self._content_type = request.content_type or ""
        self._fields = Fields(most_lines)
        self._parser: Parser | None = None
        self._error: BadRequestError | None = None
        self._lock = threading.Lock()  # a client may leave while a thread reads a piece
        query = FormParser(self._fields)
        self._try(lambda: query.feed(request.query_string.encode(errors=UNDECODABLE)))
        self._try(query.close)

    def feed(self, data: bytes) -> None:
        """Take the next piece of the body, which may be empty."""
        self.size += len(data)
        if data:
            with self._lock:
                self._try(lambda: self._feed(data))

    def read(self, names: Collection[str], broken: BrokenRules) -> Parameters:
        """Return the parameters, now that the whole body has arrived.

        Each must be one of `names`, once. Collects the rules that they break. A parameter of
        another name is most often the rest of a URL whose `&` was not encoded. Raises
        BadRequestError if the body cannot be read.
        """
        self.close()
        if self._error is not None:
            raise self._error
        counts = Counter(name for name, _ in self._fields.all)
        texts: dict[str, str] = {}
        lines: LineReader | None = None
        for name, value in dict(self._fields.all).items():
            default = LineReader() if isinstance(value, LineReader) else ""
            read = broken.read(partial(_read_one, name, value, counts[name], names), default)
            if isinstance(read, LineReader):
                lines = read
            else:
                texts[name] = read
        return Parameters(texts, lines, self._fields.are_truncated)

    def close(self) -> None:
        """Free what the reader holds, even if the rest of the body never arrives."""
        if self._parser is not None:
            with self._lock:
                self._try(self._parser.close)

    def _try(self, read: Callable[[], None]) -> None:
        """Keep the first error until the whole body has arrived. Nothing is read after it."""
        if self._error is None:
            try:
                read()
            except BadRequestError as error:
                self._error = error.with_traceback(None)

    def _feed(self, data: bytes) -> None:
        if self._parser is None:
            self._parser = self._make_parser()
        self._parser.feed(data)

    def _make_parser(self) -> Parser:
        content_type = self._content_type.partition(";")[0].strip().lower()
        if content_type == "application/x-www-form-urlencoded":
            return FormParser(self._fields)
        if content_type == "multipart/form-data":
            return MultipartParser(self._fields, self._content_type)
        if content_type == "application/json":
            return JSONParser(self._fields)
        raise BadRequestError(
            "invalid_body",
            "The Content-Type of the body must be application/x-www-form-urlencoded,"
            " multipart/form-data or application/json.",
        )


def read_parameters(request: Request, names: Collection[str]) -> dict[str, str]:
    """Return the parameters of a request whose body has arrived, without a list.

    Raises BadRequestError, which names all parameters that break a rule.
    """
    with BrokenRules() as broken:
        return collect_parameters(request, names, broken)


def collect_parameters(
    request: Request, names: Collection[str], broken: BrokenRules
) -> dict[str, str]:
    """Do as `read_parameters`, but collect the rules that they break."""
    with closing(ParameterReader(request)) as reader:
        reader.feed(request.body)
        return reader.read(names, broken).texts


def _read_one(
    name: str, value: Text | LineReader, count: int, names: Collection[str]
) -> str | LineReader:
    if name not in names:
        _refuse_unknown(name, names)
    if count > 1:
        raise BadRequestError.of_field(
            "repeated_parameter", name, f"must be given once, not {count} times"
        )
    return value if isinstance(value, LineReader) else value.read()


def _refuse_unknown(name: str, names: Collection[str]) -> NoReturn:
    if is_of_list(name):
        refuse_list()
    shown = name.encode(errors="replace").decode()[:100]
    raise BadRequestError(
        "unknown_parameter",
        f"{shown} is not a parameter; expected {', '.join(names)}. If your URL contains &, encode"
        " it as %26.",
        shown,
    )
