"""Draws the drawings of `docs/how-it-works.md`: `python docs/drawings/draw.py`.

Each is an SVG file beside this one. Sizes, bins and reaches are computed, not
typed. Colors are variables: the site sets them for its light and dark scheme,
and a file on its own follows the system.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
LIGHT = (
    "--ink:#1d2a33;--soft:#5a6873;--line:#a9b4bd;--paper:#ffffff;"
    "--a:#3a6fb0;--b:#c9772a;--c:#3f8f63;--d:#8a5fb0"
)
DARK = (
    "--ink:#e3e8ec;--soft:#a3b0ba;--line:#5c6872;--paper:#1e2129;"
    "--a:#6fa3e0;--b:#e5a05c;--c:#6cc093;--d:#b692da"
)
STYLE = (
    f"svg.pspnet{{{LIGHT}}}"
    f"@media (prefers-color-scheme:dark){{svg.pspnet{{{DARK}}}}}"
    ".pspnet text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,"
    "sans-serif;fill:var(--ink);text-anchor:middle}"
    ".pspnet .small{font-size:11.5px;fill:var(--soft)}"
    ".pspnet .left{text-anchor:start}"
    ".pspnet .bold{font-weight:600}"
    ".pspnet .a{fill:var(--a)}.pspnet .b{fill:var(--b)}"
    ".pspnet .c{fill:var(--c)}.pspnet .d{fill:var(--d)}"
    ".pspnet .pale{fill-opacity:.22}"
    ".pspnet .empty{fill:none;stroke:var(--line)}"
    ".pspnet rect.a,.pspnet rect.b,.pspnet rect.c,.pspnet rect.d"
    "{stroke:var(--ink);stroke-opacity:.35}"
    ".pspnet .arrow{fill:none;stroke:var(--ink);stroke-width:1.3;"
    "marker-end:url(#pspnet-tip)}"
    ".pspnet .rule{fill:none;stroke:var(--line)}"
    ".pspnet .dashed{stroke-dasharray:4 3}"
)
TIP = (
    '<defs><marker id="pspnet-tip" viewBox="0 0 8 8" refX="7" refY="4" '
    'markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0.8L7.5 4L0 7.2z" fill="var(--ink)"/></marker></defs>'
)
BINS = (1, 2, 3, 6)


class Drawing:
    """Shapes on a sheet, in its units of pixels."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._head = (
            f'<svg class="pspnet" xmlns="http://www.w3.org/2000/svg" '
            f'viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}">\n<title>{title}</title>\n'
            f"<style>{STYLE}</style>\n{TIP}\n"
        )
        self._shapes: list[str] = []

    def box(
        self, x: float, y: float, w: float, h: float, kind: str = "empty"
    ) -> None:
        """Draws a rectangle."""
        self._shapes.append(
            f'<rect class="{kind}" x="{x:g}" y="{y:g}" '
            f'width="{w:g}" height="{h:g}"/>'
        )

    def text(self, x: float, y: float, text: str, kind: str = "") -> None:
        """Writes a line, its middle (or with `left`, its start) at x."""
        name = f' class="{kind}"' if kind else ""
        self._shapes.append(f'<text{name} x="{x:g}" y="{y:g}">{text}</text>')

    def line(self, *points: tuple[float, float], kind: str = "arrow") -> None:
        """Draws a line through points."""
        path = "L".join(f"{x:g} {y:g}" for x, y in points)
        self._shapes.append(f'<path class="{kind}" d="M{path}"/>')

    def grid(
        self,
        x: float,
        y: float,
        side: float,
        cells: int,
        filled: dict[tuple[int, int], str] | str = "empty",
    ) -> None:
        """Draws cells x cells squares; `filled` is (row, column) -> kind."""
        step = side / cells
        for row in range(cells):
            for column in range(cells):
                kind = (
                    filled
                    if isinstance(filled, str)
                    else filled.get((row, column), "empty")
                )
                left, top = x + column * step, y + row * step
                self.box(round(left, 2), round(top, 2), step, step, kind)

    def save(self, name: str) -> None:
        """Writes the file."""
        body = "\n".join(self._shapes)
        text = f"{self._head}{body}\n</svg>\n"
        (HERE / f"{name}.svg").write_text(text, encoding="utf-8")


