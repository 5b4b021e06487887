"""How fast is each bijector, and how fast beside its counterpart in distrax? One JSON line per bijector.

    python benchmarks/bijectors.py [--rounds 15] [--only rational_quadratic,actnorm]

Timed, in float32: `forward_and_log_det`, `inverse_and_log_det`, and the gradient of a loss of either by inputs and
parameters. The programs of both libraries take turns, one call each per round, so that a busy machine slows all of
them; times are medians, and `times_faster` is the median ratio of a round's pair. Splines start from raw parameters in
distrax's layout, [*x.shape, parameters]; bringing them into ours counts. A new bijector is one line of `TABLE`.
"""

import argparse
import dataclasses
import json
import math
import statistics
from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from timing import milliseconds

from jflows import bijectors as b
from jflows import nn

BLOCK = 64  # elements of a flat array that share a row in jflows' layout
BOUND, MIN_SHARE, MIN_SLOPE = 5.0, 1e-3, 1e-3
DIM, HIDDEN = 64, 128


@dataclasses.dataclass(frozen=True)
class Maps:
    """Parameters, and the two directions as functions (params, values) -> (values, log_det)."""

    params: Any
    forward: Callable
    inverse: Callable


def random_normal(*shape: int, seed: int = 0, scale: float = 1.0) -> jax.Array:
    """Float32 numbers from NumPy."""
    return jnp.asarray(scale * np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def of_bijector(make: Callable[[], b.Bijector]) -> Callable[..., Maps]:
    """A jflows bijector with its own parameters, moved away from where they start."""

    def maps(shape: tuple[int, ...]) -> Maps:
        bijector = make()
        variables = bijector.init(jax.random.key(0), random_normal(*shape), method="inverse_and_log_det")
        trained = jax.tree.map(lambda p: p + random_normal(*p.shape, scale=0.05), variables.get("params", {}))
        fixed = {name: value for name, value in variables.items() if name != "params"}

        def call(method: str) -> Callable:
            rngs = {"noise": jax.random.key(0)} if bijector.needs_key else {}
            return lambda params, values: bijector.apply({"params": params, **fixed}, values, method=method, rngs=rngs)

        return Maps(trained, call("forward_and_log_det"), call("inverse_and_log_det"))

    return maps


def of_inner(inner: b.InnerMap) -> Callable[..., Maps]:
    """A jflows inner map, from raw parameters [*shape, num_params]."""

    def call(method: str) -> Callable:
        def run(raw, values):
            rows = values.reshape(-1, BLOCK) if values.ndim == 1 else values
            params = raw.reshape(*rows.shape, -1).swapaxes(-1, -2)
            return jax.tree.map(lambda a: a.reshape(values.shape), getattr(inner, method)(rows, params))

        return run

    def maps(shape: tuple[int, ...]) -> Maps:
        raw = random_normal(*shape, inner.num_params)
        return Maps(raw, call("forward_and_log_det"), call("inverse_and_log_det"))

    return maps


def of_distrax(params: Callable[..., Any], build: Callable[[Any], distrax.Bijector]) -> Callable[..., Maps]:
    """A distrax bijector built from parameters inside the timed program, as a model that trains them does."""

    def maps(shape: tuple[int, ...]) -> Maps:
        def call(method: str) -> Callable:
            return lambda params, values: getattr(build(params), method)(values)

        return Maps(params(shape), call("forward_and_log_det"), call("inverse_and_log_det"))

    return maps


def distrax_spline(num_bins: int) -> Callable[..., Maps]:
    """The counterpart of `RationalQuadraticSpline(num_bins, boundary="learned")`."""
    return of_distrax(
        lambda shape: random_normal(*shape, 3 * num_bins + 1),
        lambda raw: distrax.RationalQuadraticSpline(
            raw, -BOUND, BOUND, min_bin_size=MIN_SHARE * 2 * BOUND, min_knot_slope=MIN_SLOPE
        ),
    )


MLP = nn.MLP((HIDDEN,))


def mlp_params(shape: tuple[int, ...], num_inputs: int, num_features: int):
    """Parameters of the conditioner that both libraries run."""
    x = jnp.zeros((*shape[:-1], num_inputs))
    params = MLP.init(jax.random.key(0), x, num_features)
    return jax.tree.map(lambda p: p + random_normal(*p.shape, scale=0.05), params)


def distrax_affine(raw: jax.Array) -> distrax.Bijector:
    """An affine map with jflows' bounded log-scale."""
    shift, log_scale = jnp.split(raw, 2, axis=-1)
    return distrax.ScalarAffine(shift, log_scale=2 * jnp.tanh(log_scale / 2))


def distrax_split(params) -> distrax.Bijector:
    """The affine coupling that computes only the changed half, as ours does."""
    return distrax.SplitCoupling(
        DIM // 2, 1, lambda kept: MLP.apply(params, kept, DIM), lambda raw: distrax.Block(distrax_affine(raw), 1)
    )


def distrax_masked(params) -> distrax.Bijector:
    """The affine coupling that computes both halves and keeps one."""
    mask = jnp.arange(DIM) < DIM // 2
    return distrax.MaskedCoupling(mask, lambda kept: MLP.apply(params, kept, 2 * DIM), distrax_affine)


def matrix_and_bias(shape: tuple[int, ...]):
    """A well-conditioned matrix near the identity, and no shift."""
    dim = shape[-1]
    return jnp.eye(dim) + random_normal(dim, dim, scale=0.3 / math.sqrt(dim)), jnp.zeros(dim)


def shift_and_log_scale(shape: tuple[int, ...]):
    """Parameters of a map that shifts and scales each channel."""
    return random_normal(shape[-1]), random_normal(shape[-1], seed=1)


def affine_coupling() -> b.Bijector:
    """The coupling beside `distrax_split` and `distrax_masked`, with the same conditioner."""
    return b.Coupling(MLP, b.Affine())


def nothing(shape: tuple[int, ...]) -> tuple:
    """Parameters of a map that has none."""
    return ()


def low_rank(shape: tuple[int, ...]) -> tuple[jax.Array, ...]:
    """A positive diagonal and twice one factor of rank 4: the symmetric form that ours has."""
    factor = random_normal(shape[-1], 4, scale=0.3)
    return jnp.exp(random_normal(shape[-1])), factor, factor


def two_way() -> b.Bijector:
    """The block of RevNets, with an MLP for each half."""
    return b.AdditiveTwoWay(nn.MLP((HIDDEN,)), nn.MLP((HIDDEN,)))


FLAT, ROWS, VECTORS, IMAGES = (200_000,), (3125, DIM), (4096, DIM), (64, 16, 16, 16)
OF_VECTORS: dict[str, Callable[[], b.Bijector]] = {
    "exp": b.Exp,
    "softplus": b.Softplus,
    "softsign": b.Softsign,
    "leaky_relu": b.LeakyReLU,
    "elu": b.ELU,
    "prelu": lambda: b.Elementwise(b.PReLU()),
    "logistic_mixture": lambda: b.Elementwise(b.LogisticMixture(8)),
    "gaussianize": lambda: b.Elementwise(b.Gaussianize(8)),
    "monotone_integral": lambda: b.Elementwise(b.MonotoneIntegral(4, (16,))),
    "standardize": b.Standardize,
    "batchnorm": b.BatchNorm,
    "householder": lambda: b.Householder(8),
    "orthogonal": b.Orthogonal,
    "qr_linear": lambda: b.QRLinear(8),
    "svd_linear": lambda: b.SVDLinear(8),
    "reverse": b.Reverse,
    "random_permutation": b.RandomPermutation,
    "swap_halves": b.SwapHalves,
    "additive_two_way": two_way,
    "planar": b.Planar,
    "radial": b.Radial,
    "sylvester": lambda: b.Sylvester(8),
    "block_autoregressive": lambda: b.BlockNeuralAutoregressive(4),
    "residual": lambda: b.Residual(nn.LipschitzMLP((HIDDEN,)), "truncated"),
}
OF_IMAGES: dict[str, Callable[[], b.Bijector]] = {
    "squeeze": b.Squeeze,
    "haar": b.Haar,
    "invertible_linear_image": lambda: b.InvertibleLinear(3),
    "actnorm_image": lambda: b.ActNorm(3),
    "coupling_checkerboard_image": lambda: b.Coupling(
        nn.ConvNet(HIDDEN, norm="bias"), b.Affine(), 3, mask="checkerboard"
    ),
}
SPLINE = of_inner(b.RationalQuadraticSpline(8, BOUND, boundary="learned"))

# name, shape of x, jflows, distrax (or None); a matrix of distrax maps z to x, ours x to z, so theirs is inverted.
TABLE = (
    ("rational_quadratic", FLAT, SPLINE, distrax_spline(8)),
    ("rational_quadratic_rows", ROWS, SPLINE, distrax_spline(8)),
    ("linear_spline", FLAT, of_inner(b.LinearSpline(8, BOUND, bins="learned")), None),
    ("quadratic_spline", FLAT, of_inner(b.QuadraticSpline(8, BOUND)), None),
    ("cubic_spline", FLAT, of_inner(b.CubicSpline(8, BOUND)), None),
    (
        "affine_coupling_split",
        VECTORS,
        of_bijector(affine_coupling),
        of_distrax(lambda shape: mlp_params(shape, DIM // 2, DIM), distrax_split),
    ),
    (
        "affine_coupling_masked",
        VECTORS,
        of_bijector(affine_coupling),
        of_distrax(lambda shape: mlp_params(shape, DIM, 2 * DIM), distrax_masked),
    ),
    (
        "actnorm",
        VECTORS,
        of_bijector(b.ActNorm),
        of_distrax(shift_and_log_scale, lambda p: distrax.Block(distrax.ScalarAffine(p[0], log_scale=p[1]), 1)),
    ),
    (
        "actnorm_diag_linear",
        VECTORS,
        of_bijector(b.ActNorm),
        of_distrax(lambda shape: jnp.exp(random_normal(shape[-1])), distrax.DiagLinear),
    ),
    (
        "invertible_linear_triangular",
        VECTORS,
        of_bijector(b.InvertibleLinear),
        of_distrax(matrix_and_bias, lambda p: distrax.Inverse(distrax.LowerUpperTriangularAffine(*p))),
    ),
    (
        "invertible_linear_unconstrained",
        VECTORS,
        of_bijector(b.InvertibleLinear),
        of_distrax(matrix_and_bias, lambda p: distrax.Inverse(distrax.UnconstrainedAffine(*p))),
    ),
    (
        "diagonal_linear",
        VECTORS,
        of_bijector(b.DiagonalLinear),
        of_distrax(lambda shape: jnp.exp(random_normal(shape[-1])), lambda p: distrax.Inverse(distrax.DiagLinear(p))),
    ),
    (
        "triangular_linear",
        VECTORS,
        of_bijector(b.TriangularLinear),
        of_distrax(lambda shape: matrix_and_bias(shape)[0], lambda p: distrax.Inverse(distrax.TriangularLinear(p))),
    ),
    (
        "low_rank_linear",
        VECTORS,
        of_bijector(lambda: b.LowRankLinear(4)),
        of_distrax(low_rank, lambda p: distrax.Inverse(distrax.DiagPlusLowRankLinear(*p))),
    ),
    ("sigmoid", VECTORS, of_bijector(b.Sigmoid), of_distrax(nothing, lambda _: distrax.Block(distrax.Sigmoid(), 1))),
    ("tanh", VECTORS, of_bijector(b.Tanh), of_distrax(nothing, lambda _: distrax.Block(distrax.Tanh(), 1))),
    *((name, VECTORS, of_bijector(make), None) for name, make in OF_VECTORS.items()),
    *((name, IMAGES, of_bijector(make), None) for name, make in OF_IMAGES.items()),
)


def gradient_of(run: Callable) -> Callable:
    """The negative log-likelihood under N(0, I) up to a constant, differentiated by parameters and input."""

    def loss(params, values):
        out, log_det = run(params, values)
        return 0.5 * jnp.sum(out**2) - jnp.sum(log_det)

    return jax.value_and_grad(loss, argnums=(0, 1))


def compiled_programs(maps: Maps, values: jax.Array) -> dict[str, Callable[[], object]]:
    """What is timed of one library, by name."""
    x, _ = jax.jit(maps.forward)(maps.params, values)  # the way back starts from values that the map can reach
    calls = {"forward": (maps.forward, values), "inverse": (maps.inverse, x)}
    calls |= {f"{name}_gradient": (gradient_of(function), start) for name, (function, start) in calls.items()}
    programs = {
        name: (jax.jit(function).lower(maps.params, start).compile(), start)
        for name, (function, start) in calls.items()
    }
    return {name: lambda run=run, start=start: run(maps.params, start) for name, (run, start) in programs.items()}


def measure(shape: tuple[int, ...], ours: Callable[..., Maps], theirs: Callable[..., Maps] | None, rounds: int) -> dict:
    """The timings of one row."""
    values = random_normal(*shape, seed=2, scale=2.0)
    programs = {"jflows": compiled_programs(ours(shape), values)}
    if theirs is not None:
        programs["distrax"] = compiled_programs(theirs(shape), values)
    times = {(library, what): [] for what in programs["jflows"] for library in programs}
    for library, what in times:
        milliseconds(programs[library][what])
    for number in range(rounds):
        # Every other round backwards: whoever comes second finds the input in the cache.
        for library, what in list(times)[:: 1 if number % 2 else -1]:
            times[library, what].append(milliseconds(programs[library][what]))
    row = {}
    for what in programs["jflows"]:
        mine = times["jflows", what]
        row[f"{what}_ms"] = round(statistics.median(mine), 3)
        if not what.endswith("gradient"):
            row[f"{what}_elements_per_second"] = float(f"{1e3 * math.prod(shape) / statistics.median(mine):.3g}")
        if theirs is not None:
            other = times["distrax", what]
            row[f"{what}_distrax_ms"] = round(statistics.median(other), 3)
            row[f"{what}_times_faster"] = round(statistics.median(o / m for o, m in zip(other, mine, strict=True)), 2)
    return row


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default=",".join(name for name, *_ in TABLE), help="names, separated by commas")
    options = parser.parse_args()
    for name, shape, ours, theirs in TABLE:
        if name in options.only.split(","):
            row = {"benchmark": "bijectors", "name": name, "shape": shape}
            print(json.dumps(row | measure(shape, ours, theirs, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
