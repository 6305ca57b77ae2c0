"""Segments pictures on a TF Serving server that serves an exported PSPNet.

    python serving/client.py photo.jpg -o overlay.png
    python serving/client.py photo.jpg -o mask.png --mask --grpc host:8500

Needs Pillow and NumPy; for gRPC also what `pip install keras-pspnet[serving]`
brings. To call the server from a program, copy this file and import
`segment_rest` or `segment_grpc`.

An attempt that could not reach the server, or that the server refused because
it is busy, is repeated: both leave nothing behind. A request that it calls
wrong would be wrong again. One that ran out of time is not repeated either:
the server may still be working on it, and the same work again would keep a
slow server slow.
"""

from __future__ import annotations

import argparse
import base64
import colorsys
import contextlib
import dataclasses
import http.client
import io
import json
import math
import os
import random
import secrets
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from PIL import Image, ImageOps

REST_ADDRESS = "http://127.0.0.1:8501"
STATUSES = ("OK", "EMPTY", "NOT_JPEG_OR_PNG", "TOO_LARGE", "DAMAGED")

# A server is trusted no more than its answers look right: without a limit, a
# wrong one could fill the memory. gRPC's own default, 4 MiB, is less than the
# masks of some pictures take.
LARGEST_RESPONSE = 256 * 2**20
# As many as fill 256 MiB in RGB; Pillow warns above the same count.
LARGEST_MASK = 2**28 // 3

_OUTPUTS = ("mask_png_bytes", "height", "width", "status")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds
_COLORS_SHARE = 0.55
_IGNORED = (0, 0, 0)


