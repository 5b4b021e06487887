"""`float32_errors`: what rounding does to a bijector on the device that you train on, beside float64 on the host."""

import functools
import inspect
from typing import Any, NamedTuple

import jax
import numpy as np

from jflows.bijectors import Bijector
from jflows.errors import InvalidTypeError, kind_of
from jflows.testing.bijector_suite import NUM_EXAMPLES, Draws, check_bijector, drawn_variables
from jflows.testing.common import cast, noise_rngs
from jflows.typing import Array, Shape, Variables


class Float32Errors(NamedTuple):
    """The largest errors in float32, relative to 1 + |value|, over examples and entries.

    Attributes:
      round_trip: the error of x -> z -> x on the device.
      z, log_det: the errors of z and of log_det beside float64 on the host, with the same variables, data and noise.
    """

    round_trip: float
    z: float
    log_det: float


def float32_errors(
    bijector: Bijector,
    x_event_shape: Shape,
    *,
    device: Any = None,
    precision: str = "highest",
    context_shape: Shape | None = None,
    seed: int = 0,
    **options: Any,
) -> Float32Errors:
    """Measures a bijector in float32 on a device.

    `check_bijector` proves the formulas, in float64; a device adds its own elementary functions and products.

    Args:
      bijector: an unbound module.
      x_event_shape: event shape of x.
      device: where float32 is computed; None takes JAX's first device.
      precision: precision of matrix products on the device, see `jax.default_matmul_precision`. Accelerators
        round the inputs of products unless it is "highest", which moves z and log-dets, but no round trip.
      context_shape, seed: see `check_bijector`.
      options: `domain`, `max_magnitude`, `noise` and `draw` of `check_bijector`; its tolerances are passed over.
    Raises:
      InvalidTypeError: if `bijector` is not a `Bijector`, or `check_bijector` takes no option of a name.
    Example:
      >>> from jflows.bijectors import InvertibleLinear
      >>> found = float32_errors(InvertibleLinear(), (4,))
      >>> found.round_trip < 1e-5 and found.log_det < 1e-5
      True
    """
    if not isinstance(bijector, Bijector):
        raise InvalidTypeError("float32_errors", "bijector", "must be a jflows Bijector", kind_of(bijector))
    for name in options.keys() - _OPTIONS:
        raise InvalidTypeError("float32_errors", name, "must be an option of check_bijector", repr(options[name]))
    device = jax.devices()[0] if device is None else device
    with jax.enable_x64(True):
        given = {name: options.get(name, default) for name, default in (("domain", None), ("max_magnitude", 1e4))}
        draws = Draws(context_shape, seed, given["domain"], given["max_magnitude"], options.get("draw"))
        with jax.default_device(jax.devices("cpu")[0]):
            variables = drawn_variables(bijector, tuple(x_event_shape), draws, seed, options.get("noise", 0.1))
            x, context = draws.data(NUM_EXAMPLES, tuple(x_event_shape)), draws.context(NUM_EXAMPLES)
            wanted = _run(bijector, "highest", variables, x, context)
    narrow = jax.device_put(cast((variables, x, context), "float32"), device)
    found = _run(bijector, precision, *narrow)
    errors = {name: _error(found[name], wanted[name]) for name in ("z", "log_det")}
    return Float32Errors(round_trip=_error(found["x"], np.asarray(narrow[1])), **errors)


_OPTIONS = inspect.signature(check_bijector).parameters.keys()


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(bijector: Bijector, precision: str, variables: Variables, x: Array, context: Array | None) -> dict[str, Any]:
    rngs = noise_rngs(bijector, jax.random.key(0))
    with jax.default_matmul_precision(precision):
        z, log_det = bijector.apply(variables, x, context, method="inverse_and_log_det", rngs=rngs)
        back, _ = bijector.apply(variables, z, context, method="forward_and_log_det", rngs=rngs)
    return {"z": z, "log_det": log_det, "x": back}


def _error(found: Any, wanted: Any) -> float:
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    error = np.abs(found - wanted) / (1 + np.abs(wanted))
    return float(np.max(np.where(np.isnan(error), np.inf, error), initial=0.0))
