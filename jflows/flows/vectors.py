"""Complete flows of the literature on vectors: NICE, RealNVP, MAF, IAF, neural spline flows; MADE and the normal.

All but the last two take `event_shape=(D,)`, `num_layers` and `hidden_sizes`, then the same options. One layer is a
coupling or an autoregressive map, then a permutation or linear map over the coordinates, then a normalisation; the
layers are one scanned step, so compile time does not grow with their number.
"""

from collections.abc import Callable

from jflows.bijectors import (
    ActNorm,
    Affine,
    BatchNorm,
    Bijector,
    Chain,
    Coupling,
    DiagonalLinear,
    Identity,
    InnerMap,
    Inverse,
    InvertibleLinear,
    MaskedAutoregressive,
    RandomPermutation,
    RationalQuadraticSpline,
    Repeat,
    Reverse,
    Shift,
    Standardize,
    SwapHalves,
)
from jflows.distributions import AutoregressiveMixture, Base, FullNormal, StandardLogistic, StandardNormal
from jflows.errors import InvalidTypeError, InvalidValueError, check_choice, check_positive
from jflows.flows.flow import Flow
from jflows.nn import MADE, MLP
from jflows.typing import Shape

PERMUTATIONS = {"swap": SwapHalves, "reverse": Reverse, "shuffle": RandomPermutation, "linear": InvertibleLinear}
BASES = ("normal", "made", "mixture")
NORMS = {"none": None, "actnorm": ActNorm, "batchnorm": BatchNorm}


def nice(
    event_shape: Shape,
    num_layers: int = 4,
    hidden_sizes: tuple[int, ...] = (1000,) * 5,
    *,
    activation: str = "relu",
    base: str = "logistic",
    permutation: str = "swap",
    norm: str = "none",
    context_dim: int | None = None,
    standardize: bool = False,
    backprop: str = "standard",
) -> Flow:
    """NICE: additive couplings, then one learned scale per dimension; the base is logistic.

    Source: Dinh et al. 2014, arXiv:1410.8516, sections 3.2, 3.3 and 5.1. Differs: halves by `permutation` instead of
    odd and even dimensions; zero-initialised conditioners.

    Args:
      event_shape: (D,), D >= 2.
      num_layers: couplings.
      hidden_sizes: of each coupling's MLP.
      activation: a name in `jflows.nn.ACTIVATIONS`.
      base: "logistic" or "normal".
      permutation: between layers: "swap" (the halves), "reverse", "shuffle" (drawn once) or "linear" (learned, PLU).
      norm: after each layer: "none", "actnorm" or "batchnorm".
      context_dim: if given, every layer is conditioned on a vector of this size.
      standardize: whiten the data by the mean and deviation of the first batch, which counts in the density.
      backprop: "standard", "remat" or "invertible"; see `Repeat`.
    Raises:
      InvalidValueError: for an unknown option or an event that is not a vector.
    """
    _check_halves("nice", event_shape)
    check_choice("nice", "base", base, ("logistic", "normal"))
    layer = lambda: Coupling(MLP(hidden_sizes, activation), Shift())
    steps = _steps("nice", event_shape, num_layers, layer, permutation, norm, backprop)
    bases = {"logistic": StandardLogistic, "normal": StandardNormal}
    return _flow(Chain((DiagonalLinear(), steps)), bases[base](event_shape), context_dim, standardize)


