"""What is timed: every bijector and every preset, in the size in which it is timed unless another is asked for.

A new bijector or preset is one line here. `sizes` are what a worker in `others/` needs to build the same map; a subject
without a worker's model of its name is timed alone.
"""

import dataclasses
import fnmatch
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jflows import bijectors as b
from jflows import flows, nn
from jflows.bench.measure import Draw
from jflows.errors import InvalidValueError, did_you_mean
from jflows.typing import Shape

HIDDEN, BINS, BOUND, REFLECTIONS = 128, 8, 3.0, 8


@dataclasses.dataclass(frozen=True)
class Subject:
    """One bijector or flow, as it is timed.

    Attributes:
      name: its name in rows; a worker in `others/` builds the model of the same name.
      make: gives the subject for an event shape.
      event_shape, batch: the sizes unless others are asked for.
      sizes: numbers that a worker needs beside the shape.
      quick: whether `--quick` times it.
      draw: makes x, where the domain of the bijector does not say what is valid.
      requires: an optional package that it needs.
    """

    name: str
    make: Callable[[Shape], Any]
    event_shape: Shape = (64,)
    batch: int = 4096
    sizes: Mapping[str, float] = dataclasses.field(default_factory=dict)
    quick: bool = False
    draw: Draw | None = None
    requires: str | None = None

    def resized(self, dim: int | None, batch: int | None) -> "Subject":
        """The subject with vectors of another dimension, if it is one of vectors, or another batch size."""
        is_vector = len(self.event_shape) == 1
        event_shape = (dim,) if is_vector and dim is not None else self.event_shape
        return dataclasses.replace(self, event_shape=event_shape, batch=self.batch if batch is None else batch)


def _always(make: Callable[[], Any]) -> Callable[[Shape], Any]:
    return lambda shape: make()


def _simplex(random: np.random.Generator, shape: Shape) -> np.ndarray:
    return random.dirichlet(np.full(shape[-1], 1.0), shape[:-1])


def _pixels(random: np.random.Generator, shape: Shape) -> np.ndarray:
    return random.uniform(1.0, 255.0, shape)


def _coupling(inner: b.InnerMap) -> b.Bijector:
    return b.Coupling(nn.MLP((HIDDEN,)), inner)


