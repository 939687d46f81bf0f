"""Runs the service: `python -m service`."""

import os
import socket
import sys
from functools import partial

from sanic import Sanic
from sanic.worker.loader import AppLoader

from service import metrics
from service.app import start_app
from service.connections import BoundedProtocol
from settings import Settings, SettingsError
from worker.descriptors import raise_descriptor_limit


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    try:
        settings = Settings.from_env(os.environ)
        _check_place(settings)
    except SettingsError as error:
        sys.exit(str(error))
    raise_descriptor_limit()
    loader = AppLoader(factory=partial(start_app, settings))
    app = loader.load()
    is_single = settings.web_workers == 1
    app.prepare(
        settings.host,
        settings.port,
        workers=settings.web_workers,
        single_process=is_single,
        motd=False,
        access_log=False,
        protocol=BoundedProtocol,
    )
    try:
        with metrics.serving(settings, app.ctx.exporter):
            if is_single:
                Sanic.serve_single(primary=app)
            else:
                Sanic.serve(primary=app, app_loader=loader)
    except SettingsError as error:
        sys.exit(str(error))


def _check_place(settings: Settings) -> None:
    """Raises SettingsError if the service could not listen, or not keep its data."""
    if settings.metrics_port == settings.port:
        raise SettingsError("METRICS_PORT: must differ from PORT, or be 0")
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        where = f"{settings.host}, port {settings.port}"
        raise SettingsError(f"HOST, PORT: cannot listen on {where}: {error.strerror}") from None
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"DATA_DIR: cannot make {settings.data_dir}: {error.strerror}"
        ) from None


if __name__ == "__main__":
    main()
