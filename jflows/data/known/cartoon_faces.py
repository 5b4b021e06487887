"""Cartoon faces: 12,000 drawn faces with twenty attributes, for the study of directions in latent space.

A face is put together from the parts of python-avatars (hair, eyes, mouth, ...), each chosen by a seed, independently
of the others. It is shifted, turned and scaled a little, its colours vary about those of the package, and its
background is a gradient, so that there is no finite set of images to be learnt by heart. Every face is as likely
mirrored. Only the drawings in the package's archive are read, and none of its code is run; resvg turns them into
pixels.
"""

import functools
import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from jflows.data.protocols.images import Arrays, FixedImages
from jflows.data.store.archives import Archive
from jflows.errors import MissingPackageError

ARCHIVE = Archive(
    registry="pypi",
    package="python-avatars",
    version="1.4.1",
    file_name="python_avatars-1.4.1-py3-none-any.whl",
    sha256="ef97b1f8ac23583367705f876fbbac1cc118435982532d882ccc788e95663722",
    megabytes=0.3,
)
NUM_TRAIN, NUM_TEST = 10000, 2000
SEEDS = {"train": 0, "test": 1}

Odds = Mapping[str, float]
"""Names, each with how often it is drawn; the numbers are divided by their sum."""


def _each(names: str, weight: float = 1.0) -> dict[str, float]:
    return dict.fromkeys(names.split(), weight)


LONG = ("bob", "long_not_too_long", "mia_wallace", "straight_1", "straight_strand", "big_hair",
        "twist_long_hair", "curvy", "curly")  # fmt: skip
CURLY = ("short_curly", "short_dreads_1", "short_dreads_2", "fro", "curly", "curvy")
SHORT = (
    "caesar caesar_side_part elvis frizzle mohawk pixie pompadour quiff short_flat short_round short_waved buzzcut bun"
)
HAIR: Odds = _each(SHORT) | _each(" ".join(LONG), 1.5) | _each("short_curly short_dreads_1 short_dreads_2 fro", 1.2)
BALD: Odds = _each("no_hair sides")
HATS: Odds = _each("chef_cap hat turban winter_hat_1 winter_hat_2 winter_hat_3 winter_hat_4")
TOPS: Odds = {"hair": 0.68, "bald": 0.12, "hat": 0.2}
GLASSES: Odds = _each("prescription_01 prescription_02 round")
SUNGLASSES: Odds = _each("kurt sunglasses wayfarers")
ACCESSORIES: Odds = {"": 0.62} | _each(" ".join(GLASSES), 0.07) | _each(" ".join(SUNGLASSES), 0.055)
BEARDS: Odds = _each("beard_light beard_magestic beard_medium wick_beard")
MOUSTACHES: Odds = _each("einstien_mustache moustache_fancy moustache_magnum")
FACIAL_HAIR: Odds = {"": 0.64} | _each(" ".join(BEARDS), 0.05) | _each(" ".join(MOUSTACHES), 0.055)
SMILES: Odds = _each("big_smile default smile twinkle tongue")
FROWNS: Odds = _each("sad concerned disbelief")
MOUTHS: Odds = SMILES | _each(" ".join(FROWNS), 1.3) | _each("serious grimace scream_open", 1.2)
OPEN = ("big_smile", "default", "smile", "tongue", "concerned", "disbelief", "scream_open")
EYES: Odds = {"default": 4.0, "side": 1.0, "squint": 1.0, "surprised": 1.5, "closed": 1.5, "happy": 1.5}
CLOSED = ("closed", "happy")
BROWS: Odds = _each("default default_natural flat_natural") | _each("angry angry_natural sad_concerned") | {
    "raised_excited": 1.5, "raised_excited_natural": 1.5}  # fmt: skip
