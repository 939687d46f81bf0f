"""The documentation of the API: as OpenAPI, and as a page that is rendered from it."""

from pathlib import Path

DIRECTORY = Path(__file__).parent
