"""The published models, one row each."""

from __future__ import annotations

import dataclasses

_MMSEG = "https://download.openmmlab.com/mmsegmentation/v0.5/pspnet/"
_MMCV = "https://download.openmmlab.com/pretrain/third_party/"
# timm's author publishes the same weights at the Hub as
# resnet50s.gluon_in1k and so on, but here the names carry the hashes.
_GLUON = (
    "https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/"
    "download/v0.1/gluon_"
)

MMSEG_WHOLE = (
    "mmseg, whole image: shorter side 512 (Cityscapes: own size), no flip; "
    "multi: mean softmax of 0.5 to 1.75 and flipped"
)
MMSEG_SLIDE = (
    "mmseg, windows of 769 every 513 pixels, mean logits, no flip; multi: "
    "mean softmax of 0.5 to 1.75 and flipped"
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """A model that `load_pretrained` knows by name.

    Args:
        name: What users type.
        backbone: What `load_pretrained(backbone=)` takes.
        data: What it was trained on.
        mean_iou: Published mean IoU on the data's validation split, one
            scale, 0..1.
        mean_iou_multi: The same at several scales and flipped.
        protocol: How those were measured.
        license: Of the weights, by their source.
        megabytes: Size of the file, in millions of bytes, rounded.
        url: Where the file is; empty for what ships with the package.
        sha256: The file's digest, or the first 8 digits where the source
            publishes no more.
        align_corners: See `PSPNet`. The file says it too, but in a text.
    """

    name: str
    backbone: str
    data: str
    mean_iou: float
    mean_iou_multi: float
    protocol: str
    license: str
    megabytes: int
    url: str = ""
    sha256: str = ""
    align_corners: bool = False

    @property
    def is_shipped(self) -> bool:
        """Whether it needs no download."""
        return not self.url


# mmsegmentation's model zoo: name, depth, training, date and hash of the file,
# mean IoU at one scale and at several, megabytes.
_ZOO = """
voc 50 512x512_40k 20200613_161222-ae9c1b8c 0.7729 0.7848 196
voc 101 512x512_40k 20200613_161222-bc933b18 0.7852 0.7957 272
ade20k 50 512x512_160k 20200615_184358-1890b0bd 0.4248 0.4344 197
ade20k 101 512x512_160k 20200615_100650-967c316f 0.4439 0.4535 273
cityscapes 18 512x1024_80k 20201225_021458-09ffa746 0.7487 0.7604 51
cityscapes 50 512x1024_80k 20200606_112131-2376f12b 0.7855 0.7979 196
cityscapes 101 512x1024_80k 20200606_112211-e1e1100f 0.7976 0.8101 272
cityscapes_769 18 769x769_80k 20201225_021458-3deefc62 0.7590 0.7786 51
cityscapes_769 50 769x769_80k 20200606_210121-5ccf03dd 0.7959 0.8069 196
cityscapes_769 101 769x769_80k 20200606_225055-dba412fa 0.7977 0.8106 272
"""
# The data in the name of a file, and in words.
_ZOO_DATA = {
    "voc": ("voc12aug", "Pascal VOC 2012 with SBD"),
    "ade20k": ("ade20k", "ADE20K"),
    "cityscapes": ("cityscapes", "Cityscapes, fine"),
    "cityscapes_769": ("cityscapes", "Cityscapes, fine"),
}


def _zoo_preset(row: str) -> Preset:
    name, depth, training, date, single, multi, megabytes = row.split()
    file_data, data = _ZOO_DATA[name]
    run = f"pspnet_r{depth}-d8_{training}_{file_data}"
    corners = name == "cityscapes_769"
    return Preset(
        name=name,
        backbone=f"resnet{depth}",
        data=data,
        mean_iou=float(single),
        mean_iou_multi=float(multi),
        protocol=MMSEG_SLIDE if corners else MMSEG_WHOLE,
        license="Apache-2.0 (mmsegmentation)",
        megabytes=int(megabytes),
        url=f"{_MMSEG}{run}/{run}_{date}.pth",
        sha256=date.rpartition("-")[2],
        align_corners=corners,
    )


PRESETS = (
    Preset(
        name="aerial",
        backbone="resnet18",
        data="aerial photographs of Dubai (CC0)",
        mean_iou=0.636,
        mean_iou_multi=0.659,
        protocol="whole image at its own size, no flip",
        license="Apache-2.0 (this package)",
        megabytes=6,
    ),
    *map(_zoo_preset, _ZOO.split("\n")[1:-1]),
)
PRESET_NAMES = tuple(dict.fromkeys(preset.name for preset in PRESETS))
DEFAULT_BACKBONE = "resnet50"


def find_preset(name: str, backbone: str | None = None) -> Preset:
    """Finds a row.

    Args:
        name: One of `PRESET_NAMES`.
        backbone: None is ResNet-50, or the only one there is.

    Returns:
        The row.

    Raises:
        ValueError: If there is no such row.

    Examples:
        >>> from keras_pspnet.presets import find_preset
        >>> row = find_preset("voc")
        >>> row.backbone, row.mean_iou
        ('resnet50', 0.7729)
    """
    rows = {each.backbone: each for each in PRESETS if each.name == name}
    if not rows:
        raise ValueError(
            f"`name` must be one of {', '.join(PRESET_NAMES)}. "
            f"Received: name={name!r}"
        )
    if backbone is None:
        backbone = DEFAULT_BACKBONE if len(rows) > 1 else next(iter(rows))
    if backbone not in rows:
        raise ValueError(
            f"`backbone` must be one of {', '.join(rows)} for {name!r}. "
            f"Received: backbone={backbone!r}"
        )
    return rows[backbone]


# === Backbones trained on ImageNet ===


@dataclasses.dataclass(frozen=True)
class BackboneWeights:
    """Published ImageNet weights of a backbone.

    Args:
        backbone: As `PSPNet` names it.
        stem: As `PSPNet` names it.
        url: Where the file is.
        sha256: Its digest, or the first 8 digits where the source publishes
            no more.
    """

    backbone: str
    stem: str
    url: str
    sha256: str


# The stride is on the 3x3 in all of them, the images as ImageNet's.
_FILES = (
    ("deep", _MMCV, "18_v1c-b5776b93 50_v1c-2cccc1ad 101_v1c-e67eebb6"),
    ("deep", _GLUON, "152_v1c-a3bb0b98"),
    ("deep_wide", _GLUON, "50_v1s-1762acc0 101_v1s-60fe0cc1 152_v1s-dcc41b81"),
    ("7x7", _GLUON, "18_v1b-0757602b 34_v1b-c6d82d59 50_v1b-0ebe02e2"),
    ("7x7", _GLUON, "101_v1b-3b017079 152_v1b-c1edb0dd"),
)
BACKBONE_WEIGHTS = tuple(
    BackboneWeights(
        f"resnet{file.partition('_')[0]}",
        stem,
        f"{folder}resnet{file}.pth",
        file.rpartition("-")[2],
    )
    for stem, folder, files in _FILES
    for file in files.split()
)


def find_backbone_weights(backbone: str, stem: str) -> BackboneWeights:
    """Finds a row.

    Args:
        backbone: As `PSPNet` names it.
        stem: As `PSPNet` names it.

    Returns:
        The row.

    Raises:
        ValueError: If nobody publishes weights of this backbone and stem.

    Examples:
        >>> from keras_pspnet.presets import find_backbone_weights
        >>> find_backbone_weights("resnet50", "deep").sha256
        '2cccc1ad'
    """
    for row in BACKBONE_WEIGHTS:
        if (row.backbone, row.stem) == (backbone, stem):
            return row
    published = ", ".join(
        f"{row.backbone} with {row.stem!r}" for row in BACKBONE_WEIGHTS
    )
    raise ValueError(
        "`backbone_weights` must be None or a file where no ImageNet weights "
        f"are published; they are for {published}. "
        f"Received: backbone={backbone!r}, stem={stem!r}"
    )
