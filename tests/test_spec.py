"""JSON and back: equal modules, refused classes, malformed specs."""

import copy
import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jflows
from jflows import bijectors as b
from jflows.errors import InvalidTypeError, RunError
from jflows.ops import zero_log_det
from tests.cases import CASES


def through_json(module):
    return jflows.from_spec(json.loads(json.dumps(jflows.to_spec(module))))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_bijector_survives_json(case):
    module = case.make()
    rebuilt = through_json(module)
    assert rebuilt == module
    assert hash(rebuilt) == hash(module)


def test_a_flow_survives_json():
    flow = jflows.glow((8, 8, 1), 2, (2, 3), width=4, num_classes=3, padding=4, base="diagonal", preprocess="logit")
    rebuilt = through_json(flow)
    assert rebuilt == flow
    assert hash(rebuilt) == hash(flow)
    assert rebuilt.bijector.levels[0].layers[0].num_layers == 2


class Mine(b.Bijector):
    numbers: tuple = ()
    x_event_ndims = z_event_ndims = 1

    def _forward_and_log_det(self, z, context):
        return z, zero_log_det(z, 1)

    _inverse_and_log_det = _forward_and_log_det


def test_a_class_of_your_own_takes_part_after_register():
    spec = {"format": 1, "flow": {"class": "Mine", "fields": {"numbers": [1, 2.5]}}}
    with pytest.raises(
        InvalidTypeError, match=r"to_spec: `Chain.layers\[1\]` must be of a registered class; got Mine. .*"
    ):
        jflows.to_spec(b.Chain((b.Reverse(), Mine())))
    fix = r"Import the code that defines it and call jflows.register\(Mine\) before loading."
    with pytest.raises(RunError, match=f"from_spec: `flow.class` must be registered; got 'Mine'. .*{fix}"):
        jflows.from_spec(spec)
    assert jflows.register(Mine) is Mine
    assert jflows.from_spec(spec) == Mine((1, 2.5))
    assert through_json(Mine((1, None, "a", True))) == Mine((1, None, "a", True))


def test_a_name_is_registered_once():
    class ActNorm(nn.Module):
        pass

    with pytest.raises(InvalidTypeError, match=r"register: `cls` must have a free name; ActNorm is jflows.*Rename"):
        jflows.register(ActNorm)
    with pytest.raises(InvalidTypeError, match="register: `cls` must be concrete; got Bijector. Register its subclas"):
        jflows.register(b.Bijector)
    with pytest.raises(InvalidTypeError, match="register: `cls` must be a dataclass or a Linen module class; got 3"):
        jflows.register(3)
    assert jflows.register(b.ActNorm) is b.ActNorm


@pytest.mark.parametrize("value", [np.ones(2), jnp.ones(2), {1: 2}, len])
def test_only_plain_values_are_written(value):
    @dataclasses.dataclass(frozen=True)
    class Holder:
        field: object

    Holder.__name__ = f"Holder_{type(value).__name__}"
    jflows.register(Holder)
    rule = "`Holder_.*.field` must hold int, float, str, bool, None, modules, or tuples of these; got .* Keep arrays in"
    with pytest.raises(InvalidTypeError, match=rule):
        jflows.to_spec(Holder(value))


def nested(depth: int, spec):
    for _ in range(depth):
        spec = {"class": "Inverse", "fields": {"bijector": spec}}
    return spec


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"format": 2, "flow": None},
            "`spec` must be of format 1; got format 2. Use the jflows version that wrote it.",
        ),
        ([], "`spec` must be of format 1; got list"),
        ({"format": 1}, r"`spec` must have an entry 'flow'; got entries \['format'\]"),
        (
            {"format": 1, "flow": {"class": "os.system", "fields": {}}},
            "`flow.class` must be registered; got 'os.system'",
        ),
        (
            {"format": 1, "flow": {"class": ["Reverse"], "fields": {}}},
            r"`flow.class` must be registered; got list",
        ),
        (
            {"format": 1, "flow": {"class": "Reverse"}},
            "`flow` must have the entries class and fields, a dictionary; got fields None",
        ),
        (
            {"format": 1, "flow": {"class": "Reverse", "fields": {"speed": 1}}},
            r"`flow.fields` must have Reverse's fields, \['event_ndims'\]; got \['speed'\]",
        ),
        (
            {"format": 1, "flow": {"class": "Repeat", "fields": {"num_layers": 1}}},
            r"`flow.fields` must have the fields \['layer'\] of Repeat; got \['num_layers'\]",
        ),
        ({"format": 1, "flow": 3}, "`flow` must be a dictionary with a class and fields; got 3"),
        ({"format": 1, 2: 3}, r"`spec` must have an entry 'flow'; got entries \['2', 'format'\]"),
        (
            {"format": 1, "flow": {"class": "Reverse", "fields": {}, "speed": 1}},
            r"`flow` must have the entries class and fields, a dictionary; got \['class', 'fields', 'speed'\]",
        ),
        ({"format": 1, "flow": {"class": "Bijector", "fields": {}}}, "`flow.class` must be registered; got 'Bijector'"),
        (
            {"format": 1, "flow": {"class": "Reverse", "fields": {"event_ndims": {1}}}},
            "`flow.event_ndims` must hold numbers, strings, booleans, null, lists and dictionaries; got set",
        ),
        (
            {"format": 1, "flow": {"class": "Reverse", "fields": {"event_ndims": True}}},
            "`flow` must hold fields that Reverse takes; got Reverse: `event_ndims` must be an int; got True. Use the",
        ),
        (
            {"format": 1, "flow": nested(200, {"class": "Reverse", "fields": {}})},
            "`flow.bijector.*` must not be nested more than 100 deep; got dict",
        ),
    ],
)
def test_malformed_specs_are_refused(spec, message):
    with pytest.raises(RunError, match=f"^from_spec: {message}"):
        jflows.from_spec(spec)


