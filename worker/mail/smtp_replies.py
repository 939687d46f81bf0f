"""Whose fault it is that a mail server has refused a mail."""

import re
from enum import StrEnum

from worker.mail.errors import MailError

PERMANENT_CODES = range(500, 600)  # RFC 5321 § 4.2.1
# About authentication and TLS, whatever the text says: RFC 4954 § 6, RFC 3207 § 4.
OWN_CODES = (432, 454, 530, 534, 535, 538)
# About the recipient or the mail, if there is no enhanced status code: RFC 5321 § 4.2.3, RFC 7504.
# The others, such as 503, are about us.
RECIPIENT_CODES = (550, 551, 552, 553, 556)
TRANSACTION_FAILED = 554  # after RCPT most often "relay access denied", after DATA "spam"
# RFC 3463 § 2: the subject of an enhanced status code. Protocol (5) and policy (7) are about us.
RECIPIENT_SUBJECTS = (b"1", b"2", b"3", b"4", b"6")
UNDEFINED_SUBJECT = b"0"
SENDER_CODES = (b"5.1.7", b"5.1.8")  # RFC 3463 § 3.2: a bad address or domain of the sender
MAX_REPLY = 1000  # bytes of a reply that are read
MAX_LOGGED = 200  # characters of it in the log

_ENHANCED_CODE = re.compile(rb"5\.([0-9]{1,3})\.[0-9]{1,3}(?=\s|$)")
# Exim sends no enhanced codes after RCPT: "550 relay not permitted", "550 Sender verify failed".
_ABOUT_US = re.compile("relay|authenticat|sender", re.IGNORECASE)


class Refused(StrEnum):
    """The part of a mail that a server has refused, by the command it came with."""

    SENDER = "our sender"
    RECIPIENT = "the recipient"
    CONTENT = "the mail"


def refusal(what: Refused, code: int, text: bytes | str) -> MailError:
    """Return the error for a server's negative reply.

    It is permanent if no later try could help, and ours if an operator can. Servers delay their
    verdict on the sender and on our right to relay until RCPT, so it counts there as well.
    """
    reply = (text.encode(errors="replace") if isinstance(text, str) else text)[:MAX_REPLY]
    readable = _readable(reply)
    is_negative = code in PERMANENT_CODES
    is_permanent = is_negative and _is_about_recipient(what, code, reply, readable)
    return MailError(
        f"{what} was refused with {code} {readable[:MAX_LOGGED]}".rstrip(),
        is_permanent=is_permanent,
        is_ours=code in OWN_CODES or (is_negative and not is_permanent),
    )


def _is_about_recipient(what: Refused, code: int, reply: bytes, readable: str) -> bool:
    """Return whether a permanent refusal is about the recipient or the content of the mail.

    An enhanced status code (RFC 2034) is more precise than the basic one.
    """
    if what is Refused.SENDER or code in OWN_CODES:
        return False
    enhanced = _ENHANCED_CODE.match(reply)
    if enhanced is not None and enhanced[1] != UNDEFINED_SUBJECT:
        return enhanced[1] in RECIPIENT_SUBJECTS and enhanced[0] not in SENDER_CODES
    if what is Refused.CONTENT:
        return code in (*RECIPIENT_CODES, TRANSACTION_FAILED)
    return code in RECIPIENT_CODES and not _ABOUT_US.search(readable)


def _readable(reply: bytes) -> str:
    """Return the printable part of a reply, with one space between words and without addresses."""
    text = reply.decode("ascii", "replace")
    words = "".join(each if each.isprintable() else " " for each in text).split()
    return " ".join("…" if "@" in word else word for word in words)
