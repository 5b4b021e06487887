"""`programs`: log-density and sampling of a density as functions of plain arrays, and their StableHLO by `jax.export`.

Such a program needs nothing of jflows once it is written. Read next: `jflows/runs/exported.py`, which writes the
programs of a run into a folder.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as stablehlo

from jflows.errors import InvalidTypeError, InvalidValueError, kind_of
from jflows.flows.density import Density
from jflows.ops.programs import equations_of, nested_in
from jflows.options import Count, check_call
from jflows.typing import Array, Variables

PLATFORMS = ("cpu", "cuda", "tpu")
BATCH = "b"
"""The batch axis in the shape of a `Value`."""
KEY_KIND = "threefry2x32"  # whatever the process uses for its own keys, a written program must know the kind


class Value(NamedTuple):
    """An argument of a program, or its result.

    Attributes:
      name: its name, as the documentation calls it; arguments are passed by position.
      shape: sizes of its axes, in which `BATCH` stands for the number of rows.
      dtype: name of the type of its numbers, such as "float32".
      meaning: what it holds, with its unit.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    meaning: str


class Program(NamedTuple):
    """One method of a density as a function of arrays: `function(arrays, *arguments)`, see `programs`.

    Attributes:
      name: "log_prob" or "sample".
      function: a pure function, given the arrays that `named_arrays` makes of the variables, and the arguments.
      arguments: what it takes after the arrays, in order.
      result: what it returns.
    """

    name: str
    function: Callable[..., Array]
    arguments: tuple[Value, ...]
    result: Value

    def export(
        self, arrays: dict[str, np.ndarray], platforms: Sequence[str] = PLATFORMS, batch_size: Count | None = None
    ) -> stablehlo.Exported:
        """The program in StableHLO, lowered for all platforms; no device of theirs is needed, and nothing is run.

        The arrays stay an argument of the program: it is small, and one program serves all weights of a flow.

        Args:
          arrays: what `named_arrays` gives; only names, shapes and types count.
          platforms: some of "cpu", "cuda" and "tpu".
          batch_size: number of rows; None leaves it open, so that the program takes any number of 1 or more.
        Raises:
          InvalidValueError: if there is no such platform, or if a layer calls Python while it runs, or must know the
            batch size, which is not given.
          InvalidTypeError: if the platforms are no words.
        """
        check_platforms("export", platforms)
        check_call("export", Program.export, {"batch_size": batch_size})
        (rows,) = stablehlo.symbolic_shape(BATCH) if batch_size is None else (batch_size,)
        sized = lambda shape: tuple(rows if size == BATCH else size for size in shape)
        own = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in arrays.items()}
        given = [jax.ShapeDtypeStruct(sized(each.shape), np.dtype(each.dtype)) for each in self.arguments]
        try:
            with jax.enable_x64(False):  # or the numbers that layers make would be float64
                jitted = jax.jit(self.function)
                _check_pure(jitted.trace(own, *given).jaxpr)
                return stablehlo.export(jitted, platforms=tuple(platforms))(own, *given)
        except (jax.errors.InconclusiveDimensionOperation, TypeError) as error:  # `len(x)` raises the latter
            if batch_size is not None:
                raise
            self.export(arrays, platforms, batch_size=1)  # raises if something else is wrong
            rule = "must be given for this flow, as a layer must know the number of rows"
            raise InvalidValueError("export", "batch_size", rule, None, "Set {batch_size=64}.") from error


def programs(density: Density, variables: Variables) -> tuple[Program, Program]:
    """`log_prob` and `sample` of a density as functions of plain arrays.

        log_prob(arrays, x[, context][, key_data]) -> [b]                 [nats per event]
        sample(arrays, key_data[, context], temperature) -> [b, *event_shape]

    Keys cross the border as numbers, uint32 [b, 2], one key of kind threefry2x32 for each row: any numbers do, and
    `jax.random.key_data(keys)` gives those of keys. `log_prob` takes them where it needs noise: of integers, it is then
    the bound that `Flow.log_prob` gives with these keys. All floats are float32. Values are not checked; outside the
    support, the log density is -inf.

    Args:
      density: a flow, or a mixture of flows.
      variables: its collections; only their structure is used, numbers come with each call.
    Example:
      >>> import jax, jflows
      >>> from jflows.flows import named_arrays, programs
      >>> flow = jflows.realnvp((2,), num_layers=2)
      >>> variables = flow.init(jax.random.key(0), jax.random.normal(jax.random.key(1), (16, 2)))
      >>> arrays, (log_prob, sample) = named_arrays(variables), programs(flow, variables)
      >>> written = log_prob.export(arrays).serialize()
      >>> jax.export.deserialize(written).call(arrays, jax.numpy.zeros((5, 2))).shape
      (5,)
    """
    restored = _restorer(variables)
    keys, of_noise, context = _keys_and_context(density)
    draw = lambda variables, *context: density.sample(variables, jax.random.key(0), (1,), *context)
    drawn = jax.eval_shape(draw, variables, *_one(context))
    dtype = "float32" if jnp.issubdtype(drawn.dtype, jnp.floating) else str(drawn.dtype)
    x = Value("x", (BATCH, *density.event_shape), dtype, _meaning_of_x(density))
    nats = "log density in nats per event"
    if density.dequantize is not None:
        nats += ", of integers a lower bound on their log probability, by one draw of noise"

    def log_prob(arrays: dict[str, Array], x: Array, *rest: Array) -> Array:
        given = dict(zip([each.name for each in (*context, *of_noise)], rest, strict=True))
        key = _keys(given["key_data"]) if of_noise else None
        return density.log_prob(restored(arrays), x, given.get("context"), key)

    def sample(arrays: dict[str, Array], key_data: Array, *rest: Array) -> Array:
        *own, temperature = rest
        return _samples(density, restored(arrays), _keys(key_data), own[0] if own else None, temperature)

    heat = Value("temperature", (), "float32", "factor of the latent's deviation, at least 0; 1 samples the density")
    result = Value("log_prob", (BATCH,), "float32", nats)
    return (
        Program("log_prob", log_prob, (x, *context, *of_noise), result),
        Program("sample", sample, (keys, *context, heat), x),
    )


