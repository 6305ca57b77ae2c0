"""The published models and backbones, one row each."""

from __future__ import annotations

import dataclasses

_MMSEG = "https://download.openmmlab.com/mmsegmentation/v0.5/pspnet/"
_PADDLESEG = "https://bj.bcebos.com/paddleseg/dygraph/"
_MMCV = "https://download.openmmlab.com/pretrain/third_party/"
# timm's author also publishes these weights on the Hub, as resnet50s.gluon_in1k
# and so on. The file names here contain the hashes.
_GLUON = (
    "https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/"
    "download/v0.1/gluon_"
)
_TIMM = (
    "https://github.com/rwightman/pytorch-image-models/releases/download/"
    "v0.1-weights/"
)

MMSEG_WHOLE = (
    "mmseg, whole image: shorter side 512 (Cityscapes: own size), no flip; "
    "multi: mean softmax of 0.5 to 1.75 and flipped"
)
MMSEG_SLIDE = (
    "mmseg, windows of 769 every 513 pixels, mean logits, no flip; multi: "
    "mean softmax of 0.5 to 1.75 and flipped"
)
PADDLESEG_WHOLE = (
    "paddleseg, whole image at its own size (VOC: padded to 512x512), no flip; "
    "multi: mean logits of scales that PaddleSeg does not name, and flipped"
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """A model that `load_pretrained` knows by name.

    Args:
        name: Name that `load_pretrained` takes.
        backbone: Backbone that `load_pretrained(backbone=)` takes.
        data: Data that it was trained on.
        mean_iou: Published mean IoU on the validation split at one scale,
            0..1.
        mean_iou_multi: The same at several scales, with flips.
        protocol: How the scores were measured.
        license: License of the weights, according to their source.
        megabytes: Size of the file, in millions of bytes, rounded.
        url: Address of the file; empty if it ships with the package.
        sha256: Digest of the file, or its first 8 digits if the source
            publishes only these. If it is empty, the source publishes none:
            the first download records its digest, and later downloads must
            match it.
        align_corners: See `PSPNet`. The file has it only in free text.
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
        """Whether the model ships with the package."""
        return not self.url

    @property
    def file_name(self) -> str:
        """Name of the file in the download folder and on mirrors."""
        path, _, name = self.url.rpartition("/")
        # PaddleSeg's files all have the same name; use that of their folder.
        if name == "model.pdparams":
            return f"{path.rpartition('/')[2]}.pdparams"
        return name


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
# Data set -> its part of the file name, and its description.
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


# PaddleSeg's: name, folder, depth, training, mean IoU at one scale and at
# several, and megabytes as Paddle saves such a network today.
_PADDLESEG_ZOO = """
voc_paddleseg pascal_voc12 50 voc12aug_512x512_40k 0.8076 0.8118 272
voc_paddleseg pascal_voc12 101 voc12aug_512x512_40k 0.8022 0.8068 348
cityscapes_paddleseg cityscapes 50 cityscapes_1024x512_80k 0.7883 0.7966 272
cityscapes_paddleseg cityscapes 101 cityscapes_1024x512_80k 0.8048 0.8129 348
"""


def _paddleseg_preset(row: str) -> Preset:
    name, folder, depth, training, single, multi, megabytes = row.split()
    run = f"pspnet_resnet{depth}_os8_{training}"
    is_voc = name.startswith("voc")
    return Preset(
        name=name,
        backbone=f"resnet{depth}",
        data=_ZOO_DATA["voc" if is_voc else "cityscapes"][1],
        mean_iou=float(single),
        mean_iou_multi=float(multi),
        protocol=PADDLESEG_WHOLE,
        license="Apache-2.0 (PaddleSeg)",
        megabytes=int(megabytes),
        url=f"{_PADDLESEG}{folder}/{run}/model.pdparams",
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
    *map(_paddleseg_preset, _PADDLESEG_ZOO.split("\n")[1:-1]),
)
PRESET_NAMES = tuple(dict.fromkeys(preset.name for preset in PRESETS))
DEFAULT_BACKBONE = "resnet50"


def find_preset(name: str, backbone: str | None = None) -> Preset:
    """Finds a published model.

    Args:
        name: One of `PRESET_NAMES`.
        backbone: Backbone; None is ResNet-50, or the only one.

    Returns:
        The model.

    Raises:
        ValueError: If there is no such model.

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
        backbone: As in `PSPNet`.
        stem: As in `PSPNet`.
        shortcut: As in `PSPNet`.
        url: Address of the file.
        sha256: Digest of the file, or its first 8 digits if the source
            publishes only these.
    """

    backbone: str
    stem: str
    shortcut: str
    url: str
    sha256: str


# All have the stride on the 3x3, and ImageNet's mean and standard deviation.
_FILES = (
    ("deep", "conv", _MMCV, "18_v1c-b5776b93 50_v1c-2cccc1ad 101_v1c-e67eebb6"),
    ("deep", "conv", _GLUON, "152_v1c-a3bb0b98"),
    ("deep_wide", "conv", _GLUON, "50_v1s-1762acc0 101_v1s-60fe0cc1"),
    ("deep_wide", "conv", _GLUON, "152_v1s-dcc41b81"),
    ("7x7", "conv", _GLUON, "18_v1b-0757602b 34_v1b-c6d82d59 50_v1b-0ebe02e2"),
    ("7x7", "conv", _GLUON, "101_v1b-3b017079 152_v1b-c1edb0dd"),
    ("deep", "average_pool", _TIMM, "18d_ra2-48a79e06 34d_ra2-f8dcfcaf"),
    ("deep", "average_pool", _TIMM, "50d_ra2-464e36ba 101d_ra2-2803ffab"),
    ("deep", "average_pool", _TIMM, "152d_ra2-5cac0439"),
)
BACKBONE_WEIGHTS = tuple(
    BackboneWeights(
        f"resnet{file.partition('_')[0].removesuffix('d')}",
        stem,
        shortcut,
        f"{folder}resnet{file}.pth",
        file.rpartition("-")[2],
    )
    for stem, shortcut, folder, files in _FILES
    for file in files.split()
)


def find_backbone_weights(
    backbone: str, stem: str, shortcut: str = "conv"
) -> BackboneWeights:
    """Finds published ImageNet weights of a backbone.

    Args:
        backbone: As in `PSPNet`.
        stem: As in `PSPNet`.
        shortcut: As in `PSPNet`.

    Returns:
        The weights.

    Raises:
        ValueError: If no weights are published for such a backbone.

    Examples:
        >>> from keras_pspnet.presets import find_backbone_weights
        >>> find_backbone_weights("resnet50", "deep").sha256
        '2cccc1ad'
    """
    for row in BACKBONE_WEIGHTS:
        if (row.backbone, row.stem, row.shortcut) == (backbone, stem, shortcut):
            return row
    published = ", ".join(
        f"{row.backbone} with {row.stem!r} and {row.shortcut!r}"
        for row in BACKBONE_WEIGHTS
    )
    raise ValueError(
        "`backbone_weights` must be None or a file for this backbone, since "
        f"ImageNet weights are published only for {published}. "
        f"Received: backbone={backbone!r}, stem={stem!r}, "
        f"shortcut={shortcut!r}"
    )
