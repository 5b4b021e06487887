"""How long calls take: programs of bijectors, inner maps and densities, compiled apart and timed by turns.

`programs` says what is timed of each kind of subject; a further kind is one more function here.
"""

import contextlib
import functools
import math
import random
import statistics
import time as clock
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from jflows.bench.machine import milliseconds, peaks
from jflows.bench.results import OURS, Row, Rows
from jflows.bijectors import Bijector, InnerMap, side_by_side
from jflows.errors import InvalidTypeError, InvalidValueError, check_choice, kind_of
from jflows.flows import Density, Flow
from jflows.ops import Domain
from jflows.ops.programs import function_values, product_flops
from jflows.options import Count, EventShape, check_call
from jflows.testing.common import cast, noise_rngs, perturb
from jflows.typing import Array, Shape, Variables

DTYPES = ("float32", "float64", "bfloat16")
INIT_ROWS = 256
NOISE = 0.03  # of parameters, so that no map is the identity with which it begins
SHORTEST = 5.0  # milliseconds that one timing takes at least, by repeated calls
MOST_REPEATS = 100
LEAST_ROUNDS, PATIENCE = 3, 20.0  # timings are fewer where all of them would take longer than these seconds

Draw = Callable[[np.random.Generator, Shape], np.ndarray]


class Program(NamedTuple):
    """A function to be compiled, and what it is called with."""

    call: Callable[..., Any]
    args: tuple


class Compiled(NamedTuple):
    """A compiled program to call, and what is known of it before it is timed."""

    run: Callable[[], object]
    facts: dict[str, Any]


@functools.singledispatch
def programs(subject: Any, shape: Shape, dtype: str, draw: Draw | None) -> dict[str, Program]:
    """What is timed of a subject, by name.

    Args:
      subject: a bijector, an inner map, a flow or another density.
      shape: that of x, with its batch axes first.
      dtype: of data and parameters.
      draw: makes x; None draws from a normal distribution, moved into the domain that a bijector states.
    Raises:
      InvalidTypeError: if the subject is of another kind.
    """
    rule = "must be a bijector, an inner map, a flow or a mixture of flows"
    raise InvalidTypeError("bench.time", "subject", rule, kind_of(subject))


@programs.register
def _of_bijector(subject: Bijector, shape: Shape, dtype: str, draw: Draw | None) -> dict[str, Program]:
    _check_batched(shape, subject.x_event_ndims)
    x = cast(jnp.asarray(_drawn(shape, draw, subject.x_domain)), dtype)
    rows = x.reshape(-1, *shape[len(shape) - subject.x_event_ndims :])[:INIT_ROWS]
    init = jax.jit(functools.partial(subject.init, method="inverse_and_log_det"))
    variables = perturb(init(jax.random.key(0), cast(rows, "float32")), 0, NOISE, dtype)
    rest = {name: tree for name, tree in variables.items() if name != "params"}
    rngs = noise_rngs(subject, jax.random.key(1))

    def run(method: str) -> Callable:
        own = lambda params: {**rest, "params": params} if params else rest
        return lambda params, values: subject.apply(own(params), values, method=method, rngs=rngs)

    return _both_ways(run("forward_and_log_det"), run("inverse_and_log_det"), variables.get("params", {}), x)


@programs.register
def _of_inner_map(subject: InnerMap, shape: Shape, dtype: str, draw: Draw | None) -> dict[str, Program]:
    """Parameters come with those of one element side by side, as other libraries take them, and are moved here."""
    x = cast(jnp.asarray(_drawn(shape, draw, Domain())), dtype)
    raw = cast(jnp.asarray(np.random.default_rng(1).standard_normal((*shape, subject.num_params))), dtype)

    def forward(raw: Array, z: Array) -> tuple[Array, Array]:
        return side_by_side(subject, "forward_and_log_det", z, raw)

    def inverse(raw: Array, x: Array) -> tuple[Array, Array]:
        return side_by_side(subject, "inverse_and_log_det", x, raw)

    return _both_ways(forward, inverse, raw, x)


def _both_ways(forward: Callable, inverse: Callable, params: Any, x: Array) -> dict[str, Program]:
    z = jax.jit(inverse)(params, x)[0]
    calls = {"forward": Program(forward, (params, z)), "inverse": Program(inverse, (params, x))}
    return calls | {f"{name}_gradient": Program(_gradient(call), args) for name, (call, args) in calls.items()}


def _gradient(run: Callable) -> Callable:
    """The gradient, by parameters and input, of the negative log-likelihood under N(0, I)."""

    def loss(params: Any, values: Array) -> Array:
        out, log_det = run(params, values)
        return 0.5 * jnp.sum(out**2) - jnp.sum(log_det)

    return jax.value_and_grad(loss, argnums=(0, 1))


