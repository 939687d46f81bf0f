"""What origins declare about digests, as their documentation has it."""

import base64
import hashlib
from collections.abc import Callable

import pytest

from devtools.servers.raw_origin import RawOrigin, reply
from tasks.digests import Algorithm, Digest
from tests.unit.fetch.fetching import Fetch

Originate = Callable[..., RawOrigin]

HELLO = b"Hello World"
JSON = b'{"hello": "world"}\n'
MD5 = hashlib.md5(HELLO).hexdigest()
SHA256 = hashlib.sha256(HELLO).hexdigest()
OTHER = "0" * 32
GOOGLE = ("x-goog-stored-content-encoding: identity", "x-goog-stored-content-length: 11")


def in_base64(name: str, data: bytes = HELLO) -> str:
    return base64.b64encode(hashlib.new(name, data).digest()).decode()


def zeros(count: int) -> str:
    return base64.b64encode(bytes(count)).decode()


def get(
    originate: Originate, fetch: Fetch, *headers: str, body: bytes = HELLO, status: str = "200 OK"
) -> Digest:
    fetch.algorithms = list(Algorithm)
    return fetch(originate([reply(body, *headers, status=status)]).base)


@pytest.mark.parametrize(
    ("body", "headers", "declared"),
    [
        # RFC 9530, appendix B.1
        (
            JSON,
            ("Repr-Digest: sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",),
            {Algorithm.SHA256: hashlib.sha256(JSON).hexdigest()},
        ),
        (
            JSON,
            (
                "Content-Digest: sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
                f"Content-Digest: sha-512=:{in_base64('sha512', JSON)}:",
            ),
            {
                Algorithm.SHA256: hashlib.sha256(JSON).hexdigest(),
                Algorithm.SHA512: hashlib.sha512(JSON).hexdigest(),
            },
        ),
        # RFC 3230 § 4.3.2, as mirrors with MirrorBrain send it
        (
            HELLO,
            (f"Digest: MD5={in_base64('md5')}, SHA={in_base64('sha1')}, unixsum=30637",),
            {Algorithm.MD5: MD5, Algorithm.SHA1: hashlib.sha1(HELLO).hexdigest()},
        ),
        (HELLO, (f"Digest: SHA-256={in_base64('sha256')}",), {Algorithm.SHA256: SHA256}),
        # Azure Blob Storage, Get Blob
        (
            HELLO,
            ("Content-MD5: sQqNsWTgdUEFt6mb5y4/5Q==", 'ETag: "0x8CB171DBEAD6A6B"'),
            {Algorithm.MD5: MD5},
        ),
        # Google Cloud Storage, in one header or in two
        (
            HELLO,
            (*GOOGLE, f"x-goog-hash: crc32c=n03x6A==,md5={in_base64('md5')}"),
            {Algorithm.MD5: MD5},
        ),
        (
            HELLO,
            (*GOOGLE, "x-goog-hash: crc32c=n03x6A==", f"x-goog-hash: md5={in_base64('md5')}"),
            {Algorithm.MD5: MD5},
        ),
        # Amazon S3: the ETag of an object in one part is its MD5
        (HELLO, (f'ETag: "{MD5}"',), {Algorithm.MD5: MD5}),
        (HELLO, (f'ETag: "{MD5.upper()}"',), {Algorithm.MD5: MD5}),
        # a package index whose ETag confirms, beside a digest of another kind
        (
            HELLO,
            (f'ETag: "{MD5}"', f"Repr-Digest: sha-256=:{in_base64('sha256')}:"),
            {Algorithm.MD5: MD5, Algorithm.SHA256: SHA256},
        ),
        (
            HELLO,
            (f"Repr-Digest: md5=:{in_base64('md5')}:", f"Content-MD5: {in_base64('md5')}"),
            {Algorithm.MD5: MD5},
        ),
        (
            HELLO,
            (f"Repr-Digest: a=1, md5=:{in_base64('md5')}:;b=2, c=(d e)",),
            {Algorithm.MD5: MD5},
        ),
    ],
)
def test_a_right_digest_confirms(
    body: bytes,
    headers: tuple[str, ...],
    declared: dict[Algorithm, str],
    originate: Originate,
    fetch: Fetch,
) -> None:
    digest = get(originate, fetch, *headers, body=body)
    assert digest.declared == declared
    assert digest.is_confirmed is True


