"""The dates in HTTP headers."""

from datetime import UTC
from email.utils import parsedate_to_datetime


def parse_http_date(text: str) -> float | None:
    """Return a date as seconds since 1970, or None if it is malformed: RFC 9110 § 5.6.7."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # Without a zone it is in GMT as well, whatever the zone of this machine.
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
