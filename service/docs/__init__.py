"""The documentation of the API: as OpenAPI, and as a page that is rendered from it."""

from pathlib import Path

DIRECTORY = Path(__file__).parent
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'none'; base-uri 'none';"
    " frame-ancestors 'none'"
)
