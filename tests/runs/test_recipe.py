"""Recipes: one declaration of every option, from which Python, JSON and the command line take names and defaults."""

import functools
import inspect
import json

import numpy as np
import pytest

import jflows
from jflows import DataConfig, DataError, InvalidValueError, JflowsError, Recipe, RunError, TrainConfig
from jflows.bijectors import Affine
from jflows.cli.options import options_of, show
from jflows.flows import presets
from jflows.flows.presets import PRESETS
from jflows.options import REQUIRED, settings_of
from jflows.runs import find_recipe, list_configs
from jflows.runs.data import Outline
from jflows.train import LOSSES, FlowMatching, MixtureLoss, NegativeLogLikelihood, reverse_kl

RUN_ARGUMENTS = {"recipe", "config", "out", "resume", "progress", "restarts", "folds", "sweep", "help"}
PLANE = Outline("two_moons", (2,), 2)
recipes = pytest.mark.parametrize("preset", sorted(PRESETS))


def flat_names(recipe: Recipe) -> list[str]:
    return list(recipe.options())


@recipes
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_names_of_options_never_clash(preset, loss):
    recipe = Recipe(flow=PRESETS[preset]).with_options(loss=loss)
    of_flow = [name for name, option in recipe.options().items() if option.group == "flow"]
    declared = [setting.name for cls in (LOSSES[loss], TrainConfig) for setting in settings_of(cls)]
    of_data = ["data" if setting.name == "name" else setting.name for setting in settings_of(DataConfig)]
    names = [*of_flow, *of_data, *declared, "loss"]
    assert len(names) == len(set(names)) == len(recipe.options())
    assert not RUN_ARGUMENTS & set(names)


@recipes
def test_every_option_has_a_sentence_and_an_option_of_the_command_line(preset):
    recipe = Recipe(flow=PRESETS[preset])
    shown = {param.name.replace("__", "."): param for param in options_of(recipe)}
    assert list(shown) == flat_names(recipe)
    for name, option in recipe.options().items():
        sentence = option.setting.option.help
        assert len(sentence.split()) >= 4 and sentence[0].isupper() | sentence[0].islower(), name
        assert sentence in shown[name].help and sentence.endswith("."), name


@recipes
def test_no_default_differs_between_signature_json_and_command_line(preset):
    recipe = Recipe(flow=PRESETS[preset])
    stored, parameters = recipe.to_json()["flow"], inspect.signature(PRESETS[preset]).parameters
    shown = {param.name: param.help for param in options_of(recipe)}
    for name, option in recipe.options().items():
        if option.group != "flow" or "." in name:
            continue
        default = parameters[name].default
        if option.choices:
            assert stored[name]["preset"] == default.__name__
        else:
            assert stored[name] == json.loads(json.dumps(default))
            assert f"[default: {show(default)}" in shown[name]
    for group, cls in (("data", DataConfig), ("train", TrainConfig)):
        for option in recipe.options().values():
            if option.group == group:
                assert option.value == getattr(cls(), option.setting.name)


@recipes
def test_json_gives_the_recipe_back(preset):
    recipe = Recipe(flow=PRESETS[preset], data=DataConfig(name="x.csv", columns=("a", "b"))).with_options(steps=7)
    stored = json.loads(json.dumps(recipe.to_json()))
    again = Recipe.from_json(stored)
    assert again.to_json() == stored and again.data == recipe.data and again.train == recipe.train
    assert {name: option.value for name, option in again.options().items()} == {
        name: option.value for name, option in recipe.options().items()
    }


@pytest.mark.parametrize("name", sorted(list_configs()))
def test_every_config_is_a_recipe_that_builds(name):
    found, recipe = find_recipe(name)
    assert found == name and Recipe.from_json(json.loads(json.dumps(recipe.to_json()))).to_json() == recipe.to_json()
    assert recipe.build(recipe.data.outline()).event_shape


def test_options_reach_all_parts():
    recipe = Recipe(flow=jflows.vmonf).with_options(
        data="circles",
        num_train=100,
        steps=5,
        temperature=2.0,
        num_components=3,
        component__num_layers=1,
        **{"component.hidden_sizes": [4, 4]},
    )
    stored = recipe.to_json()
    assert (stored["data"]["name"], stored["data"]["num_train"], stored["train"]["steps"]) == ("circles", 100, 5)
    assert stored["flow"]["num_components"] == 3 and stored["flow"]["component"]["num_layers"] == 1
    assert stored["flow"]["component"]["hidden_sizes"] == [4, 4] and stored["loss"]["temperature"] == 2.0
    mixture = recipe.build(PLANE)
    assert mixture.num_components == 3 and recipe.objective == MixtureLoss(temperature=2.0)


