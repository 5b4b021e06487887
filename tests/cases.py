"""Every bijector under test. A new one is a line here; `tests/bijectors/test_properties.py` runs the suite on it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from jflows import bijectors as b
from jflows import nn
from jflows.bijectors import Bijector
from jflows.flows import glow_step
from jflows.ops.trace import truncation_bound


@dataclasses.dataclass(frozen=True)
class Case:
    """A bijector and what is promised of it; `options` go to `check_bijector` (domain, tolerances, context_shape).

    `slow` cases repeat, in another combination, what faster cases or tests hold already; they run with `-m slow`.
    `requires` names an optional package, without which the case is skipped.
    """

    name: str
    make: Callable[[], Bijector]
    x_event_shape: tuple[int, ...]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    slow: bool = False
    requires: str | None = None


def mlp_coupling(inner: b.InnerMap) -> Bijector:
    return b.Coupling(nn.MLP((8,), activation="tanh"), inner)


def conv_coupling(inner: b.InnerMap, width: int = 4, norm: str = "actnorm") -> Bijector:
    return b.Coupling(nn.ConvNet(width, norm=norm, activation="gelu"), inner, event_ndims=3)


def vector_step() -> Bijector:
    return b.Chain((mlp_coupling(b.Affine()), b.InvertibleLinear(), b.ActNorm()))


def image_step(width: int = 4) -> Bijector:
    return glow_step(b.Affine(), width=width)


def multiscale() -> Bijector:
    def coupling() -> Bijector:
        return b.Coupling(nn.ZeroConv(), b.Affine(max_log_scale=4.0), event_ndims=3)

    steps = b.Repeat(b.Chain((coupling(), b.Reverse(3), b.ActNorm(3))), 2, "invertible")
    levels = (b.Chain((steps, b.Squeeze())), b.Chain((b.InvertibleLinear(3), b.Squeeze())))
    return b.MultiScale((4, 4, 2), levels, (coupling(), b.ChannelAffine(event_ndims=3)))


def two_way() -> Bijector:
    return b.AdditiveTwoWay(nn.MLP((8,), activation="tanh"), nn.MLP((8,), activation="tanh"))


def residual(estimator: str, **fields) -> Bijector:
    return b.Residual(nn.LipschitzMLP((8,), coefficient=0.8), estimator, **fields)


def continuous(trace: str, solver: str) -> Bijector:
    return b.Continuous(nn.TimeMLP((4,)), trace, solver, rtol=1e-10, atol=1e-10)


def block_pattern(num_kept: int, dim: int) -> np.ndarray:
    """What a coupling of vectors may depend on: itself, and for the changed half the kept one."""
    pattern = np.eye(dim, dtype=bool)
    pattern[num_kept:, :num_kept] = True
    return pattern


IMAGE = (4, 4, 3)
CONTEXT = {"context_shape": (2,)}
DIAGONAL = {"jacobian_pattern": np.eye(6, dtype=bool)}
EXACT = {"float32_tol": 2e-6}
UNBOUNDED = {"max_magnitude": 10.0, "float32_tol": 2e-5}  # exp(conditioner) overflows at 1e4, as documented
PIXELS = {"domain": (0.0, 256.0), "jacobian_pattern": np.eye(12, dtype=bool), "log_det_tol": 1e-9}

CASES = (
    Case("actnorm", lambda: b.ActNorm(), (6,), EXACT | DIAGONAL),
    Case("actnorm_image", lambda: b.ActNorm(event_ndims=3), IMAGE, EXACT | {"float32_tol": 1e-5}),
    Case("channel_affine", lambda: b.ChannelAffine(), (6,), EXACT | DIAGONAL),
    Case("channel_affine_image", lambda: b.ChannelAffine(event_ndims=3), IMAGE, EXACT | {"float32_tol": 1e-5}),
    Case("channel_affine_context", lambda: b.ChannelAffine(), (6,), EXACT | DIAGONAL | CONTEXT),
    Case(
        "channel_affine_image_context", lambda: b.ChannelAffine(event_ndims=3), IMAGE, {"float32_tol": 2e-5} | CONTEXT
    ),
    Case("centred_pixels", lambda: b.CentredPixels(), (2, 2, 3), PIXELS | EXACT),
    Case("centred_pixels_5_bits", lambda: b.CentredPixels(5), (2, 2, 3), PIXELS | EXACT | {"domain": (0.0, 32.0)}),
    Case("logit_pixels", lambda: b.LogitPixels(), (2, 2, 3), PIXELS | {"float32_tol": 1e-5}),
    Case("logit_pixels_1e-6", lambda: b.LogitPixels(alpha=1e-6), (2, 2, 3), PIXELS | {"float32_tol": 1e-5}),
    Case("linear", lambda: b.InvertibleLinear(), (6,), {"float32_tol": 1e-5}),
    Case("linear_image", lambda: b.InvertibleLinear(event_ndims=3), IMAGE, {"float32_tol": 1e-5}),
    Case("reverse", lambda: b.Reverse(), (5,), {"jacobian_pattern": np.eye(5, dtype=bool)[::-1]} | EXACT),
    Case("reverse_image", lambda: b.Reverse(event_ndims=3), IMAGE, EXACT),
    Case("permutation", lambda: b.RandomPermutation(), (6,), EXACT),
    Case("permutation_image", lambda: b.RandomPermutation(event_ndims=3), IMAGE, EXACT),
    Case("squeeze", lambda: b.Squeeze(), (4, 6, 2), EXACT),
    Case("squeeze_3", lambda: b.Squeeze(3), (3, 6, 1), EXACT),
    Case(
        "coupling_tanh",
        lambda: mlp_coupling(b.Affine()),
        (5,),
        EXACT | {"jacobian_pattern": block_pattern(3, 5)},
    ),
    Case("coupling_tanh_context", lambda: mlp_coupling(b.Affine()), (5,), EXACT | CONTEXT),
    Case("coupling_sigmoid", lambda: mlp_coupling(b.Affine("sigmoid")), (5,), UNBOUNDED),
    Case("coupling_exp", lambda: mlp_coupling(b.Affine("exp")), (5,), UNBOUNDED),
    Case("coupling_shift", lambda: mlp_coupling(b.Shift()), (2,), EXACT | {"jacobian_pattern": block_pattern(1, 2)}),
    Case("coupling_conv_bias", lambda: conv_coupling(b.Shift(), norm="bias"), IMAGE, {"float32_tol": 1e-5}),
    Case("coupling_conv_context", lambda: conv_coupling(b.Affine()), IMAGE, {"float32_tol": 2e-5} | CONTEXT),
    Case(
        "coupling_zero_conv_context",
        lambda: b.Coupling(nn.ZeroConv(), b.Affine(), event_ndims=3),
        IMAGE,
        {"float32_tol": 2e-5} | CONTEXT,
    ),
    Case("chain", vector_step, (5,), {"float32_tol": 2e-5}),
    Case("chain_image", lambda: b.Chain((image_step(), b.Squeeze())), (4, 4, 1), {"float32_tol": 5e-5}, slow=True),
    Case("inverse", lambda: b.Inverse(vector_step()), (5,), {"float32_tol": 2e-5} | CONTEXT),
    Case("inverse_squeeze", lambda: b.Inverse(b.Squeeze()), (2, 2, 8), EXACT),
    Case("repeat", lambda: b.Repeat(vector_step(), 3), (4,), CONTEXT),
    Case("repeat_remat", lambda: b.Repeat(vector_step(), 3, "remat"), (4,), CONTEXT, slow=True),
    Case("repeat_invertible", lambda: b.Repeat(vector_step(), 3, "invertible"), (4,), CONTEXT),
    Case("repeat_anchored", lambda: b.Repeat(vector_step(), 4, "invertible", anchor_every=2), (4,), CONTEXT, slow=True),
    Case("repeat_without_parameters", lambda: b.Repeat(b.RandomPermutation(), 3), (6,), EXACT),
    Case("repeat_of_repeat", lambda: b.Repeat(b.Repeat(vector_step(), 2), 2, "invertible"), (4,), slow=True),
    Case("multiscale", multiscale, (4, 4, 2), CONTEXT),
    Case("additive_two_way", two_way, (5,), EXACT | CONTEXT),
    Case("additive_two_way_repeat", lambda: b.Repeat(two_way(), 3, "invertible"), (4,), CONTEXT, slow=True),
    Case("residual_exact", lambda: residual("exact"), (4,), EXACT | CONTEXT),
    Case("residual_roulette", lambda: residual("roulette"), (4,), EXACT, slow=True),
    Case(
        "residual_truncated",
        lambda: residual("truncated", num_terms=6, noise="normal"),
        (3,),
        EXACT | CONTEXT | {"log_det_bias": truncation_bound(0.8, 3, 6)},
        slow=True,
    ),
    Case("residual_repeat", lambda: b.Repeat(b.Inverse(residual("roulette")), 2, "remat"), (3,), slow=True),
    Case("residual_conv", lambda: b.Residual(nn.LipschitzConvNet(4), event_ndims=3), (2, 2, 3), CONTEXT, slow=True),
    Case("continuous", lambda: continuous("exact", "tsit5"), (3,), CONTEXT, slow=True, requires="diffrax"),
    Case(
        "continuous_hutchinson",
        lambda: continuous("hutchinson", "dopri5"),
        (3,),
        slow=True,
        requires="diffrax",
    ),
)


def exported_bijectors() -> set[str]:
    """Names in `jflows.bijectors` that a user can build."""
    exported = {name: getattr(b, name) for name in b.__all__}
    return {
        name
        for name, cls in exported.items()
        if isinstance(cls, type)
        and issubclass(cls, b.Bijector | b.InnerMap)
        and not getattr(cls, "__abstractmethods__", None)
    }
