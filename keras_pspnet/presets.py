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
    "mmseg, whole picture: shorter side 512 (Cityscapes: own size), no flip; "
    "multi: mean softmax of 0.5 to 1.75 and mirrored"
)
MMSEG_SLIDE = (
    "mmseg, windows of 769 every 513 pixels, mean logits, no flip; multi: "
    "mean softmax of 0.5 to 1.75 and mirrored"
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
        mean_iou_multi: The same at several scales and mirrored.
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


def _mmseg(
    name: str,
    depth: int,
    file: str,
    data: str,
    mean_iou: float,
    mean_iou_multi: float,
    megabytes: int,
) -> Preset:
    """Makes a row of mmsegmentation's model zoo from its file name."""
    run, _, digest = file.rpartition("-")
    folder = run[: -len("_20200613_161222")]
    corners = "769x769" in file
    return Preset(
        name=name,
        backbone=f"resnet{depth}",
        data=data,
        mean_iou=mean_iou,
        mean_iou_multi=mean_iou_multi,
        protocol=MMSEG_SLIDE if corners else MMSEG_WHOLE,
        license="Apache-2.0 (mmsegmentation)",
        megabytes=megabytes,
        url=f"{_MMSEG}{folder}/{file}.pth",
        sha256=digest,
        align_corners=corners,
    )


_VOC = "Pascal VOC 2012 with SBD"
_ADE20K = "ADE20K"
_CITYSCAPES = "Cityscapes, fine"

# Scores: mmsegmentation's README of PSPNet.
PRESETS = (
    Preset(
        name="aerial",
        backbone="resnet18",
        data="aerial photographs of Dubai (CC0)",
        mean_iou=0.636,
        mean_iou_multi=0.659,
        protocol="whole picture at its own size, no flip",
        license="Apache-2.0 (this package)",
        megabytes=6,
    ),
    _mmseg(
        "voc",
        50,
        "pspnet_r50-d8_512x512_40k_voc12aug_20200613_161222-ae9c1b8c",
        _VOC,
        0.7729,
        0.7848,
        196,
    ),
    _mmseg(
        "voc",
        101,
        "pspnet_r101-d8_512x512_40k_voc12aug_20200613_161222-bc933b18",
        _VOC,
        0.7852,
        0.7957,
        272,
    ),
    _mmseg(
        "ade20k",
        50,
        "pspnet_r50-d8_512x512_160k_ade20k_20200615_184358-1890b0bd",
        _ADE20K,
        0.4248,
        0.4344,
        197,
    ),
    _mmseg(
        "ade20k",
        101,
        "pspnet_r101-d8_512x512_160k_ade20k_20200615_100650-967c316f",
        _ADE20K,
        0.4439,
        0.4535,
        273,
    ),
    _mmseg(
        "cityscapes",
        18,
        "pspnet_r18-d8_512x1024_80k_cityscapes_20201225_021458-09ffa746",
        _CITYSCAPES,
        0.7487,
        0.7604,
        51,
    ),
    _mmseg(
        "cityscapes",
        50,
        "pspnet_r50-d8_512x1024_80k_cityscapes_20200606_112131-2376f12b",
        _CITYSCAPES,
        0.7855,
        0.7979,
        196,
    ),
    _mmseg(
        "cityscapes",
        101,
        "pspnet_r101-d8_512x1024_80k_cityscapes_20200606_112211-e1e1100f",
        _CITYSCAPES,
        0.7976,
        0.8101,
        272,
    ),
    _mmseg(
        "cityscapes_769",
        18,
        "pspnet_r18-d8_769x769_80k_cityscapes_20201225_021458-3deefc62",
        _CITYSCAPES,
        0.7590,
        0.7786,
        51,
    ),
    _mmseg(
        "cityscapes_769",
        50,
        "pspnet_r50-d8_769x769_80k_cityscapes_20200606_210121-5ccf03dd",
        _CITYSCAPES,
        0.7959,
        0.8069,
        196,
    ),
    _mmseg(
        "cityscapes_769",
        101,
        "pspnet_r101-d8_769x769_80k_cityscapes_20200606_225055-dba412fa",
        _CITYSCAPES,
        0.7977,
        0.8106,
        272,
    ),
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


def _backbone(stem: str, folder: str, file: str) -> BackboneWeights:
    """Makes a row from a file name such as resnet50_v1c-2cccc1ad."""
    run, _, digest = file.rpartition("-")
    backbone = run.rpartition("_")[0]
    return BackboneWeights(backbone, stem, f"{folder}{file}.pth", digest)


# The stride is on the 3x3 in all of them, the pictures as ImageNet's.
BACKBONE_WEIGHTS = (
    _backbone("deep", _MMCV, "resnet18_v1c-b5776b93"),
    _backbone("deep", _MMCV, "resnet50_v1c-2cccc1ad"),
    _backbone("deep", _MMCV, "resnet101_v1c-e67eebb6"),
    _backbone("deep", _GLUON, "resnet152_v1c-a3bb0b98"),
    _backbone("deep_wide", _GLUON, "resnet50_v1s-1762acc0"),
    _backbone("deep_wide", _GLUON, "resnet101_v1s-60fe0cc1"),
    _backbone("deep_wide", _GLUON, "resnet152_v1s-dcc41b81"),
    _backbone("7x7", _GLUON, "resnet18_v1b-0757602b"),
    _backbone("7x7", _GLUON, "resnet34_v1b-c6d82d59"),
    _backbone("7x7", _GLUON, "resnet50_v1b-0ebe02e2"),
    _backbone("7x7", _GLUON, "resnet101_v1b-3b017079"),
    _backbone("7x7", _GLUON, "resnet152_v1b-c1edb0dd"),
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