NOSES: Odds = _each("default small wide")
CLOTHES: Odds = _each("hoodie shirt_crew_neck shirt_scoop_neck shirt_v_neck collar_sweater overall")
COLOURS_OF_SKIN: Odds = {
    "FD9841": 0.12, "F8D25C": 0.08, "FFDBB4": 0.24, "EDB98A": 0.22, "D08B5B": 0.12, "AE5D29": 0.12, "614335": 0.1
}  # fmt: skip
PALE, DARK = ("FFDBB4",), ("AE5D29", "614335")
BLACK, BLOND, RED, GREY = ("2C1B18",), ("B58143", "D6B370", "ECDCBF"), ("C93305", "A55728"), ("E8E1E1",)
COLOURS_OF_HAIR: Odds = {
    "2C1B18": 0.28, "4A312C": 0.08, "724133": 0.14, "B58143": 0.06, "D6B370": 0.08, "ECDCBF": 0.06, "C93305": 0.1,
    "A55728": 0.1, "E8E1E1": 0.1
}  # fmt: skip
BRIGHT = ("65C9FF", "E6E6E6", "B1E2FF", "A7FFC4", "FFDEB5", "FFFFB1", "FFFFFF")
COLOURS_OF_CLOTHES: Odds = _each(" ".join(BRIGHT)) | _each("262E33 25557C 3C4F5C 929598 5199E4 FF488E FF5C5C", 1.2)

Face = dict[str, Any]
"""What one face is made of: names of parts, colours, place, and whether it is mirrored."""

ATTRIBUTES: Mapping[str, Callable[[Face], bool]] = {
    "hat": lambda face: face["kind"] == "hat",
    "glasses": lambda face: face["accessory"] in GLASSES,
    "sunglasses": lambda face: face["accessory"] in SUNGLASSES,
    "beard": lambda face: face["facial_hair"] in BEARDS,
    "moustache": lambda face: face["facial_hair"] in MOUSTACHES,
    "long_hair": lambda face: face["kind"] == "hair" and face["top"] in LONG,
    "bald": lambda face: face["kind"] == "bald",
    "curly_hair": lambda face: face["kind"] == "hair" and face["top"] in CURLY,
    "black_hair": lambda face: face["kind"] == "hair" and face["hair_colour"] in BLACK,
    "blond_hair": lambda face: face["kind"] == "hair" and face["hair_colour"] in BLOND,
    "red_hair": lambda face: face["kind"] == "hair" and face["hair_colour"] in RED,
    "grey_hair": lambda face: face["kind"] == "hair" and face["hair_colour"] in GREY,
    "pale_skin": lambda face: face["skin"] in PALE,
    "dark_skin": lambda face: face["skin"] in DARK,
    "smile": lambda face: face["mouth"] in SMILES,
    "frown": lambda face: face["mouth"] in FROWNS,
    "open_mouth": lambda face: face["mouth"] in OPEN,
    "closed_eyes": lambda face: face["eyes"] in CLOSED and face["accessory"] not in SUNGLASSES,
    "raised_brows": lambda face: face["brows"].startswith("raised"),
    "bright_clothes": lambda face: face["fabric"] in BRIGHT,
}
"""The twenty truth values; long hair reaches the shoulders.

Hair under a hat, and closed eyes behind sunglasses, do not count.
"""

MOODS = ("neutral", "smiling", "frowning")
"""Names of the labels, which say how the mouth looks."""


def choose_face(random: np.random.RandomState) -> Face:
    """Draws what one face is made of; every call takes the same number of random numbers."""
    pick = lambda odds: list(odds)[int(random.choice(len(odds), p=np.array(list(odds.values())) / sum(odds.values())))]
    kind = pick(TOPS)
    tops = {"hair": pick(HAIR), "bald": pick(BALD), "hat": pick(HATS)}
    face = {"kind": kind, "top": tops[kind], "accessory": pick(ACCESSORIES), "facial_hair": pick(FACIAL_HAIR)}
    face |= {"mouth": pick(MOUTHS), "eyes": pick(EYES), "brows": pick(BROWS), "nose": pick(NOSES)}
    face |= {"clothes": pick(CLOTHES), "skin": pick(COLOURS_OF_SKIN), "hair_colour": pick(COLOURS_OF_HAIR)}
    face |= {"fabric": pick(COLOURS_OF_CLOTHES), "hat_colour": pick(COLOURS_OF_CLOTHES)}
    face["changes"] = random.standard_normal((4, 3))  # of the colours of skin, hair, clothes and hat
    face["shift"] = random.uniform(-6, 6, 2)  # in units of the drawing, in which a head is 112 wide
    face["degrees"], face["scale"] = random.uniform(-6, 6), random.uniform(0.93, 1.07)
    face["background"] = np.stack([random.uniform(110, 250, 3)] * 2) * [[1.0], [random.uniform(0.65, 1.0)]]
    face["mirrored"] = bool(random.randint(2))
    return face