class ServingError(RuntimeError):
    """The server could not be reached, refused, or answered nonsense.

    Attributes:
        passing: Whether the same request may succeed a moment later.
    """

    def __init__(self, message: str, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """What the server found in one picture.

    Attributes:
        status: One of `STATUSES`.
        mask: Class ids of the upright picture, uint8 of shape `(H, W)`, or
            None unless the status is `"OK"`.
    """

    status: str
    mask: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Labels:
    """Names and colours of the classes.

    Attributes:
        names: Class `i` is `names[i]`.
        colors: One `(red, green, blue)` in 0..255 for each class.
        ignore_label: The value of pixels without a class.
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    ignore_label: int = 255


def segment_rest(
    address: str,
    pictures: Sequence[bytes],
    *,
    model: str = "pspnet",
    version: int | None = None,
    label: str | None = None,
    timeout: float = 10.0,
    retries: int = 3,
    login: tuple[str, str] | None = None,
    ca: str | os.PathLike[str] | None = None,
) -> list[Result]:
    """Segments pictures over REST.

    Args:
        address: `http://host:port` or `https://host:port`, with a path if a
            proxy puts the server below one.
        pictures: JPEG or PNG files, at most as many as the server's largest
            batch.
        model: Name of the model on the server.
        version: Its version; the newest by default.
        label: A label of a version, such as `"canary"`, in the place of
            `version`.
        timeout: Seconds that each attempt may take.
        retries: Attempts after the first one, for failures that pass.
        login: Name and password for a proxy that asks for them (HTTP basic
            authentication); only over https.
        ca: PEM file of the certificates to trust, in the place of the
            system's; only over https.

    Returns:
        One result for each picture, in their order. A picture that the
        server cannot decode has a status other than `"OK"`, and the others
        their masks.

    Raises:
        OSError: If `ca` cannot be read.
        ServingError: If the server cannot be reached, refuses, is too slow,
            or gives an answer that is not what the model promises.
        TypeError: If `pictures` is something other than a sequence of bytes.
        ValueError: If an argument is out of its range.

    Examples:
        >>> from client import segment_rest
        >>> with open("photo.jpg", "rb") as stream:
        ...     photo = stream.read()
        >>> photo_result, other = segment_rest(address, [photo, b"text"])
        >>> photo_result.mask.shape, other.status
        ((96, 128), 'NOT_JPEG_OR_PNG')
    """
    parts = urllib.parse.urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            "`address` must be http://host:port or https://host:port. "
            f"Received: address={address!r}"
        )
    if parts.scheme != "https" and (login is not None or ca is not None):
        raise ValueError(
            "`address` must be https://host:port where there is a `login` or "
            f"`ca`. Received: address={address!r}"
        )
    _check_request(pictures, version, label, timeout, retries, login)
    context = _trusting(ca)
    chosen = ""
    if version is not None:
        chosen = f"/versions/{version}"
    if label is not None:
        chosen = f"/labels/{urllib.parse.quote(label, safe='')}"
    name = urllib.parse.quote(model, safe="")
    body = {
        "signature_name": "serving_default",
        # Columns and not rows: the answer is then a list for each output.
        "inputs": {
            "image_bytes": [
                {"b64": base64.b64encode(picture).decode("ascii")}
                for picture in pictures
            ]
        },
    }
    request = urllib.request.Request(
        f"{address.rstrip('/')}/v1/models/{name}{chosen}:predict",
        data=json.dumps(body).encode("ascii"),
        headers={"Content-Type": "application/json"},
    )
    if login is not None:
        request.add_header("Authorization", _basic(login))

    def attempt() -> list[Result]:
        answer = _json(_post(request, timeout, context))
        if not isinstance(answer, dict) or "outputs" not in answer:
            raise ServingError("the server's answer has no `outputs`")
        outputs = answer["outputs"]
        if not isinstance(outputs, dict):
            raise ServingError("the server's `outputs` have no names")
        files = _column(outputs, "mask_png_bytes", len(pictures))
        return _results(
            {**outputs, "mask_png_bytes": [_decoded(file) for file in files]},
            len(pictures),
        )

    return _repeated(attempt, retries)


def segment_grpc(
    address: str,
    pictures: Sequence[bytes],
    *,
    model: str = "pspnet",
    version: int | None = None,
    label: str | None = None,
    timeout: float = 10.0,
    retries: int = 3,
    login: tuple[str, str] | None = None,
    ca: str | os.PathLike[str] | None = None,
) -> list[Result]:
    """Segments pictures over gRPC, with TLS where `login` or `ca` is given.

    Args:
        address: `host:port`.
        pictures: As for `segment_rest`.
        model: As for `segment_rest`.
        version: As for `segment_rest`.
        label: As for `segment_rest`.
        timeout: As for `segment_rest`.
        retries: As for `segment_rest`.
        login: As for `segment_rest`.
        ca: As for `segment_rest`, in the place of those that gRPC's package
            brings.

    Returns:
        As `segment_rest`.

    Raises:
        OSError: As `segment_rest`.
        ServingError: As `segment_rest`, or if gRPC's packages are missing.
        TypeError: As `segment_rest`.
        ValueError: As `segment_rest`.

    Examples:
        >>> from client import segment_grpc
        >>> with open("photo.jpg", "rb") as stream:
        ...     (result,) = segment_grpc(grpc_address, [stream.read()])
        >>> result.mask.shape
        (96, 128)
    """
    if "//" in address or ":" not in address:
        raise ValueError(
            f"`address` must be host:port. Received: address={address!r}"
        )
    _check_request(pictures, version, label, timeout, retries, login)
    # For its errors: gRPC's would be that the server cannot be reached.
    _trusting(ca)
    grpc, types_pb2, predict_pb2, service_pb2_grpc = _grpc_modules()
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "serving_default"
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    tensor = request.inputs["image_bytes"]
    tensor.dtype = types_pb2.DT_STRING
    tensor.tensor_shape.dim.add().size = len(pictures)
    tensor.string_val.extend(pictures)
    # Whatever else the model can give stays on the server.
    request.output_filter.extend(_OUTPUTS)

    options = [("grpc.max_receive_message_length", LARGEST_RESPONSE)]
    metadata = [] if login is None else [("authorization", _basic(login))]
    roots = None if ca is None else Path(ca).read_bytes()

    def connected() -> Any:
        if login is None and ca is None:
            return grpc.insecure_channel(address, options)
        credentials = grpc.ssl_channel_credentials(roots)
        return grpc.secure_channel(address, credentials, options)

    def attempt() -> list[Result]:
        # A new channel: one that could not connect waits longer than we do
        # before it tries again.
        with connected() as channel:
            stub = service_pb2_grpc.PredictionServiceStub(channel)
            try:
                response = stub.Predict(
                    request, timeout=timeout, metadata=metadata
                )
            except grpc.RpcError as error:
                raise _refusal(
                    error.code().name, error.details() or "", timeout
                ) from error
        kinds = {
            "mask_png_bytes": (types_pb2.DT_STRING, "string_val"),
            "height": (types_pb2.DT_INT32, "int_val"),
            "width": (types_pb2.DT_INT32, "int_val"),
            "status": (types_pb2.DT_STRING, "string_val"),
        }
        outputs = {}
        for name, (dtype, field) in kinds.items():
            # Not by [], which would put in an empty tensor.
            tensor = response.outputs.get(name)
            if tensor is not None and tensor.dtype != dtype:
                raise ServingError(f"the server's `{name}` has another dtype")
            if tensor is not None:
                outputs[name] = list(getattr(tensor, field))
        if "status" in outputs:
            outputs["status"] = [
                status.decode("utf-8", "replace")
                for status in outputs["status"]
            ]
        return _results(outputs, len(pictures))

    return _repeated(attempt, retries)


def read_labels(path: str | os.PathLike[str]) -> Labels:
    """Reads names and colours from an export's `assets.extra/pspnet.json`.

    Args:
        path: The file.

    Returns:
        The labels.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it does not hold labels.

    Examples:
        >>> from client import read_labels
        >>> read_labels("models/pspnet/1/assets.extra/pspnet.json").names[0]
        'building'
    """
    data = Path(path).read_bytes()
    try:
        content = json.loads(data)["labels"]
        names = content["names"]
        colors = tuple((r, g, b) for r, g, b in content["colors"])
        ignore_label = content["ignore_label"]
    except (ValueError, TypeError, KeyError, RecursionError):
        names, colors, ignore_label = None, (), None
    levels = [ignore_label, *(level for color in colors for level in color)]
    if (
        not isinstance(names, list)
        or not 1 <= len(names) == len(colors) <= 255
        or not all(isinstance(name, str) for name in names)
        or not all(type(level) is int and 0 <= level <= 255 for level in levels)
    ):
        raise ValueError(
            "`path` must be an export's pspnet.json with `labels`. "
            f"Received: path={os.fspath(path)!r}"
        )
    return Labels(tuple(names), colors, ignore_label)


def made_up_labels(mask: np.ndarray, ignore_label: int = 255) -> Labels:
    """Makes names and colours for a mask about which nothing is known.

    Args:
        mask: Class ids, uint8 of shape `(H, W)`.
        ignore_label: The value of pixels without a class.

    Returns:
        Labels for all classes up to the largest in the mask. The colour of a
        class does not depend on the mask.

    Examples:
        >>> from client import made_up_labels
        >>> made_up_labels(np.array([[0, 2]], "uint8")).names
        ('class_0', 'class_1', 'class_2')
    """
    classes = mask[mask != ignore_label]
    count = int(classes.max()) + 1 if classes.size else 1
    # Steps of the golden ratio keep any number of hues apart.
    hues = [index * 0.618034 % 1 for index in range(count)]
    rgb = [colorsys.hsv_to_rgb(hue, 0.75, 0.95) for hue in hues]
    return Labels(
        tuple(f"class_{index}" for index in range(count)),
        tuple((int(r * 255), int(g * 255), int(b * 255)) for r, g, b in rgb),
        ignore_label,
    )


def overlay(image: np.ndarray, mask: np.ndarray, labels: Labels) -> np.ndarray:
    """Blends the colours of the classes over a picture.

    Args:
        image: uint8 of shape `(H, W, 3)`.
        mask: Class ids, uint8 of shape `(H, W)`.
        labels: Names and colours of all classes in the mask.

    Returns:
        uint8 of shape `(H, W, 3)`.

    Raises:
        ServingError: If the sizes differ, or the mask has a class without a
            name.

    Examples:
        >>> from client import made_up_labels, overlay
        >>> overlay(images[0], masks[0], made_up_labels(masks[0])).shape
        (33, 33, 3)
    """
    if image.shape[:2] != mask.shape:
        raise ServingError(
            "the server's mask must have the size of the picture, "
            f"{image.shape[1]}x{image.shape[0]}. Received: "
            f"{mask.shape[1]}x{mask.shape[0]}"
        )
    unknown = mask[(mask >= len(labels.names)) & (mask != labels.ignore_label)]
    if unknown.size:
        raise ServingError(
            f"the server's mask must hold the {len(labels.names)} classes of "
            f"the labels. Received: class {unknown[0]}"
        )
    palette = np.full((256, 3), _IGNORED, np.float32)
    palette[: len(labels.colors)] = labels.colors
    blend = (1 - _COLORS_SHARE) * image + _COLORS_SHARE * palette[mask]
    return np.rint(blend).astype(np.uint8)


def shares(mask: np.ndarray, labels: Labels) -> list[tuple[str, float]]:
    """Returns what part of a picture each class covers.

    Args:
        mask: Class ids, uint8 of shape `(H, W)`.
        labels: Names of all classes in the mask.

    Returns:
        `(name, share in 0..1)` of the classes present, the largest first.

    Examples:
        >>> from client import made_up_labels, shares
        >>> mask = np.array([[0, 0, 0, 1]], "uint8")
        >>> shares(mask, made_up_labels(mask))
        [('class_0', 0.75), ('class_1', 0.25)]
    """
    names = dict(enumerate(labels.names)) | {labels.ignore_label: "ignored"}
    counts = np.bincount(mask.reshape(-1), minlength=256)
    order = np.argsort(-counts, kind="stable")
    return [
        (names[int(index)], float(counts[index] / mask.size))
        for index in order
        if counts[index]
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: The process's own by default.

    Returns:
        Exit status: 0, or 2 after an error, which is one line on stderr.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.grpc is not None:
            with _held_back_stderr():
                _grpc_modules()
        _run(options)
    except (ServingError, OSError, ValueError) as error:
        print(f"client.py: error: {_one_line(str(error))}", file=sys.stderr)
        return 2
    return 0


class _Parser(argparse.ArgumentParser):
    """Ends in one line, as every other error does."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"client.py: error: {_one_line(message)}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="client.py",
        description="Segment a picture on a server of an exported PSPNet.",
    )
    parser.add_argument("picture", help="JPEG or PNG")
    parser.add_argument(
        "-o", "--output", required=True, help="PNG file to write"
    )
    server = parser.add_mutually_exclusive_group()
    server.add_argument(
        "--rest",
        metavar="URL",
        default=REST_ADDRESS,
        help=f"http://host:port ({REST_ADDRESS})",
    )
    server.add_argument("--grpc", metavar="ADDRESS", help="host:port")
    parser.add_argument(
        "--model", default="pspnet", help="its name on the server (pspnet)"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, help="the newest by default")
    which.add_argument("--label", help="label of a version, e.g. canary")
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="the export's assets.extra/pspnet.json: names and colours",
    )
    parser.add_argument(
        "--timeout", type=float, default=10.0, help="seconds an attempt (10)"
    )
    parser.add_argument(
        "--retries", type=int, default=3, help="attempts after the first (3)"
    )
    parser.add_argument(
        "--user",
        metavar="NAME",
        help="for a proxy with passwords; yours in PSPNET_PASSWORD, over TLS",
    )
    parser.add_argument(
        "--ca",
        metavar="FILE",
        help="PEM file of the certificates to trust; gRPC then uses TLS",
    )
    parser.add_argument(
        "--mask", action="store_true", help="write class ids, not an overlay"
    )
    return parser


