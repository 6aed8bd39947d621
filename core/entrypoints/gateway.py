"""The gateway process: composition root of the OpenAI-compatible endpoint."""

import asyncio
import gc
import signal
import socket
import sys

import uvloop
from aiohttp import web

from core.errors import EnvironmentFailed
from core.quality.agreement import agrees
from core.routing.warm import warm
from core.serving.gateway.app import Gateway
from core.serving.gateway.site import make_runner
from core.settings import Settings
from db.unit_of_work import uow_factory

SWITCH_S = 0.0001
COLLECT_AT = (50_000, 20, 50)


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; requests in flight get a moment, records are written.

    Raises:
        EnvironmentFailed: The port cannot be had.
    """
    # Threads read and write the database; a request must not wait for them to let it have the
    # interpreter (5 ms by default).
    sys.setswitchinterval(SWITCH_S)
    warm()
    uvloop.run(_serve(settings))
    return 0


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    gateway = Gateway(uow_factory(settings.database_url), settings, agrees)
    async with gateway.running():
        runner = make_runner(gateway.site)
        await runner.setup()
        try:
            await _listen(runner, settings)
            _spare_the_collector()
            print(f"Gateway: http://{settings.host}:{settings.gateway_port}/v1", flush=True)
            await stop.wait()
        finally:
            await runner.cleanup()


def _spare_the_collector() -> None:
    """Leave what was loaded out of garbage collections, and collect more seldom.

    A full collection of all loaded modules stops every request for tens of milliseconds. Requests
    leave hardly any reference cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AT)


async def _listen(runner: web.ServerRunner, settings: Settings) -> None:
    # Beyond the default: a burst of new callers waits instead of being cut off.
    site: web.BaseSite = web.TCPSite(runner, settings.host, settings.gateway_port, backlog=1024)
    if settings.listen_fd is not None:
        site = web.SockSite(runner, socket.socket(fileno=settings.listen_fd), backlog=1024)
    try:
        await site.start()
    except OSError as error:
        raise EnvironmentFailed(
            f"The gateway cannot listen on {settings.host}:{settings.gateway_port}: "
            f"{error.strerror or error}.",
            "Stop what uses the port, or set BOUTE_GATEWAY_PORT or BOUTE_HOST.",
        ) from error