def realnvp(
    event_shape: Shape,
    num_layers: int = 8,
    hidden_sizes: tuple[int, ...] = (128, 128),
    *,
    activation: str = "relu",
    scale: str = "tanh",
    max_log_scale: float = 2.0,
    permutation: str = "swap",
    norm: str = "none",
    context_dim: int | None = None,
    standardize: bool = False,
    backprop: str = "standard",
) -> Flow:
    """RealNVP on vectors: affine couplings.

    Source: Dinh et al. 2017, arXiv:1605.08803, sections 3.2 and 3.7. Differs: the scale is bounded on both sides unless
    `scale="exp"`.

    Args:
      event_shape: (D,), D >= 2.
      num_layers: couplings.
      hidden_sizes: of each coupling's MLP.
      activation: see `nice`.
      scale: "tanh" (bounded by exp(+-max_log_scale)), "sigmoid" or "exp".
      max_log_scale: bound of "tanh", in nats per element and layer.
      permutation: see `nice`.
      norm: see `nice`; the paper's is "batchnorm".
      context_dim: see `nice`.
      standardize: see `nice`.
      backprop: see `nice`.
    Raises:
      InvalidValueError: for an unknown option or an event that is not a vector.
    """
    _check_halves("realnvp", event_shape)
    layer = lambda: Coupling(MLP(hidden_sizes, activation), Affine(scale, max_log_scale))
    steps = _steps("realnvp", event_shape, num_layers, layer, permutation, norm, backprop)
    return _flow(steps, StandardNormal(event_shape), context_dim, standardize)


def maf(
    event_shape: Shape,
    num_layers: int = 5,
    hidden_sizes: tuple[int, ...] = (256, 256),
    *,
    inner: InnerMap | None = None,
    activation: str = "relu",
    residual: bool = False,
    base: str = "normal",
    num_components: int = 10,
    permutation: str = "reverse",
    norm: str = "none",
    context_dim: int | None = None,
    standardize: bool = False,
    backprop: str = "standard",
) -> Flow:
    """Masked autoregressive flow: one pass to score, an incremental inversion to sample. One layer is MADE.

    Source: Papamakarios et al. 2017, arXiv:1705.07057, sections 3 and 4.1 (MAF MoG). Differs: the affine scale is
    bounded on both sides unless `inner` says otherwise.

    Args:
      event_shape: (D,).
      num_layers: MADEs.
      hidden_sizes: of each MADE.
      inner: the map of one coordinate: `Affine()` by default; a spline, or `Gaussianize(K)` for conditionals that are
        mixtures.
      activation: see `nice`.
      residual: ResMADE; then hidden sizes must be equal.
      base: "normal" is N(0, I); "made" and "mixture" are one more MADE of these sizes, in the opposite order, whose
        conditionals are normals or mixtures of `num_components` normals.
      num_components: of "mixture".
      permutation: see `nice`.
      norm: see `nice`; the paper's is "batchnorm".
      context_dim: see `nice`.
      standardize: see `nice`.
      backprop: see `nice`.
    Raises:
      InvalidValueError: for an unknown option or an event that is not a vector.
    """
    layer = _autoregressive(inner or Affine(), hidden_sizes, activation, residual)
    steps = _steps("maf", event_shape, num_layers, layer, permutation, norm, backprop)
    below = _base("maf", event_shape, base, num_components, MADE(hidden_sizes, activation, "reversed", 0, residual))
    return _flow(steps, below, context_dim, standardize)


def iaf(
    event_shape: Shape,
    num_layers: int = 5,
    hidden_sizes: tuple[int, ...] = (256, 256),
    *,
    inner: InnerMap | None = None,
    activation: str = "relu",
    residual: bool = False,
    permutation: str = "reverse",
    norm: str = "none",
    context_dim: int | None = None,
    backprop: str = "standard",
) -> Flow:
    """Inverse autoregressive flow: `maf` with its directions swapped, so one pass to sample. For variational inference.

    Initialise it with `flow.init(key, x=None)`, in the direction of sampling.

    Source: Kingma et al. 2016, arXiv:1606.04934, section 3.

    Args:
      event_shape: (D,).
      num_layers: see `maf`.
      hidden_sizes: see `maf`.
      inner: see `maf`.
      activation: see `nice`.
      residual: see `maf`.
      permutation: see `nice`.
      norm: "none" or "actnorm": batch statistics belong to the direction of data.
      context_dim: see `nice`.
      backprop: see `nice`.
    Raises:
      InvalidValueError: for an unknown option or an event that is not a vector.
    """
    check_choice("iaf", "norm", norm, ("none", "actnorm"))
    layer = _autoregressive(inner or Affine(), hidden_sizes, activation, residual)
    steps = _steps("iaf", event_shape, num_layers, layer, permutation, norm, backprop)
    return _flow(Inverse(steps), StandardNormal(event_shape), context_dim, standardize=False)


