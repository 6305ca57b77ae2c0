"""The page's server: which requests it accepts, and how it shuts down."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fastapi
import gradio as gr
import uvicorn
from gradio.utils import get_upload_folder
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Mount

from keras_pspnet.demo.page import build
from keras_pspnet.inference import Predictor

_LOCAL = ("127.0.0.1", "localhost", "[::1]", "::1")
# Gradio would fetch files of other hosts for any client. This page refuses.
_REFUSED = ("/gradio_api/proxy=", "/proxy=", "/gradio_api/file=http")
_POLICY = (
    b"default-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    b"style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
    b"script-src 'self' 'unsafe-inline' 'unsafe-eval'; object-src 'none'; "
    b"base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    # A new overlay has the same address as the previous one.
    (b"cache-control", b"no-store"),
)
_HUES = {"primary_hue": "blue", "secondary_hue": "blue"}


def bind(host: str, port: int) -> socket.socket:
    """Binds a port before long work starts.

    Args:
        host: Name or address of the interface.
        port: The port; 0 is any free one.

    Raises:
        OSError: If the port cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = str(error.strerror or error).partition(" (")[0]
        raise OSError(
            f"`port` must be free on `host` ({reason}). "
            f"Received: port={port}, host={host!r}"
        ) from error


def application(
    network: Predictor,
    model: str,
    arguments: Mapping[str, Any],
    host: str,
    max_bytes: int,
) -> fastapi.FastAPI:
    """Creates the web application. It writes files to GRADIO_TEMP_DIR.

    Args:
        network: Predictor that segments the images.
        model: Name of the model.
        arguments: Arguments of `segment`; see `build`.
        host: Interface to serve on. A local one refuses requests for other
            host names.
        max_bytes: Size of the largest accepted file.
    """
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(_Guard)
    if host in _LOCAL:
        # Another site could point its own name at this machine.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(_LOCAL))
    return gr.mount_gradio_app(
        app,
        build(network, model, arguments, Path(get_upload_folder())),
        path="/",
        server_name=host,
        max_file_size=max_bytes,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        theme=gr.themes.Monochrome(**_HUES, font="system-ui"),
        css=".gradio-container { max-width: 1240px !important; width: 100%; "
        "margin: auto !important }",
    )


def serve(app: fastapi.FastAPI, listener: socket.socket) -> None:
    """Serves until a signal ends it.

    Args:
        app: The application.
        listener: The socket of `bind`.
    """
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
    _Server(config).run(sockets=[listener])


class _Guard:
    """Refuses requests for files of other hosts, and adds headers."""

    def __init__(self, app: Any):
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        app, path, data, read = self._app, scope.get("path", ""), "", []
        if scope.get("method") == "POST" and not path.endswith("/upload"):
            body = await fastapi.Request(scope, receive).body()
            read.append({"type": "http.request", "body": body})
            with contextlib.suppress(ValueError):
                # Normalized, since JSON can write the same in many ways.
                data = json.dumps(json.loads(body))
        if path.startswith(_REFUSED) or re.search(r'"path": "https?:', data):
            app = fastapi.Response("Another host.", 403)

        async def receiving() -> Any:
            return read.pop() if read else await receive()

        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        await app(scope, receiving, sending)


class _Server(uvicorn.Server):
    """Closes the streams of open pages instead of waiting for them."""

    async def shutdown(self, sockets: Any = None) -> None:
        for route in self.config.app.routes:
            if isinstance(route, Mount):
                route.app.stop_event.set()
        await super().shutdown(sockets)
