"""The properties that `check_bijector` checks, each as one function of measured numbers."""

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jflows.bijectors import Bijector
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.spec import from_spec, to_spec
from jflows.testing.common import CheckError, named_leaves, require_close, require_finite
from jflows.typing import Shape, Variables

SAME = 1e-10  # float64 sums in another order
STANDARD_ERRORS = 5  # by which the mean of an estimated log-det may be off
MAX_STANDARD_ERROR = 0.01  # relative to 1 + |log_det|: a mean that is less certain would prove nothing


@dataclasses.dataclass(frozen=True)
class Limits:
    """The tolerances, relative to 1 + |value|, the allowed dependence of z on x, and the elements of x that count."""

    round_trip: float
    log_det: float
    float32: float
    jacobian_pattern: Any
    log_det_bias: float
    chart: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Measured:
    """The numbers that the programs returned, by direction and by narrow dtype, and the shapes for batch (1,)."""

    variables: Variables
    inverse: dict
    forward: dict
    narrow: dict[str, dict]
    shapes: dict[str, Any]
    x_event_shape: Shape
    z_event_shape: Shape

    def directions(self):
        """(name of the map, derivative, numbers, event shape in, event shape out) for both directions."""
        yield "x -> z", "dz/dx", self.inverse, self.x_event_shape, self.z_event_shape
        yield "z -> x", "dx/dz", self.forward, self.z_event_shape, self.x_event_shape


def run(properties: dict[str, Callable], skip: tuple[str, ...], bijector: Bijector, *args) -> None:
    """Runs the named properties in order, without those in `skip`."""
    where = f"check_bijector({type(bijector).__name__})"
    for name, check in properties.items():
        if name not in skip:
            check(where, name, bijector, *args)


def _hash(where, name, bijector, x_event_shape, chart) -> None:
    rule = "must give the clone an equal hash and `==`"
    try:
        same = hash(bijector) == hash(bijector.clone()) and bijector == bijector.clone()
    except TypeError as error:
        fix = "Use tuples, and build arrays inside."
        raise CheckError(where, name, "must be hashable", str(error), fix) from error
    if not same:
        raise CheckError(where, name, rule, repr(bijector))


def _spec(where, name, bijector, x_event_shape, chart) -> None:
    try:
        text = json.dumps(to_spec(bijector))
    except InvalidTypeError as error:
        if error.code == "unregistered":
            return
        raise CheckError(where, name, "must be writable as JSON", str(error)) from error
    rebuilt = from_spec(json.loads(text))
    if rebuilt != bijector or hash(rebuilt) != hash(bijector):
        raise CheckError(where, name, "must rebuild an equal bijector", f"{text} -> {rebuilt!r}")


def _events(where, name, bijector, x_event_shape, chart) -> None:
    z_event_shape = bijector.z_event_shape(x_event_shape)
    back = bijector.x_event_shape(z_event_shape)
    if back != x_event_shape:
        raise CheckError(where, name, "must agree: x -> z -> x event shapes", f"{x_event_shape} -> {back}")
    ndims = (bijector.x_event_ndims, bijector.z_event_ndims)
    if ndims != (len(x_event_shape), len(z_event_shape)):
        rule = f"must have event_ndims {len(x_event_shape)} for x and {len(z_event_shape)} for z"
        raise CheckError(where, name, rule, f"{ndims[0]} and {ndims[1]}")
    if (math.prod(x_event_shape) if chart is None else len(chart)) != math.prod(z_event_shape):
        raise CheckError(where, name, "must have x and z of one size", f"{x_event_shape} and {z_event_shape}")


def _rank(where, name, bijector, x_event_shape, chart) -> None:
    z_event_shape = bijector.z_event_shape(x_event_shape)
    for method, shape in (("inverse_and_log_det", x_event_shape), ("forward_and_log_det", z_event_shape)):
        if not shape:
            continue
        value = jax.ShapeDtypeStruct(shape[1:], jnp.float64)
        rule = f"must raise InvalidValueError in {method} for an event of shape {shape[1:]}"
        try:
            jax.eval_shape(lambda v, method=method: bijector.init(jax.random.key(0), v, method=method), value)
        except InvalidValueError as error:
            if error.code == "rank":
                continue
            raise CheckError(where, name, rule + " that says how many axes it needs", str(error)) from error
        except Exception as error:
            raise CheckError(where, name, rule, f"{type(error).__name__}: {error}") from error
        raise CheckError(where, name, rule, "no error", "Write the hooks, not the public methods.")