def named_arrays(variables: Variables) -> dict[str, np.ndarray]:
    """All arrays of the variables by their paths, such as "params/bijector/layers/kernel", as programs take them.

    Floats become float32, whatever they were, and other numbers get JAX's types of 32 bits.
    """
    found = {}
    with jax.enable_x64(False):
        for name, leaf in zip(_names(variables), jax.tree.leaves(variables), strict=True):
            dtype = jnp.float32 if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.dtype
            found[name] = np.asarray(leaf).astype(jax.dtypes.canonicalize_dtype(dtype))
    return found


def check_platforms(where: str, platforms: Any) -> None:
    """Raises unless these are some of `PLATFORMS`, each of them once."""
    if isinstance(platforms, str) or not isinstance(platforms, Sequence):
        fix = "Write ('cpu', 'cuda')."
        raise InvalidTypeError(where, "platforms", "must be a tuple of words", kind_of(platforms), fix)
    unknown = [each for each in platforms if each not in PLATFORMS]
    if unknown or not platforms or len(set(platforms)) < len(platforms):
        rule = f"must be some of {', '.join(PLATFORMS)}, each of them once"
        got = ", ".join(map(str, platforms)) or "none"
        raise InvalidValueError(where, "platforms", rule, got, "A GPU of NVIDIA is cuda." if unknown else "")


def _check_pure(jaxpr: Any) -> None:
    """Raises `InvalidValueError` if a traced program calls Python, which would have to be there where it runs."""
    for equation in equations_of(jaxpr):
        name = equation.primitive.name
        if "callback" in name:
            rule = "must not call Python while it runs, as a layer of it does"
            raise InvalidValueError("export", "flow", rule, name, "Take the callback, or jax.debug.print, out.")
        for nested in nested_in(equation):
            _check_pure(nested)


def _names(variables: Variables) -> list[str]:
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(variables)[0]]
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path in paths]
    assert len(set(names)) == len(names)
    return names


def _restorer(variables: Variables) -> Callable[[dict[str, Array]], Variables]:
    names, structure = _names(variables), jax.tree.structure(variables)
    return lambda arrays: jax.tree.unflatten(structure, [arrays[name] for name in names])


def _keys_and_context(density: Density) -> tuple[Value, tuple[Value, ...], tuple[Value, ...]]:
    """The keys of samples, those of `log_prob`, if it takes any, and the context, if there is one."""
    what = f"keys of kind {KEY_KIND}, one for each row, of any numbers"
    keys = Value("key_data", (BATCH, 2), "uint32", what)
    purpose = "noise of dequantization" if density.dequantize is not None else "estimate of the log-det"
    if density.estimates_log_det:
        what += "; the estimate of the log-det uses the first"
    needs_key = density.dequantize is not None or density.estimates_log_det
    of_noise = (keys._replace(meaning=f"{what}; for the {purpose}"),) if needs_key else ()
    shape, reading = density.context_shape, density.reading
    if shape is None:
        return keys, of_noise, ()
    is_label = reading.context == "labels"
    meaning = f"classes, 0 to {(reading.num_classes or 1) - 1}" if is_label else "what rows are conditioned on"
    return keys, of_noise, (Value("context", (BATCH, *shape), "int32" if is_label else "float32", meaning),)


def _one(context: tuple[Value, ...]) -> list[jax.ShapeDtypeStruct]:
    """The context of one row, if there is one, without its numbers."""
    return [jax.ShapeDtypeStruct(tuple(s for s in each.shape if s != BATCH), each.dtype) for each in context]


def _meaning_of_x(density: Density) -> str:
    bits = density.reading.num_bits
    return "rows in the units of the data" if bits is None else f"images of integers 0 to {2**bits - 1}"


def _keys(key_data: Array) -> Array:
    return jax.random.wrap_key_data(key_data, impl=KEY_KIND)


def _samples(density: Density, variables: Variables, keys: Array, context: Array | None, heat: Array) -> Array:
    """Samples, one for each key, each of which depends on its own key alone."""
    if density.takes_keys:
        return density.sample(variables, keys, keys.shape if context is None else (), context, heat)
    one: Any = lambda key, context: density.sample(variables, key, (), context, heat)
    return jax.vmap(one, in_axes=(0, None if context is None else 0))(keys, context)
