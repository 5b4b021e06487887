"""`check_bijector`: checks every promise of `jflows.bijectors.Bijector`, by automatic differentiation where it applies.

One program is compiled per direction, in float64, on twelve examples: six ordinary ones and six at the ends of the
domain. One more program measures float32 and bfloat16. `properties.py` then checks each property on their numbers.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jflows.bijectors import Bijector
from jflows.errors import InvalidTypeError, check_choice
from jflows.testing import properties
from jflows.testing.common import cast, noise_rngs, perturb
from jflows.typing import WRITTEN_IN_TRAINING, Key, Shape, Variables

PROPERTIES = properties.NAMES
NUM_EXAMPLES = 6  # ordinary ones; as many at the ends of the domain follow them
INIT_EXAMPLES = 16
NUM_KEYS = 1024  # over which an estimated log-det is averaged
SMALLEST = 1e-8  # of the magnitudes in the domain: where 1 + x rounds to 1 in float32


def check_bijector(
    bijector: Bijector,
    x_event_shape: Shape,
    *,
    context_shape: Shape | None = None,
    seed: int = 0,
    domain: tuple[float, float] | None = None,
    max_magnitude: float = 1e4,
    noise: float = 0.1,
    round_trip_tol: float = 1e-9,
    log_det_tol: float = 1e-9,
    float32_tol: float = 1e-4,
    log_det_bias: float = 0.0,
    jacobian_pattern: Any = None,
    draw: Callable[[np.random.Generator, int], np.ndarray] | None = None,
    chart: tuple[int, ...] | None = None,
    skip: tuple[str, ...] = (),
) -> None:
    r"""Raises unless a bijector keeps the whole contract; returns None if it does.

    The properties, in the order in which they are checked (`jflows.testing.PROPERTIES` lists the names):

    | name | what must hold |
    |---|---|
    | "hash" | the bijector is hashable and equals its clone |
    | "spec" | `from_spec(to_spec(b)) == b`; not checked while a class in it is unregistered |
    | "events" | event shapes of x and z agree with each other, in size, and with event_ndims |
    | "rank" | an event with too few axes raises `InvalidValueError` naming the rule |
    | "shapes" | event, batch and log-det shapes for batches (), (1,), (12,) and (2, 3) |
    | "dtypes" | float64, float32 and bfloat16 are preserved; log_det is float32 or wider |
    | "finite" | values, log-dets and all gradients are finite over the domain, its ends included |
    | "batch" | a batch gives what its examples give one by one |
    | "leak" | no derivative across examples |
    | "round trip" | both ways, in float64; the way back takes a batch with two axes |
    | "log-det" | equals log\|det\| of the Jacobian by reverse-mode autodiff, in both directions; forward with `chart` |
    | "cancel" | log-dets of the two directions add up to 0 |
    | "jacobian" | dz_i/dx_j = 0 wherever `jacobian_pattern` is False |
    | "gradients" | every leaf of "params" gets a non-zero gradient |
    | "context" | with a `context_shape`: every example's output depends on its context |
    | "init" | `apply` on other data changes no variable: data-dependent initialisation belongs to `init` |
    | "float32" | round trip and log-det in float32, to `float32_tol` |

    Parameters are those of `init` on data, plus noise. Everything runs in float64 without changing your settings.

    A bijector that `needs_key` has an estimated log-det. "log-det" and "cancel" then allow the mean over 1,024 keys an
    error of 5 standard errors plus `log_det_bias`, and the standard error must be below 1 % of 1 + |log_det|. "batch"
    and "float32" do not check an estimated log-det.

    Args:
      bijector: an unbound module.
      x_event_shape: event shape of x; it should be small, as full Jacobians are computed.
      context_shape: event shape of the context; None for a bijector without a context.
      seed: seed of data, parameters and noise.
      domain: the two numbers between which x lies; None for all reals, where z is drawn too.
      max_magnitude: without a domain, gradients are tried at magnitudes from 1e-8 to this.
      noise: standard deviation of the noise that is added to every parameter.
      round_trip_tol: tolerance in float64, relative to 1 + |value|.
      log_det_tol: tolerance in float64, relative to 1 + |log_det|.
      float32_tol: tolerance in float32, relative to 1 + |value|.
      log_det_bias: the largest bias of an estimated log-det that its documentation allows, in nats.
      jacobian_pattern: bool [z size, x size], False where dz_i/dx_j must be exactly 0; None checks nothing.
      draw: draws events of x, [num, *x_event_shape], from a generator, for a map whose x fill no box, such as columns
        that sum to 1; `domain` is then not used.
      chart: for a map whose x lie on a surface, the elements of x, counted row by row, by which its volume is measured:
        as many as z has. None takes all.
      skip: names of properties that the bijector does not promise, which are not checked.
    Raises:
      CheckError: (an `AssertionError`) naming the property, with the worst numbers.
      JflowsError: what the bijector itself raises, such as a log-det that is not of the batch shape.
    Example:
      >>> import jax.numpy as jnp
      >>> from jflows.bijectors import Bijector
      >>> from jflows.ops import sum_event
      >>> from jflows.testing import check_bijector
      >>> class Sinh(Bijector):
      ...     x_event_ndims = z_event_ndims = 1
      ...     def _forward_and_log_det(self, z, context):
      ...         return jnp.arcsinh(z), sum_event(-0.5 * jnp.log1p(z**2), 1)
      ...     def _inverse_and_log_det(self, x, context):
      ...         return jnp.sinh(x), sum_event(jnp.log(jnp.cosh(x)), 1)
      >>> check_bijector(Sinh(), (3,), max_magnitude=100)
      >>> class Wrong(Bijector):
      ...     x_event_ndims = z_event_ndims = 1
      ...     def _forward_and_log_det(self, z, context):
      ...         return 2 * z, sum_event(jnp.full_like(z, jnp.log(2)), 1)
      ...     def _inverse_and_log_det(self, x, context):
      ...         return x / 2, sum_event(jnp.full_like(x, jnp.log(2)), 1)
      >>> check_bijector(Wrong(), (3,))
      Traceback (most recent call last):
      jflows.testing.common.CheckError: check_bijector(Wrong): `log-det` must equal log|det dz/dx| by autodiff;
      got 2.07944154 beside -2.07944154, relative error 1.4 > 1e-09.
    """
    if not isinstance(bijector, Bijector):
        raise InvalidTypeError("check_bijector", "bijector", "must be a jflows Bijector", type(bijector).__name__)
    for name in skip:
        check_choice("check_bijector", "skip", name, PROPERTIES)
    shape = tuple(x_event_shape)
    with jax.enable_x64(True):
        properties.run(properties.OF_STRUCTURE, skip, bijector, shape, chart)
        inputs = Draws(context_shape, seed, domain, max_magnitude, draw)
        variables = drawn_variables(bijector, shape, inputs, seed, noise)
        measured = _measure_all(bijector, shape, inputs, variables)
        limits = properties.Limits(round_trip_tol, log_det_tol, float32_tol, jacobian_pattern, log_det_bias, chart)
        properties.run(properties.OF_NUMBERS, skip, bijector, measured, limits)


class Draws:
    """Random float64 inputs of a bijector, all in NumPy: JAX would compile a program for every shape."""

    def __init__(
        self,
        context_shape: Shape | None,
        seed: int,
        domain: tuple[float, float] | None,
        max_magnitude: float,
        events: Callable[[np.random.Generator, int], np.ndarray] | None,
    ):
        self.context_shape, self.domain, self.max_magnitude = context_shape, domain, max_magnitude
        self.events = events
        self.random = np.random.default_rng(seed)

    def normal(self, *shape: int) -> np.ndarray:
        """Draws of N(0, 1)."""
        return self.random.standard_normal(shape)

    def context(self, count: int) -> np.ndarray | None:
        """Contexts of so many examples, or None."""
        return None if self.context_shape is None else self.normal(count, *self.context_shape)

    def ordinary(self, *shape: int) -> np.ndarray:
        """Draws of N(0, 1), or between the ends of the domain."""
        return self.normal(*shape) if self.domain is None else self.random.uniform(*self.domain, shape)

    def extreme(self, *shape: int) -> np.ndarray:
        """Magnitudes from 1e-8 to the largest, or distances from the ends of the domain down to 1e-8 of its width."""
        largest = self.max_magnitude if self.domain is None else 0.5
        ladder = np.geomspace(SMALLEST, largest, math.prod(shape))  # both ends are always among them
        size = self.random.permutation(ladder).reshape(shape)
        side = self.random.random(shape) < 0.5
        if self.domain is None:
            return np.where(side, size, -size)
        low, high = self.domain
        return np.where(side, low + size * (high - low), high - size * (high - low))

    def data(self, count: int, event_shape: Shape) -> np.ndarray:
        """Ordinary examples of x."""
        if self.events is not None:
            return np.asarray(self.events(self.random, count))
        return self.ordinary(count, *event_shape)

    def values(self, event_shape: Shape) -> np.ndarray:
        """Ordinary examples, then extreme ones."""
        if self.events is not None:
            return self.data(2 * NUM_EXAMPLES, event_shape)
        return np.concatenate([part(NUM_EXAMPLES, *event_shape) for part in (self.ordinary, self.extreme)])


def drawn_variables(bijector: Bijector, x_event_shape: Shape, draw: Draws, seed: int, noise: float) -> Variables:
    """Those of `init` on data, plus noise, in float64."""
    x, context = draw.data(INIT_EXAMPLES, x_event_shape), draw.context(INIT_EXAMPLES)
    init = jax.jit(functools.partial(bijector.init, method="inverse_and_log_det"))
    key = jax.random.key(seed, impl="unsafe_rbg")  # threefry, the default, takes seconds to compile
    return perturb(init(key, x, context), seed, noise, jnp.float64)


def _measure_all(bijector: Bijector, x_event_shape: Shape, draw: Draws, variables: Variables) -> properties.Measured:
    z_event_shape = bijector.z_event_shape(x_event_shape)
    context = draw.context(2 * NUM_EXAMPLES)

    def measure(method: str, values: np.ndarray, out_event_shape: Shape) -> dict:
        weights = draw.normal(2 * NUM_EXAMPLES, *out_event_shape)
        measured = _compiled_measure()(bijector, method, variables, values, context, weights)
        return jax.tree.map(np.asarray, measured) | {"values": values}

    x = draw.values(x_event_shape)
    inverse = measure("inverse_and_log_det", x, z_event_shape)
    if draw.domain is None and draw.events is None:
        z = draw.values(z_event_shape)
    else:  # the latents of x are the only ones known to be valid; each half reversed, to be other examples
        z = inverse["out"].reshape(2, NUM_EXAMPLES, *z_event_shape)[:, ::-1].reshape(-1, *z_event_shape)
    forward = measure("forward_and_log_det", z, x_event_shape)
    ordinary = None if context is None else context[:NUM_EXAMPLES]
    inputs = (variables, x[:NUM_EXAMPLES], ordinary)
    narrow = {
        "float32": _narrow_round_trip(bijector, *cast(inputs, "float32")),
        # Lowered, not run: what has no bfloat16 form shows by then, and so do all dtypes.
        "bfloat16": _narrow_round_trip.lower(bijector, *cast(inputs, "bfloat16")).out_info,
    }
    one = None if context is None else context[:1]
    shapes = {
        method: jax.eval_shape(functools.partial(_apply, bijector, method), variables, values[:1], one)
        for method, values in (("inverse_and_log_det", x), ("forward_and_log_det", z))
    }
    return properties.Measured(variables, inverse, forward, narrow, shapes, x_event_shape, z_event_shape)


def _apply(bijector, method, variables, values, context, key: Key | None = None, **options) -> Any:
    key = jax.random.key(0, impl="unsafe_rbg") if key is None else key
    return bijector.apply(variables, values, context, method=method, rngs=noise_rngs(bijector, key), **options)


@functools.cache
def _compiled_measure():
    # Twelve examples: on a CPU nearly all of the time would go into optimising the machine code.
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(_measure, static_argnames=("bijector", "method"), compiler_options=options)


def _measure(bijector, method, variables, values, context, weights) -> dict:
    """Everything that is known of one direction, from one program."""
    n = NUM_EXAMPLES
    other = "forward_and_log_det" if method == "inverse_and_log_det" else "inverse_and_log_det"
    params = variables.get("params", {})

    def apply(params, values, context):
        own = {**variables, "params": params} if "params" in variables else variables
        return _apply(bijector, method, own, values, context)

    (out, log_det), vjp = jax.vjp(apply, params, values, context)
    first, ordinary_rows = jnp.arange(2 * n) == 0, jnp.arange(2 * n) < n
    # Random cotangents of the first example, of the ordinary ones and of the extreme ones, then one per Jacobian row:
    # `map` compiles the backward pass once for all of them.
    rows = jnp.stack([first, ordinary_rows, ~ordinary_rows])
    size = math.prod(out.shape[1:])
    basis = jnp.broadcast_to(jnp.eye(size)[:, None], (size, 2 * n, size)).reshape(size, *out.shape)
    random = rows.reshape(3, 2 * n, *(1,) * (out.ndim - 1)) * weights
    cotangents = jnp.concatenate([random, basis]).astype(out.dtype)
    log_det_cotangents = jnp.concatenate([rows, jnp.zeros((size, 2 * n))]).astype(log_det.dtype)
    grads = jax.lax.map(vjp, (cotangents, log_det_cotangents))

    ordinary = None if context is None else context[:n]
    one_by_one = jax.vmap(functools.partial(apply, params))(values[:n], ordinary)
    # The way back takes a batch with two axes: if it arrives where it began, that is right too.
    grid, grid_context = jax.tree.map(lambda a: a.reshape(2, n // 2, *a.shape[1:]), (out[:n], ordinary))
    back, back_log_det = _apply(bijector, other, variables, grid, grid_context)
    # Other data, with every collection writable but those whose purpose is to be written.
    frozen = [name for name in variables if name not in (*WRITTEN_IN_TRAINING, "intermediates")]
    _, updated = _apply(bijector, method, variables, 2 * values[:n] + 1, ordinary, mutable=frozen)
    return _draws(bijector, method, other, variables, values[:n], out[:n], ordinary) | {
        "out": out,
        "log_det": log_det,
        "back": back,
        "back_log_det": back_log_det,
        "jacobian": grads[1][3:, :n].swapaxes(0, 1).reshape(n, size, -1),
        "one_by_one": one_by_one,
        "first_gradients": jax.tree.map(lambda g: g[0], grads[1:]),
        "gradients": jax.tree.map(lambda g: g[1], grads),
        "extreme_gradients": jax.tree.map(lambda g: g[2], grads),
        "updated": updated,
    }


def _draws(bijector, method, other, variables, values, out, context) -> dict:
    """Both log-dets under many keys, if they are estimated: [keys, examples]."""
    if not bijector.needs_key:
        return {}
    keys = jax.random.split(jax.random.key(1, impl="unsafe_rbg"), NUM_KEYS)
    there = jax.vmap(lambda key: _apply(bijector, method, variables, values, context, key)[1])(keys)
    back = jax.vmap(lambda key: _apply(bijector, other, variables, out, context, key)[1])(keys)
    return {"log_dets": there, "back_log_dets": back}


@functools.partial(jax.jit, static_argnames=("bijector",))
def _narrow_round_trip(bijector, variables, x, context) -> dict:
    z, log_det = _apply(bijector, "inverse_and_log_det", variables, x, context)
    back, back_log_det = _apply(bijector, "forward_and_log_det", variables, z, context)
    return {"x": x, "z": z, "log_det": log_det, "back": back, "back_log_det": back_log_det}
