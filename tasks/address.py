"""Which e-mail addresses are acceptable."""

from email_validator import EmailNotValidError, validate_email

from tasks.errors import InvalidAddressError

MAX_ADDRESS_LENGTH = 254  # RFC 5321 § 4.5.3.1.3, less the angle brackets
# Private domains that email-validator does not refuse (it knows RFC 6761): RFC 9476, RFC 6762
# appendix G, and ICANN's resolutions 2018.02.04.12 and 2024.07.29.06.
PRIVATE_DOMAINS = frozenset(
    ("alt", "corp", "home", "internal", "intranet", "lan", "localdomain", "mail", "private")
)
# The dots in a local part make no difference there.
DOTLESS_DOMAINS = ("gmail.com", "googlemail.com")


def parse_address(text: str) -> str:
    """The address in ASCII: an international domain becomes its A-labels (RFC 5890).

    One plain address with an ASCII local part and a public domain is accepted; no display
    name, quotes, address literal or list. Raises InvalidAddressError, which says what is wrong.
    """
    if len(text) > MAX_ADDRESS_LENGTH:
        raise InvalidAddressError(f"must not be longer than {MAX_ADDRESS_LENGTH} characters")
    try:
        address = validate_email(
            text, check_deliverability=False, allow_smtputf8=False, strict=True
        )
    except EmailNotValidError as error:
        raise InvalidAddressError(
            f"is not an e-mail address that can be written to: {error}"
        ) from None
    if address.ascii_domain.lower().rpartition(".")[2] in PRIVATE_DOMAINS:
        raise InvalidAddressError("must not have a domain that exists only in private networks")
    return str(address.ascii_email)


def mailbox_of(address: str) -> str:
    """Return an address in lower case, without the variations that lead to the same mailbox."""
    local, _, domain = address.lower().rpartition("@")
    local = local.partition("+")[0]
    if domain in DOTLESS_DOMAINS:
        local, domain = local.replace(".", ""), DOTLESS_DOMAINS[0]
    return f"{local}@{domain}"
