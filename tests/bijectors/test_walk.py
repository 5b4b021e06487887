"""The one walk through a bijector: its parts by the names of their variables, and the shapes that they see."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jflows import Flow
from jflows import bijectors as b
from jflows.distributions import StandardNormal
from jflows.nn import MLP, ContextEmbed
from jflows.ops import zero_log_det
from tests.cases import CASES

KEY = jax.random.key(0)


def coupling() -> b.Bijector:
    return b.Coupling(MLP((4,)), b.Affine())


class Twice(b.Bijector):
    """Two parts of the user's, in nested tuples, that one after the other map vectors."""

    pairs: tuple[tuple[b.Bijector, ...], ...]
    x_event_ndims = z_event_ndims = 1

    def _forward_and_log_det(self, z, context):
        return z, zero_log_det(z, 1)

    def _inverse_and_log_det(self, x, context):
        return self.pairs[0][1].inverse_and_log_det(x, context)


@pytest.mark.parametrize("case", [case for case in CASES if not case.slow], ids=lambda case: case.name)
def test_parts_are_named_as_their_variables(case):
    if case.requires is not None:
        pytest.importorskip(case.requires)
    bijector, shape = case.make(), case.x_event_shape
    context_shape = case.options.get("context_shape")
    context = None if context_shape is None else jnp.ones((2, *context_shape))
    parts = dict(bijector.parts())
    if not parts:
        assert not list(bijector.parts_with_shapes(shape))
        return
    variables = jax.eval_shape(lambda x: bijector.init(KEY, x, context), jax.ShapeDtypeStruct((2, *shape), float))
    named = {name for tree in variables.values() for name in tree}
    with_variables = {name for name, part in parts.items() if name in named}
    others = named - with_variables - {"embed"}
    assert not others, f"{others} belong to no part"
    found = list(bijector.parts_with_shapes(shape))
    assert {part.name: part.bijector for part in found} == parts
    for part in found:
        own = {collection: tree[part.name] for collection, tree in variables.items() if part.name in tree}
        if context is None and part.copies == 1 and own:
            method = "forward_and_log_det" if part.swapped else "inverse_and_log_det"
            x_shape = part.x_event_shape
            seen = part.bijector.z_event_shape(x_shape) if part.swapped else x_shape
            alone = jax.eval_shape(
                lambda x, part=part, method=method: part.bijector.init(KEY, x, method=method),
                jax.ShapeDtypeStruct((2, *seen), float),
            )
            assert jax.tree.map(jnp.shape, dict(alone)) == jax.tree.map(jnp.shape, own)


def test_copies_and_directions_are_told():
    assert [tuple(part)[2:] for part in b.Repeat(b.Reverse(), 3).parts_with_shapes((5,))] == [((5,), 3, False)]
    assert [tuple(part)[2:] for part in b.Vmap(b.Reverse(), 3).parts_with_shapes((3, 5))] == [((5,), 3, False)]
    inverse = b.Inverse(b.Squeeze())
    assert [tuple(part)[2:] for part in inverse.parts_with_shapes((2, 2, 4))] == [((4, 4, 1), 1, True)]
    split = b.Split(b.Planar(), coupling())
    assert [(part.name, part.x_event_shape) for part in split.parts_with_shapes((5,))] == [
        ("prior", (5,)),
        ("bijector", (3,)),
    ]


def test_parts_of_your_own_are_found_in_nested_tuples():
    bijector = Twice(((b.ActNorm(), b.DiagonalLinear()), (b.Reverse(),)))
    assert [name for name, _ in bijector.parts()] == ["pairs_0_0", "pairs_0_1", "pairs_1_0"]
    assert set(bijector.init(KEY, jnp.ones((2, 3)))["params"]) == {"pairs_0_1"}
    assert not Twice(((b.Planar(),),)).allows_invertible_backprop
    assert list(bijector.parts_with_shapes((3,))) == []


WITH_PARTS = {
    "split": (lambda: b.Split(b.Chain((b.Planar(), b.ActNorm())), coupling()), (5,)),
    "stack": (lambda: b.Stack((b.ActNorm(), b.Chain((b.Planar(),))), (2, 3)), (5,)),
    "masked": (lambda: b.Masked(b.Chain((b.ActNorm(), b.Reverse()))), (5,)),
    "vmap": (lambda: b.Vmap(b.Chain((b.ActNorm(), coupling())), 2), (2, 3)),
    "conditioned": (lambda: b.Conditioned(b.Chain((b.Planar(), b.ActNorm())), ContextEmbed(2, ())), (3,)),
    "repeat": (lambda: b.Repeat(b.Split(b.Reverse(), coupling()), 2), (4,)),
}


@pytest.mark.parametrize("name", WITH_PARTS)
def test_activations_are_named_in_every_combinator(name):
    make, shape = WITH_PARTS[name]
    bijector = b.Chain((make(),))
    context_shape = (2,) if name == "conditioned" else None
    context = None if context_shape is None else jnp.ones((4, 2))
    flow = Flow(bijector, StandardNormal(shape), shape, context_shape=context_shape)
    x = jax.device_put(np.random.default_rng(0).normal(size=(4, *shape)))
    found = jax.eval_shape(lambda: flow.activations(flow.init(KEY, x, context), x, context))

    def leaves(bijector: b.Bijector, path: str) -> list[str]:
        parts = [path_of for part, inner in bijector.parts() for path_of in leaves(inner, f"{path}/{part}")]
        return parts or [f"{path}/max_abs"]

    assert set(leaves(bijector, "bijector")) <= set(found)