def nsf_coupling(
    event_shape: Shape,
    num_layers: int = 5,
    hidden_sizes: tuple[int, ...] = (128, 128),
    *,
    num_bins: int = 8,
    bound: float = 3.0,
    activation: str = "relu",
    permutation: str = "linear",
    norm: str = "none",
    context_dim: int | None = None,
    standardize: bool = False,
    backprop: str = "standard",
) -> Flow:
    """Neural spline flow with couplings: rational-quadratic splines and learned linear maps between them.

    Source: Durkan et al. 2019, arXiv:1906.04032, section 5. Differs: MLP conditioners.

    Args:
      event_shape: (D,), D >= 2.
      num_layers: couplings.
      hidden_sizes: of each coupling's MLP.
      num_bins: of each spline.
      bound: splines act on [-bound, bound] and are the identity outside, so standardise the data.
      activation: see `nice`.
      permutation: see `nice`; the paper's is "linear".
      norm: see `nice`.
      context_dim: see `nice`.
      standardize: see `nice`.
      backprop: see `nice`.
    Raises:
      InvalidValueError: for an unknown option or an event that is not a vector.
    """
    _check_halves("nsf_coupling", event_shape)
    layer = lambda: Coupling(MLP(hidden_sizes, activation), RationalQuadraticSpline(num_bins, bound))
    steps = _steps("nsf_coupling", event_shape, num_layers, layer, permutation, norm, backprop)
    return _flow(steps, StandardNormal(event_shape), context_dim, standardize)


def nsf_autoregressive(
    event_shape: Shape,
    num_layers: int = 5,
    hidden_sizes: tuple[int, ...] = (256, 256),
    *,
    num_bins: int = 8,
    bound: float = 3.0,
    activation: str = "relu",
    residual: bool = True,
    base: str = "normal",
    num_components: int = 10,
    permutation: str = "linear",
    norm: str = "none",
    context_dim: int | None = None,
    standardize: bool = False,
    backprop: str = "standard",
) -> Flow:
    """Neural spline flow with autoregressive layers: `maf` with rational-quadratic splines and linear maps.

    Source: Durkan et al. 2019, arXiv:1906.04032, section 5.

    Args:
      event_shape: (D,).
      num_layers: see `maf`.
      hidden_sizes: see `maf`.
      num_bins: see `nsf_coupling`.
      bound: see `nsf_coupling`.
      activation: see `nice`.
      residual: see `maf`.
      base: see `maf`.
      num_components: see `maf`.
      permutation: see `nice`.
      norm: see `nice`.
      context_dim: see `nice`.
      standardize: see `nice`.
      backprop: see `nice`.
    Raises:
      InvalidValueError: for an unknown option or an event that is not a vector.
    """
    layer = _autoregressive(RationalQuadraticSpline(num_bins, bound), hidden_sizes, activation, residual)
    steps = _steps("nsf_autoregressive", event_shape, num_layers, layer, permutation, norm, backprop)
    conditioner = MADE(hidden_sizes, activation, "reversed", 0, residual)
    below = _base("nsf_autoregressive", event_shape, base, num_components, conditioner)
    return _flow(steps, below, context_dim, standardize)


def normal(event_shape: Shape, *, standardize: bool = False) -> Flow:
    """A normal with learned mean and full covariance: the baseline of density estimation, as a flow without layers.

    Args:
      event_shape: (D,).
      standardize: see `nice`.
    """
    _check_vector("normal", event_shape)
    return _flow(Identity(), FullNormal(event_shape), None, standardize)


