"""`jflows edit`: attributes, transfer and mean faces from the command line, and what it refuses."""

import dataclasses
import re

import numpy as np
import pytest

from jflows.errors import DataError
from jflows.runs import TrainedRun

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Two people of 12 images of 8x8, with a table: hats on every second image, dull the same for all, age a number."""
    folder = tmp_path_factory.mktemp("faces")
    random, rows = np.random.RandomState(0), ["file,hat,dull,age,odd"]
    for person in ("ann", "bob"):
        (folder / "people" / person).mkdir(parents=True)
        for number in range(12):
            pixels = random.randint(0, 128, (8, 8)).astype(np.uint8)
            pixels[:2] += np.uint8(120 * (number % 2))
            Image.fromarray(pixels).save(folder / "people" / person / f"{number}.png")
            rows.append(f"{person}/{number}.png,{number % 2},yes,{number},{'' if number % 3 else number % 2}")
    (folder / "faces.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture
def edit(jflows, trained, people, tmp_path):
    def run(*args, table=True):
        data = ["--data", people / "people", *(["--attributes", people / "faces.csv"] if table else [])]
        return jflows("edit", trained, *data, *args, "--out", tmp_path / "edit.png")

    return run


def test_an_attribute_of_a_table(edit, tmp_path):
    done = edit("--attribute", "hat", "--alpha", "-1,0,1", "--num", 2)
    assert done.exit_code == 0, done.stderr
    first, second, last = done.stdout.splitlines()
    assert re.fullmatch(
        r"hat by the difference of mean latents of \d+ training images with it and \d+ without it", first
    )
    assert re.fullmatch(r"test images are told apart .* accuracy of [01]\.\d{3}, where chance is 0\.5", second)
    assert last.startswith("2 test images of people at alpha -1, 0, 1 in ") and last.endswith("in nats under each")
    with Image.open(tmp_path / "edit.png") as picture:
        assert picture.width > 3 * 88


def test_a_named_image_and_an_attribute_of_numbers_without_some_values(edit, people, tmp_path):
    done = edit("--attribute", "odd", "--by", "svm", "--image", people / "people/ann/0.png", "--alpha", 1)
    assert done.exit_code == 0, done.stderr
    assert "by a linear support vector machine of" in done.stdout and " without a value are left out" in done.stdout
    assert "0.png at alpha 1 in" in done.stdout
    done = edit("--attribute", "age", "--num", 1, "--num-steps", 2, "--within-classes")
    wanted = r"with it \(above \d+(\.5)?\) and [\d,]+ without it, each compared within its class"
    assert re.search(wanted, done.stdout), done.stdout


def test_what_is_measured_is_printed_at_each_step(jflows, trained, tmp_path):
    done = jflows("edit", trained, "--attribute", "ink", "--num", 30, "--num-steps", 3, "--out", tmp_path / "e.png")
    assert done.exit_code == 0, done.stderr
    means = [float(found) for found in re.findall(r"alpha \S+: mean ink ([\d.]+) ± ", done.stdout)]
    assert len(means) == 3 and means == sorted(means) and means[0] < means[2]


def test_transfer_and_mean_faces(edit, tmp_path, monkeypatch):
    from jflows.eval import captions

    texts, draw = [], captions.captioned_grid
    monkeypatch.setattr(captions, "captioned_grid", lambda x, own, **words: texts.extend(own) or draw(x, own, **words))
    done = edit("--transfer", "bob,ann", "--num-steps", 2, "--num", 1)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("from bob to ann by the difference of their mean latents")
    assert "1 test images of people at alpha 0, 1 in" in done.stdout
    done = edit("--identity", "all", table=False)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("images of the mean latents of 2 classes of people, stretched by 0.5, with ln p")
    assert [text.partition(" = ")[0] for text in texts[-1]] == ["ann\nln p", "bob\nln p"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "edit: `--attribute` must be given, or one of --transfer and --identity in its place; got none."),
        (("--attribute", "hat", "--identity", "all"), "in its place; got attribute and identity."),
        (("--attribute", "hatt"), "must be one of hat, dull, age, odd; got 'hatt'. Did you mean hat?"),
        (("--attribute", "dull"), "`dull` must have images with the attribute and images without it; got"),
        (("--attribute", "hat", "--alpha", "a,2"), "'--alpha': 'a' is not a valid number"),
        (("--attribute", "hat", "--alpha", "nan"), "'--alpha': nan must be finite"),
        (
            ("--attribute", "hat", "--alpha", "0,1e30"),
            "`--alpha` must be numbers from -1,000 to 1,000, at least one; got 0",
        ),
        (("--attribute", "hat", "--alpha", ",".join("1" * 51)), "`--alpha` must be at most 50 numbers; got 51."),
        (
            ("--identity", "ann", "--alpha", "0,1"),
            "`--alpha` must be one number, 0 to 1, with --identity; got 0, 1.",
        ),
        (
            ("--identity", "anna"),
            "`--identity` must be classes of people: ann, bob, or all; got 'anna'. Did you mean ann?",
        ),
        (("--identity", "al"), "ann, bob, or all; got 'al'. Did you mean all?"),
        (("--identity", "ann,bob,ann"), "`--identity` must name each class once; got 'ann' twice."),
        (("--transfer", "ann,ann"), "`--transfer` must name each class once; got 'ann' twice."),
        (
            ("--transfer", "ann,bob", "--by", "svm"),
            "`--by` is not for --transfer, which would ignore it. Leave --by out.",
        ),
        (("--identity", "ann", "--num-rows", "9"), "`--num-rows` is not for --identity, which would ignore it."),
        (("--identity", "ann", "--image", "{ann}"), "`--image` is not for --identity, which would ignore it."),
        (("--transfer", "ann"), "`--transfer` must be two classes, such as s4,s7; got 'ann'."),
        (("--attribute", "hat", "--classes", "eve"), "`--classes` must be classes of people: ann, bob; got 'eve'."),
        (("--attribute", "hat", "--classes", ""), "`--classes` must be classes of people: ann, bob; got ''."),
        (("--attribute", "hat", "--num-rows", "1"), "of 1. Raise --num-rows, or choose another attribute."),
        (("--attribute", "hat", "--by", "svn"), "'svn' is not one of 'mean', 'svm'. Did you mean svm?"),
        (
            ("--attribute", "hat", "--num", "99"),
            "`--num` must be at most the number of images in people, 2; got 99. Ask for fewer",
        ),
        (("--attribute", "hat", "--label", "ann"), "`--label` is the class of files named by --image; got 'ann'."),
        (("--attribute", "hat", "--image", "{ann}", "--num", "2"), "`--num` is for test images, and must be left out"),
        (
            ("--attribute", "hat", "--image", "{large}"),
            "must be 8x8 pixels (width x height) in gray, as the flow is for",
        ),
    ],
)
def test_mistakes_are_one_line_before_anything_is_compiled(edit, people, monkeypatch, args, message):
    from jflows.runs import edits

    def compiled(*_, **__):
        raise AssertionError("compiled")

    for name in ("_encode", "_edit", "_decode"):
        monkeypatch.setattr(edits, name, compiled)
    Image.new("L", (9, 8)).save(people / "large.png")
    places = {"{ann}": people / "people/ann/0.png", "{large}": people / "large.png"}
    done = edit(*(places.get(arg, arg) for arg in args))
    assert done.exit_code == 2 and len(done.stderr.splitlines()) == 1
    assert message in done.stderr, done.stderr


def test_a_wrong_table_of_attributes_is_not_blamed_on_the_data(trained, people):
    run = TrainedRun.open(trained)
    own = dataclasses.replace(run.stored.recipe.data, name=str(people / "people"))
    recipe = dataclasses.replace(run.stored.recipe, data=own)
    run = dataclasses.replace(run, stored=run.stored._replace(recipe=recipe))
    with pytest.raises(
        DataError, match=r"`attributes` must be an existing .csv file; got '.*gone.csv'. Check the path.$"
    ):
        run.data(None, "test", attributes=str(people / "gone.csv"))


def test_data_without_attributes_or_classes(jflows, edit, trained, people, tmp_path):
    done = edit("--attribute", "hat", table=False)
    assert (
        "`--attribute` must be one of the data, which have none; got 'hat'. Name a .csv file of theirs by --attr"
        in (done.stderr)
    )
    flat = ["--data", people / "people" / "ann"]
    done = jflows("edit", trained, *flat, "--identity", "all")
    assert "must have classes, such as persons; got 'ann' without. Put the images of each person into a" in done.stderr
    (tmp_path / "faces.csv").write_text("file,hat\nann/99.png,1\n")
    done = jflows(
        "edit", trained, "--data", people / "people", "--attributes", tmp_path / "faces.csv", "--attribute", "hat"
    )
    assert (
        "must have rows of images of the folder only; got 'ann/99.png' in row 0. Did you mean ann/9.png or"
        in done.stderr
    )


def test_help_of_numbers_without_bounds_names_none(jflows):
    text = jflows("edit", "--help").stdout
    assert "--alpha NUMBER" in text and "None" not in text
