import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.address import mailbox_of, parse_address
from tasks.errors import InvalidAddressError

REFUSED = [
    "",
    " ",
    "@",
    "a@",
    "@example.com",
    "someone",
    "someone.example.com",
    "a@b@example.com",
    "a@example.com, c@example.com",
    "a@example.com; c@example.com",
    "a@example.com c@example.com",
    "Someone <a@example.com>",
    "<a@example.com>",
    '"a b"@example.com',
    "(comment)a@example.com",
    "a@example.com\r\nBcc: c@example.com",
    "a@example.com\n",
    "a\r@example.com",
    "a\0@example.com",
    "a@exam\0ple.com",
    "a\u2028@example.com",
    "a@example.com\u2029",
    " a@example.com",
    "a@example.com ",
    "a b@example.com",
    ".a@example.com",
    "a.@example.com",
    "a..b@example.com",
    "\xfc@example.com",
    "a@localhost",
    "a@host.internal",
    "a@host.corp",
    "a@host.HOME",
    "a@printer.lan",
    "a@x.mail",
    "a@router.home.arpa",
    "a@name.alt",
    "a@b.onion",
    "a@b.test",
    "a@b.local",
    "a@b.invalid",
    "a@example",
    "a@[192.0.2.1]",
    "a@192.0.2.1",
    "a@example..com",
    "a@-example.com",
    "a@example.com.",
    "a@exam_ple.com",
    "a@\ud800.com",
    f"{'a' * 65}@example.com",
    f"a@{'b' * 64}.com",
    f"{'a' * 64}@{'.'.join(['b' * 60] * 4)}.com",
]


@pytest.mark.parametrize(
    "text",
    [
        "someone@example.com",
        "first.last+tag@sub.example.co.uk",
        "!#$%&'*+-/=?^_`{|}~@example.com",
        "1@example.com",
        f"{'a' * 64}@example.com",
        "a@xn--bcher-kva.de",
    ],
)
def test_accepted_as_given(text: str) -> None:
    assert parse_address(text) == text


@pytest.mark.parametrize(
    ("text", "ascii_only"),
    [
        ("a@b\xfccher.de", "a@xn--bcher-kva.de"),
        ("a@B\xdcCHER.de", "a@xn--bcher-kva.de"),
        ("a@\u4f8b\u3048.jp", "a@xn--r8jz45g.jp"),
    ],
)
def test_international_domain_becomes_a_labels(text: str, ascii_only: str) -> None:
    assert parse_address(text) == ascii_only


@pytest.mark.parametrize("text", [pytest.param(text, id=f"{text!a:.60}") for text in REFUSED])
def test_invalid_addresses_are_refused(text: str) -> None:
    with pytest.raises(InvalidAddressError):
        parse_address(text)


@given(st.text() | st.text('ab@.,<>"\\ \r\n\0\xfc\u2028', max_size=20).map("{}@example.com".format))
def test_whatever_is_accepted_is_one_plain_address(text: str) -> None:
    try:
        address = parse_address(text)
    except InvalidAddressError:
        return
    assert address.isascii()
    assert address.isprintable()
    assert address.count("@") == 1
    assert not set(address) & set(' ,;<>"()')


@pytest.mark.parametrize(
    ("address", "mailbox"),
    [
        ("User@Example.COM", "user@example.com"),
        ("user+a+b@example.com", "user@example.com"),
        ("u.s.e.r@example.com", "u.s.e.r@example.com"),
        ("u.s.e.r+tag@GMail.com", "user@gmail.com"),
        ("us.er@googlemail.com", "user@gmail.com"),
    ],
)
def test_variations_of_an_address_are_one_mailbox(address: str, mailbox: str) -> None:
    assert mailbox_of(address) == mailbox
