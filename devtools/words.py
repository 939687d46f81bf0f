"""Finds words that make English hard to read, in texts, docstrings, comments and messages.

Each word has the reason, or what to write instead. `make check` runs it.
"""

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

from devtools.servers.process import PROJECT

WORDS = {
    r"anew": "write `again`",
    r"at the most": "write `at most`",
    r"befall\w*": "write `happen`",
    r"by now": "write `already`, or nothing",
    r"is (?:back|away)": "write `has recovered` or `is unreachable`",
    r"(?<!there )(?-i:is none)": "write `is malformed`, `is unknown` or `is missing`",
    r"(?:is|as) no (?:AMQPError|e-mail|parameter|string|task|URL|web)": "write `is not a`",
    r"look-ups?": "write `lookup`",
    r"meanwhile": "write `concurrently`, `since then`, or nothing",
    r"nobody(?!@)|somebody": "name the subject: a client, a process, another worker",
    r"so (?:many|long)(?! as)": "name the number or the time",
    r"tells? (?!apart)|told": "functions return, report, log; messages state",
    r"whatsoever|whosoever": "write `any`",
    r"whoever": "name the subject",
}
_PATTERNS = [
    (re.compile(rf"\b(?:{word})\b" if word[-1] != " " else rf"\b(?:{word})", re.IGNORECASE), advice)
    for word, advice in WORDS.items()
]
ROOMS = ("settings", "telemetry", "tasks", "fetch", "worker", "actors", "service", "devtools")
OWN = Path(__file__)


def main() -> None:
    """Print each hit, and fail if there is one."""
    hits = [hit for path in _texts() for hit in check(path)]
    if hits:
        sys.exit("\n".join(hits))


def check(path: Path) -> list[str]:
    """Return a line for each word of a file that is to be avoided."""
    return [
        f"{path}:{number}: {match[0].strip()!r}: {advice}"
        for number, text in _prose(path)
        for pattern, advice in _PATTERNS
        for match in pattern.finditer(text)
    ]


def _texts() -> Iterator[Path]:
    yield from sorted(PROJECT.glob("*.md"))
    for folder in ("docs", "bench", "service"):
        for ending in ("*.md", "*.json", "*.html", "*.js"):
            yield from sorted(
                each for each in (PROJECT / folder).rglob(ending) if each.name != "results.json"
            )
    for room in ROOMS:
        yield from sorted(each for each in (PROJECT / room).rglob("*.py") if each != OWN)
    yield from (PROJECT / name for name in ("Makefile", "docker-compose.yml", ".env.example"))


def _prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text, or the comments and strings of a program, with their numbers."""
    if path.suffix != ".py":
        yield from enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        return
    with io.BytesIO(path.read_bytes()) as file:
        for token in tokenize.tokenize(file.readline):
            name = tokenize.tok_name[token.type]
            if name in ("COMMENT", "STRING") or name.startswith("FSTRING"):
                yield from enumerate(token.string.splitlines(), token.start[0])


if __name__ == "__main__":
    main()