def _run(options: argparse.Namespace) -> None:
    output = Path(options.output)
    # All that can be found out before the server works is.
    if output.suffix.lower() != ".png":
        raise ValueError(
            f"`output` must end in .png. Received: output={options.output!r}"
        )
    if not output.parent.is_dir():
        raise ValueError(
            "`output` must be in a folder that exists. "
            f"Received: output={options.output!r}"
        )
    if output.exists() and (
        not output.is_file() or os.path.samefile(output, options.picture)
    ):
        raise ValueError(
            "`output` must be a file other than the picture. "
            f"Received: output={options.output!r}"
        )
    login = None
    if options.user is not None:
        # Not an argument: every user of a machine sees those.
        password = os.environ.get("PSPNET_PASSWORD")
        if password is None:
            raise ValueError(
                "`user` must come with PSPNET_PASSWORD in the environment. "
                f"Received: user={options.user!r}"
            )
        login = options.user, password
    labels = None if options.labels is None else read_labels(options.labels)
    data = Path(options.picture).read_bytes()

    segment, address = segment_rest, options.rest
    if options.grpc is not None:
        segment, address = segment_grpc, options.grpc
    (result,) = segment(
        address,
        [data],
        model=options.model,
        version=options.version,
        label=options.label,
        timeout=options.timeout,
        retries=options.retries,
        login=login,
        ca=options.ca,
    )
    if result.mask is None:
        raise ServingError(
            f"the server cannot segment {options.picture}: {result.status}"
        )
    if labels is None:
        labels = made_up_labels(result.mask)
    # Also where the mask is written: it checks the size and the classes.
    image = overlay(_upright(data), result.mask, labels)
    _write_png(output, result.mask if options.mask else image)
    table = shares(result.mask, labels)
    width = max(len(name) for name, _ in table)
    for name, share in table:
        print(f"{name:<{width}}  {100 * share:6.2f} %")