_FOLDER = "python_avatars/avatar_parts"
_SPACE, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_COLOURS = ("Skin-Color", "Hair-Color", "Fabric-Color", "Facial-Hair-Color")
_SLOTS = ("Top", "Eyebrow", "Eyes", "Nose", "Mouth", "Clothing", "Facial-Hair", "Accessory")
COLOUR_DEVIATION = 6.0  # of 255
CENTRE, SIDE = (132, 122), 204  # of the square that is drawn, in units of the drawing


class Drawings:
    """The parts in the archive, as text in which marks such as [Hair-Color] and [Eyes] stand for what is filled in.

    Args:
      path: the archive.
    """

    def __init__(self, path: Path):
        ElementTree.register_namespace("", _SPACE)
        ElementTree.register_namespace("xlink", _LINK)
        self._wheel = zipfile.ZipFile(path)
        self.part = functools.cache(self._part)

    def __enter__(self) -> "Drawings":
        return self

    def __exit__(self, *error: object) -> None:
        self._wheel.close()

    def _part(self, name: str) -> str:
        """The part in the file `name`; its ids are made unlike those of other parts."""
        root, prefix = ElementTree.fromstring(self._wheel.read(f"{_FOLDER}/{name}.svg")), name.replace("/", "_")
        for element in root.iter():
            own = element.get("id", "")
            if own in _COLOURS:
                element.set("fill", f"[{own}]")
            if own in _SLOTS:
                element.text = f"[{own}]"
            if own:
                element.set("id", f"{prefix}-{own}")
            for key, value in element.attrib.items():
                if value.startswith("url(#"):
                    element.set(key, f"url(#{prefix}-{value.removeprefix('url(#')}")
            link = element.get(f"{{{_LINK}}}href", "")
            if link.startswith("#"):
                element.set(f"{{{_LINK}}}href", f"#{prefix}-{link[1:]}")
        return "".join(ElementTree.tostring(child, encoding="unicode") for child in root)

    def svg(self, face: Face) -> str:
        """The whole drawing of a face."""
        colours = [_varied(face[name], change) for name, change in zip(
            ("skin", "hair_colour", "fabric", "hat_colour"), face["changes"], strict=True)]  # fmt: skip
        skin, hair, fabric, hat = colours
        folder = "hat" if face["kind"] == "hat" else "hair"
        parts = {
            "Top": self.part(f"top/{folder}/{face['top']}").replace("[Fabric-Color]", hat),
            "Eyebrow": self.part(f"eyebrows/{face['brows']}"),
            "Eyes": self.part(f"eyes/{face['eyes']}"),
            "Nose": self.part(f"nose/{face['nose']}"),
            "Mouth": self.part(f"mouth/{face['mouth']}"),
            "Clothing": self.part(f"clothes/{face['clothes']}"),
            "Facial-Hair": self.part(f"facial_hair/{face['facial_hair']}") if face["facial_hair"] else "",
            "Accessory": self.part(f"accessories/{face['accessory']}") if face["accessory"] else "",
        }
        drawn = self.part("styles/transparent")
        for slot, part in parts.items():
            drawn = drawn.replace(f"[{slot}]", part)
        for name, colour in zip(_COLOURS, (skin, hair, fabric, hair), strict=True):
            drawn = drawn.replace(f"[{name}]", colour)
        return _framed(drawn, face)


def _varied(colour: str, change: np.ndarray) -> str:
    levels = np.array([int(colour[at : at + 2], 16) for at in (0, 2, 4)]) + COLOUR_DEVIATION * change
    return _colour(levels)


def _colour(levels: np.ndarray) -> str:
    return "#" + "".join(f"{level:02X}" for level in np.clip(np.rint(levels), 0, 255).astype(int))


