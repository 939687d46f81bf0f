"""The word list finds words in prose, and only there."""

from pathlib import Path

import pytest

from devtools.words import check


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.md", "It is retried anew, at the most twice.", ["anew", "at the most"]),
        ("a.md", "It is retried at most twice.", []),
        ("a.py", "anew = 1  # written anew", ["anew"]),
        ("a.py", 'def f():\n    """Tell whoever asks."""\n', ["Tell", "whoever"]),
        ("a.py", 'raise ValueError("it is no URL")', ["is no URL"]),
        ("a.py", "value is None  # there is none", []),
        ("a.js", "// The server is back", ["is back"]),
    ],
)
def test_words_to_avoid(tmp_path: Path, name: str, text: str, words: list[str]) -> None:
    (tmp_path / name).write_text(text)
    assert [hit.split(": ")[1].strip("'") for hit in check(tmp_path / name)] == words