def _grpc_modules() -> tuple[Any, Any, Any, Any]:
    """Imports what gRPC needs and REST does not."""
    try:
        import grpc
        from tensorflow.core.framework import types_pb2
        from tensorflow_serving.apis import (
            predict_pb2,
            prediction_service_pb2_grpc,
        )
    except ImportError as error:
        raise ServingError(
            "gRPC needs packages that are missing: "
            f"pip install keras-pspnet[serving] ({error})"
        ) from error
    return grpc, types_pb2, predict_pb2, prediction_service_pb2_grpc


@contextlib.contextmanager
def _held_back_stderr() -> Iterator[None]:
    """Drops TensorFlow's start-up notes: the messages' classes import it."""
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _check_request(
    pictures: Sequence[bytes],
    version: int | None,
    label: str | None,
    timeout: float,
    retries: int,
    login: tuple[str, str] | None,
) -> None:
    if isinstance(pictures, bytes | str) or not all(
        isinstance(picture, bytes) for picture in pictures
    ):
        raise TypeError(
            "`pictures` must be a sequence of bytes. "
            f"Received: pictures of type {type(pictures).__name__}"
        )
    if not pictures:
        raise ValueError("`pictures` must not be empty. Received: pictures=[]")
    if version is not None and label is not None:
        raise ValueError(
            "`label` must be None where there is a version. "
            f"Received: version={version}, label={label!r}"
        )
    if version is not None and version < 0:
        raise ValueError(
            f"`version` must be at least 0. Received: version={version}"
        )
    if not 0 < timeout < math.inf:
        raise ValueError(
            "`timeout` must be a positive number of seconds. "
            f"Received: timeout={timeout}"
        )
    if retries < 0:
        raise ValueError(
            f"`retries` must be at least 0. Received: retries={retries}"
        )
    if login is not None and ":" in login[0]:
        raise ValueError(
            "`login` must have a name without a colon. "
            f"Received: name={login[0]!r}"
        )


