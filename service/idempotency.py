"""The Idempotency-Key of a submission, as in draft-ietf-httpapi-idempotency-key-header."""

import re
import uuid

from sanic import Request

from service.errors import BadRequestError

HEADER = "Idempotency-Key"
_NAMESPACE = uuid.UUID("293e3ec3-2dc1-4e03-aff0-ce807dfed17f")  # ours, for ids made of keys
# A string of RFC 9651 § 3.3.3; many clients leave out the quotes.
KEY = re.compile(r'"(?:[ !#-\[\]-~]|\\["\\]){1,255}"|[!#-\[\]-~]{1,255}')


def task_id_of(request: Request) -> str | None:
    """Return the id of the task that the request's key stands for, or None if it has no key.

    With tokens, each token has keys of its own. Raises BadRequestError for a malformed key.
    """
    values = request.headers.getall(HEADER, [])
    if not values:
        return None
    if len(values) > 1:
        raise BadRequestError.of_field(
            "repeated_parameter", HEADER, f"must be given once, not {len(values)} times"
        )
    key = _parse(values[0].strip())
    owner = request.headers.get("authorization", "") if request.app.ctx.settings.api_tokens else ""
    token = owner.partition(" ")[2].strip()
    return str(uuid.uuid5(_NAMESPACE, f"{token}\n{key}"))


def _parse(text: str) -> str:
    if not KEY.fullmatch(text):
        raise BadRequestError.of_field(
            "invalid_parameter",
            HEADER,
            "must be 1 to 255 printable ASCII characters, in double quotes",
        )
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