def test_what_is_nested_too_deep_is_not_written():
    module = b.Reverse()
    for _ in range(120):
        module = b.Inverse(module)
    with pytest.raises(InvalidTypeError, match="to_spec: `Inverse.bijector.*` must not be nested more than 100 deep"):
        jflows.to_spec(module)


def test_a_class_without_checks_is_refused_in_our_words():
    @jflows.register
    @dataclasses.dataclass(frozen=True)
    class Doubled:
        number: float

        def __post_init__(self):
            object.__setattr__(self, "number", self.number + 1)

    spec = {"format": 1, "flow": {"class": "Doubled", "fields": {"number": "a"}}}
    with pytest.raises(
        RunError, match="from_spec: `flow` must hold fields that Doubled takes; got can only concatenate"
    ):
        jflows.from_spec(spec)
    assert jflows.from_spec({"format": 1, "flow": {"class": "Doubled", "fields": {"number": 1}}}).number == 2


VALUES = (
    *(None, True, False, 0, 1, -1, 2, 3, 10**30, 0.0, 0.5, 2.5, -1.0, 1e-30, 1e30, 1e308, float("nan"), float("inf")),
    *("", "tanh", "relu", "channel", "circular", [], [1], [0], [-1, 2], [1, 2, 3], [2.5], ["a"], [None], [[1]], {}),
    *({"class": "Reverse"}, {"fields": {}}, {"class": None, "fields": None}, 1j, b"bytes", {1, 2}, object),
)


def nodes(spec):
    """Every dictionary and list in a spec, with the keys of its entries."""
    entries = spec.items() if isinstance(spec, dict) else enumerate(spec) if isinstance(spec, list) else ()
    for key, value in entries:
        yield spec, key
        yield from nodes(value)


def mutated(spec, random: np.random.Generator, classes: list[str]):
    """A copy with one or two entries replaced, deleted, doubled, swapped, wrapped or of another class."""
    spec = json.loads(json.dumps(spec))
    for _ in range(random.integers(1, 3)):
        places = list(nodes(spec))
        if not places:
            return spec
        owner, key = places[random.integers(len(places))]
        other, other_key = places[random.integers(len(places))]
        kind = random.integers(7)
        if kind == 0 and isinstance(owner, dict):
            del owner[key]
        elif kind == 1 and isinstance(owner, list):
            owner.append(owner[key])
        elif kind == 2:
            owner[key] = json.loads(json.dumps(other[other_key], default=repr))
        elif kind == 3:
            owner[key] = [owner[key]]
        elif kind == 4:
            with_class = [place for place, name in places if name == "class"]
            if with_class:
                with_class[random.integers(len(with_class))]["class"] = classes[random.integers(len(classes))]
        elif kind == 5 and random.integers(10) == 0:
            owner[key] = nested(500, owner[key])
            return spec
        else:
            owner[key] = copy.deepcopy(VALUES[random.integers(len(VALUES))])
    return spec


def specs():
    flows = [
        jflows.glow((8, 8, 1), 2, (1, 2), width=4, num_classes=3, padding=4, base="diagonal", preprocess="logit"),
        jflows.maf((3,), num_layers=2, hidden_sizes=(4,)),
        jflows.nsf_coupling((4,), num_layers=2),
        *(case.make() for case in CASES),
    ]
    return [jflows.to_spec(flow) for flow in flows]


def build_or_refuse(seeds) -> tuple[int, int]:
    """How many mutated specs were built and how many refused; anything but `RunError` is raised."""
    originals, built, refused = specs(), 0, 0
    classes = sorted({owner["class"] for spec in originals for owner, key in nodes(spec) if key == "class"})
    for seed in seeds:
        random = np.random.default_rng(seed)
        spec = mutated(originals[random.integers(len(originals))], random, classes)
        try:
            jflows.from_spec(spec)
            built += 1
        except RunError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__} from {spec}") from error
    return built, refused


def test_a_mutated_spec_is_built_or_refused():
    built, refused = build_or_refuse(range(300))
    assert built > 10 and refused > 150


@pytest.mark.slow
def test_many_mutated_specs_are_built_or_refused():
    built, refused = build_or_refuse(range(1000, 7000))
    assert built > 300 and refused > 3000
