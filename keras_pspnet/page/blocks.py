"""The page itself, in Gradio: what stands where, and what leads to what."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from keras_pspnet.inference import picture_faults
from keras_pspnet.page import markup
from keras_pspnet.page.desk import Desk, sentence
from keras_pspnet.page.examples import examples
from keras_pspnet.page.looks import CLASSES, SHOWS, Look
from keras_pspnet.page.runs import Way
from keras_pspnet.page.shelf import Entry

# The published protocols' sizes, with the whole picture's own.
_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
# Requests that wait for the network; more are told to come back.
_MAX_WAITING = 16
# Seconds: how often files that nobody asked for are looked for, and their age.
_SWEEP, _AGE = 60, 300

# No fonts of other hosts.
_FONTS = ("ui-sans-serif", "system-ui", "sans-serif")


def build(desk: Desk, model: str, way: Way) -> gr.Blocks:
    """Lays the page out.

    Args:
        desk: What does the work.
        model: Name of the model.
        way: How pictures are looked at, unless a user chooses otherwise.

    Returns:
        The page, to be mounted with `theme()` and `style(...)`.
    """
    with gr.Blocks(
        title=f"keras-pspnet: {model}",
        analytics_enabled=False,
        delete_cache=(_SWEEP, _AGE),
    ) as page:
        _Page(desk, model, way)
    page.queue(max_size=_MAX_WAITING)
    return page


def theme() -> gr.Theme:
    """Returns the colours and fonts of the page."""
    return gr.themes.Base(
        primary_hue="blue", font=_FONTS, font_mono=("ui-monospace", "monospace")
    ).set(
        # The theme's own greys are hard to read.
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        checkbox_border_color_dark="*neutral_400",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
    )


def style(desk: Desk) -> str:
    """Returns the page's style sheet.

    Args:
        desk: Whose page.
    """
    drawn = examples(desk.network.labels).values()
    return markup.STYLE + "".join(
        markup.example_style(number, draw())
        for number, draw in enumerate(drawn)
    )


class _Page:
    """The parts of the page, and what they do."""

    def __init__(self, desk: Desk, model: str, way: Way):
        self._desk = desk
        labels = desk.network.labels
        self._token = gr.State(None, delete_callback=desk.shelf.drop)
        gr.HTML(markup.head(model, labels), elem_id="head")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                self._lay_controls(way)
            with gr.Column(scale=5, min_width=320):
                self._lay_results()
        self._wire(examples(labels))

    def _lay_controls(self, way: Way) -> None:
        self._drop = gr.File(
            label="Picture",
            elem_id="drop",
            height=170,
        )
        drawn = examples(self._desk.network.labels)
        with gr.Row():
            self._examples = [
                gr.Button(
                    title,
                    elem_id=f"example-{number}",
                    elem_classes="example",
                    min_width=100,
                )
                for number, title in enumerate(drawn)
            ]
        choices = sorted({*_SCALES, *way.scales})
        self._scales = gr.CheckboxGroup(
            [(f"{scale:g}", scale) for scale in choices],
            value=list(way.scales),
            label="Sizes",
            info="The mean of several sizes costs more time than one. "
            "Compare shows it beside one size.",
            elem_id="scales",
        )
        self._flip = gr.Checkbox(
            way.flip, label="Mirror images too", elem_id="flip"
        )
        with gr.Row():
            self._segment = gr.Button(
                "Segment", variant="primary", elem_id="segment", min_width=100
            )
            self._compare = gr.Button(
                "Compare", elem_id="compare", min_width=100
            )

    def _lay_results(self) -> None:
        self._message = gr.HTML(elem_id="message")
        self._figure = gr.HTML(
            markup.empty(), elem_id="figure", elem_classes="own"
        )
        self._legend = gr.CheckboxGroup(
            label="Classes, and their share of the picture",
            elem_id="legend",
            visible=False,
        )
        self._colors = gr.HTML(elem_id="colors")
        with gr.Row(visible=False) as self._looks:
            self._show = gr.Radio(
                list(SHOWS),
                value=CLASSES,
                label="Show",
                elem_id="show",
                scale=4,
                min_width=300,
            )
            self._alpha = gr.Slider(
                0,
                1,
                0.55,
                step=0.05,
                label="Opacity",
                elem_id="opacity",
                scale=3,
                min_width=200,
            )
            self._colorblind = gr.Checkbox(
                label="Colour-blind palette",
                elem_id="colorblind",
                scale=3,
                min_width=200,
            )
        self._files = gr.HTML(elem_id="files", elem_classes="own")
        self._comparison = gr.HTML(elem_id="comparison", elem_classes="own")

    def _wire(self, drawn: dict[str, Callable[[], np.ndarray]]) -> None:
        look = [self._show, self._alpha, self._colorblind]
        way = [self._scales, self._flip]
        results = [
            self._message,
            self._figure,
            self._legend,
            self._colors,
            self._looks,
            self._files,
            self._comparison,
        ]
        whole: dict[str, Any] = {
            "fn": self._answer,
            "inputs": [self._token, *way, *look],
            "outputs": results,
            "concurrency_id": "network",
            "concurrency_limit": 1,
            "api_visibility": "private",
        }
        opening: dict[str, Any] = {
            "outputs": [self._drop, self._token, self._message],
            "concurrency_id": "pictures",
            "concurrency_limit": 2,
            "api_visibility": "private",
            "show_progress": "hidden",
        }
        self._drop.upload(self._open, [self._drop, self._token], **opening)
        for button, draw in zip(self._examples, drawn.values(), strict=True):
            take = self._taking(draw, str(button.value))
            button.click(take, self._token, **opening)
        # A file that is no picture leaves the token, and what is shown.
        self._token.change(**whole)
        self._segment.click(**whole)
        self._compare.click(
            self._answer_compared,
            [self._token, *way, *look, self._legend],
            [self._message, self._comparison],
            concurrency_id="network",
            api_visibility="private",
        )
        redraw: dict[str, Any] = {
            "inputs": [self._token, *look, self._legend],
            "concurrency_id": "drawing",
            "concurrency_limit": 4,
            "trigger_mode": "always_last",
            "show_progress": "hidden",
            "api_visibility": "private",
        }
        for part in (self._legend, self._show, self._alpha):
            part.input(self._redraw, outputs=results[:2], **redraw)
        self._colorblind.input(self._recolor, outputs=results[:4], **redraw)

    # === What is done ===

    def _open(self, path: str | None, old: str | None) -> tuple[Any, ...]:
        try:
            name, data = _taken(path)
            token = self._desk.open(name, data, old)
        except picture_faults() as error:
            name = Path(path or "").name
            said = sentence(error)
            return None, gr.skip(), markup.message(f"{name}: {said}")
        return None, token, ""

    def _taking(
        self, draw: Callable[[], np.ndarray], title: str
    ) -> Callable[[str | None], tuple[Any, ...]]:
        def take(old: str | None) -> tuple[Any, ...]:
            return None, self._desk.take(title, draw(), old), ""

        return take

    def _answer(
        self,
        token: str | None,
        scales: Sequence[float],
        flip: bool,
        show: str,
        alpha: float,
        colorblind: bool,
    ) -> tuple[Any, ...]:
        way, look = _way(scales, flip), Look(show, alpha, None, colorblind)
        try:
            entry = self._desk.segment(token, way, look)
        except picture_faults() as error:
            return markup.message(sentence(error)), *[gr.skip()] * 6
        return (
            "",
            markup.figure(entry),
            *self._legend_of(entry, None),
            gr.Row(visible=True),
            markup.files(str(token), entry),
            "",
        )

    def _legend_of(
        self, entry: Entry, shown: Sequence[int] | None
    ) -> tuple[gr.CheckboxGroup, str]:
        run, colorblind = entry.shown, entry.look.colorblind
        assert run is not None
        choices = markup.legend_entries(run, colorblind)
        value = [each for _, each in choices] if shown is None else list(shown)
        return (
            gr.CheckboxGroup(choices=choices, value=value, visible=True),
            markup.legend_colors(run, colorblind),
        )

    def _redraw(
        self,
        token: str | None,
        show: str,
        alpha: float,
        colorblind: bool,
        classes: Sequence[int],
    ) -> tuple[Any, ...]:
        return self._recolor(token, show, alpha, colorblind, classes)[:2]

    def _recolor(
        self,
        token: str | None,
        show: str,
        alpha: float,
        colorblind: bool,
        classes: Sequence[int],
    ) -> tuple[Any, ...]:
        look = Look(show, alpha, tuple(classes), colorblind)
        try:
            entry = self._desk.look(token, look)
        except picture_faults() as error:
            return markup.message(sentence(error)), *[gr.skip()] * 3
        return "", markup.figure(entry), *self._legend_of(entry, classes)

    def _answer_compared(
        self,
        token: str | None,
        scales: Sequence[float],
        flip: bool,
        show: str,
        alpha: float,
        colorblind: bool,
        classes: Sequence[int],
    ) -> tuple[Any, ...]:
        look = Look(show, alpha, tuple(classes), colorblind)
        try:
            pair = self._desk.compare(token, _way(scales, flip))
        except picture_faults() as error:
            return markup.message(sentence(error)), gr.skip()
        return "", markup.comparison(*pair, look)


def _way(scales: Sequence[float], flip: bool) -> Way:
    return Way(tuple(sorted(scales)), flip)


def _taken(path: str | None) -> tuple[str, bytes]:
    """Reads an uploaded file, and deletes it."""
    if path is None:
        return "", b""
    file = Path(path)
    try:
        return file.name, file.read_bytes()
    finally:
        with contextlib.suppress(OSError):
            file.unlink()
            file.parent.rmdir()
