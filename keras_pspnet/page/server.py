"""The page on a port: one process, this machine, no other host."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from collections.abc import Callable

import fastapi
import uvicorn
from fastapi.responses import Response
from gradio import mount_gradio_app
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keras_pspnet.page.blocks import build, style, theme
from keras_pspnet.page.desk import Desk
from keras_pspnet.page.looks import CLASSES, draw, encode, mask_file
from keras_pspnet.page.runs import Way

_LOCAL = ("127.0.0.1", "localhost", "[::1]", "::1")
# Gradio fetches pages of other hosts for whoever asks; this page never does.
_REFUSED = ("/gradio_api/proxy=", "/proxy=", "/gradio_api/file=http")
_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data: blob:; "
        b"style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
        b"script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        b"connect-src 'self'; object-src 'none'; base-uri 'self'; "
        b"form-action 'self'; frame-ancestors 'self'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


def bind(host: str, port: int) -> socket.socket:
    """Takes a port, before long work starts.

    Args:
        host: Name or address of the interface.
        port: The port, 0 for any that is free.

    Raises:
        OSError: If it cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen()
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise OSError(
            f"`port` must be free on `host` ({error.strerror or error}). "
            f"Received: port={port}, host={host!r}"
        ) from error
    return listener


def application(
    desk: Desk, model: str, way: Way, host: str, max_bytes: int
) -> fastapi.FastAPI:
    """Makes the web application.

    Args:
        desk: What does the work.
        model: Name of the model.
        way: How pictures are looked at, unless a user chooses otherwise.
        host: Of the interface; on this machine's own, requests that name
            another host are refused.
        max_bytes: The largest file that is taken.
    """
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(_Guard)
    if host in _LOCAL:
        # A page elsewhere could have its own name lead to this machine.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(_LOCAL))
    _add_files(app, desk)
    return mount_gradio_app(
        app,
        build(desk, model, way),
        path="/",
        server_name=host,
        max_file_size=max_bytes,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        theme=theme(),
        css=style(desk),
    )


def serve(app: fastapi.FastAPI, listener: socket.socket) -> None:
    """Serves until a signal ends it.

    Args:
        app: The application.
        listener: The socket of `bind`.
    """
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
    _Server(config).run(sockets=[listener])


def _add_files(app: fastapi.FastAPI, desk: Desk) -> None:
    @app.get("/result/{token}/{file}")
    def result(token: str, file: str) -> Response:
        makers: dict[str, Callable[[], bytes]] = {}
        with contextlib.suppress(ValueError):
            entry = desk.entry(token)
            if entry.shown is not None:
                found, look = entry.shown.result, entry.look
                makers = {
                    "mask.png": lambda: mask_file(found, look.colorblind),
                    "overlay.png": lambda: encode(
                        draw(found, dataclasses.replace(look, show=CLASSES)),
                        "PNG",
                    ),
                }
        if file not in makers:
            return Response("There is no such result.", 404)
        return Response(
            makers[file](),
            media_type="image/png",
            headers={
                "Content-Disposition": "attachment; "
                f'filename="{entry.name}_{file}"',
                "Cache-Control": "no-store",
            },
        )


class _Guard:
    """Adds headers to all answers, and refuses what would fetch elsewhere."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        if scope["path"].startswith(_REFUSED):
            answer = Response("Other hosts are not fetched from.", 403)
            await answer(scope, receive, sending)
            return
        await self._app(scope, receive, sending)


class _Server(uvicorn.Server):
    """Ends the streams that open pages have, instead of waiting for them."""

    async def shutdown(
        self, sockets: list[socket.socket] | None = None
    ) -> None:
        for route in self.config.app.routes:
            if isinstance(route, Mount):
                route.app.stop_event.set()
        await super().shutdown(sockets)
