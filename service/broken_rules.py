"""The rules that the parameters of a request break, so that all of them are reported at once."""

from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

from service.errors import BadRequestError

MOST = 20  # errors; a body may have thousands of unknown names

Value = TypeVar("Value")


class BrokenRules:
    """Collects the errors of a `with` block, one per field. At its end, raises them as one.

    The block ends at once with `MOST` errors, and with an error without a field, after which
    nothing can be read.
    """

    def __init__(self) -> None:
        self._by_field: dict[str, BadRequestError] = {}

    def read(self, read: Callable[[], Value], default: Value) -> Value:
        """Return what `read` returns, or the default if that breaks a rule."""
        try:
            return read()
        except BadRequestError as error:
            if error.field is None:
                raise
            self._by_field.setdefault(error.field, error)
            if len(self._by_field) == MOST:
                raise self._as_one() from None
            return default

    def __enter__(self) -> Self:
        """Return the collection, which is empty."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Raise the first error with the others, unless the block has ended with an exception."""
        if self._by_field and error is None:
            raise self._as_one()

    def _as_one(self) -> BadRequestError:
        """Return the first error, with the others."""
        first, *others = self._by_field.values()
        first.further = others
        return first
