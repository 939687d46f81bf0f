"""Pages that are rendered here: the frame that they share, and how they are sent."""

from collections.abc import Mapping
from html import escape
from http import HTTPStatus

from sanic import HTTPResponse, Request

# Rendered pages run no scripts and send no forms.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'none'; base-uri 'none';"
    " frame-ancestors 'none'"
)

_FRAME = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>{title}</title>
  <link rel="icon" href="{root}page/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="{root}page/page.css">
{more}</head>
<body>
  <header>
    <h1><a href="{home}"><img src="{root}page/icon.svg" alt="" width="32" height="32">MD5
      light</a></h1>
{intro}  </header>

  <main>
{main}  </main>
</body>
</html>
"""


def frame(title: str, main: str, *, root: str = "", more: str = "", intro: str = "") -> str:
    """Return a page.

    `main`, `intro` and `more`, which is for the head, are HTML. `root` leads from the page to the
    service, so that its links are right below any prefix.
    """
    home = root or "."
    return _FRAME.format(
        title=escape(title), root=root, home=home, more=more, intro=intro, main=main
    )


def root_of(request: Request) -> str:
    """Return the relative URL that leads from the path of a request to the service."""
    return "../" * (request.path.count("/") - 1)


def send(page: str, status: HTTPStatus, headers: Mapping[str, str] | None = None) -> HTTPResponse:
    """Return the answer with a page."""
    safe = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Referrer-Policy": "no-referrer"}
    body = page.encode(errors="replace")  # the text may contain lone surrogates
    content_type = "text/html; charset=utf-8"
    return HTTPResponse(body, status, {**safe, **(headers or {})}, content_type=content_type)
