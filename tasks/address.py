"""Which e-mail addresses are acceptable."""

from email_validator import EmailNotValidError, validate_email

from tasks.errors import InvalidAddressError

MAX_ADDRESS_LENGTH = 254  # RFC 5321 § 4.5.3.1.3, less the angle brackets


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
    return str(address.ascii_email)
