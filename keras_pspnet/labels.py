"""Label sets: class names, colors and the ignore label of data sets."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

Color = tuple[int, int, int]
# Value of mask pixels without a class.
IGNORE_LABEL = 255


@dataclasses.dataclass(frozen=True)
class LabelSet:
    """The classes of a model, in the order of its logits.

    Args:
        name: Short name of the set, e.g. `"voc"`.
        names: 1 to 255 different class names; class `i` is `names[i]`.
        colors: One `(red, green, blue)` per class, each 0..255.
        ignore_label: Mask value 0..255 of pixels without ground truth; must
            not be a class.

    Raises:
        TypeError: If a name is not a string, or a number is not an integer.
        ValueError: If a count or a value is out of range.

    Examples:
        >>> colors = ((255, 0, 0), (0, 0, 255))
        >>> labels = kp.LabelSet("pets", ("cat", "dog"), colors)
        >>> labels.num_classes
        2
    """

    name: str
    names: tuple[str, ...]
    colors: tuple[Color, ...]
    ignore_label: int = IGNORE_LABEL

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(
                f"`name` must be a string. Received: name={self.name!r}"
            )
        _check_names(self.names)
        _check_colors(self.colors, len(self.names))
        _check_number("ignore_label", self.ignore_label)
        if self.ignore_label < self.num_classes:
            raise ValueError(
                f"`ignore_label` must not be one of the {self.num_classes} "
                f"classes. Received: ignore_label={self.ignore_label}"
            )

    @property
    def num_classes(self) -> int:
        """The number of classes, 1..255."""
        return len(self.names)

    def has_classes_of(self, other: "LabelSet") -> bool:
        """Tells whether two sets have the same classes; names may differ.

        Args:
            other: The other set. Its classes differ if their number does, or
                if the same names are in another order.
        """
        is_reordered = self.names != other.names and sorted(
            self.names
        ) == sorted(other.names)
        return self.num_classes == other.num_classes and not is_reordered

    def to_dict(self) -> dict[str, Any]:
        """Returns the set as lists, strings and integers, ready for JSON."""
        return {
            "name": self.name,
            "names": list(self.names),
            "colors": [list(color) for color in self.colors],
            "ignore_label": self.ignore_label,
        }

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> "LabelSet":
        """Builds a set from the result of `to_dict`.

        Args:
            config: The result of `to_dict`, possibly read from JSON.

        Returns:
            A `LabelSet` equal to the original.

        Raises:
            TypeError: If an entry has the wrong type.
            ValueError: If an entry is missing, unknown or out of range.
        """
        fields = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(config, Mapping) or set(config) != fields:
            found = sorted(config) if isinstance(config, Mapping) else config
            raise ValueError(
                f"`config` must have exactly the entries {sorted(fields)}. "
                f"Received: config={found}"
            )
        values: dict[str, Any] = {
            key: tuple(map(_as_tuple, value))
            if isinstance(value, list)
            else value
            for key, value in config.items()
        }
        return cls(**values)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def generic_labels(num_classes: int) -> LabelSet:
    """Makes generic names and colors for a number of classes.

    Args:
        num_classes: The number of classes, 1..255.

    Returns:
        A `LabelSet` named `"classes"`, with the names `class_0`, `class_1`,
        ... and different colors that depend only on the index.

    Raises:
        TypeError: If `num_classes` is not an integer.
        ValueError: If `num_classes` is outside 1..255.

    Examples:
        >>> from keras_pspnet.labels import generic_labels
        >>> generic_labels(3).names
        ('class_0', 'class_1', 'class_2')
    """
    _check_number("num_classes", num_classes, least=1)
    return LabelSet(
        name="classes",
        names=tuple(f"class_{index}" for index in range(num_classes)),
        # Skip VOC's first color, black, which marks ignored pixels.
        colors=tuple(_bit_color(index + 1) for index in range(num_classes)),
    )


def named_labels(names: Sequence[str]) -> LabelSet:
    """Makes a label set of these names, with the colors of `generic_labels`.

    Args:
        names: 1..255 different names.

    Returns:
        A `LabelSet` named `"classes"`.

    Raises:
        TypeError: If a name is not a string.
        ValueError: If a name occurs twice, or there are too few or too many.

    Examples:
        >>> from keras_pspnet.labels import named_labels
        >>> named_labels(["ground", "cat"]).num_classes
        2
    """
    colors = tuple(_bit_color(index + 1) for index in range(len(names)))
    return LabelSet("classes", tuple(names), colors)


def _bit_color(index: int) -> Color:
    """Returns a color of PASCAL VOC's color map.

    It spreads the bits of `index` over the high bits of the three channels, so
    that neighboring indices have different colors.
    """
    channels = [0, 0, 0]
    for bit in range(8):
        channels[bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
    red, green, blue = channels
    return red, green, blue


def _check_names(names: object) -> None:
    if not isinstance(names, tuple) or not all(
        isinstance(entry, str) for entry in names
    ):
        raise TypeError(
            f"`names` must be a tuple of strings. Received: names={names!r}"
        )
    if not 1 <= len(names) <= 255:
        raise ValueError(
            "`names` must have 1 to 255 entries. Received: "
            f"{len(names)} names={names!r}"
        )
    for entry in names:
        if not entry or not entry.isprintable() or names.count(entry) > 1:
            raise ValueError(
                "`names` must be different, printable and not empty. "
                f"Received: name={entry!r}"
            )


def _check_colors(colors: object, count: int) -> None:
    if not isinstance(colors, tuple):
        raise TypeError(
            f"`colors` must be a tuple. Received: colors={colors!r}"
        )
    if len(colors) != count:
        raise ValueError(
            f"`colors` must have one entry for each of the {count} names. "
            f"Received: {len(colors)} colors={colors!r}"
        )
    for color in colors:
        if not isinstance(color, tuple) or len(color) != 3:
            raise ValueError(
                "`colors` must hold (red, green, blue) tuples. Received: "
                f"color={color!r}"
            )
        for channel in color:
            _check_number("colors", channel)


def _check_number(argument: str, value: Any, least: int = 0) -> None:
    received = f"Received: {argument}={value!r}"
    if not hasattr(value, "__index__") or isinstance(value, bool):
        raise TypeError(f"`{argument}` must be an integer. {received}")
    if not least <= value <= 255:
        raise ValueError(
            f"`{argument}` must be within {least}..255. {received}"
        )


def _table(name: str, names: str, colors: str) -> LabelSet:
    """Reads a comma-separated list of names and one of hexadecimal colors."""
    return LabelSet(
        name=name,
        names=tuple(" ".join(entry.split()) for entry in names.split(",")),
        colors=tuple(
            (red, green, blue)
            for red, green, blue in map(bytes.fromhex, colors.split())
        ),
    )


VOC = _table(
    "voc",
    """background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat,
    chair, cow, diningtable, dog, horse, motorbike, person, pottedplant,
    sheep, sofa, train, tvmonitor""",
    """000000 800000 008000 808000 000080 800080 008080 808080 400000 c00000
    408000 c08000 400080 c00080 408080 c08080 004000 804000 00c000 80c000
    004080""",
)

ADE20K = _table(
    "ade20k",
    """wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass,
    cabinet, sidewalk, person, earth, door, table, mountain, plant, curtain,
    chair, car, water, painting, sofa, shelf, house, sea, mirror, rug, field,
    armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing,
    cushion, base, box, column, signboard, chest of drawers, counter, sand,
    sink, skyscraper, fireplace, refrigerator, grandstand, path, stairs,
    runway, case, pool table, pillow, screen door, stairway, river, bridge,
    bookcase, blind, coffee table, toilet, flower, book, hill, bench,
    countertop, stove, palm, kitchen island, computer, swivel chair, boat,
    bar, arcade machine, hovel, bus, towel, light, truck, tower, chandelier,
    awning, streetlight, booth, television receiver, airplane, dirt track,
    apparel, pole, land, bannister, escalator, ottoman, bottle, buffet,
    poster, stage, van, ship, fountain, conveyer belt, canopy, washer,
    plaything, swimming pool, stool, barrel, basket, waterfall, tent, bag,
    minibike, cradle, oven, ball, food, step, tank, trade name, microwave,
    pot, animal, bicycle, lake, dishwasher, screen, blanket, sculpture, hood,
    sconce, vase, traffic light, tray, ashcan, fan, pier, crt screen, plate,
    monitor, bulletin board, shower, radiator, glass, clock, flag""",
    # Road and skyscraper share one gray in the published table.
    """787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07
    e005ff ebff07 96053d 787846 08ff33 ff0652 8fff8c ccff04 ff3307 cc4603
    0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc ff095c 7009ff
    08ffd6 07ffe0 ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06 ffc207
    ff7a08 00ff14 ff0829 ff0599 0633ff eb0cff a09614 00a3ff 8c8c8c fa0a0f
    14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff
    0bc8c8 ff5200 00fff5 003dff 00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00
    008fff 33ff00 0052ff 00ff29 00ffad 0a00ff adff00 00ff99 ff5c00 ff00ff
    ff00f5 ff0066 ffad00 ff0014 ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2
    00ff52 000aff 0070ff 3300ff 00c2ff 007aff 00ffa3 ff9900 00ff0a ff7000
    8fff00 5200ff a3ff00 ffeb00 08b8aa 8500ff 00ff5c b800ff ff001f 00b8ff
    00d6ff ff0070 5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3
    ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500 0abed4 d6ff00
    00ccff 1400ff ffff00 0099ff 0029ff 00ffcc 2900ff 29ff00 ad00ff 00f5ff
    4700ff 7a00ff 00ffb8 005cff b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff""",
)

CITYSCAPES = _table(
    "cityscapes",
    """road, sidewalk, building, wall, fence, pole, traffic light,
    traffic sign, vegetation, terrain, sky, person, rider, car, truck, bus,
    train, motorcycle, bicycle""",
    """804080 f423e8 464646 66669c be9999 999999 faaa1e dcdc00 6b8e23 98fb98
    4682b4 dc143c ff0000 00008e 000046 003c64 005064 0000e6 770b20""",
)

# The 11 classes in the order of SegNet's distribution, which is the usual one.
CAMVID = _table(
    "camvid",
    """Sky, Building, Pole, Road, Pavement, Tree, SignSymbol, Fence, Car,
    Pedestrian, Bicyclist""",
    """808080 800000 c0c080 804080 3c28de 808000 c08080 404080 400080 404000
    0080c0""",
)

AERIAL = _table(
    "aerial",
    "building, land, road, vegetation, water",
    "d1493f e0c48f 6f7480 4f9d4a 3d85d8",
)

SCENES = _table(
    "scenes",
    """sky, grass, road, water, building, skyscraper, car, boat, wall, bed,
    pillow""",
    """8ecae6 74b455 7d7f87 2f6fb7 c8794f 6a4c93 e63946 f4a261 e9d8a6 2a9d8f
    ff6fb5""",
)

# Every label id of Cityscapes, -1 (license plate) to 33. The trainId of the
# license plate is -1, too; here it is 255, because masks are uint8 and neither
# value is trained on.
CITYSCAPES_TRAIN_IDS: Mapping[int, int] = MappingProxyType(
    dict.fromkeys(range(-1, 34), 255)
    | {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9}
    | {23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
)


def published_labels(num_classes: int) -> LabelSet | None:
    """Returns the label set of published weights by their number of classes.

    Args:
        num_classes: Number of classes of a checkpoint.

    Returns:
        VOC for 21, ADE20K for 150, Cityscapes for 19; otherwise None.

    Examples:
        >>> from keras_pspnet.labels import published_labels
        >>> published_labels(21).names[15]
        'person'
    """
    published = {each.num_classes: each for each in (VOC, ADE20K, CITYSCAPES)}
    return published.get(num_classes)