def test_a_component_is_named_or_described():
    recipe = Recipe(flow=functools.partial(jflows.vmonf, component=functools.partial(jflows.realnvp, num_layers=2)))
    kept = recipe.with_options(component="realnvp").options()
    assert kept["component.num_layers"].value == 2  # the same preset keeps its options
    other = recipe.with_options(component="maf").options()
    assert other["component"].value == "maf" and other["component.num_layers"].value == 5
    assert "component.inner" in other and "component.inner" not in recipe.options()
    described = recipe.with_options(component={"preset": "maf", "num_layers": 3}, component__residual=True)
    assert described.options()["component.num_layers"].value == 3
    changed = recipe.with_options(component={"hidden_sizes": (4,)}).options()
    assert (changed["component.num_layers"].value, changed["component.hidden_sizes"].value) == (2, (4,))
    with pytest.raises(InvalidValueError, match="realnvp: `component.num_layers` must be at least 1; got 0"):
        Recipe(flow=functools.partial(jflows.vmonf, component=functools.partial(jflows.realnvp, num_layers=0)))
    of_swap = recipe.with_options(component={"hidden_sizes": (4,), "permutation": "reverse"})
    with pytest.raises(InvalidValueError, match="`component.permutation`"):
        of_swap.build(Outline("odd", (3,), None, None))
    assert "vmonf" not in recipe.options()["component"].choices and "maf" in recipe.options()["component"].choices


def test_objects_of_a_preset_are_stored():
    recipe = Recipe(flow=functools.partial(jflows.maf, inner=Affine("exp", 3.0)))
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe and again.options()["inner"].value == Affine("exp", 3.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"component": {"preset": "vmonf"}}, "vmonf: `component` must be a preset of flows; got vmonf"),
        ({"component": 5}, '`component.flow` must be an object with the key "preset"'),
        ({"activation": {"format": 1, "flow": 5}}, "`flow` must be a dictionary with a class and fields"),
    ],
)
def test_json_that_was_edited(change, message):
    content = Recipe(flow=jflows.vmonf).to_json()
    with pytest.raises(JflowsError, match=message):
        Recipe.from_json(content | {"flow": content["flow"] | change})


def test_json_that_is_too_deep():
    deep: dict = {"preset": "vmonf"}
    for _ in range(3000):
        deep = {"preset": "vmonf", "component": deep}
    with pytest.raises(InvalidValueError, match="must not be nested more than 50 deep"):
        Recipe.from_json(Recipe(flow=jflows.vmonf).to_json() | {"flow": deep})


def test_losses_are_chosen_by_name():
    assert Recipe(flow=jflows.maf).objective == NegativeLogLikelihood()
    assert Recipe(flow=jflows.flow_gmm).objective == MixtureLoss()
    recipe = Recipe(flow=jflows.maf).with_options(loss="flow_matching")
    assert recipe.objective == FlowMatching() and recipe.to_json()["loss"] == {"name": "flow_matching"}
    assert Recipe(flow=jflows.maf).with_options(loss="mixture", temperature=3.0).loss == MixtureLoss(temperature=3.0)
    assert recipe.with_options(loss=MixtureLoss(supervised=2.0)).to_json()["loss"]["supervised"] == 2.0


def test_epochs_stand_for_steps():
    recipe = Recipe(flow=jflows.maf, train=TrainConfig(steps=500))
    by_epochs = recipe.with_options(epochs=3)
    assert (by_epochs.train.steps, by_epochs.train.epochs) == (0, 3)
    assert by_epochs.train.total_steps(num_examples=640) == 30
    assert by_epochs.with_options(steps=9).train.epochs == 0
    with pytest.raises(InvalidValueError, match="must not both be given"):
        recipe.with_options(steps=5, epochs=3)


def test_options_that_must_fit_each_other_are_set_together():
    recipe = Recipe(flow=jflows.vmonf).with_options(labelled_share=0.2, labels_per_class=4)
    assert recipe.data.labelled_share == 0.2
    with pytest.raises(InvalidValueError, match="DataConfig: `labels_per_class` must be positive with labelled_share"):
        recipe.with_options(labels_per_class=0)


def test_what_the_data_give_is_filled_in():
    image = Outline("digits", (8, 8, 1), 10)
    glow = Recipe(flow=functools.partial(jflows.glow, num_levels=1, num_steps=1, width=4))
    assert glow.build(image).reading.context == "none"
    conditional = glow.with_options(conditional=True).build(image)
    assert (conditional.reading.context, conditional.reading.num_classes) == ("labels", 10)
    rows = Outline("rows", (2,), None, (3,))
    assert Recipe(flow=jflows.maf).with_options(conditional=True).build(rows).context_shape == (3,)