@programs.register
def _of_density(subject: Density, shape: Shape, dtype: str, draw: Draw | None) -> dict[str, Program]:
    variables, x = _prepared(subject, shape, dtype, draw)
    key, batch = jax.random.key(2), shape[: len(shape) - len(subject.event_shape)]
    rest = {name: tree for name, tree in variables.items() if name != "params"}
    keyed = key if subject.needs_key else None

    def mean(params: Any, x: Array) -> Array:
        return jnp.mean(subject.log_prob({**rest, "params": params}, x, key=keyed))

    return {
        "log_prob": Program(lambda variables, x: subject.log_prob(variables, x, key=keyed), (variables, x)),
        "gradient": Program(jax.value_and_grad(mean), (variables.get("params", {}), x)),
        "sample": Program(lambda variables, key: subject.sample(variables, key, batch), (variables, key)),
    }


@programs.register
def _of_flow(subject: Flow, shape: Shape, dtype: str, draw: Draw | None) -> dict[str, Program]:
    variables, x = _prepared(subject, shape, dtype, draw)
    key = jax.random.key(3) if subject.needs_key else None
    batch = shape[: len(shape) - len(subject.event_shape)]
    z = cast(jnp.asarray(np.random.default_rng(2).standard_normal((*batch, *subject.latent_shape))), dtype)
    both = {
        "forward": Program(lambda variables, z: subject.decode(variables, z, key=key), (variables, z)),
        "inverse": Program(lambda variables, x: subject.encode(variables, x, key=key), (variables, x)),
    }
    return both | _of_density(subject, shape, dtype, draw)


def _prepared(density: Density, shape: Shape, dtype: str, draw: Draw | None) -> tuple[Variables, Array]:
    """Variables as if trained, and data as the density reads them."""
    reading, event = density.reading, density.event_shape
    if tuple(shape[len(shape) - len(event) :]) != tuple(event):
        raise InvalidValueError("bench.time", "shape", f"must end with the event shape {event}", repr(tuple(shape)))
    _check_batched(shape, len(event))
    if draw is not None and reading.num_bits is not None:
        rule = "must be None for a flow of integers, which are drawn uniformly"
        raise InvalidValueError("bench.time", "draw", rule, kind_of(draw))
    if reading.num_bits is None:
        x = cast(jnp.asarray(_drawn(shape, draw, Domain())), dtype)
    else:
        x = jnp.asarray(np.random.default_rng(0).integers(0, 2**reading.num_bits, shape), jnp.uint8)
    rows = x.reshape(-1, *event)[:INIT_ROWS]
    return perturb(jax.jit(density.init)(jax.random.key(0), cast(rows, "float32")), 0, NOISE, dtype), x


def _check_batched(shape: Shape, event_ndims: int) -> None:
    if len(shape) <= event_ndims:
        rule, fix = f"must have a batch axis before the {event_ndims} of an event", "Write (1024, *event_shape)."
        raise InvalidValueError("bench.time", "shape", rule, repr(shape), fix)


def _drawn(shape: Shape, draw: Draw | None, domain: Domain) -> np.ndarray:
    """Float64 numbers in a domain, far from its ends."""
    rng = np.random.default_rng(0)
    if draw is not None:
        values = np.asarray(draw(rng, shape))
        if values.shape != shape or values.dtype.kind != "f":
            rule = f"must return floats of shape {shape}"
            raise InvalidValueError("bench.time", "draw", rule, f"{values.dtype} of shape {values.shape}")
        return values
    values, (low, high) = rng.standard_normal(shape), domain[:2]
    if math.isinf(low) and math.isinf(high):
        return 2 * values
    if math.isinf(low) or math.isinf(high):
        return low + np.exp(values) if math.isinf(high) else high - np.exp(values)
    return low + (high - low) / (1 + np.exp(-values))


def compiled(program: Program) -> Compiled:
    """Compiles a program, without any cache of compiled ones, and reads what it will take."""
    started = clock.perf_counter()
    traced = jax.jit(lambda *args: program.call(*args)).trace(*program.args)  # a new function is in no cache
    with _no_cache():
        run = traced.lower().compile()
    seconds, plan = clock.perf_counter() - started, run.memory_analysis()
    assert plan is not None
    kept, temporary = plan.argument_size_in_bytes + plan.output_size_in_bytes, plan.temp_size_in_bytes
    facts = {
        "compile_s": round(seconds, 3),
        "planned_bytes": kept + temporary,
        "moved_bytes": kept + 2 * temporary,
        "gflop": float(f"{product_flops(traced.jaxpr) / 1e9:.4g}"),
        "functions": function_values(traced.jaxpr),
    }
    return Compiled(lambda: run(*program.args), facts)


