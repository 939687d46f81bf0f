"""The files of the page: what they need of a browser, and what they load."""

import re
from pathlib import Path

import pytest

from devtools.servers.process import PROJECT
from service.result_page import MAIL

FOLDERS = ("service/page", "service/docs")

# Syntax that a browser of the last five years may lack. A module with a word that its browser does
# not know is not run at all. Each has an example, which shows that the pattern finds it.
YOUNG_SYNTAX = {
    "a static block": (r"\bstatic\s*\{", "class A { static { f(); } }"),
    "an accessor": (r"\baccessor\s+[\w#]", "class A { accessor x = 1; }"),
    "a decorator": (r"^\s*@\w+", "  @logged"),
    "a look behind": (r"\(\?<[=!]", "/(?<=a)b/"),
    "a modifier": (r"\(\?[ims-]+:", "/(?i:a)b/"),
    "the flag v": (r"/[dgimsuy]*v[dgimsuy]*(?=[\s;,.)])", "const x = /[a--b]/v;"),
    "the flag d": (r"(?<=[^\s/])/[gimsuvy]*d[gimsuvy]*(?=[.;,)])", "const x = /a/d;"),
    "an import attribute": (r"\bfrom\s+\"[^\"]+\"\s+(?:with|assert)\b", 'from "./a.json" with {}'),
    "a deferred import": (r"\bimport\s+(?:defer|source)\b", 'import defer * as a from "a"'),
    "a resource": (r"\b(?:await\s+)?using\s+\w+\s*=", "using file = open();"),
    "a repeated name of a group": (r"\(\?<(\w+)>.*\|.*\(\?<\1>", "/(?<y>a)|(?<y>b)/"),
    "a private name with in": (r"#\w+\s+in\s", "#x in object"),
    "a cause": (r"\{\s*cause\b", "new Error(text, { cause })"),
}
YOUNG_STYLE = (
    r"color-mix|:has\(|@container|@layer|@starting-style|@scope|@property|&[ :.]|light-dark\("
    r"|\d(?:dv|sv|lv|cq)[hwib]|subgrid|oklch|oklab|text-wrap|field-sizing|inset-area|interpolate-size"
)
YOUNG_MARKUP = r"\bpopover|\binert\b|<search|<dialog|<details[^>]*name=|commandfor|blocking="


def files(*endings: str) -> list[Path]:
    found = [
        path
        for folder in FOLDERS
        for path in sorted((PROJECT / folder).iterdir())
        if path.suffix in endings
    ]
    assert found
    return found


def code_of(path: Path) -> str:
    """A module without its comments."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"/\*.*?\*/|(?<![:\"])//[^\n]*", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("name", YOUNG_SYNTAX)
def test_the_scripts_need_no_young_syntax(name: str) -> None:
    pattern, example = YOUNG_SYNTAX[name]
    assert re.search(pattern, example, re.MULTILINE)
    for path in files(".js"):
        assert not re.search(pattern, code_of(path), re.MULTILINE), path.name


def test_the_style_and_the_markup_need_nothing_young() -> None:
    for path in files(".css"):
        assert not re.search(YOUNG_STYLE, path.read_text(encoding="utf-8")), path.name
    for path in [*files(".html"), PROJECT / "service/html.py", PROJECT / "service/result_page.py"]:
        assert not re.search(YOUNG_MARKUP, path.read_text(encoding="utf-8")), path.name


def test_nothing_is_loaded_from_elsewhere() -> None:
    """Nor from the root of the host, which is elsewhere below a prefix."""
    for path in files(".html", ".css", ".js", ".svg"):
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        loads = re.findall(
            r"(?:src|href|action|srcset|poster|data)=\"([^\"]*)\"|url\(([^)]*)\)"
            r"|@import\s+([^;]+)|(?:from|import|import\()\s*[\"']([^\"']+)[\"']"
            r"|(?:fetch|ask|sendBeacon|open|EventSource|WebSocket)\(\s*[\"'`]([^\"'`]*)",
            text,
        )
        for each in (next(filter(None, groups)) for groups in loads):
            assert not re.match(r"/|\w+:", each), f"{path.name}: {each}"


def test_both_pages_say_the_same_of_mails() -> None:
    """The page with JavaScript, and the one without."""
    words = (PROJECT / "service/page/words.js").read_text(encoding="utf-8")
    rows = re.search(r"const MAIL = \{\n(.*?)\n\};", words, re.DOTALL)
    assert rows
    assert dict(re.findall(r"^  (\w+): \"(.*)\",$", rows[1], re.MULTILINE)) == MAIL
