"""Content negotiation (RFC 9110 § 12.5.1): a page for browsers, JSON for everything else."""

import re

from sanic import Request

from service.headers import vary_by

# Java's HttpURLConnection sends this by itself, on behalf of programs that expect JSON.
_JAVA = "text/html, image/gif, image/jpeg, *"
_QUALITY = re.compile(r"0?\.[0-9]{1,3}|[01](?:\.0{0,3})?")


def prefers_html(request: Request) -> bool:
    """Whether the client prefers HTML to JSON. The answer depends on it, whichever it is."""
    vary_by(request, "Accept")
    return accepts_html_rather(",".join(request.headers.getall("accept", [])))


def accepts_html_rather(accept: str) -> bool:
    """Whether HTML has the higher quality, or the same one with a more specific range."""
    if accept.startswith(_JAVA):
        return False
    qualities = dict(_read_range(text) for text in accept.split(","))
    html = _preference(qualities, "text/html", "text/*", "*/*")
    json = _preference(qualities, "application/json", "application/*", "*/*")
    return html > max(json, (0.0, 0))


def _preference(qualities: dict[str, float], *ranges: str) -> tuple[float, int]:
    """Return the quality of a type, and how specific its range is. Specific ranges come first."""
    for number, each in enumerate(ranges):
        if each in qualities:
            return qualities[each], -number
    return 0.0, -len(ranges)


def _read_range(text: str) -> tuple[str, float]:
    """Return a media range and its quality, 0 if it cannot be read."""
    media_range, *parameters = (part.strip().lower() for part in text.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            quality = parameter.removeprefix("q=")
            return media_range, float(quality) if _QUALITY.fullmatch(quality) else 0.0
    return media_range, 1.0