@pytest.mark.parametrize(
    "header",
    [
        f"Repr-Digest: md5=:{zeros(16)}:",
        f"Content-Digest: md5=:{zeros(16)}:",
        f"Digest: md5={zeros(16)}",
        f"Content-MD5: {zeros(16)}",
        f"x-goog-stored-content-encoding: identity\r\nx-goog-hash: md5={zeros(16)}",
    ],
)
def test_a_wrong_digest_is_reported(header: str, originate: Originate, fetch: Fetch) -> None:
    digest = get(originate, fetch, header)
    assert digest.declared == {Algorithm.MD5: OTHER}
    assert digest.is_confirmed is False
    assert digest.md5 == MD5


@pytest.mark.parametrize(
    "headers",
    [
        # an ETag only confirms: these are a revision, several parts, an encrypted object
        (f'ETag: "{OTHER}"',),
        (f'ETag: "{MD5}-2"',),
        (f'ETag: W/"{MD5}"',),
        ('ETag: "0x8CB171DBEAD6A6B"',),
        # contradictions
        (f"Content-MD5: {zeros(16)}", f"Digest: md5={in_base64('md5')}"),
        (f"Digest: md5={in_base64('md5')},md5={zeros(16)}", f'ETag: "{MD5}"'),
        # transformations: decompressed by the store, or coded by the server
        ("x-goog-stored-content-encoding: gzip", f"x-goog-hash: md5={in_base64('md5')}"),
        (f"x-goog-hash: md5={in_base64('md5')}",),
        ("Content-Encoding: gzip", f"Content-MD5: {in_base64('md5')}"),
        ("Content-Encoding: br", f'ETag: "{MD5}"'),
        # what cannot be read
        (f"Repr-Digest: md5={in_base64('md5')}",),
        (f"Repr-Digest: md5=:{in_base64('md5')}:, ",),
        (f"Repr-Digest: MD5=:{in_base64('md5')}:",),
        (f"Repr-Digest: md5=({in_base64('md5')})",),
        ("Repr-Digest: md5=:é:",),
        (f"Digest: md5={MD5}",),
        (f"Digest: md5=:{in_base64('md5')}:",),
        (f"Content-MD5: {MD5}",),
        (f"Content-MD5: {in_base64('md5')}", f"Content-MD5: {zeros(16)}"),
        ("Content-MD5: ",),
        (f"Digest: md5={in_base64('sha256')}, sha-3={in_base64('md5')}",),
        # other things
        (f"X-Checksum-Md5: {MD5}",),
        (f"Want-Repr-Digest: md5=:{in_base64('md5')}:",),
    ],
)
def test_nothing_is_confirmed(headers: tuple[str, ...], originate: Originate, fetch: Fetch) -> None:
    digest = get(originate, fetch, *headers)
    assert digest.declared == {}
    assert digest.is_confirmed is None


def test_only_what_is_computed_is_reported(originate: Originate, fetch: Fetch) -> None:
    origin = originate([reply(HELLO, f"Repr-Digest: sha-256=:{zeros(32)}:")])
    digest = fetch(origin.base)
    assert (digest.declared, digest.is_confirmed) == ({}, None)


def test_a_redirect_declares_nothing(originate: Originate, fetch: Fetch) -> None:
    moved = reply(b"", "Location: /f", f"Content-MD5: {zeros(16)}", status="302 Found")
    assert fetch(originate([moved], [reply(HELLO)]).base).declared == {}


@pytest.mark.usefixtures("pauses")
def test_a_part_declares_nothing(originate: Originate, fetch: Fetch) -> None:
    """The digest of the whole file comes with the 200, however its rest arrives."""
    validator = ('ETag: "v1"', "Accept-Ranges: bytes")
    whole = reply(HELLO, f"Content-MD5: {in_base64('md5')}", *validator)
    rest = reply(
        HELLO[6:],
        "Content-Range: bytes 6-10/11",
        f"Content-MD5: {zeros(16)}",
        *validator,
        status="206 Partial Content",
    )
    digest = fetch(originate([whole[:-5]], [rest]).base)
    assert (digest.declared, digest.is_confirmed) == ({Algorithm.MD5: MD5}, True)