@pytest.mark.parametrize(
    ("flow", "outline", "message"),
    [
        (jflows.maf, PLANE, "maf: `conditional` needs data with contexts; got 'two_moons' without them"),
        (
            jflows.glow,
            Outline("x", (8, 8, 1)),
            "glow: `conditional` needs data with labels; got 'x' without them. Leave out",
        ),
        (jflows.flows.normal, PLANE, "normal: `conditional` is not for this flow, which takes no context; got True"),
    ],
)
def test_a_context_that_is_not_there(flow, outline, message):
    with pytest.raises(InvalidValueError, match=message):
        Recipe(flow=flow).with_options(conditional=True).build(outline)


def test_data_of_another_shape(mine):
    with pytest.raises(jflows.DataError, match=r"`data` must suit maf, of which the shape must be \(dim,\); got 'd'"):
        Recipe(flow=jflows.maf).build(Outline("d", (8, 8, 1)))
    with pytest.raises(InvalidValueError, match="mine: `size` must be given"):
        Recipe(flow=mine).build(PLANE)


def undeclared(event_shape: tuple[int, ...], size: int = 1) -> jflows.Flow:
    return jflows.flows.normal(event_shape)


@pytest.fixture
def mine():
    """A preset of a user, declared for the time of a test."""

    @presets.preset
    def mine(event_shape: tuple[int, ...], size: int) -> jflows.Flow:
        """A preset without a default."""
        return jflows.flows.normal(event_shape)

    yield mine
    del presets.PRESETS["mine"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recipe(flow=jflows.maf((2,))), "Recipe: `flow` must be a preset or a functools.partial of one"),
        (lambda: Recipe(flow=functools.partial(jflows.maf, (2,))), "must set options by name; got"),
        (lambda: Recipe(flow=functools.partial(jflows.maf, num_layer=1)), "maf: `num_layer` must be an option of maf"),
        (
            lambda: Recipe(flow=functools.partial(jflows.maf, num_layers=0)),
            "maf: `num_layers` must be at least 1; got 0",
        ),
        (lambda: Recipe(flow=functools.partial(jflows.maf, num_layers=2.5)), "maf: `num_layers` must be an int"),
        (lambda: Recipe(flow=jflows.maf, loss=reverse_kl(np.sum)), "`loss` must be one of .*, to be stored"),
        (lambda: Recipe(flow=jflows.maf, data="two_moons"), "Recipe: `data` must be a DataConfig; got 'two_moons'"),
        (lambda: Recipe(flow=jflows.maf).with_options(num_layer=1), "Did you mean num_layers"),
        (lambda: Recipe(flow=jflows.maf).with_options(batch_size=0), "TrainConfig: `batch_size` must be at least 1"),
        (lambda: Recipe(flow=jflows.maf).with_options(fold=-1), "DataConfig: `fold` must be at least 0; got -1"),
        (lambda: Recipe(flow=jflows.maf).with_options(loss="nll"), "Recipe: `loss` must be one of"),
        (lambda: Recipe(flow=jflows.maf).with_options(temperature=2.0), "must be an option of this recipe"),
        (
            lambda: Recipe(flow=jflows.vmonf).with_options(component="glov"),
            "`component` must be one of .*; got 'glov'",
        ),
        (
            lambda: Recipe(flow=jflows.vmonf).with_options(component="flow_gmm"),
            "`component` must be one of .*; got 'flow_gmm'",
        ),
        (
            lambda: Recipe(flow=functools.partial(jflows.vmonf, component=jflows.vmonf)),
            "vmonf: `component` must be a preset of flows; got vmonf. Choose one of maf, ",
        ),
        (
            lambda: Recipe(flow=functools.partial(jflows.vmonf, component=jflows.glow)).build(PLANE),
            r"must be a preset of flows of vectors, for events of shape \(2,\); got glow. Set component=realnvp",
        ),
        (
            lambda: Recipe(flow=jflows.vmonf).build(Outline("d", (8, 8, 1))),
            r"must be a preset of flows of images, for events of shape \(8, 8, 1\); got realnvp. Set component=glow",
        ),
        (lambda: Recipe(flow=undeclared), "must be a declared preset, to be stored; got the function undeclared"),
        (
            lambda: TrainConfig(step=3),
            "TrainConfig: `step` is not a setting of TrainConfig, which .* Did you mean steps",
        ),
        (lambda: DataConfig(nam="x"), "DataConfig: `nam` is not a setting of DataConfig, which .* Did you mean name"),
        (lambda: MixtureLoss(temp=3), "MixtureLoss: `temp` is not a setting of MixtureLoss"),
        (lambda: TrainConfig(seed=2**63), "`seed` must be 0 to 9223372036854775807; got 9223372036854775808"),
        (lambda: TrainConfig(batch_size=10**30), "`batch_size` must be at most 2147483647; got 10"),
        (lambda: TrainConfig(learning_rate=10**400), "`learning_rate` must be finite; got 100000000000... of 401 char"),
        (
            lambda: TrainConfig(epochs=1e300).total_steps(10),
            "`epochs` must amount to at most 2147483647 steps of 64 row",
        ),
        (
            lambda: Recipe(flow=jflows.vmonf).with_options(component={"num_layer": 1}),
            "`component.num_layer` must be an",
        ),
        (
            lambda: Recipe(flow=jflows.vmonf).with_options(component__num_layers=0),
            "`component.num_layers` must be at least 1",
        ),
    ],
)
def test_a_mistake_is_told(make, message):
    with pytest.raises(JflowsError, match=message):
        make()


