"""A browser, and the service whose page it opens."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from devtools.servers.browser import open_browser
from devtools.servers.deployment import System
from devtools.servers.system import Service

# What the oldest browsers that the page is for do not have. All tests run without it.
YOUNG_APIS = """
for (const [owner, ...names] of [
  [URL, "canParse", "parse"],
  [Array, "fromAsync"],
  [Array.prototype, "at", "findLast", "findLastIndex"],
  [Array.prototype, "toReversed", "toSorted", "toSpliced", "with"],
  [globalThis.Iterator?.prototype ?? {}, "map", "filter", "take", "drop", "some", "toArray"],
  [String.prototype, "at", "isWellFormed", "toWellFormed"],
  [Object, "hasOwn", "groupBy"],
  [Map, "groupBy"],
  [Set.prototype, "union", "intersection", "difference", "symmetricDifference", "isSubsetOf"],
  [Promise, "withResolvers", "try"],
  [AbortSignal, "timeout", "any"],
  [AbortSignal.prototype, "throwIfAborted"],
  [HTMLFormElement.prototype, "requestSubmit"],
  [HTMLElement.prototype, "popover", "showPopover", "hidePopover", "togglePopover", "inert"],
  [HTMLDialogElement.prototype, "show", "showModal"],
  [Element.prototype, "ariaBusy", "ariaInvalid", "ariaLabel", "setHTMLUnsafe"],
  [Element.prototype, "moveBefore"],
  [Document.prototype, "startViewTransition"],
  [ReadableStream, "from"],
  [ReadableStream.prototype, "values", Symbol.asyncIterator],
  [Response, "json"],
  [RegExp, "escape"],
  [Crypto.prototype, "randomUUID"],
  [globalThis, "structuredClone", "reportError", "scheduler", "navigation"],
]) {
  for (const name of names) delete owner[name];
}
"""

expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    system = System(tmp_path_factory.mktemp("page"), {"WORKER_THREADS": "10"})
    yield system.start()
    system.stop()


@pytest.fixture
def context(browser: Browser, service: Service) -> Iterator[BrowserContext]:
    """A browser that was never here, in which nothing may go wrong unseen."""
    context = browser.new_context(base_url=service.base, viewport={"width": 900, "height": 900})
    context.set_default_timeout(30_000)
    context.add_init_script(YOUNG_APIS)
    troubles: list[str] = []
    hosts: set[str] = set()
    context.on("weberror", lambda error: troubles.append(str(error.error)))
    context.on("console", lambda message: troubles.append(message.text))
    context.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    yield context
    context.close()
    # The browser itself writes down each answer that is an error, which some are here.
    assert [text for text in troubles if not text.startswith("Failed to load resource")] == []
    assert hosts <= {urlsplit(service.base).netloc}


@pytest.fixture
def page(context: BrowserContext) -> Page:
    page = context.new_page()
    page.goto("/")
    return page