def _trusting(ca: str | os.PathLike[str] | None) -> ssl.SSLContext | None:
    if ca is None:
        return None
    try:
        return ssl.create_default_context(cafile=ca)
    except ssl.SSLError as error:
        raise ValueError(
            "`ca` must be a PEM file of certificates. "
            f"Received: ca={os.fspath(ca)!r}"
        ) from error


def _basic(login: tuple[str, str]) -> str:
    pair = ":".join(login).encode("utf-8")
    return f"Basic {base64.b64encode(pair).decode('ascii')}"


def _repeated(
    attempt: Callable[[], list[Result]], retries: int
) -> list[Result]:
    """Calls `attempt` until it succeeds, with growing random pauses.

    Random, so that clients which a busy server refused together do not come
    back together.
    """
    pause = _FIRST_PAUSE
    for _ in range(retries):
        try:
            return attempt()
        except ServingError as error:
            if not error.passing:
                raise
        time.sleep(random.uniform(0, pause))
        pause = min(2 * pause, _LONGEST_PAUSE)
    return attempt()


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Pictures go where they were sent, and a POST stays a POST."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(
    request: urllib.request.Request,
    timeout: float,
    context: ssl.SSLContext | None,
) -> bytes:
    """Sends a request once and returns the body of the answer."""
    deadline = time.monotonic() + timeout
    opener = urllib.request.build_opener(
        _NoRedirects, urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(request, timeout=timeout) as response:
            return _read(response, deadline)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(
                _CODES.get(error.code, f"HTTP {error.code}"),
                _error_message(error, deadline),
                timeout,
            ) from error
    except TimeoutError as error:
        raise _refusal("DEADLINE_EXCEEDED", "", timeout) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _refusal("DEADLINE_EXCEEDED", "", timeout) from error
        raise ServingError(
            f"the server cannot be reached: {error.reason}",
            # A certificate does not become valid.
            passing=not isinstance(error.reason, ssl.SSLError),
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise ServingError(
            f"the connection to the server broke: {error!r}",
            passing=isinstance(
                error, ConnectionError | http.client.IncompleteRead
            ),
        ) from error


def _read(response: Any, deadline: float) -> bytes:
    """Reads a body whose length and pace the server decides."""
    announced = response.length
    chunks: list[bytes] = []
    size = 0
    while announced is None or size < announced:
        # One read of the socket at a time: each has the time limit, which a
        # server that sends a byte now and then would never reach.
        chunk = response.read1(2**20)
        if not chunk:
            break
        chunks.append(chunk)
        size += len(chunk)
        if size > LARGEST_RESPONSE:
            raise ServingError(
                f"the server's answer has more than {LARGEST_RESPONSE} bytes"
            )
        if time.monotonic() > deadline:
            raise TimeoutError
    if announced is not None and size < announced:
        raise http.client.IncompleteRead(b"", announced - size)
    return b"".join(chunks)


# What TF Serving makes of its own codes; a proxy's mean much the same, and its
# 502 that it cannot reach the server.
_CODES = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def _error_message(error: urllib.error.HTTPError, deadline: float) -> str:
    try:
        body = _read(error, deadline)
    except (OSError, http.client.HTTPException, ServingError):
        return error.reason
    try:
        return str(json.loads(body)["error"])
    except (ValueError, TypeError, KeyError, RecursionError):
        # A proxy's page, or another server's.
        return body[:200].decode("utf-8", "replace") or error.reason


def _refusal(code: str, message: str, timeout: float) -> ServingError:
    """Returns the error for one of gRPC's codes and the server's words."""
    message = _one_line(message)
    if code == "DEADLINE_EXCEEDED":
        return ServingError(
            f"the server did not answer within {timeout:g} s"
            + (f" ({message})" if message else "")
        )
    # The rest of what may be exhausted (memory, the size of a message) stays
    # so for the same request.
    passing = code == "UNAVAILABLE" or (
        code == "RESOURCE_EXHAUSTED" and "queue" in message
    )
    return ServingError(f"the server said {code}: {message}", passing)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ServingError(
            "the server's answer must be JSON. Received: "
            + _one_line(body[:80].decode("utf-8", "replace"))
        ) from error


def _decoded(value: Any) -> bytes:
    """Decodes one {"b64": ...}."""
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (ValueError, TypeError, KeyError) as error:
        raise ServingError(
            "the server's `mask_png_bytes` must be base64"
        ) from error


def _column(outputs: Mapping[str, Any], name: str, count: int) -> list[Any]:
    column = outputs.get(name)
    if not isinstance(column, list):
        raise ServingError(f"the server's answer has no `{name}`")
    if len(column) != count:
        raise ServingError(
            f"the server's `{name}` must have a value for each of {count} "
            f"pictures. Received: {len(column)}"
        )
    return column


def _results(outputs: Mapping[str, Any], count: int) -> list[Result]:
    """Checks the outputs of all pictures and decodes their masks."""
    columns = [_column(outputs, name, count) for name in _OUTPUTS]
    return [_result(*values) for values in zip(*columns, strict=True)]


def _result(data: bytes, height: Any, width: Any, status: Any) -> Result:
    if status not in STATUSES:
        raise ServingError(
            f"the server's `status` must be one of {', '.join(STATUSES)}. "
            f"Received: {_one_line(str(status))!r}"
        )
    if type(height) is not int or type(width) is not int:
        raise ServingError("the server's `height` and `width` must be integers")
    if status != "OK":
        if data or height or width:
            raise ServingError(f"the server gave a mask and {status}")
        return Result(status, None)
    if height < 1 or width < 1 or height * width > LARGEST_MASK:
        raise ServingError(
            f"the server's mask must have 1..{LARGEST_MASK} pixels. "
            f"Received: height={height}, width={width}"
        )
    try:
        # The size is in the file's head: no pixel is decoded before it is
        # known how many there are.
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            kind = picture.mode, picture.height, picture.width
            if kind != ("L", height, width):
                raise ServingError(
                    f"the server's mask must be grey, {width}x{height}. "
                    f"Received: mode {kind[0]}, {kind[2]}x{kind[1]}"
                )
            return Result(status, np.array(picture))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise ServingError("the server's mask must be a PNG file") from None


def _upright(data: bytes) -> np.ndarray:
    """Decodes a picture the way the server does: RGB, turned upright."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
            return np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"`picture` must be a whole JPEG or PNG file. Received: {error}"
        ) from error


def _write_png(path: Path, pixels: np.ndarray) -> None:
    """Writes beside `path` and renames, so that nobody reads half a file."""
    target = Path(os.path.realpath(path))
    temporary = target.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with open(temporary, "xb") as stream:
            Image.fromarray(pixels).save(stream, "PNG")
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _one_line(text: str) -> str:
    """Makes a server's words fit for a terminal."""
    line = "".join(c if c.isprintable() else " " for c in text)
    line = " ".join(line.split())
    return line if len(line) <= 500 else f"{line[:500]}..."


if __name__ == "__main__":
    sys.exit(main())
