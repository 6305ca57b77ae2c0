"""The page, made of Gradio's own components."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from keras_pspnet.demo import results
from keras_pspnet.demo.results import Result
from keras_pspnet.inference import Predictor, image_errors
from keras_pspnet.visualization import class_colors

# Scales of the published protocols.
_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
# Seconds between two searches for old files, and the age to delete them at.
_SWEEP, _AGE = 60, 3600

_SHIPPED = "aerial"
_SHIPPED_NOTE = (
    "`aerial` knows images from above. For everyday photos, start the page "
    "with `--model voc`."
)


def build(
    network: Predictor, model: str, arguments: Mapping[str, Any], folder: Path
) -> gr.Blocks:
    """Builds the page.

    Args:
        network: Predictor that segments the images.
        model: Name of the model.
        arguments: Arguments of `segment`; those for scales and flip are the
            initial values of the controls.
        folder: Folder to write files to. The caller removes it.
    """
    names = network.labels.names
    with gr.Blocks(
        title=f"keras-pspnet: {model}",
        analytics_enabled=False,
        delete_cache=(_SWEEP, _AGE),
    ) as page:
        gr.Markdown("# keras-pspnet")
        if model == _SHIPPED:
            gr.Markdown(_SHIPPED_NOTE)
        with gr.Accordion(f"Model {model}, {len(names)} classes", open=False):
            gr.HTML(html.escape(", ".join(names)))
        _Page(network, arguments, folder)
    # Further requests are asked to come back later.
    page.queue(max_size=16)
    # Until launch, which a mounted page never sees, Gradio takes any file of
    # this machine for an upload.
    page.has_launched = True
    return page


class _Page:
    """The components of the page, and their behavior."""

    def __init__(
        self, network: Predictor, arguments: Mapping[str, Any], folder: Path
    ):
        self._network = network
        self._arguments = dict(arguments)
        self._folder = folder
        self._result = gr.State(None)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                self._lay_settings()
            with gr.Column(scale=5, min_width=320):
                self._lay_results()
        self._wire()

    def _lay_settings(self) -> None:
        scales = list(self._arguments.pop("scales", (1.0,)))
        flip = self._arguments.pop("flip", False)
        # Gradio does not decode uploads: `read_image` enforces the limits.
        self._image = gr.File(label="Image", height=170)
        drawn = results.write_examples(self._folder)
        titles = [Path(each).stem for each in drawn]
        gr.Examples(drawn, self._image, example_labels=titles)
        self._image.keep_in_cache.update(drawn)  # Examples are never deleted.
        self._scales = gr.CheckboxGroup(
            [(f"{each:g}", each) for each in sorted({*_SCALES, *scales})],
            value=scales,
            label="Scales",
            info="Averaging several scales takes longer.",
        )
        self._flip = gr.Checkbox(flip, label="Average flipped images in")
        self._button = gr.Button("Segment", variant="primary")

    def _lay_results(self) -> None:
        with gr.Tab("Classes"):
            self._overlay = gr.AnnotatedImage(show_label=False)
        with gr.Tab("Confidence"):
            self._confidence = gr.Image(show_label=False, alt_text="Confidence")
        self._summary = gr.Markdown()
        with gr.Column(visible=False) as self._looks:
            self._classes = gr.CheckboxGroup(label="Classes shown")
            with gr.Row():
                self._alpha = gr.Slider(0, 1, 0.55, step=0.05, label="Opacity")
                self._colorblind = gr.Checkbox(label="Color-blind palette")
            with gr.Row():
                self._mask = gr.DownloadButton("Download mask (PNG)")
                self._file = gr.DownloadButton("Download overlay (PNG)")

    def _wire(self) -> None:
        private: dict[str, Any] = {"api_visibility": "private"}
        look = [self._alpha, self._colorblind]
        segmented = gr.on(
            [self._image.change, self._button.click],
            self._segment,
            [self._image, self._scales, self._flip, *look],
            [
                *(self._result, self._looks, self._summary, self._classes),
                *(self._confidence, self._mask, self._overlay, self._file),
            ],
            # One network uses all cores.
            concurrency_id="network",
            concurrency_limit=1,
            trigger_mode="always_last",
            show_progress_on=self._overlay,
            **private,
        )
        # The browser may still send the classes of the previous image.
        given = [self._result, *look]
        segmented.success(self._write, given, self._file, **private)
        given = [*given, self._classes]
        drawn = gr.on(
            [part.input for part in (*look, self._classes)],
            self._draw,
            given,
            [self._overlay, self._file],
            trigger_mode="always_last",
            show_progress="hidden",
            **private,
        )
        drawn.success(self._write, given, self._file, **private)

    def _segment(
        self, event: gr.EventData, path: str | None, *settings: Any
    ) -> tuple[Any, ...]:
        scales, flip, *look = settings
        nothing = None, gr.Column(visible=False), "", [], *[None] * 4
        if path is None:
            # Removing a file needs no message.
            if event.target is self._button:
                gr.Info("Upload an image, or choose an example.")
            return nothing
        try:
            result, confidence = results.segment_file(
                self._network,
                Path(path),
                self._folder,
                scales=sorted(scales),
                flip=flip,
                **self._arguments,
            )
        except image_errors() as error:
            gr.Warning(results.sentence(error), None)
            return nothing
        names, shares = result.labels.names, result.shares
        choices = [(f"{names[i]} {shares[i]:.1%}", i) for i in shares]
        classes = gr.CheckboxGroup(choices, value=list(shares))
        rest = classes, confidence, result.mask, *self._draw(result, *look)
        return result, gr.Column(visible=True), result.summary, *rest

    def _draw(
        self, result: Result, alpha: float, colorblind: bool, *classes: Any
    ) -> tuple[Any, Any]:
        try:
            layers = result.layers(alpha, *classes)
        except image_errors() as error:
            told = results.sentence(error)
            raise gr.Error(told, None, print_exception=False) from error
        colors = class_colors(result.labels, colorblind).tolist()
        codes = [f"#{bytes(color).hex()}" for color in colors]
        color_map = dict(zip(result.labels.names, codes, strict=False))
        # No download until the file shows the same overlay.
        pending = gr.DownloadButton(interactive=False)
        return gr.AnnotatedImage(layers, color_map=color_map), pending

    def _write(self, result: Result | None, *look: Any) -> Any:
        path = None if result is None else result.write_overlay(*look)
        return gr.DownloadButton(value=path, interactive=path is not None)
