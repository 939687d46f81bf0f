"""Runs the service: `python -m service`."""

import logging
import os
import sys
from functools import partial

from sanic import Sanic
from sanic.worker.loader import AppLoader

from service.app import App, create_app
from settings import Settings, SettingsError


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    try:
        settings = Settings.from_env(os.environ)
    except SettingsError as error:
        sys.exit(str(error))
    loader = AppLoader(factory=partial(_make_app, settings))
    app = loader.load()
    is_single = settings.web_workers == 1
    app.prepare(
        settings.host,
        settings.port,
        workers=settings.web_workers,
        single_process=is_single,
        motd=False,
        access_log=False,
    )
    if is_single:
        Sanic.serve_single(primary=app)
    else:
        Sanic.serve(primary=app, app_loader=loader)


def _make_app(settings: Settings) -> App:
    """The app, with its log set up: each web worker is a new process, and calls this."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    return create_app(settings)


if __name__ == "__main__":
    main()
