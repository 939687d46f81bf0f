import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.rfc3986 import URLParts

BASE = "http://a/b/c/d;p?q"

# RFC 3986 § 5.4
EXAMPLES = {
    "g:h": "g:h",
    "g": "http://a/b/c/g",
    "./g": "http://a/b/c/g",
    "g/": "http://a/b/c/g/",
    "/g": "http://a/g",
    "//g": "http://g",
    "?y": "http://a/b/c/d;p?y",
    "g?y": "http://a/b/c/g?y",
    "#s": "http://a/b/c/d;p?q#s",
    "g#s": "http://a/b/c/g#s",
    "g?y#s": "http://a/b/c/g?y#s",
    ";x": "http://a/b/c/;x",
    "g;x": "http://a/b/c/g;x",
    "g;x?y#s": "http://a/b/c/g;x?y#s",
    "": "http://a/b/c/d;p?q",
    ".": "http://a/b/c/",
    "./": "http://a/b/c/",
    "..": "http://a/b/",
    "../": "http://a/b/",
    "../g": "http://a/b/g",
    "../..": "http://a/",
    "../../": "http://a/",
    "../../g": "http://a/g",
    "../../../g": "http://a/g",
    "../../../../g": "http://a/g",
    "/./g": "http://a/g",
    "/../g": "http://a/g",
    "g.": "http://a/b/c/g.",
    ".g": "http://a/b/c/.g",
    "g..": "http://a/b/c/g..",
    "..g": "http://a/b/c/..g",
    "./../g": "http://a/b/g",
    "./g/.": "http://a/b/c/g/",
    "g/./h": "http://a/b/c/g/h",
    "g/../h": "http://a/b/c/h",
    "g;x=1/./y": "http://a/b/c/g;x=1/y",
    "g;x=1/../y": "http://a/b/c/y",
    "g?y/./x": "http://a/b/c/g?y/./x",
    "g?y/../x": "http://a/b/c/g?y/../x",
    "g#s/./x": "http://a/b/c/g#s/./x",
    "g#s/../x": "http://a/b/c/g#s/../x",
    "http:g": "http:g",
    # What urljoin loses.
    "g?": "http://a/b/c/g?",
    "?": "http://a/b/c/d;p?",
    "?#": "http://a/b/c/d;p?#",
    "//g?": "http://g?",
    "1:2": "http://a/b/c/1:2",
}


@pytest.mark.parametrize("reference", EXAMPLES)
def test_references_resolve_as_in_the_examples_of_the_rfc(reference: str) -> None:
    assert str(URLParts.of(BASE).resolve(URLParts.of(reference))) == EXAMPLES[reference]


@pytest.mark.parametrize("base", ["http://a", "http://a?q", "http://a/", "http://a/b"])
def test_resolve_where_there_is_no_folder(base: str) -> None:
    assert str(URLParts.of(base).resolve(URLParts.of("g?y"))) == "http://a/g?y"


_TEXTS = st.text(st.sampled_from("ab1:/?#.[]@\\ \n\xfc\u0301") | st.characters(), max_size=30)


@given(_TEXTS)
def test_no_character_is_lost(text: str) -> None:
    assert str(URLParts.of(text)) == text
