"""The fields of a request, while they arrive: texts, and the entries of a list."""

from typing import NoReturn, Protocol

from service.errors import AS_A_FILE, BadRequestError
from service.lines import LineReader

LIST = "urls"  # the field that may be a file, or a list of strings
MAX_FIELDS = 100
# All texts together are kept up to this length. A request with more is refused.
MAX_TEXT_LENGTH = 128 * 1024
MAX_NAME_LENGTH = 1000  # Longer names are truncated. No parameter has one.

# Bytes that are not UTF-8 become lone surrogates, which every rule for a parameter refuses.
UNDECODABLE = "surrogateescape"


class Text:
    """The text of a field."""

    def __init__(self, fields: "Fields") -> None:
        self._fields = fields
        self._pieces: list[str] = []
        self._error: BadRequestError | None = None

    def feed(self, text: str) -> None:
        """Take the next piece."""
        self._pieces.append(self._fields.truncate(text))

    def fail(self, error: BadRequestError) -> None:
        """Note that the field has no text."""
        self._error = error

    def read(self) -> str:
        """Return the whole text. Raises BadRequestError."""
        if self._error is not None:
            raise self._error
        return "".join(self._pieces)


class Fields:
    """The fields of a request, in their order."""

    def __init__(self, most_lines: int | None) -> None:
        """Read at most `most_lines` of a list, and count the others. None: there is no list."""
        self.all: list[tuple[str, Text | LineReader]] = []
        self.are_truncated = False
        self._most_lines = most_lines
        self._left = MAX_TEXT_LENGTH

    def add(self, name: str) -> Text | LineReader:
        """Return the value of a further field, which is empty so far."""
        if len(self.all) == MAX_FIELDS:
            self.refuse_number()
        value = self._new_list() if name == LIST else Text(self)
        self.all.append((name[:MAX_NAME_LENGTH], value))
        return value

    def _new_list(self) -> Text | LineReader:
        if self._most_lines is None:
            return Text(self)
        # A repeated list is refused once the body has arrived, so its entries are not kept.
        is_repeated = any(name == LIST for name, _ in self.all)
        return LineReader(0 if is_repeated else self._most_lines)

    def truncate(self, text: str) -> str:
        """Return as much of a text as may still be kept."""
        kept = text[: self._left]
        self._left -= len(kept)
        self.are_truncated = self.are_truncated or len(kept) < len(text)
        return kept

    def refuse_number(self) -> NoReturn:
        """Raise the error for too many fields."""
        if any(is_of_list(name) for name, _ in self.all):
            refuse_list()
        refuse_body(f"A request must not have more than {MAX_FIELDS} fields.")


class Parser(Protocol):
    """Reads fields from a body. Both methods raise BadRequestError, which is final."""

    def feed(self, data: bytes) -> None:
        """Take the next piece, which is not empty."""

    def close(self) -> None:
        """Take note of the end of the body. It may be repeated."""


def is_of_list(name: str) -> bool:
    """Whether the name of a field is the beginning of a list, as `curl -d @FILE` sends it."""
    return "://" in name or "\n" in name or name.lstrip("\ufeff ").startswith("#")


def refuse_list() -> NoReturn:
    """Raise the error for a list without a name."""
    refuse_body(f"The body looks like a list of URLs without a name. {AS_A_FILE}")


def refuse_body(message: str) -> NoReturn:
    """Raise the error for a body that cannot be read."""
    raise BadRequestError("invalid_body", message)


def not_a_string(name: str) -> BadRequestError:
    """Return the error for a value of another type."""
    return BadRequestError.of_field("invalid_parameter", name, "must be a string")
