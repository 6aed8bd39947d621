"""The gateway process: composition root of the OpenAI-compatible endpoint."""

import asyncio
import signal

import uvloop
from aiohttp import web

from core.errors import EnvironmentFailed
from core.serving.gateway.app import make_app, make_runner
from core.settings import Settings
from db.unit_of_work import uow_factory


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; requests in flight get a moment, records are written.

    Raises:
        EnvironmentFailed: The port cannot be had.
    """
    uvloop.run(_serve(settings))
    return 0


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    runner = make_runner(make_app(uow_factory(settings.database_url), settings))
    await runner.setup()
    try:
        await _listen(runner, settings)
        print(f"Gateway: http://{settings.host}:{settings.gateway_port}/v1", flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, settings: Settings) -> None:
    site = web.TCPSite(runner, settings.host, settings.gateway_port)
    try:
        await site.start()
    except OSError as error:
        raise EnvironmentFailed(
            f"The gateway cannot listen on {settings.host}:{settings.gateway_port}: "
            f"{error.strerror or error}.",
            "Stop what uses the port, or set BOUTE_GATEWAY_PORT or BOUTE_HOST.",
        ) from error