def bins_of(size: int, bins: int) -> list[tuple[int, int]]:
    """Returns where each adaptive bin starts and ends: floor and ceil."""
    return [(i * size // bins, -(-(i + 1) * size // bins)) for i in range(bins)]


def side_after(size: int, *strides: int) -> int:
    """Returns the side of a map after 3x3 windows with padding 1."""
    for stride in strides:
        size = (size - 1) // stride + 1
    return size


def network() -> None:
    """The whole network at 473 x 473, ResNet-50."""
    image = 473
    quarter, eighth = side_after(image, 2, 2), side_after(image, 2, 2, 2)
    sheet = Drawing(720, 470, "PSPNet with a ResNet-50")
    stages = (
        ("image", image, 3, "", 104, "empty"),
        ("stem", quarter, 64, "stride 2, pool 2", 76, "a pale"),
        ("stage 2", quarter, 256, "", 76, "a pale"),
        ("stage 3", eighth, 512, "stride 2", 52, "a pale"),
        ("stage 4", eighth, 1024, "dilation 1, 2", 52, "a"),
        ("stage 5", eighth, 2048, "dilation 2, 4", 52, "a"),
    )
    middle, step, last = 78, 118, 0.0
    for index, (name, side, channels, how, height, kind) in enumerate(stages):
        x = 65 + index * step
        sheet.box(x - height / 2, middle - height / 2, height, height, kind)
        sheet.text(x, 16, name, "bold")
        sheet.text(x, 146, f"{side} x {side} x {channels}", "small")
        sheet.text(x, 162, how, "small")
        if index:
            sheet.line((last + 5, middle), (x - height / 2 - 5, middle))
        last = x + height / 2
    at4, at5 = 65 + 4 * step, 65 + 5 * step

    # The auxiliary branch, on the left of the pyramid.
    sheet.line((at4, 170), (at4, 212))
    sheet.box(at4 - 62, 216, 124, 42, "b pale dashed")
    sheet.text(at4, 234, "3x3, 256", "")
    sheet.text(at4, 250, "1x1, C", "")
    sheet.line((at4 - 62, 237), (340, 237))
    sheet.text(250, 233, "auxiliary logits, loss x 0.4", "")
    sheet.text(250, 250, "in training only", "small")

    # The pyramid.
    sheet.line((at5, 170), (at5, 296))
    top, side = 310, 48
    for index, bins in enumerate(BINS):
        x = 414 + index * 68
        sheet.grid(x, top, side, bins, "c pale")
        sheet.text(x + side / 2, top + 66, f"{bins} x {bins}", "small")
    sheet.box(378, 292, 342 - 18, 132)
    sheet.text(541, 394, "average pooling, 1x1 convolution to 512,", "small")
    sheet.text(541, 410, "upsampled to 60 x 60, beside stage 5", "small")
    sheet.line((378, 340), (342, 340))
    sheet.box(226, 312, 112, 56, "a pale")
    sheet.text(282, 336, "3x3", "")
    sheet.text(282, 353, "4096 to 512", "")
    sheet.line((226, 340), (196, 340))
    sheet.box(112, 312, 80, 56, "a pale")
    sheet.text(152, 336, "1x1, C", "")
    sheet.text(152, 353, "resized", "small")
    sheet.line((112, 340), (84, 340))
    sheet.box(16, 308, 64, 64)
    sheet.text(48, 345, "logits", "")
    sheet.text(48, 392, f"{image} x {image} x C", "small")
    sheet.text(541, 444, "pyramid pooling module", "bold")
    sheet.text(282, 444, "head", "bold")
    sheet.save("network")


def dilation() -> None:
    """The taps of 3x3 kernels, and what one value of stage 5 can see."""
    sheet = Drawing(720, 296, "Dilated convolution")
    cells, side = 11, 176
    for index, rate in enumerate((1, 2, 4)):
        x = 30 + index * 240
        middle = cells // 2
        taps = {
            (middle + rate * dy, middle + rate * dx): "a"
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        }
        sheet.grid(x, 34, side, cells, taps)
        sheet.text(x + side / 2, 20, f"dilation {rate}", "bold")
        sheet.text(
            x + side / 2,
            230,
            f"nine weights, {2 * rate + 1} x {2 * rate + 1} cells",
            "small",
        )
    sheet.text(
        360,
        264,
        "A stride of 2 would halve the map and make every later 3x3 reach "
        "twice as far.",
        "",
    )
    sheet.text(
        360, 284, "Dilation reaches as far and leaves the map as it is.", ""
    )
    sheet.save("dilation")


def bins() -> None:
    """Adaptive bins of 10 samples beside those of a fixed kernel."""
    size, number, cell, left = 10, 6, 46, 176
    sheet = Drawing(720, 352, "Adaptive bins")
    sheet.text(left - 12 - 70, 40, f"{size} samples", "")
    for index in range(size):
        sheet.box(left + index * cell, 20, cell, 30, "empty")
        sheet.text(left + (index + 0.5) * cell, 40, str(index), "small")
    for index, (start, end) in enumerate(bins_of(size, number)):
        y = 70 + index * 22
        kind = "c" if index % 2 else "c pale"
        sheet.box(left + start * cell, y, (end - start) * cell, 16, kind)
        where = left + end * cell + 8
        sheet.text(where, y + 13, f"{start} to {end - 1}", "small left")
    sheet.text(left - 82, 122, "adaptive,", "")
    sheet.text(left - 82, 138, f"{number} bins", "")
    sheet.text(left - 82, 156, "floor, ceil", "small")
    kernel = size // number
    fixed = [(i * kernel, (i + 1) * kernel) for i in range(number)]
    for index, (start, end) in enumerate(fixed):
        y = 226 + (index % 2) * 20
        kind = "b" if index % 2 else "b pale"
        sheet.box(left + start * cell, y, (end - start) * cell, 16, kind)
    sheet.box(left + fixed[-1][1] * cell, 226, (size - number) * cell, 36)
    x = left + (fixed[-1][1] + (size - number) / 2) * cell
    sheet.text(x, 248, "never seen", "small")
    sheet.text(left - 82, 240, "fixed kernel", "")
    sheet.text(left - 82, 256, f"floor({size} / {number}) = {kernel}", "small")
    sheet.text(
        360,
        300,
        "Neighboring adaptive bins may share a sample; together they "
        "cover all of them, at any size.",
        "",
    )
    sheet.text(
        360,
        322,
        "At 60 samples, which 473 pixels give, both are the same: "
        "60 is a multiple of 1, 2, 3 and 6.",
        "small",
    )
    sheet.save("bins")


def shortcut() -> None:
    """Upsample and convolve, or convolve and upsample."""
    sheet = Drawing(720, 372, "The shortcut over the concatenation")
    sheet.text(12, 22, "As the paper draws it", "bold left")
    y = 40
    sheet.grid(20, y + 14, 48, 3, "c pale")
    sheet.text(44, y + 82, "3 x 3 x 512", "small")
    sheet.line((76, y + 38), (142, y + 38))
    sheet.text(108, y + 30, "upsample", "small")
    sheet.box(150, y - 6, 88, 88, "c pale")
    sheet.text(194, y + 98, "60 x 60 x 512", "small")
    sheet.line((246, y + 38), (342, y + 38))
    sheet.text(292, y + 30, "3x3 kernel", "small")
    sheet.box(350, y - 6, 88, 88, "a")
    sheet.text(394, y + 98, "60 x 60 x 512", "small")
    macs = 60 * 60 * 9 * 512 * 512 * len(BINS) / 1e9
    sheet.text(464, y + 30, f"{macs:.0f} billion multiply-adds", "left")
    sheet.text(464, y + 50, "for the four maps at 473 x 473", "small left")

    sheet.line((12, 176), (708, 176), kind="rule")
    sheet.text(12, 206, "As PSPNet computes it", "bold left")
    y = 228
    sheet.grid(20, y + 14, 48, 3, "c pale")
    sheet.text(44, y + 82, "3 x 3 x 512", "small")
    sheet.line((76, y + 38), (142, y + 38))
    sheet.text(109, y + 30, "9 taps", "small")
    for tap in range(9):
        row, column = divmod(tap, 3)
        sheet.grid(150 + column * 31, y - 4 + row * 31, 24, 3, "a pale")
    sheet.text(194, y + 104, "nine 3 x 3 x 512", "small")
    sheet.line((248, y + 38), (342, y + 38))
    sheet.text(292, y + 30, "two matrices", "small")
    sheet.box(350, y - 6, 88, 88, "a")
    sheet.text(394, y + 98, "60 x 60 x 512", "small")
    taps = sum(9 * n * n * 512 * 512 for n in BINS)
    reach = 3 * sum(BINS)
    width = sum(60 * 3 * n * 3 * n * 512 for n in BINS)
    height = 60 * 60 * reach * 512
    sheet.text(
        464,
        y + 30,
        f"{(taps + width + height) / 1e9:.1f} billion multiply-adds",
        "left",
    )
    sheet.text(464, y + 50, "same variables, same result", "small left")
    sheet.text(
        360,
        362,
        "Upsampling and convolving are both linear: their order may change.",
        "",
    )
    sheet.save("shortcut")


def favicon() -> None:
    """The pyramid's bins as a small drawing."""
    sheet = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
        '<rect width="32" height="32" rx="6" fill="#24506e"/>'
        '<path fill="#fff" d="M6 23h20v4H6zM9 17h14v4H9zM12 11h8v4h-8z'
        'M14.5 5h3v4h-3z"/></svg>\n'
    )
    (HERE / "favicon.svg").write_text(sheet, encoding="utf-8")


if __name__ == "__main__":
    for draw in (network, dilation, bins, shortcut, favicon):
        draw()
