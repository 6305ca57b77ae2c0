"""Segments images with an exported PSPNet on a TensorFlow Serving server.

    python serving/client.py photo.jpg -o overlay.png
    python serving/client.py photo.jpg -o mask.png --mask --grpc host:8500

To call a server from a program, copy this file and import `Client`. REST needs
NumPy, Pillow and requests; gRPC also needs grpcio and tensorflow-serving-api.
"""

import argparse
import base64
import dataclasses
import io
import json
import os
import random
import re
import ssl
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import requests
from PIL import Image, ImageColor, ImageOps
from urllib3 import Retry, exceptions

REST_ADDRESS = "http://127.0.0.1:8501"
LARGEST_RESPONSE = 256 * 2**20  # a server must not fill the client's memory
_OUTPUTS = ("mask_png_bytes", "height", "width", "status")
_CERTIFICATES = ssl.get_default_verify_paths()


class ServingError(RuntimeError):
    """The server is unreachable, refuses a request or sends an invalid answer.

    `retry` says whether the same request may succeed a moment later.
    """

    def __init__(self, message: str, retry: bool = False, response: Any = None):
        line = "".join(c if c.isprintable() else " " for c in message)
        super().__init__(" ".join(line.split())[:500])
        self.retry, self.response = retry, response


class Result(NamedTuple):
    """The status of an image, and if it is `"OK"` the mask, uint8 `(H, W)`."""

    status: str
    mask: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Client:
    """Asks a server for masks.

    Attributes:
        address: For REST, `http://host:port` or `https://host:port`, with or
            without a path. For gRPC, `host:port`; `login` or `ca` turns on TLS.
        model: Name of the model on the server.
        version: Version of the model; the newest by default.
        label: Label of a version, such as `"canary"`, instead of its number.
        timeout: Seconds for each attempt.
        retries: Number of attempts after the first one.
        login: Name and password for a proxy; requires TLS.
        ca: PEM file of the certificates to trust, instead of the system's.

    Examples:
        >>> from client import Client
        >>> with open("photo.jpg", "rb") as stream:
        ...     photo, other = Client(address).segment([stream.read(), b"text"])
        >>> photo.mask.shape, other.status
        ((96, 128), 'NOT_JPEG_OR_PNG')
    """

    address: str
    model: str = "pspnet"
    version: int | None = None
    label: str | None = None
    timeout: float = 10.0
    retries: int = 3
    login: tuple[str, str] | None = None
    ca: str | os.PathLike[str] | None = None

    def segment(self, images: Sequence[bytes]) -> list[Result]:
        """Segments images in one request.

        Args:
            images: Contents of JPEG or PNG files, at most the server's
                `max_batch_size`.

        Returns:
            A result for each image, in the same order. If an image cannot be
            decoded, its status says why, and the others still get masks.

        Raises:
            ImportError: If the packages for gRPC are missing.
            OSError: If `ca` cannot be read.
            ServingError: If the server does not give a valid answer.
            ValueError: If `address` is wrong, or is http with `login` or `ca`.
        """
        http = "https" if self.login or self.ca else "https?"
        if not re.fullmatch(f"{http}://[^/].*|[^/]+:[0-9]+", self.address):
            raise ValueError(
                "`address` must be host:port, http://host:port, or https:// if "
                f"`login` or `ca` is set. Received: address={self.address!r}"
            )
        if self.version is not None and self.label is not None:
            raise ValueError("`label` cannot be combined with `version`")
        attempt = self._rest if "//" in self.address else self._grpc
        policy = _Retry(max(self.retries, 0), backoff_factor=0.1, backoff_max=2)
        while True:
            try:
                return _results(attempt(images), len(images))
            except ServingError as error:
                if not error.retry or not policy.total:
                    raise
                policy = policy.increment(error=error)
                policy.sleep(error.response)

    def _headers(self) -> dict[str, str]:
        pair = base64.b64encode(":".join(self.login or ()).encode()).decode()
        return {"authorization": f"Basic {pair}"} if self.login else {}

    def _rest(self, images: Sequence[bytes]) -> dict[str, Any]:
        url = f"{self.address.rstrip('/')}/v1/models/{quote(self.model, '')}"
        if self.version is not None:
            url += f"/versions/{self.version}"
        elif self.label is not None:
            url += f"/labels/{quote(self.label, '')}"
        files = [{"b64": base64.b64encode(image).decode()} for image in images]
        body = {"inputs": {"image_bytes": files}}  # columnar, as is the answer
        answer = self._post(f"{url}:predict", body)
        try:
            return dict(json.loads(answer)["outputs"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ServingError(f"no prediction: {answer[:80]!r}") from error

    def _post(self, url: str, body: object) -> bytes:
        answer, deadline = bytearray(), time.monotonic() + self.timeout
        try:
            with requests.post(
                url,
                json=body,
                auth=lambda request: request,  # ignores ~/.netrc
                headers={"Accept-Encoding": "identity", **self._headers()},
                timeout=self.timeout,
                verify=self.ca or _CERTIFICATES.cafile or _CERTIFICATES.capath,
                allow_redirects=False,  # sends images nowhere else
                stream=True,
            ) as response:
                # The timeout is per read: a slow trickle never exceeds it.
                while part := response.raw.read1(2**20):
                    answer += part
                    if time.monotonic() > deadline:
                        raise requests.Timeout
                    if len(answer) > LARGEST_RESPONSE:
                        raise ServingError("the server's answer is too large")
        except (requests.RequestException, exceptions.HTTPError) as error:
            if isinstance(error, (requests.Timeout, exceptions.TimeoutError)):
                message = f"the server did not answer within {self.timeout:g} s"
                raise ServingError(message) from error  # it may be computing
            reason = getattr((error.args or [0])[0], "reason", error)
            retry = not isinstance(error, requests.exceptions.SSLError)
            raise ServingError(f"connection failed: {reason}", retry) from error
        if response.status_code == 200:
            return bytes(answer)
        words = answer[:500].decode(errors="replace")
        raise ServingError(
            f"the server answered HTTP {response.status_code}: {words}",
            retry=response.status_code in (429, 502, 503),
            response=response.raw,
        )

    def _grpc(self, images: Sequence[bytes]) -> dict[str, Any]:
        import grpc
        from tensorflow_serving.apis import predict_pb2
        from tensorflow_serving.apis import prediction_service_pb2_grpc as api

        request = predict_pb2.PredictRequest(output_filter=_OUTPUTS)
        request.model_spec.name = self.model
        if self.version is not None:
            request.model_spec.version.value = self.version
        elif self.label is not None:
            request.model_spec.version_label = self.label
        tensor = request.inputs["image_bytes"]
        tensor.dtype = 7  # DT_STRING of tensorflow/core/framework/types.proto
        tensor.tensor_shape.dim.add().size = len(images)
        tensor.string_val.extend(images)
        limit = [("grpc.max_receive_message_length", LARGEST_RESPONSE)]
        # A new channel each time: one that failed is slow to reconnect.
        if self.login or self.ca:
            roots = Path(self.ca).read_bytes() if self.ca else None
            ssl.create_default_context(cafile=self.ca)  # checks the file
            credentials = grpc.ssl_channel_credentials(roots)
            channel = grpc.secure_channel(self.address, credentials, limit)
        else:
            channel = grpc.insecure_channel(self.address, limit)
        try:
            with channel:
                answer = api.PredictionServiceStub(channel).Predict(
                    request, self.timeout, metadata=[*self._headers().items()]
                )
        except grpc.RpcError as error:
            busy = error.code() is grpc.StatusCode.UNAVAILABLE
            message = f"the server answered {error.code().name}: "
            raise ServingError(message + str(error.details()), busy) from error
        # A missing output becomes empty; no output has values of both types.
        found = ((name, answer.outputs[name]) for name in _OUTPUTS)
        return {name: [*out.string_val, *out.int_val] for name, out in found}


class _Retry(Retry):
    """Random pauses, so that clients do not all retry at the same moment."""

    def get_backoff_time(self) -> float:
        return random.uniform(0, super().get_backoff_time() or 0.1)

    def get_retry_after(self, response: Any) -> float | None:
        try:
            return min(super().get_retry_after(response) or 0, 30)
        except (exceptions.InvalidHeader, ValueError):
            return None


def _results(outputs: dict[str, Any], count: int) -> list[Result]:
    """Validates an answer and decodes its masks."""
    columns = [outputs.get(name) for name in _OUTPUTS]
    if any(not isinstance(c, list) or len(c) != count for c in columns):
        raise ServingError(f"the answer must have {_OUTPUTS} for each image")
    return [_result(*values) for values in zip(*columns, strict=True)]


def _result(png: Any, height: Any, width: Any, status: Any) -> Result:
    if isinstance(status, bytes):
        status = status.decode(errors="replace")
    if status != "OK":
        return Result(status, None)
    try:
        if not isinstance(png, bytes):
            png = base64.b64decode(png["b64"], validate=True)
        # Pillow refuses huge images before decoding them.
        with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
            found = f"{image.width}x{image.height} {image.mode}"
            if found == f"{width}x{height} L":
                return Result(status, np.array(image))
    except Exception as error:  # Pillow raises many kinds
        found = repr(error)
    raise ServingError(f"the mask must be {width}x{height} L, not {found}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; an error is one line on stderr and status 2."""
    try:
        _run(_parser().parse_args(arguments))
    except (ServingError, ImportError, OSError, ValueError) as error:
        print(f"client.py: error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("client.py", None, "Segment an image.")
    add = parser.add_argument
    add("image", help="JPEG or PNG")
    add("-o", "--output", required=True, help="PNG file to write")
    where = f"http://host:port ({REST_ADDRESS}), or host:port for gRPC"
    add("--rest", "--grpc", dest="address", default=REST_ADDRESS, help=where)
    add("--model", default="pspnet", help="name on the server (pspnet)")
    add("--version", type=int, help="version of the model (newest)")
    add("--label", help="label of a version, e.g. canary")
    add("--labels", metavar="FILE", help="pspnet.json of the export")
    add("--timeout", type=float, default=10.0, help="seconds per attempt (10)")
    add("--retries", type=int, default=3, help="attempts after the first (3)")
    add("--user", metavar="NAME", help="the password is in PSPNET_PASSWORD")
    add("--ca", metavar="FILE", help="PEM file of the certificates to trust")
    add("--mask", action="store_true", help="write class ids, not an overlay")
    return parser


def _run(options: argparse.Namespace) -> None:
    image, output = Path(options.image), Path(options.output)
    if output.suffix.lower() != ".png" or not output.parent.is_dir():
        raise ValueError("`--output` must be a .png in a folder that exists")
    if output.exists() and output.samefile(image):
        raise ValueError("`--output` must not be the image")
    password = os.environ.get("PSPNET_PASSWORD")
    if options.user is not None and password is None:
        raise ValueError("`--user` requires PSPNET_PASSWORD to be set")
    options.login = (options.user, password) if options.user else None
    names, palette = _labels(options.labels)
    data = image.read_bytes()
    if "//" not in options.address:
        _import_quietly()
    fields = [field.name for field in dataclasses.fields(Client)]
    client = Client(**{name: getattr(options, name) for name in fields})
    ((status, mask),) = client.segment([data])
    if mask is None:
        raise ServingError(f"{image} cannot be segmented: {status}")
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    if upright.size != mask.shape[::-1]:
        raise ServingError("the mask must have the size of the image")
    drawn = Image.fromarray(mask)
    if not options.mask:
        drawn.putpalette(palette)
        drawn = Image.blend(upright, drawn.convert("RGB"), 0.55)
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        drawn.save(temporary, "PNG")
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    shares = np.bincount(mask.reshape(-1), minlength=256) / mask.size
    for index in np.argsort(-shares)[: np.count_nonzero(shares)]:
        print(f"{names[index]:<20} {shares[index]:8.2%}")


def _labels(path: str | None) -> tuple[list[str], bytes]:
    """Returns names and RGB colors of all 256 values of a mask."""
    names = [f"class_{index}" for index in range(255)] + ["ignored"]
    # The golden angle keeps any number of hues apart.
    hues = (f"hsv({index * 222.49 % 360},75%,95%)" for index in range(255))
    palette = [bytes(ImageColor.getrgb(hue)) for hue in hues] + [bytes(3)]
    if path is not None:
        try:
            labels = json.loads(Path(path).read_bytes())["labels"]
            for index, (red, green, blue) in enumerate(labels["colors"]):
                palette[index] = bytes((red, green, blue))
                names[index] = labels["names"][index]
        except (ValueError, TypeError, LookupError) as error:
            raise ValueError(
                f"{path} must be the pspnet.json of an export"
            ) from error
    return names, b"".join(palette)


def _import_quietly() -> None:
    """Hides TensorFlow's messages: the classes for gRPC import it."""
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import tensorflow_serving.apis.predict_pb2  # noqa: F401
    finally:
        os.dup2(stderr, 2)


if __name__ == "__main__":
    sys.exit(main())