def broken(part: str, **changes) -> dict:
    content = Recipe(flow=jflows.realnvp).to_json()
    (content if part == "recipe" else content[part]).update(changes)
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "`recipe` must be an object; got list"),
        ({}, "`format` must be 1; got None"),
        (broken("recipe", format=2), "`format` must be 1; got 2. It was written by another version"),
        (broken("recipe", trian={}), "`trian` must be a key of recipe: .*Did you mean train?"),
        ({"format": 1, "flow": {"preset": "maf"}}, "`data` must be a key of recipe; got no such key"),
        (broken("recipe", data=3), "`data` must be an object; got int"),
        (broken("data", nmae="x"), "`nmae` must be a key of data: .*Did you mean name?"),
        (broken("train", steps="many"), "TrainConfig: `steps` must be an int; got 'many'"),
        (broken("flow", preset="realnpv"), "`preset` must be one of .*Did you mean realnvp"),
        (broken("flow", widht=3), "realnvp: `widht` must be an option of realnvp"),
        (broken("flow", num_layers=-1), "realnvp: `num_layers` must be at least 1; got -1"),
        (broken("recipe", flow=[]), '`flow` must be an object with the key "preset"; got list'),
        (broken("loss", name="x"), "`loss` must be one of .*; got 'x'"),
    ],
)
def test_json_that_is_no_recipe(content, message):
    with pytest.raises(JflowsError, match=message):
        Recipe.from_json(content)


def test_required_options_are_told_from_others(mine):
    options = Recipe(flow=mine).options()
    assert options["size"].value is REQUIRED
    (shown, *_) = options_of(Recipe(flow=mine))
    assert "must be given" in shown.help


def test_a_directory_called_like_a_config_does_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("glow_digits", "glow"):  # a config and a preset
        wanted = find_recipe(name)[1].to_json()
        (tmp_path / name).mkdir()
        assert find_recipe(name)[1].to_json() == wanted
        with pytest.raises(RunError, match="config.json"):
            find_recipe(f"./{name}")


def test_a_config_may_import_what_lies_beside_it(tmp_path):
    (tmp_path / "widths_beside.py").write_text("WIDTH = 5\n")
    text = "from functools import partial\nimport jflows, widths_beside\n"
    text += "config = jflows.Recipe(flow=partial(jflows.glow, width=widths_beside.WIDTH))\n"
    (tmp_path / "mine.py").write_text(text)
    assert find_recipe(tmp_path / "mine.py")[1].options()["width"].value == 5
    for name, line in (
        ("a", "import no_such_module"),
        ("b", "raise ValueError('x')"),
        ("c", "import sys; sys.exit(3)"),
    ):
        (tmp_path / f"{name}.py").write_text(line + "\n")
        with pytest.raises(DataError, match="must be a module that runs without an error; got "):
            find_recipe(tmp_path / f"{name}.py")


@pytest.mark.parametrize("loss", [{}, [], 3])
def test_a_loss_of_another_type_is_named(loss):
    with pytest.raises(InvalidValueError, match="`loss` must be one of "):
        Recipe(flow=jflows.maf).with_options(loss=loss)
    content = Recipe(flow=jflows.maf).to_json()
    with pytest.raises(InvalidValueError, match="`loss` must be one of "):
        Recipe.from_json({**content, "loss": {"name": loss}})
