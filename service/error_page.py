"""The page about a request that is refused."""

from collections.abc import Mapping, Sequence
from html import escape
from http import HTTPStatus

from service.html import frame


def render(
    status: HTTPStatus,
    errors: Sequence[Mapping[str, object]],
    retry_after: str | None = None,
    *,
    root: str = "",
) -> str:
    """Return the page with every error, as the API describes them."""
    items = "".join(f"<li>{_sentence(each)}</li>\n" for each in errors)
    again = f"<p>You can try again in {escape(retry_after)} s.</p>\n" if retry_after else ""
    return frame(
        f"{status.phrase} · MD5 light",
        f'<section class="card task">\n<h2>{escape(status.phrase)}</h2>\n'
        f'<ul class="failures bad">\n{items}</ul>\n{again}'
        "<p>Go back in your browser to correct what you have entered, or"
        f' <a href="{root or "."}">start again</a>.</p>\n</section>\n',
        root=root,
    )


def _sentence(error: Mapping[str, object]) -> str:
    if "rule" in error:
        return f"<code>{escape(str(error['field']))}</code> {escape(str(error['rule']))}"
    return escape(str(error["message"]))