@contextlib.contextmanager
def _no_cache() -> Iterator[None]:
    """Lets XLA compile anew what its persistent cache may hold; JAX asks only once whether there is one."""
    kept = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", kept)
        compilation_cache.reset_cache()


def by_turns(calls: Mapping[str, Callable[[int], float]], rounds: int, seed: int) -> dict[str, list[float]]:
    """Times calls by turns, in a new order in each round, so that a busy machine slows all of them.

    A call is made once more before it is timed, so that the caches hold its arrays, and not those of the call before.

    Args:
      calls: for each name a function that makes so many calls, and returns their mean milliseconds.
      rounds: timings of each; fewer, but at least three, if they would take more than `PATIENCE` seconds.
      seed: of the orders.
    Returns:
      Milliseconds of each, of one round in each place.
    """
    repeats, spent = {}, 0.0
    for name, call in calls.items():
        call(1)  # the first one fills caches; elsewhere it compiles
        first = max(call(1), 1e-3)
        repeats[name] = min(max(1, math.ceil(SHORTEST / first)), MOST_REPEATS)
        spent += repeats[name] * first / 1e3
    rounds = min(rounds, max(LEAST_ROUNDS, int(PATIENCE / max(spent, 1e-6))))
    times: dict[str, list[float]] = {name: [] for name in calls}
    order, rng = list(calls), random.Random(seed)
    for _ in range(rounds):
        rng.shuffle(order)
        for name in order:
            calls[name](1)
            times[name].append(calls[name](repeats[name]))
    return times


def row_of(times: list[float], **fields: Any) -> Row:
    """A row with the median and the quartiles of times in milliseconds."""
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    digits = lambda value: float(f"{value:.5g}")
    return Row(calls=len(times), ms=digits(middle), low_ms=digits(low), high_ms=digits(high), **fields)


def rated(row: Row, facts: Mapping[str, Any]) -> Row:
    """A row of jflows with what is known of its program, as shares of the machine's peaks."""
    best, seconds = peaks(row.dtype), row.ms / 1e3
    share = lambda least: float(f"{least / seconds:.3g}")
    return Row(
        **{name: value for name, value in row.to_json().items() if name != "event_shape"},
        event_shape=row.event_shape,
        elements_per_s=float(f"{row.batch * math.prod(row.event_shape) / seconds:.4g}"),
        product_share=share(1e9 * facts["gflop"] / best.flops),
        memory_share=share(facts["moved_bytes"] / best.bytes_rate(facts["moved_bytes"])),
        function_share=share(facts["functions"] / best.functions),
        dispatch_share=share(best.dispatch),
        **facts,
    )


def time(
    subject: Any, shape: EventShape, *, dtype: str = "float32", calls: Count = 15, draw: Draw | None = None
) -> Rows:
    """Times a map or a flow on this machine: compilation apart, and each call as a share of what the machine can do.

    Args:
      subject: a bijector, an inner map, a flow or a mixture of flows.
      shape: that of x, with batch axes first, such as (1024, 64).
      dtype: "float32", "float64" or "bfloat16".
      calls: number of timings of each program, of which the median is taken, at least 3 in any case; short calls
        are repeated in each.
      draw: makes x from a NumPy generator and the shape, where `bijector.x_domain` does not say which x are valid.
    Returns:
      Rows that print as a table; their fields are in `jflows.bench.Row`.
    Raises:
      InvalidTypeError: if `subject` is of another kind.
      InvalidTypeError, InvalidValueError: if shape, dtype or calls cannot be.
    Example:
      >>> import jflows
      >>> rows = jflows.bench.time(jflows.bijectors.Sigmoid(), (4, 8), calls=3)
      >>> [row.what for row in rows]
      ['forward', 'inverse', 'forward_gradient', 'inverse_gradient']
    """
    check_choice("bench.time", "dtype", dtype, DTYPES)
    check_call("bench.time", time, {"shape": tuple(shape) if isinstance(shape, list) else shape, "calls": calls})
    if not shape:
        raise InvalidValueError("bench.time", "shape", "must be the shape of x, such as (1024, 64)", repr(shape))
    rows = []
    with jax.enable_x64(dtype == "float64"):
        for what, program in programs(subject, tuple(shape), dtype, draw).items():
            run, facts = compiled(program)
            times = by_turns({OURS: functools.partial(milliseconds, run)}, max(calls, LEAST_ROUNDS), 0)[OURS]
            fields = dict(subject=kind_of(subject), what=what, event_shape=tuple(shape[1:]), batch=shape[0])
            rows.append(rated(row_of(times, dtype=dtype, by=OURS, run=0, **fields), facts))
    return Rows(rows)