def made(
    event_shape: Shape,
    num_components: int = 1,
    hidden_sizes: tuple[int, ...] = (256, 256),
    *,
    activation: str = "relu",
    residual: bool = False,
    context_dim: int | None = None,
    standardize: bool = False,
) -> Flow:
    """MADE, or MADE MoG with several components: the autoregressive baselines, as flows without layers.

    Source: Papamakarios et al. 2017, arXiv:1705.07057, section 4.1.

    Args:
      event_shape: (D,).
      num_components: normals in each conditional.
      hidden_sizes: see `maf`.
      activation: see `nice`.
      residual: see `maf`.
      context_dim: see `nice`.
      standardize: see `nice`.
    """
    _check_vector("made", event_shape)
    base = AutoregressiveMixture(event_shape, MADE(hidden_sizes, activation, residual=residual), num_components)
    return _flow(Identity(), base, context_dim, standardize)


def _base(where: str, event_shape: Shape, name: str, num_components: int, conditioner: MADE) -> Base:
    check_choice(where, "base", name, BASES)
    if name == "normal":
        return StandardNormal(event_shape)
    return AutoregressiveMixture(event_shape, conditioner, num_components if name == "mixture" else 1)


def _autoregressive(inner: InnerMap, hidden_sizes, activation: str, residual: bool) -> Callable[[], Bijector]:
    return lambda: MaskedAutoregressive(MADE(hidden_sizes, activation, residual=residual), inner)


def _steps(where: str, event_shape: Shape, num_layers: int, layer, permutation: str, norm: str, backprop: str):
    """`num_layers` times, listed from latent to data: layer, permutation, normalisation."""
    _check_vector(where, event_shape)
    check_positive(where, "num_layers", num_layers)
    check_choice(where, "permutation", permutation, tuple(PERMUTATIONS))
    step = layer()
    if permutation == "reverse" and event_shape[0] % 2 and isinstance(step, Coupling):
        rule = "must not be 'reverse' for couplings of an odd number of dimensions: the middle one would never change"
        raise InvalidValueError(where, "permutation", rule, f"{event_shape[0]} dimensions", "Use 'swap'.")
    check_choice(where, "norm", norm, tuple(NORMS))
    make_norm = NORMS[norm]
    parts = (step, PERMUTATIONS[permutation](), *(() if make_norm is None else (make_norm(),)))
    return Repeat(Chain(parts), num_layers, backprop)


def _flow(bijector: Bijector, base: Base, context_dim: int | None, standardize: bool) -> Flow:
    if context_dim is not None and (type(context_dim) is not int or context_dim < 1):
        raise InvalidValueError("Flow", "context_dim", "must be a positive int or None", repr(context_dim))
    bijector = Chain((bijector, Standardize())) if standardize else bijector
    return Flow(bijector, base, base.event_shape, context_shape=None if context_dim is None else (context_dim,))


def _check_halves(where: str, event_shape: Shape) -> None:
    """What couplings need."""
    _check_vector(where, event_shape)
    if event_shape[0] < 2:
        rule, fix = "must have at least 2 dimensions, to couple one part to the other", "Use maf or nsf_autoregressive."
        raise InvalidValueError(where, "event_shape", rule, tuple(event_shape), fix)


def _check_vector(where: str, event_shape: Shape) -> None:
    if isinstance(event_shape, int):
        fix = f"Write ({event_shape},)."
        raise InvalidTypeError(where, "event_shape", "must be a tuple", repr(event_shape), fix)
    if any(type(size) is not int or size < 1 for size in event_shape):
        raise InvalidValueError(where, "event_shape", "must hold positive ints", tuple(event_shape))
    if len(event_shape) != 1:
        fix = "Flatten the data, or use glow for images."
        raise InvalidValueError(where, "event_shape", "must be (dim,)", tuple(event_shape), fix)
