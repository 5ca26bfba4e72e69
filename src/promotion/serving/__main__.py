"""`python -m promotion.serving`: check the environment and the exported folder, then answer requests until stopped."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from types import FrameType

import uvicorn

from promotion.serving.application import build_application
from promotion.serving.connection import Connection
from promotion.serving.endpoint import ModelEndpoint
from promotion.serving.errors import ConfigurationError, ServingError
from promotion.serving.scoring import Scorer
from promotion.serving.settings import ServerSettings

LOGGER = logging.getLogger("serving")
BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75
"""Longer than the minute after which load balancers drop idle connections, so that they never pick a closed one."""

LOG_SECONDS = 2
M_ARENA_MAX = -8
"""The number of glibc's `malloc.h`."""

SWITCH_SECONDS = 0.0005


class StoppableServer(uvicorn.Server):
    """uvicorn that says it is not ready from the moment it is asked to stop.

    Args:
        answering: What answers, and knows whether the server is ready.
    """

    def __init__(self, answering: ModelEndpoint) -> None:
        seconds = answering.settings.shutdown_seconds
        config = uvicorn.Config(
            build_application(answering),
            loop="uvloop",
            http=Connection,
            ws="none",
            lifespan="on",
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            log_config=None,
            # What is left of the time is for the prediction log.
            timeout_graceful_shutdown=max(seconds - LOG_SECONDS, seconds // 2),
        )
        super().__init__(config)
        self._answering = answering

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop listening, let requests in flight finish."""
        self._answering.stop()
        super().handle_exit(sig, frame)


def main() -> int:
    """Run the server.

    Returns:
        The exit code: 0 stopped as asked, 1 failed, 2 an environment variable, 3 the exported folder is refused.
    """
    # One heap: glibc has one for each thread, and each would keep what the largest bodies once took.
    with suppress(AttributeError):  # of another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
    try:
        settings = ServerSettings.from_environment(os.environ)
        logging.basicConfig(
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
            level=settings.log_level.upper(),
            stream=sys.stderr,
        )
        answering = ModelEndpoint(settings, Scorer(settings))
        listener = listen(settings)
    except ServingError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    serve(answering, listener)
    return 0


def listen(settings: ServerSettings) -> socket.socket:
    """The socket, bound before the event loop runs, so that a taken port is one line.

    Raises:
        ConfigurationError: HOST and PORT cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        place = f"HOST {settings.host}, PORT {settings.port}"
        raise ConfigurationError(f"{place}: cannot listen there: {error.strerror or error}") from error


def serve(answering: ModelEndpoint, listener: socket.socket) -> None:
    """Answer requests until SIGTERM, SIGINT or SIGHUP, then let those in flight finish."""
    server = StoppableServer(answering)
    # uvicorn raises the signal again once it has stopped; stopping as asked is no failure.
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, lambda *_: None)
    signal.signal(signal.SIGHUP, server.handle_exit)
    # The thread that writes the log must not keep the event loop waiting for Python's default of 5 ms.
    sys.setswitchinterval(SWITCH_SECONDS)
    # What is loaded now stays for good: collecting it again and again shows in the slowest requests.
    gc.collect()
    gc.freeze()
    manifest = answering.scorer.champion.manifest
    host, port = listener.getsockname()[:2]
    if answering.settings.trusted is None:
        LOGGER.warning("TRUSTED_KEYS is not set: nothing shows that what is served is what was promoted")
    LOGGER.info("serving %s %d (%s) on http://%s:%d", manifest.model, manifest.version, manifest.engine, host, port)
    server.run(sockets=[listener])


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # A model that still computes for nobody would be waited for, or end the process on its way into the interpreter.
    os._exit(code)
