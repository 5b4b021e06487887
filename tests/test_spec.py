"""JSON and back: equal modules, refused classes, malformed specs."""

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
    with pytest.raises(RunError, match=f"from_spec: `class` must be registered; got 'Mine'. {fix}"):
        jflows.from_spec(spec)
    assert jflows.register(Mine) is Mine
    assert jflows.from_spec(spec) == Mine((1, 2.5))
    assert through_json(Mine((1, None, "a", True))) == Mine((1, None, "a", True))


def test_a_name_is_registered_once():
    class ActNorm(nn.Module):
        pass

    with pytest.raises(InvalidTypeError, match=r"register: `cls` must have a free name; ActNorm is jflows.*Rename"):
        jflows.register(ActNorm)
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


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"format": 2, "flow": None},
            "`spec` must be of format 1; got format 2. Use the jflows version that wrote it.",
        ),
        ([], "`spec` must be of format 1; got list"),
        ({"format": 1}, r"`spec` must have an entry 'flow'; got entries \['format'\]"),
        ({"format": 1, "flow": {"class": "os.system", "fields": {}}}, "`class` must be registered; got 'os.system'"),
        ({"format": 1, "flow": {"class": ["Reverse"], "fields": {}}}, r"`class` must be registered; got \['Reverse'\]"),
        ({"format": 1, "flow": {"class": "Reverse"}}, "`Reverse` must have a dictionary of fields; got None"),
        (
            {"format": 1, "flow": {"class": "Reverse", "fields": {"speed": 1}}},
            r"`Reverse` must have fields among \['event_ndims'\]; got \['speed'\]",
        ),
        (
            {"format": 1, "flow": {"class": "Repeat", "fields": {"num_layers": 1}}},
            r"`Repeat` must have the fields \['layer'\]; got \['num_layers'\]",
        ),
    ],
)
def test_malformed_specs_are_refused(spec, message):
    with pytest.raises(RunError, match=f"^from_spec: {message}"):
        jflows.from_spec(spec)