def _framed(drawn: str, face: Face) -> str:
    """The drawing in its square, moved, and before its background."""
    (x, y), (dx, dy) = CENTRE, face["shift"]
    moved = f"translate({x + dx:.2f} {y + dy:.2f}) rotate({face['degrees']:.2f}) scale({face['scale']:.3f})"
    top, bottom = (_colour(levels) for levels in face["background"])
    stops = f'<stop offset="0" stop-color="{top}"/><stop offset="1" stop-color="{bottom}"/>'
    gradient = f'<linearGradient id="sky" x1="0" y1="0" x2="0" y2="1">{stops}</linearGradient>'
    left, top_edge = x - SIDE / 2, y - SIDE / 2
    box = f"{left:g} {top_edge:g} {SIDE} {SIDE}"
    place = f'x="{left:g}" y="{top_edge:g}" width="{SIDE}" height="{SIDE}"'
    behind = f'<defs>{gradient}</defs><rect {place} fill="url(#sky)"/>'
    inside = f'<g transform="{moved} translate({-x} {-y})">{drawn}</g>'
    return f'<svg xmlns="{_SPACE}" xmlns:xlink="{_LINK}" viewBox="{box}">{behind}{inside}</svg>'


def draw(drawings: Drawings, face: Face, size: int) -> np.ndarray:
    """Draws a face at twice the size and takes means of 2x2 pixels, rounded to the nearest, halves upwards.

    Returns:
      uint8 [size, size, 3].
    Raises:
      MissingPackageError: if resvg_py is not installed.
    """
    from PIL import Image

    resvg = _resvg()
    png = resvg.svg_to_bytes(svg_string=drawings.svg(face), width=2 * size, height=2 * size, skip_system_fonts=True)
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.uint16)
    image = ((pixels.reshape(size, 2, size, 2, 3).sum(axis=(1, 3)) + 2) // 4).astype(np.uint8)
    return image[:, ::-1] if face["mirrored"] else image


def _resvg() -> Any:
    try:
        import resvg_py  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        fix = "Run `pip install resvg-py==0.5.0`."
        raise MissingPackageError("load", "resvg_py", "is needed to draw cartoon_faces, once", error, fix) from error
    return resvg_py


def read(path: Path, size: int = 32, counts: Mapping[str, int] | None = None) -> Arrays:
    """Draws all faces of both splits, each from a seed of its own.

    Args:
      path: the archive of python-avatars.
      size: height and width of the images.
      counts: number of faces by split; None draws all.
    Raises:
      MissingPackageError: if resvg_py is not installed.
    """
    counts = {"train": NUM_TRAIN, "test": NUM_TEST} if counts is None else counts
    with Drawings(path) as drawings:
        return {split: _rows(drawings, num, SEEDS[split], size) for split, num in counts.items()}


def _rows(drawings: Drawings, num: int, seed: int, size: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    random = np.random.RandomState(seed)  # RandomState: its stream is frozen for all numpy versions
    faces = [choose_face(random) for _ in range(num)]
    x = np.stack([draw(drawings, face, size) for face in faces])
    label = [1 if face["mouth"] in SMILES else 2 if face["mouth"] in FROWNS else 0 for face in faces]
    attributes = {name: np.array([has(face) for face in faces], np.int8) for name, has in ATTRIBUTES.items()}
    return x, np.array(label, np.int32), attributes


DATA = FixedImages(
    name="cartoon_faces",
    title="Cartoon faces with twenty attributes, 32x32 RGB",
    licence="The drawings come with the package python-avatars, which is under the MIT licence.",
    credit="Credit python-avatars and the Avataaars of Pablo Stanley.",
    notes="The images are synthetic: flat parts with colours, sizes and places that vary. Labels say how the mouth "
    "looks. They are drawn once, by the package resvg-py.",
    event_shape=(32, 32, 3),
    num_classes=len(MOODS),
    class_names=MOODS,
    attributes=tuple(ATTRIBUTES),
    num_train=NUM_TRAIN,
    num_test=NUM_TEST,
    mirror=True,
    archive=ARCHIVE,
    prepare_seconds=80,
    read=read,
)
