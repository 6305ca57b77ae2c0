"""The page's own HTML and CSS: figures, legends, messages."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from keras_pspnet.labels import LabelSet
from keras_pspnet.page.looks import CONFIDENCE, PICTURE, Look, draw, encode
from keras_pspnet.page.runs import Run, agreement, classes_of, difference
from keras_pspnet.page.shelf import Entry
from keras_pspnet.visualization.colors import class_colors, confidence_colors
from keras_pspnet.visualization.legend import percent

# Smaller pictures are enlarged, pixel by pixel, as far as they are wide.
_SMALL = 400

STYLE = """
.gradio-container { width: 100%; max-width: 1240px !important;
  margin: 0 auto !important; }
#head h1 { font-size: 1.45rem; font-weight: 650; margin: 0; }
#head p, #head summary { color: var(--body-text-color-subdued); margin: 0; }
#head details p { margin: .35rem 0 0 1.1rem; }
#message p { margin: 0; padding: .6rem .8rem; border-radius: 8px;
  border: 1px solid var(--border-color-primary);
  border-left: 5px solid #d55e00; color: var(--body-text-color);
  background: var(--background-fill-secondary); }
#message:not(:has(p)), #colors, footer { display: none !important; }
.own:not(:has(img)):not(:has(a)):not(:has(.empty)) {
  display: none !important; }
#head .html-container, #message .html-container, .own .html-container {
  padding: 0; }
.own figure { margin: 0; }
.own img { display: block; width: 100%; height: auto; border-radius: 8px;
  max-height: 78vh; object-fit: contain; object-position: left top;
  background: var(--background-fill-secondary); }
.own img.small { image-rendering: pixelated; }
.own figcaption { color: var(--body-text-color-subdued);
  font-size: .9rem; margin-top: .35rem; }
.own .empty { border: 1px dashed var(--border-color-primary);
  border-radius: 8px; padding: 9rem 1rem; text-align: center;
  color: var(--body-text-color-subdued); }
.own .bar { height: 14px; border-radius: 4px; margin-top: .5rem; }
.own .ends { display: flex; justify-content: space-between;
  font-size: .85rem; color: var(--body-text-color-subdued); }
.own .pair { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); }
.own .verdict { font-size: 1.1rem; font-weight: 600; margin: .4rem 0 .6rem; }
.own .files { display: flex; flex-wrap: wrap; gap: 8px; }
.own .files a { padding: .4rem .8rem; border-radius: 8px;
  border: 1px solid var(--border-color-primary); text-decoration: none;
  color: var(--body-text-color); background: var(--background-fill-secondary);
  }
.own .files a:hover, .own .files a:focus-visible {
  border-color: var(--color-accent); }
#show { flex: 1 0 min(360px, 100%); }
#colorblind { flex: 1 0 200px; }
#legend label { font-variant-numeric: tabular-nums; }
#legend label::before { content: ""; flex: none; width: 1.2em; height: 1.2em;
  margin-right: .5em; border-radius: 3px;
  border: 1px solid rgba(128, 128, 128, .6); }