def _shapes(where, name, bijector, measured: Measured, limits) -> None:
    for title, _, numbers, _, event_shape in measured.directions():
        method = "inverse_and_log_det" if title == "x -> z" else "forward_and_log_det"
        n = len(numbers["jacobian"])
        way_back = measured.forward if numbers is measured.inverse else measured.inverse  # took a batch with two axes
        wanted = {
            (2 * n,): (numbers["out"], numbers["log_det"]),
            (2, n // 2): (way_back["back"], way_back["back_log_det"]),
            (1,): measured.shapes[method],
            (): jax.tree.map(lambda a: a[0], numbers["one_by_one"]),
        }
        for batch_shape, (out, log_det) in wanted.items():
            got = (tuple(out.shape), tuple(log_det.shape))
            if got != ((*batch_shape, *event_shape), batch_shape):
                rule = f"must be {(*batch_shape, *event_shape)} and {batch_shape} in {title}"
                raise CheckError(where, name, rule, f"{got[0]} and {got[1]}")


def _dtypes(where, name, bijector, measured: Measured, limits) -> None:
    for title, _, numbers, _, _ in measured.directions():
        if numbers["out"].dtype != np.float64 or numbers["log_det"].dtype != np.float64:
            got = f"{numbers['out'].dtype} and log_det {numbers['log_det'].dtype}"
            raise CheckError(where, name, f"must be float64 in {title} for float64 inputs", got, "Cast nothing.")
    for dtype, numbers in measured.narrow.items():
        for key in ("z", "back"):
            if numbers[key].dtype != dtype:
                rule = f"must stay {dtype} in {'x -> z' if key == 'z' else 'z -> x'}"
                fix = "Cast the context and constants to the dtype of x."
                raise CheckError(where, name, rule, f"{numbers[key].dtype}", fix)
        for key in ("log_det", "back_log_det"):
            if numbers[key].dtype not in (np.float32, np.float64):
                raise CheckError(where, name, f"must have a float32 log_det for {dtype}", f"{numbers[key].dtype}")


def _finite(where, name, bijector, measured: Measured, limits) -> None:
    for title, derivative, numbers, _, _ in measured.directions():
        n = len(numbers["jacobian"])
        for part, rows in (("inside", slice(0, n)), ("at the ends of", slice(n, None))):
            tree = {"value": numbers["out"][rows], "log_det": numbers["log_det"][rows]}
            require_finite(where, name, f"must hold {part} the domain for {title}", tree)
        for part, key in (("inside", "gradients"), ("at the ends of", "extreme_gradients")):
            tree = dict(zip(("params", "input", "context"), numbers[key], strict=True))
            require_finite(where, name, f"must hold {part} the domain for gradients ({derivative})", tree)


def _round_trip(where, name, bijector, measured: Measured, limits) -> None:
    for title, _, numbers, _, _ in measured.directions():
        there, back = title.split(" -> ")
        values = numbers["values"][: len(numbers["jacobian"])]
        rule = f"must hold for {there} -> {back} -> {there}, the way back with two batch axes"
        require_close(where, name, rule, numbers["back"].reshape(values.shape), values, limits.round_trip)


def _log_det(where, name, bijector, measured: Measured, limits) -> None:
    for _, derivative, numbers, _, _ in measured.directions():
        jacobian = numbers["jacobian"]
        if limits.chart is not None:
            if numbers is measured.inverse:
                continue  # dz/dx has more columns than rows; that both log-dets cancel holds this one too
            jacobian = jacobian[:, list(limits.chart)]
        wanted = np.linalg.slogdet(jacobian)[1]
        rule = f"must equal log|det {derivative}| by autodiff"
        if bijector.needs_key:
            _mean_close(where, name, rule, numbers["log_dets"], wanted, limits.log_det, limits.log_det_bias)
        else:
            require_close(where, name, rule, numbers["log_det"][: len(wanted)], wanted, limits.log_det)


def _cancel(where, name, bijector, measured: Measured, limits) -> None:
    for title, _, numbers, _, _ in measured.directions():
        rule = f"must hold for the log-dets of {title} and back: their sum is 0"
        if bijector.needs_key:
            sums = numbers["log_dets"] + numbers["back_log_dets"]
            _mean_close(where, name, rule, sums, np.zeros(sums.shape[1:]), limits.log_det, 2 * limits.log_det_bias)
        else:
            wanted = -numbers["back_log_det"].reshape(-1)
            require_close(where, name, rule, numbers["log_det"][: len(wanted)], wanted, limits.log_det)


def _mean_close(where, name, rule, samples, wanted, tol, bias) -> None:
    """Holds the mean over the first axis to a few of its standard errors, and those to a bound."""
    error = np.std(samples, axis=0, ddof=1) / math.sqrt(len(samples))
    largest = np.max(error / (1 + np.abs(wanted)))
    if not largest <= MAX_STANDARD_ERROR:
        certain = f"must be known to {MAX_STANDARD_ERROR:.0%} after {len(samples)} keys"
        raise CheckError(where, name, certain, f"a standard error of {largest:.2%}", "Lower its variance.")
    rule = f"{rule}, in the mean over {len(samples)} keys"
    require_close(where, name, rule, np.mean(samples, axis=0), wanted, tol, STANDARD_ERRORS * error + bias)


def _batch(where, name, bijector, measured: Measured, limits) -> None:
    for title, _, numbers, _, _ in measured.directions():
        parts = ("value",) if bijector.needs_key else ("value", "log_det")  # noise is drawn for a batch
        for index, part in enumerate(parts):
            one_by_one = numbers["one_by_one"][index]
            batch = (numbers["out"], numbers["log_det"])[index][: len(one_by_one)]
            rule = f"must give each example the {part} it has alone, in {title}"
            require_close(where, name, rule, batch, one_by_one, SAME)


def _leak(where, name, bijector, measured: Measured, limits) -> None:
    for title, _, numbers, _, _ in measured.directions():
        for part, gradient in zip(("input", "context"), numbers["first_gradients"], strict=True):
            worst = 0.0 if gradient is None else np.max(np.abs(gradient[1:]), initial=0.0)
            if worst:
                rule = f"must be absent: example 0 of {title} may not depend on the {part} of the others"
                raise CheckError(where, name, rule, f"a derivative of {worst:.3g}")


def _jacobian(where, name, bijector, measured: Measured, limits) -> None:
    if limits.jacobian_pattern is None:
        return
    jacobian = measured.inverse["jacobian"]
    pattern = np.asarray(limits.jacobian_pattern, bool)
    if pattern.shape != jacobian.shape[1:]:
        raise InvalidValueError(where, "jacobian_pattern", f"must be of shape {jacobian.shape[1:]}", f"{pattern.shape}")
    wrong = np.argwhere(np.any(jacobian != 0, axis=0) & ~pattern)
    if len(wrong):
        i, j = (int(k) for k in wrong[0])
        got = f"{np.abs(jacobian[:, i, j]).max():.3g} at i={i}, j={j}, and {len(wrong)} such pairs"
        raise CheckError(where, name, "must have dz_i/dx_j = 0 where the pattern is False", got)


def _gradients(where, name, bijector, measured: Measured, limits) -> None:
    for title, _, numbers, _, _ in measured.directions():
        for path, gradient in named_leaves(numbers["gradients"][0]):
            if not np.any(gradient):
                rule = f"must reach every parameter in {title}"
                raise CheckError(where, name, rule, f"all zeros for {path} of shape {gradient.shape}")


def _context(where, name, bijector, measured: Measured, limits) -> None:
    for title, _, numbers, _, _ in measured.directions():
        gradient = numbers["gradients"][2]
        if gradient is None:
            continue
        n = len(numbers["jacobian"])
        used = np.any(gradient[:n].reshape(n, -1) != 0, axis=1)
        if not used.all():
            got = f"no dependence for {n - used.sum()} of {n} examples"
            raise CheckError(where, name, f"must change the result of {title}", got)


def _init(where, name, bijector, measured: Measured, limits) -> None:
    for title, _, numbers, _, _ in measured.directions():
        before = dict(named_leaves(measured.variables))
        for path, after in named_leaves(numbers["updated"]):
            if path.split("/")[0] == "intermediates":
                continue
            if path not in before or not np.array_equal(after, before[path], equal_nan=True):
                rule = f"must leave variables alone after `init`, in {title} on other data"
                raise CheckError(where, name, rule, f"a new {path}", "Write variables only while initialising.")


def _float32(where, name, bijector, measured: Measured, limits) -> None:
    numbers = measured.narrow["float32"]
    require_close(where, name, "must hold for x -> z -> x", numbers["back"], numbers["x"], limits.float32)
    if bijector.needs_key:
        return  # the noise of another dtype is other noise
    n = len(numbers["log_det"])
    wanted = measured.inverse["log_det"][:n]
    require_close(where, name, "must give the float64 log-det", numbers["log_det"], wanted, limits.float32)


OF_STRUCTURE: dict[str, Callable] = {"hash": _hash, "spec": _spec, "events": _events, "rank": _rank}
OF_NUMBERS: dict[str, Callable] = {
    "shapes": _shapes,
    "dtypes": _dtypes,
    "finite": _finite,
    "batch": _batch,
    "leak": _leak,
    "round trip": _round_trip,
    "log-det": _log_det,
    "cancel": _cancel,
    "jacobian": _jacobian,
    "gradients": _gradients,
    "context": _context,
    "init": _init,
    "float32": _float32,
}
NAMES: tuple[str, ...] = (*OF_STRUCTURE, *OF_NUMBERS)
