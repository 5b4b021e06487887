"""Every bijector under test. A new one is a line here; `tests/bijectors/test_properties.py` runs the suite on it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from flax import linen

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


def mlp_coupling(inner: b.InnerMap, **options: Any) -> Bijector:
    return b.Coupling(nn.MLP((8,), activation="tanh"), inner, **options)


def conv_coupling(inner: b.InnerMap, width: int = 4, norm: str = "actnorm", **options: Any) -> Bijector:
    return b.Coupling(nn.ConvNet(width, norm=norm, activation="gelu"), inner, event_ndims=3, **options)


def integral() -> b.InnerMap:
    return b.MonotoneIntegral(2, (3,), num_nodes=5)


def vector_step() -> Bijector:
    return b.Chain((mlp_coupling(b.Affine()), b.InvertibleLinear(), b.ActNorm()))


def stacked() -> Bijector:
    return b.Stack((b.Exp(), b.Sigmoid(), b.Elementwise(b.Affine())), (1, 1, 3))


def by_column(which: tuple[int, ...]) -> b.InnerMap:
    """Splines of the line, and of the circle of period 4."""
    line, ring = b.RationalQuadraticSpline(3, 2.0), b.RationalQuadraticSpline(2, 2.0, boundary="circular")
    return b.ByColumn((line, ring), which)


def simplex_rows(random: np.random.Generator, num: int) -> np.ndarray:
    return random.dirichlet(np.full(4, 0.3), num)


def table() -> Bijector:
    """Every domain of a column, out of order: positive 4, an interval 2, a circle 0, a simplex 6, 1, 3, a real 5."""
    maps = (b.Exp(), b.Interval(-1.0, 3.0), b.Circle(0.0, 4.0), b.StickBreaking(), b.Elementwise(b.Affine()))
    return b.Stack(maps, (1, 1, 1, 3, 1), columns=(4, 2, 0, 6, 1, 3, 5))


def table_rows(random: np.random.Generator, num: int) -> np.ndarray:
    simplex = random.dirichlet(np.full(3, 0.7), num)
    others = (
        np.exp(random.normal(size=num)),
        random.uniform(-1, 3, num),
        random.uniform(0, 4, num),
        random.normal(size=num),
    )
    return np.stack([others[2], simplex[:, 1], others[1], simplex[:, 2], others[0], others[3], simplex[:, 0]], axis=-1)


def image_step(width: int = 4) -> Bijector:
    return glow_step(b.Affine(), width=width)


def multiscale() -> Bijector:
    def coupling() -> Bijector:
        return b.Coupling(nn.ZeroConv(), b.Affine(max_log_scale=4.0), event_ndims=3)

    steps = b.Repeat(b.Chain((coupling(), b.Reverse(3), b.ActNorm(3))), 2, "invertible")
    levels = (b.Chain((steps, b.Squeeze())), b.Chain((b.InvertibleLinear(3), b.Squeeze())))
    return b.MultiScale((4, 4, 2), levels, (coupling(), b.Elementwise(b.Affine(), event_ndims=3)))


def early_outputs() -> Bijector:
    def step() -> Bijector:
        coupling = b.Coupling(nn.WaveNet(3, 2), b.Affine(), event_ndims=3)
        return b.Repeat(b.Chain((coupling, b.InvertibleLinear(3))), 2, "invertible")

    return b.MultiScale((1, 3, 4), (step(), step()), num_out=2)


def two_way() -> Bijector:
    return b.AdditiveTwoWay(nn.MLP((8,), activation="tanh"), nn.MLP((8,), activation="tanh"))


def residual(estimator: str, **fields) -> Bijector:
    return b.Residual(nn.LipschitzMLP((8,), coefficient=0.8), estimator, **fields)


def continuous(trace: str, solver: str) -> Bijector:
    return b.Continuous(nn.TimeMLP((4,)), trace, solver, rtol=1e-10, atol=1e-10)


def autoregressive(inner: b.InnerMap, **made: Any) -> Bijector:
    return b.MaskedAutoregressive(nn.MADE((6, 6), "tanh", **made), inner)


def causal_transformer() -> Bijector:
    return b.MaskedAutoregressive(nn.Transformer(4, 1, 2, event_ndims=1, causal=True), b.Affine())


def order_pattern(**made: Any) -> np.ndarray:
    """What an autoregressive map of four coordinates may depend on: itself, and what comes before."""
    degrees = nn.MADE((1,), **made).degrees(4)[0]
    return degrees[:, None] >= degrees


def block_pattern(num_kept: int, dim: int) -> np.ndarray:
    """What a coupling of vectors may depend on: itself, and for the changed half the kept one."""
    pattern = np.eye(dim, dtype=bool)
    pattern[num_kept:, :num_kept] = True
    return pattern


IMAGE = (4, 4, 3)
CONTEXT = {"context_shape": (2,)}
DIAGONAL = {"jacobian_pattern": np.eye(6, dtype=bool)}
TRIANGULAR = {"jacobian_pattern": np.tri(3, dtype=bool)}
EXACT = {"float32_tol": 2e-6}
BOUNDED = {"float32_tol": 2e-5}
UNBOUNDED = {"max_magnitude": 10.0, "float32_tol": 2e-5}  # exp(conditioner) overflows at 1e4, as documented
SPLINE = {"float32_tol": 1e-5, "jacobian_pattern": block_pattern(2, 4)}
PIXELS = {"domain": (0.0, 256.0), "jacobian_pattern": np.eye(12, dtype=bool), "log_det_tol": 1e-9}

CASES = (
    Case("actnorm", lambda: b.ActNorm(), (6,), EXACT | DIAGONAL),
    Case("actnorm_image", lambda: b.ActNorm(event_ndims=3), IMAGE, EXACT | {"float32_tol": 1e-5}, slow=True),
    Case("elementwise_affine", lambda: b.Elementwise(b.Affine()), (6,), EXACT | DIAGONAL, slow=True),
    Case(
        "elementwise_affine_image",
        lambda: b.Elementwise(b.Affine(), event_ndims=3),
        IMAGE,
        EXACT | {"float32_tol": 1e-5},
        slow=True,
    ),
    Case("elementwise_affine_context", lambda: b.Elementwise(b.Affine()), (6,), EXACT | DIAGONAL | CONTEXT, slow=True),
    Case(
        "elementwise_affine_image_context",
        lambda: b.Elementwise(b.Affine(), event_ndims=3),
        IMAGE,
        BOUNDED | CONTEXT,
        slow=True,
    ),
    Case("elementwise_prelu", lambda: b.Elementwise(b.PReLU()), (6,), EXACT | DIAGONAL),
    Case("standardize", lambda: b.Standardize(), (6,), EXACT | DIAGONAL),
    Case("batchnorm", lambda: b.BatchNorm(), (6,), EXACT | DIAGONAL),
    Case("batchnorm_image", lambda: b.BatchNorm(3), IMAGE, EXACT | {"float32_tol": 1e-5}, slow=True),
    Case("whiten", lambda: b.Whiten(), (4,), {"float32_tol": 2e-5}),
    Case("whiten_image", lambda: b.Whiten(3, 0.1), (2, 2, 3), {"float32_tol": 2e-5}, slow=True),
    Case("identity", lambda: b.Identity(), (3,), EXACT),
    Case("exp", lambda: b.Exp(), (3,), {"domain": (1e-4, 1e4)}),
    Case("softplus", lambda: b.Softplus(), (3,), {"domain": (1e-4, 1e4)}),
    Case("sigmoid", lambda: b.Sigmoid(), (3,), {"domain": (0.0, 1.0)}),
    Case("logit", lambda: b.Logit(), (3,), {"domain": (-7.0, 7.0)}),
    Case("tanh", lambda: b.Tanh(), (3,), {"domain": (-1.0, 1.0)}),
    Case("softsign", lambda: b.Softsign(), (3,), {"domain": (-1.0, 1.0)}),
    Case("interval", lambda: b.Interval(-1.0, 3.0), (3,), {"domain": (-1.0, 3.0)}),
    Case("circle", lambda: b.Circle(-1.0, 3.0), (3,), {"domain": (-1.0, 3.0)}),
    Case("stick_breaking", lambda: b.StickBreaking(), (4,), {"draw": simplex_rows, "chart": (0, 1, 2)}),
    Case("leaky_relu", lambda: b.LeakyReLU(), (3,), EXACT | {"jacobian_pattern": np.eye(3, dtype=bool)}),
    Case("elu", lambda: b.ELU(), (3,), {"domain": (-1.0, 10.0)}),
    Case("power", lambda: b.Power(3.0), (3,), {"domain": (1e-4, 10.0)}),
    Case("logistic_mixture", lambda: b.Elementwise(b.LogisticMixture(3)), (3,), slow=True),
    Case("coupling_logistic_mixture", lambda: mlp_coupling(b.LogisticMixture(2)), (3,), CONTEXT, slow=True),
    Case("gaussianize", lambda: b.Elementwise(b.Gaussianize(2)), (3,), {"max_magnitude": 1e3}, slow=True),
    Case("coupling_alternate", lambda: mlp_coupling(b.Affine(), mask="alternate", flip=True), (5,), EXACT, slow=True),
    Case("coupling_random", lambda: mlp_coupling(b.Shift(), mask="random", seed=3), (5,), EXACT, slow=True),
    Case(
        "coupling_checkerboard",
        lambda: conv_coupling(b.Affine(), mask="checkerboard"),
        (2, 4, 2),
        BOUNDED,
        slow=True,
    ),
    Case(
        "coupling_checkerboard_flipped",
        lambda: conv_coupling(b.Shift(), mask="checkerboard", flip=True),
        (2, 4, 1),
        BOUNDED,
        slow=True,
    ),
    Case(
        "conditioned",
        lambda: b.Conditioned(b.Elementwise(b.Affine()), nn.ContextEmbed(2, ())),
        (3,),
        CONTEXT,
    ),
    Case("masked", lambda: b.Masked(b.Elementwise(b.Affine()), "alternate"), (5,), BOUNDED | CONTEXT),
    Case(
        "stack",
        stacked,
        (5,),
        {"domain": (1e-4, 1.0)} | CONTEXT,
    ),
    Case("stack_columns", table, (7,), {"draw": table_rows, "chart": (0, 1, 2, 4, 5, 6), "context_shape": (2,)}),
    Case("split", lambda: b.Split(b.Elementwise(b.Affine()), mlp_coupling(b.Shift())), (5,), BOUNDED | CONTEXT),
    Case("vmap", lambda: b.Vmap(mlp_coupling(b.Affine()), 2), (2, 3), BOUNDED | CONTEXT, slow=True),
    Case("centred_pixels", lambda: b.CentredPixels(), (2, 2, 3), PIXELS | EXACT),
    Case(
        "centred_pixels_5_bits",
        lambda: b.CentredPixels(5),
        (2, 2, 3),
        PIXELS | EXACT | {"domain": (0.0, 32.0)},
        slow=True,
    ),
    Case("logit_pixels", lambda: b.LogitPixels(), (2, 2, 3), PIXELS | {"float32_tol": 1e-5}),
    Case("logit_pixels_1e-6", lambda: b.LogitPixels(alpha=1e-6), (2, 2, 3), PIXELS | {"float32_tol": 1e-5}, slow=True),
    Case("logit_pixels_one", lambda: b.LogitPixels(sides="one"), (2, 2, 3), PIXELS | {"float32_tol": 1e-5}),
    Case("linear", lambda: b.InvertibleLinear(), (6,), {"float32_tol": 1e-5}),
    Case("linear_image", lambda: b.InvertibleLinear(event_ndims=3), IMAGE, {"float32_tol": 1e-5}, slow=True),
    Case("diagonal", lambda: b.DiagonalLinear(), (6,), EXACT | DIAGONAL),
    Case("diagonal_image", lambda: b.DiagonalLinear(3), (2, 2, 3), EXACT | {"float32_tol": 1e-5}, slow=True),
    Case("lower", lambda: b.TriangularLinear(), (5,), {"jacobian_pattern": np.tri(5), "float32_tol": 1e-5}),
    Case(
        "upper_image",
        lambda: b.TriangularLinear(lower=False, event_ndims=3),
        (2, 2, 3),
        {"float32_tol": 1e-5},
        slow=True,
    ),
    Case("low_rank", lambda: b.LowRankLinear(2), (5,), {"float32_tol": 1e-5}),
    Case("low_rank_image", lambda: b.LowRankLinear(1, event_ndims=3), (2, 2, 3), {"float32_tol": 1e-5}, slow=True),
    Case("householder", lambda: b.Householder(2), (6,), EXACT),
    Case("householder_all", lambda: b.Householder(), (4,), EXACT, slow=True),
    Case("householder_image", lambda: b.Householder(event_ndims=3), (2, 2, 3), EXACT, slow=True),
    Case("cayley", lambda: b.Orthogonal(), (5,), EXACT),
    Case("cayley_image", lambda: b.Orthogonal(event_ndims=3), (2, 2, 3), EXACT, slow=True),
    Case("rotation_exp", lambda: b.Orthogonal("exp"), (4,), {"float32_tol": 5e-6}, slow=True),
    Case("qr", lambda: b.QRLinear(), (4,), {"float32_tol": 1e-5}),
    Case("qr_image", lambda: b.QRLinear(2, event_ndims=3), (2, 2, 3), {"float32_tol": 1e-5}, slow=True),
    Case("svd", lambda: b.SVDLinear(), (4,), {"float32_tol": 1e-5}),
    Case("svd_image", lambda: b.SVDLinear(2, event_ndims=3), (2, 2, 3), {"float32_tol": 1e-5}, slow=True),
    Case("reverse", lambda: b.Reverse(), (5,), {"jacobian_pattern": np.eye(5, dtype=bool)[::-1]} | EXACT),
    Case("reverse_image", lambda: b.Reverse(event_ndims=3), IMAGE, EXACT, slow=True),
    Case("permutation", lambda: b.RandomPermutation(), (6,), EXACT),
    Case("permutation_image", lambda: b.RandomPermutation(event_ndims=3), IMAGE, EXACT, slow=True),
    Case("swap_halves", lambda: b.SwapHalves(), (5,), {"jacobian_pattern": np.roll(np.eye(5), 2, 0)} | EXACT),
    Case("evens_first", lambda: b.EvensFirst(), (5,), {"jacobian_pattern": np.eye(5)[[0, 2, 4, 1, 3]]} | EXACT),
    Case("mirror", lambda: b.Mirror(), (2, 3, 2), EXACT),
    Case("permute", lambda: b.Permute((2, 0, 1)), (3,), {"jacobian_pattern": np.eye(3)[[2, 0, 1]]} | EXACT),
    Case("permute_image", lambda: b.Permute((2, 0, 1), event_ndims=3), (2, 2, 3), EXACT, slow=True),
    Case("squeeze_realnvp", lambda: b.Squeeze(order="realnvp"), (2, 4, 1), EXACT, slow=True),
    Case("haar", lambda: b.Haar(), (2, 4, 1), EXACT),
    Case("reshape", lambda: b.Reshape((2, 1, 3), (6,)), (2, 1, 3), {"jacobian_pattern": np.eye(6)} | EXACT),
    Case("transpose", lambda: b.Transpose((1, 2, 0)), (2, 1, 3), EXACT),
    Case("squeeze", lambda: b.Squeeze(), (4, 6, 2), EXACT),
    Case("squeeze_3", lambda: b.Squeeze(3), (3, 6, 1), EXACT, slow=True),
    Case(
        "coupling_tanh",
        lambda: mlp_coupling(b.Affine()),
        (5,),
        EXACT | {"jacobian_pattern": block_pattern(3, 5)},
    ),
    Case("coupling_tanh_context", lambda: mlp_coupling(b.Affine()), (5,), EXACT | CONTEXT, slow=True),
    Case("coupling_sigmoid", lambda: mlp_coupling(b.Affine("sigmoid")), (5,), UNBOUNDED, slow=True),
    Case("coupling_exp", lambda: mlp_coupling(b.Affine("exp")), (5,), UNBOUNDED, slow=True),
    Case(
        "coupling_shift",
        lambda: mlp_coupling(b.Shift()),
        (2,),
        EXACT | {"jacobian_pattern": block_pattern(1, 2)},
        slow=True,
    ),
    Case("coupling_spline", lambda: mlp_coupling(b.RationalQuadraticSpline(3, 2.0)), (4,), SPLINE),
    Case(
        "coupling_spline_learned",
        lambda: mlp_coupling(b.RationalQuadraticSpline(2, 1.0, learn_bound=True, boundary="learned")),
        (4,),
        SPLINE | CONTEXT,
        slow=True,
    ),
    Case(
        "coupling_spline_circular",
        lambda: mlp_coupling(b.RationalQuadraticSpline(2, 2.0, boundary="circular")),
        (4,),
        {"domain": (-2.0, 2.0)} | SPLINE,
        slow=True,
    ),
    Case("coupling_spline_linear", lambda: mlp_coupling(b.LinearSpline(3, 2.0)), (4,), SPLINE, slow=True),
    Case(
        "coupling_spline_bins",
        lambda: mlp_coupling(b.LinearSpline(2, 2.0, True, bins="learned")),
        (4,),
        SPLINE,
        slow=True,
    ),
    Case("coupling_spline_quadratic", lambda: mlp_coupling(b.QuadraticSpline(3, 2.0, True)), (4,), SPLINE, slow=True),
    Case("coupling_spline_cubic", lambda: mlp_coupling(b.CubicSpline(2, 2.0, True)), (4,), SPLINE, slow=True),
    Case(
        "coupling_by_column",
        lambda: b.Coupling(nn.MLP((8,), "tanh", circles=(0,)), by_column((1, 0)), mask="half"),
        (4,),
        {"domain": (-2.0, 2.0), "float32_tol": 1e-5, "jacobian_pattern": block_pattern(2, 4)},
        slow=True,
    ),
    Case("coupling_conv_bias", lambda: conv_coupling(b.Shift(), norm="bias"), IMAGE, {"float32_tol": 1e-5}, slow=True),
    Case(
        "coupling_mixture_image",
        lambda: conv_coupling(b.LogisticMixture(2), norm="bias"),
        (2, 2, 3),
        {"max_magnitude": 10.0, "float32_tol": 1e-4},
        slow=True,
    ),
    Case("coupling_conv_context", lambda: conv_coupling(b.Affine()), IMAGE, BOUNDED | CONTEXT, slow=True),
    Case(
        "coupling_zero_conv_context",
        lambda: b.Coupling(nn.ZeroConv(), b.Affine(), event_ndims=3),
        IMAGE,
        BOUNDED | CONTEXT,
        slow=True,
    ),
    Case("chain", vector_step, (5,), BOUNDED),
    Case(
        "coupling_residual_mlp",
        lambda: b.Coupling(nn.ResidualMLP(8, 1, gated=True), b.Affine()),
        (5,),
        EXACT | CONTEXT,
        slow=True,
    ),
    Case(
        "coupling_residual_conv",
        lambda: b.Coupling(nn.ResidualConvNet(4, 1, "gelu"), b.Affine(), event_ndims=3),
        IMAGE,
        {"float32_tol": 5e-5} | CONTEXT,
        slow=True,
    ),
    Case(
        "coupling_residual_conv_batch_norm",
        lambda: b.Coupling(nn.ResidualConvNet(4, 1, "gelu", norm="batch"), b.Affine(), event_ndims=3),
        IMAGE,
        {"float32_tol": 5e-5} | CONTEXT,
        slow=True,
    ),
    Case(
        "coupling_gated_conv",
        lambda: b.Coupling(nn.GatedConvNet(4, 1, 2), b.Affine(), event_ndims=3),
        (2, 2, 3),
        {"float32_tol": 5e-5} | CONTEXT,
        slow=True,
    ),
    Case(
        "coupling_transformer",
        lambda: b.Coupling(nn.Transformer(4, 1, 2), b.Affine(), event_ndims=2),
        (3, 3),
        {"float32_tol": 5e-5} | CONTEXT,
        slow=True,
    ),
    Case("chain_image", lambda: b.Chain((image_step(), b.Squeeze())), (4, 4, 1), {"float32_tol": 5e-5}, slow=True),
    Case("inverse", lambda: b.Inverse(mlp_coupling(b.Affine())), (5,), BOUNDED | CONTEXT),
    Case("inverse_squeeze", lambda: b.Inverse(b.Squeeze()), (2, 2, 8), EXACT, slow=True),
    Case("repeat", lambda: b.Repeat(vector_step(), 3), (4,), CONTEXT),
    Case("repeat_remat", lambda: b.Repeat(vector_step(), 3, "remat"), (4,), CONTEXT, slow=True),
    Case("repeat_invertible", lambda: b.Repeat(vector_step(), 3, "invertible"), (4,), CONTEXT, slow=True),
    Case("repeat_anchored", lambda: b.Repeat(vector_step(), 4, "invertible", anchor_every=2), (4,), CONTEXT, slow=True),
    Case("repeat_without_parameters", lambda: b.Repeat(b.RandomPermutation(), 3), (6,), EXACT, slow=True),
    Case("repeat_of_repeat", lambda: b.Repeat(b.Repeat(vector_step(), 2), 2, "invertible"), (4,), slow=True),
    Case("multiscale", multiscale, (4, 4, 2), CONTEXT, slow=True),
    Case("early_outputs", early_outputs, (1, 3, 4), CONTEXT, slow=True),
    Case("planar", lambda: b.Planar(), (3,), EXACT, slow=True),
    Case("planar_1d", lambda: b.Planar(), (1,), EXACT, slow=True),
    Case("planar_context", lambda: b.Planar(), (3,), CONTEXT | EXACT),
    Case("maf", lambda: autoregressive(b.Affine()), (4,), BOUNDED | {"jacobian_pattern": order_pattern()}),
    Case(
        "maf_random_context",
        lambda: autoregressive(b.Affine(), order="random", seed=2, residual=True),
        (4,),
        BOUNDED | CONTEXT | {"jacobian_pattern": order_pattern(order="random", seed=2)},
        slow=True,
    ),
    Case(
        "maf_residual",
        lambda: autoregressive(b.Affine(), order="reversed", residual=True),
        (4,),
        BOUNDED | {"jacobian_pattern": order_pattern(order="reversed")},
        slow=True,
    ),
    Case(
        "maf_one_dimension",
        lambda: autoregressive(b.Affine()),
        (1,),
        BOUNDED | CONTEXT | {"skip": ("gradients",)},  # the weights of the only input are all masked
        slow=True,
    ),
    Case("maf_mixture", lambda: autoregressive(b.LogisticMixture(2)), (3,), CONTEXT, slow=True),
    Case("maf_spline", lambda: autoregressive(b.RationalQuadraticSpline(3)), (3,), slow=True),
    Case(
        "maf_by_column",
        lambda: b.MaskedAutoregressive(nn.MADE((4,), "tanh", "reversed", circles=(0,)), by_column((1, 0, 1))),
        (3,),
        {"domain": (-2.0, 2.0), "jacobian_pattern": np.triu(np.ones((3, 3)))},
        slow=True,
    ),
    Case("maf_integral", lambda: autoregressive(integral()), (3,), slow=True),
    Case(
        "maf_transformer",
        causal_transformer,
        (4,),
        BOUNDED | CONTEXT | {"jacobian_pattern": order_pattern()},
        slow=True,
    ),
    Case(
        "iaf",
        lambda: b.Inverse(autoregressive(b.Affine(), order="reversed")),
        (4,),
        BOUNDED | CONTEXT | {"jacobian_pattern": order_pattern(order="reversed")},
        slow=True,
    ),
    Case(
        "maf_repeat",
        lambda: b.Repeat(b.Chain((autoregressive(b.Affine()), b.Reverse())), 2, "invertible"),
        (4,),
        CONTEXT,
        slow=True,
    ),
    Case("block_autoregressive", lambda: b.BlockNeuralAutoregressive(2), (3,), TRIANGULAR, slow=True),
    Case("block_autoregressive_context", lambda: b.BlockNeuralAutoregressive(2, 2), (2,), CONTEXT, slow=True),
    Case("block_autoregressive_add", lambda: b.BlockNeuralAutoregressive(2, residual="add"), (2,), slow=True),
    Case(
        "block_autoregressive_none",
        lambda: b.BlockNeuralAutoregressive(2, residual="none"),
        (2,),
        {"domain": (-2.0, 2.0)},
        slow=True,
    ),
    Case("integral", lambda: b.Elementwise(integral()), (3,), {"jacobian_pattern": np.eye(3, dtype=bool)}),
    Case("integral_coupling", lambda: mlp_coupling(integral()), (3,), CONTEXT, slow=True),
    Case("radial", lambda: b.Radial(), (3,), EXACT, slow=True),
    Case("radial_context", lambda: b.Radial(), (3,), CONTEXT | EXACT),
    Case("sylvester", lambda: b.Sylvester(2, num_reflections=2), (3,), EXACT),
    Case("sylvester_qr", lambda: b.Sylvester(2, "qr"), (3,), EXACT, slow=True),
    Case("sylvester_context", lambda: b.Sylvester(2, "qr"), (3,), CONTEXT | EXACT, slow=True),
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


def classes_in(value) -> set[str]:
    """Class names of a module and of all modules in its fields."""
    if isinstance(value, tuple):
        return set().union(*map(classes_in, value))
    if not isinstance(value, linen.Module):
        return set()
    fields = [getattr(value, field.name) for field in dataclasses.fields(value) if field.name != "parent"]
    return {type(value).__name__}.union(*map(classes_in, fields))