.example { min-height: 84px; background-size: cover !important;
  background-position: center !important; align-items: flex-end;
  color: #fff !important; text-shadow: 0 0 4px #000, 0 0 2px #000; }
"""


def data_uri(picture: Image.Image, form: str = "JPEG") -> str:
    """Encodes a picture as an address that holds it.

    Args:
        picture: RGB.
        form: `"JPEG"` or `"PNG"`.
    """
    data = base64.b64encode(encode(picture, form)).decode("ascii")
    return f"data:image/{form.lower()};base64,{data}"


def head(model: str, labels: LabelSet) -> str:
    """Returns the title, the model's name and its classes.

    Args:
        model: Its name.
        labels: Its classes.
    """
    count = labels.num_classes
    names = ", ".join(map(escape, labels.names))
    noun = "class" if count == 1 else "classes"
    line = f"Model <strong>{escape(model)}</strong>, {count} {noun}"
    if count <= 11:
        return f"<h1>keras-pspnet</h1><p>{line}: {names}</p>"
    return (
        f"<h1>keras-pspnet</h1><details><summary>{line}</summary>"
        f"<p>{names}</p></details>"
    )


def message(text: str) -> str:
    """Returns what tells that something did not work.

    Args:
        text: A sentence, or nothing.
    """
    return f'<p role="alert">{escape(text)}</p>' if text else ""


def empty() -> str:
    """Returns what stands where there is no picture yet."""
    return '<div class="empty">The result is shown here.</div>'


def figure(entry: Entry) -> str:
    """Returns the picture that is looked at.

    Args:
        entry: One that has a result.
    """
    shown = entry.shown
    assert shown is not None
    look = entry.look
    what = {
        CONFIDENCE: "how sure the model is",
        PICTURE: "the picture alone",
    }.get(look.show, "classes over the picture")
    height, width = shown.result.mask.shape
    caption = f"{width} x {height} pixels; {shown.way}; {_facts(shown)}"
    bar = _bar() if look.show == CONFIDENCE else ""
    return (
        "<figure>"
        f"{_image(draw(shown.view, look), f'{entry.name}: {what}')}"
        f"{bar}<figcaption>{escape(caption)}</figcaption></figure>"
    )


def comparison(plain: Run, other: Run, look: Look) -> str:
    """Returns two results side by side, and where they differ.

    Args:
        plain: The one.
        other: The other.
        look: How they are drawn.
    """
    same = agreement(plain, other)
    cells = [
        _cell(
            draw(each.view, look), f"{_capital(str(each.way))}: {_facts(each)}"
        )
        for each in (plain, other)
    ]
    cells.append(
        _cell(
            Image.fromarray(difference(plain, other)),
            f"Different in {1 - same:.2%} of the pixels",
        )
    )
    return (
        f'<p class="verdict">{same:.2%} of the pixels have the same class.</p>'
        f'<div class="pair">{"".join(cells)}</div>'
    )


def legend_entries(run: Run, colorblind: bool) -> list[tuple[str, int]]:
    """Lists text and id of each class of a result, the largest first.

    Args:
        run: The result.
        colorblind: Whether the ids are part of the text.
    """
    shares = run.result.areas()
    return [
        (f"{f'{each} · ' if colorblind else ''}{name}  {percent(share)}", each)
        for each, (name, share) in zip(
            classes_of(run.result), shares.items(), strict=True
        )
    ]


def legend_colors(run: Run, colorblind: bool) -> str:
    """Returns a style sheet with the colours of `legend_entries`.

    Args:
        run: The result.
        colorblind: As of `keras_pspnet.visualization.segmentation.colorize`.
    """
    colors = class_colors(run.result.labels, colorblind)
    rules = (
        f"#legend label:nth-of-type({place})::before "
        f"{{ background: rgb{tuple(colors[each].tolist())}; }}"
        for place, each in enumerate(classes_of(run.result), 1)
    )
    return f"<style>{' '.join(rules)}</style>"


def files(token: str, entry: Entry) -> str:
    """Returns links to the files of a result.

    Args:
        token: The entry's.
        entry: Whose files.
    """
    links: Sequence[tuple[str, str]] = (
        ("mask.png", "Download mask (PNG of class ids)"),
        ("overlay.png", "Download overlay (PNG)"),
    )
    return (
        '<div class="files">'
        + "".join(
            f'<a id="{file.split(".")[0]}-file" href="result/{token}/{file}" '
            f'download="{entry.name}_{file}">{text}</a>'
            for file, text in links
        )
        + "</div>"
    )


def example_style(number: int, picture: np.ndarray) -> str:
    """Returns the rule that makes a button a drawn picture.

    Args:
        number: The button's.
        picture: What it opens.
    """
    small = Image.fromarray(picture)
    small.thumbnail((320, 320))
    return (
        f"#example-{number} {{ background-image: url({data_uri(small)}); }}\n"
    )


def _facts(run: Run) -> str:
    return f"{run.seconds:.2f} s; mean confidence {run.confidence:.2f}"


def _cell(picture: Image.Image, caption: str) -> str:
    return (
        f"<figure>{_image(picture, caption)}"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _image(picture: Image.Image, text: str) -> str:
    small = ' class="small"' if max(picture.size) < _SMALL else ""
    return f'<img{small} src="{data_uri(picture)}" alt="{escape(text)}">'


def _bar() -> str:
    steps = confidence_colors(np.linspace(0, 1, 16)).tolist()
    colors = ", ".join(f"rgb{tuple(step)}" for step in steps)
    return (
        f'<div class="bar" style="background: linear-gradient(to right, '
        f'{colors})"></div>'
        '<div class="ends"><span>0 unsure</span><span>0.5</span>'
        "<span>1 sure</span></div>"
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