def _stack(shape: Shape) -> b.Bijector:
    return b.Stack((b.LeakyReLU(), b.Elementwise(b.Affine())), (shape[0] // 2, shape[0] - shape[0] // 2))


def _by_column(shape: Shape) -> b.Bijector:
    which = tuple(place % 2 for place in range(shape[0]))
    return b.Elementwise(b.ByColumn((b.RationalQuadraticSpline(BINS, BOUND), b.LinearSpline(BINS, BOUND)), which))


def _vmap(shape: Shape) -> b.Bijector:
    return b.Vmap(b.Elementwise(b.Affine()), shape[0])


def _checkerboard() -> b.Bijector:
    return b.Coupling(nn.ConvNet(HIDDEN, norm="bias"), b.Affine(), 3, mask="checkerboard")


_MAPS: dict[str, Callable[[], b.Bijector]] = {
    "actnorm": b.ActNorm,
    "affine_coupling": lambda: _coupling(b.Affine()),
    "additive_coupling": lambda: _coupling(b.Shift()),
    "additive_two_way": lambda: b.AdditiveTwoWay(nn.MLP((HIDDEN,)), nn.MLP((HIDDEN,))),
    "batchnorm": b.BatchNorm,
    "block_autoregressive": lambda: b.BlockNeuralAutoregressive(4),
    "circle": lambda: b.Circle(0.0, 4.0),
    "diagonal_linear": b.DiagonalLinear,
    "elu": b.ELU,
    "evens_first": b.EvensFirst,
    "exp": b.Exp,
    "gaussianize": lambda: b.Elementwise(b.Gaussianize(BINS)),
    "householder": lambda: b.Householder(REFLECTIONS),
    "identity": b.Identity,
    "interval": lambda: b.Interval(-1.0, 3.0),
    "inverse": lambda: b.Inverse(b.ActNorm()),
    "invertible_linear": b.InvertibleLinear,
    "leaky_relu": b.LeakyReLU,
    "logistic_mixture": lambda: b.Elementwise(b.LogisticMixture(BINS)),
    "logit": b.Logit,
    "low_rank_linear": lambda: b.LowRankLinear(4),
    "masked": lambda: b.Masked(b.Elementwise(b.Affine()), "alternate"),
    "masked_autoregressive": lambda: b.MaskedAutoregressive(nn.MADE((HIDDEN,)), b.Affine()),
    "monotone_integral": lambda: b.Elementwise(b.MonotoneIntegral(4, (16,))),
    "orthogonal": b.Orthogonal,
    "planar": b.Planar,
    "power": lambda: b.Power(3.0),
    "prelu": lambda: b.Elementwise(b.PReLU()),
    "qr_linear": lambda: b.QRLinear(REFLECTIONS),
    "radial": b.Radial,
    "random_permutation": b.RandomPermutation,
    "residual_block": lambda: b.Residual(nn.LipschitzMLP((HIDDEN,)), "truncated"),
    "reverse": b.Reverse,
    "sigmoid": b.Sigmoid,
    "softplus": b.Softplus,
    "softsign": b.Softsign,
    "split": lambda: b.Split(b.Elementwise(b.Affine()), _coupling(b.Shift())),
    "standardize": b.Standardize,
    "svd_linear": lambda: b.SVDLinear(REFLECTIONS),
    "swap_halves": b.SwapHalves,
    "tanh": b.Tanh,
    "triangular_linear": b.TriangularLinear,
    "whiten": b.Whiten,
}
_OF_SHAPE: dict[str, Callable[[Shape], b.Bijector]] = {
    "by_column": _by_column,
    "permute": lambda shape: b.Permute(tuple(reversed(range(shape[0])))),
    "stack": _stack,
    "sylvester": lambda shape: b.Sylvester(min(8, shape[0])),
}
_IMAGES: dict[str, Callable[[], b.Bijector]] = {
    "actnorm_image": lambda: b.ActNorm(3),
    "checkerboard_coupling": _checkerboard,
    "haar": b.Haar,
    "invertible_linear_image": lambda: b.InvertibleLinear(3),
    "mirror": b.Mirror,
    "reshape": lambda: b.Reshape((16, 16, 16), (16 * 16 * 16,)),
    "squeeze": b.Squeeze,
    "transpose": lambda: b.Transpose((1, 0, 2)),
}
_SPLINES: dict[str, b.InnerMap] = {
    "rational_quadratic": b.RationalQuadraticSpline(BINS, BOUND, boundary="learned"),
    "linear_spline": b.LinearSpline(BINS, BOUND, bins="learned"),
    "quadratic_spline": b.QuadraticSpline(BINS, BOUND),
    "cubic_spline": b.CubicSpline(BINS, BOUND),
}
_SPLINE_SIZES = dict(num_bins=BINS, bound=BOUND)
_REFLECTED = ("householder", "qr_linear", "svd_linear")
_SIZES = {"affine_coupling": dict(hidden=HIDDEN)} | {name: dict(num_reflections=REFLECTIONS) for name in _REFLECTED}
_QUICK = ("affine_coupling", "actnorm", "sigmoid", "rational_quadratic")


def _flow(name: str, make: Callable[[Shape], Any], event_shape: Shape, batch: int, **more: Any) -> Subject:
    return Subject(name, make, event_shape, batch, more.pop("sizes", {}), **more)


def _vector(preset: Callable[..., Any], num_layers: int, hidden: int, **options: Any) -> Callable[[Shape], Any]:
    return lambda shape: preset(shape, num_layers, (hidden, hidden), **options)


_PLAIN: Any = dict(permutation="swap", standardize=False)  # halves in turn, as in distrax and normflows
_NSF: Any = dict(permutation="reverse", residual=False, standardize=False)
_GLOW: Any = dict(num_levels=3, num_steps=8, width=128)
_COMPONENT = functools.partial(flows.realnvp, num_layers=4, hidden_sizes=(64, 64))
_FLOW_PLUS_PLUS: Any = dict(num_heads=1, num_components=4, dequantize="uniform")
_RESIDUAL_IMAGES: Any = dict(dense_blocks=1, dense_width=32, squeeze_first=True)
_IMAGE = (32, 32, 3)
_COUPLINGS, _SHALLOW = dict(num_layers=8, hidden=128), dict(num_layers=5, hidden=128)
_DEEP, _WIDE = dict(num_layers=5, hidden=256), dict(num_layers=1, hidden=1024)

SUBJECTS: tuple[Subject, ...] = (
    _flow(
        "realnvp", _vector(flows.realnvp, 8, 128, **_PLAIN), (64,), 1024, sizes=_COUPLINGS, quick=True
    ),
    _flow(
        "nsf_coupling",
        _vector(flows.nsf_coupling, 5, 128, **_PLAIN),
        (64,),
        1024,
        sizes={**_SHALLOW, **_SPLINE_SIZES},
    ),
    _flow("maf", _vector(flows.maf, 5, 256, standardize=False), (64,), 256, sizes=_DEEP),
    _flow("maf_wide", _vector(flows.maf, 1, 1024, standardize=False), (784,), 16, sizes=_WIDE),
    _flow("glow", lambda shape: flows.glow(shape, **_GLOW), _IMAGE, 16, sizes=_GLOW),
    _flow("glow_invertible", lambda shape: flows.glow(shape, **_GLOW, backprop="invertible"), _IMAGE, 16),
    _flow("nice", _vector(flows.nice, 8, 128), (64,), 1024),
    _flow("iaf", _vector(flows.iaf, 5, 128), (64,), 256, sizes=_SHALLOW),
    _flow("made", lambda shape: flows.made(shape, 10, (256, 256)), (64,), 256),
    _flow(
        "nsf_autoregressive",
        _vector(flows.nsf_autoregressive, 5, 128, **_NSF),
        (64,),
        256,
        sizes={**_SHALLOW, **_SPLINE_SIZES},
    ),
    _flow("residual", _vector(flows.residual, 4, 64), (8,), 256),
    _flow("normal", flows.normal, (64,), 4096),
    _flow("nice_images", lambda shape: flows.nice_images(shape, 4, (256, 256)), _IMAGE, 16),
    _flow("realnvp_images", lambda shape: flows.realnvp_images(shape, 2, 2, 32), _IMAGE, 16),
    _flow("spline_glow", lambda shape: flows.spline_glow(shape, 3, 2, 32, 1), _IMAGE, 16),
    _flow("flow_plus_plus", lambda shape: flows.flow_plus_plus(shape, (1, 1, 1), 1, 32, **_FLOW_PLUS_PLUS), _IMAGE, 16),
    _flow("residual_images", lambda shape: flows.residual_images(shape, 2, 2, 32, **_RESIDUAL_IMAGES), _IMAGE, 16),
    _flow("waveglow", lambda shape: flows.waveglow(shape, 3, 2, 48, num_layers=6), (4096,), 8),
    _flow("flow_gmm", lambda shape: flows.flow_gmm(shape, 5, _COMPONENT), (16,), 1024),
    _flow("vmonf", lambda shape: flows.vmonf(shape, 5, _COMPONENT), (16,), 1024),
    *(Subject(name, _always(lambda inner=inner: inner), batch=3125, sizes=_SPLINE_SIZES, quick=name in _QUICK)
      for name, inner in _SPLINES.items()),
    *(Subject(name, _always(make), sizes=_SIZES.get(name, {}), quick=name in _QUICK) for name, make in _MAPS.items()),
    *(Subject(name, make) for name, make in _OF_SHAPE.items()),
    Subject("stick_breaking", _always(b.StickBreaking), (8,), draw=_simplex),
    Subject("vmap", _vmap, (16, 8), 1024),
    *(Subject(name, _always(make), (16, 16, 16), 64) for name, make in _IMAGES.items()),
    Subject("centred_pixels", _always(b.CentredPixels), _IMAGE, 64, draw=_pixels),
    Subject("logit_pixels", _always(b.LogitPixels), _IMAGE, 64, draw=_pixels),
    Subject("continuous", _always(lambda: b.Continuous(nn.TimeMLP((64,)))), (8,), 256, requires="diffrax"),
)  # fmt: skip


def chosen(patterns: Sequence[str], quick: bool = False) -> tuple[Subject, ...]:
    """The subjects whose names match one of the patterns, in the order of the suite.

    Args:
      patterns: names, in which * stands for anything; none takes all.
      quick: whether to keep the few of `--quick` only, which are those without any pattern.
    Raises:
      InvalidValueError: if a pattern matches nothing.
    """
    names = [subject.name for subject in SUBJECTS]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            fix = did_you_mean(pattern, names) + "`jflows bench --list` prints all names."
            raise InvalidValueError("bench", "only", "must match the name of a bijector or a flow", repr(pattern), fix)
    wanted = lambda name: any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    return tuple(each for each in SUBJECTS if (wanted(each.name) if patterns else each.quick or not quick))
