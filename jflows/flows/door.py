"""The door of a flow: what it is given is checked, and gets one floating type, one batch shape, and some example.

Shapes and types are checked, which are known while tracing too.

Read next: `Flow.run`, through which all methods of a flow go.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jflows.errors import InvalidTypeError, InvalidValueError, check_event_shape
from jflows.ops.numerics import promoting
from jflows.typing import Array, Key, PyTree, Shape, Variables


@promoting
def in_one_type(*trees: PyTree, least: Any = None) -> tuple[Any, ...]:
    """The trees with all floating leaves in the widest of their types, and at least in `least`.

    So data of a narrower type than the parameters are widened, and parameters where the data are wider: no digit is
    lost, and no part of a flow sees two types.
    """
    types = [jnp.result_type(leaf) for leaf in jax.tree.leaves(trees) if _is_floating(leaf)]
    if least is not None:
        types.append(jnp.dtype(least))
    if not types:
        return trees
    dtype = jnp.result_type(*types)
    cast = lambda leaf: jnp.asarray(leaf, dtype) if _is_floating(leaf) and jnp.result_type(leaf) != dtype else leaf
    return jax.tree.map(cast, trees)


def type_of_variables(x: Array | None) -> Any:
    """The floating type of the variables of a flow that is initialised on x: that of x, at least float32.

    Integers and None give JAX's default, as noise and base samples have it.
    """
    if x is None or not _is_floating(x):
        return jnp.result_type(float)
    return jnp.promote_types(x.dtype, jnp.float32)


def in_types_of(new: Variables, old: Variables) -> Variables:
    """Collections in the types of those that they replace; collections that are new stay as they are."""
    like = lambda a, b: a.astype(b.dtype) if _is_floating(b) else a
    return {name: jax.tree.map(like, tree, old[name]) if name in old else tree for name, tree in new.items()}


def spread(values: Any, event_ndims: int, batch_shape: Shape) -> Any:
    """[..., *event] broadcast to [*batch, *event]; as they are, where they have this shape, or are None."""
    if values is None:
        return None
    values = jnp.asarray(values)
    shape = (*batch_shape, *values.shape[values.ndim - event_ndims :])
    return values if values.shape == shape else jnp.broadcast_to(values, shape)


def nothing(
    run: Callable[[Array, Array | None, Key | None, Shape], tuple[PyTree, Variables]],
    values: Array,
    context: Array | None,
    key: Key | None,
    batch_shape: Shape,
    variables: Variables,
) -> tuple[PyTree, Variables]:
    """What `run` gives for no example: empty arrays of the right shapes and types, and collections as they were.

    The shapes are those of one example in the place of none. Nothing is computed: a mean over no example is 0 / 0.

    Args:
      run: (values, context, key, batch_shape) -> arrays that begin with the batch axes, and written collections.
      values: [*batch, *event], of a batch shape that holds a 0.
      context: [..., *context_event] or None.
      key: typed key or keys, or None.
      batch_shape: the batch shape.
      variables: the collections before.
    """
    one = lambda array: None if array is None else jax.ShapeDtypeStruct(_with_one(jnp.shape(array)), array.dtype)
    of_one = lambda values, context: run(
        values, context, None if key is None else jax.random.key(0), _with_one(batch_shape)
    )
    found, written = jax.eval_shape(of_one, one(values), one(context))
    empty = lambda leaf: jnp.zeros((*batch_shape, *leaf.shape[len(batch_shape) :]), leaf.dtype)
    zeros = lambda tree: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), tree)
    return jax.tree.map(empty, found), {name: variables.get(name, zeros(tree)) for name, tree in written.items()}


def _with_one(shape: Shape) -> Shape:
    return tuple(max(size, 1) for size in shape)


def _is_floating(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


def check_x(x: Array, event_shape: Shape, takes_integers: bool) -> Shape:
    """The batch shape of data.

    Raises:
      InvalidValueError: if they do not end with `event_shape`.
      InvalidTypeError: if they are no array of numbers, or integers where the flow does not dequantize.
    """
    check_array("Flow", "x", x)
    fix = f"Give the {event_shape[0]} columns that the flow is for." if len(event_shape) == 1 else ""
    fix = fix or f"Bring x to the axes {event_shape} at its end."
    check_event_shape("Flow", "x", jnp.shape(x), event_shape, fix)
    if not takes_integers and not jnp.issubdtype(x.dtype, jnp.floating):
        fix = "Convert it, x.astype(jnp.float32), or build the flow with `dequantize`."
        raise InvalidTypeError("Flow", "x", "must be of a floating type", f"{x.dtype}", fix)
    return jnp.shape(x)[: jnp.ndim(x) - len(event_shape)]


def check_array(where: str, argument: str, value: Any) -> None:
    """Raises `InvalidTypeError` unless a value is an array, of NumPy or JAX, of floats or integers."""
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        raise InvalidTypeError(where, argument, "must be an array", type(value).__name__, "Wrap it in jnp.asarray.")
    is_other = jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended)  # a key
    is_other = is_other or value.dtype.kind == "m"  # durations, which NumPy counts as integers
    if is_other or not any(jnp.issubdtype(value.dtype, kind) for kind in (jnp.floating, jnp.integer)):
        fix = "Convert it, such as by numpy.asarray(values, numpy.float32)."
        raise InvalidTypeError(where, argument, "must hold floats or integers", f"{value.dtype}", fix)


def check_context(context: Array | None, context_shape: Shape | None, batch_shape: Shape) -> Shape:
    """The batch shape of values of `batch_shape` and a context together, which broadcast to each other.

    Raises:
      InvalidValueError: unless the context is what the flow takes, for a batch of this shape.
      InvalidTypeError: if it is no array of numbers, nor a plain number for a label.
    """
    if context is None and context_shape is None:
        return batch_shape
    if context is None:
        rule, fix = f"must have event shape {context_shape}", "Pass a context for each row."
        raise InvalidValueError("Flow", "context", rule, "None", fix)
    if context_shape is None:
        got = f"shape {context.shape}" if hasattr(context, "shape") else type(context).__name__
        fix = "Build the flow with a context, by context_dim or num_classes."
        raise InvalidValueError("Flow", "context", "must be None", got, fix)
    if type(context) is not int:
        check_array("Flow", "context", context)
    got = f"shape {jnp.shape(context)}"
    check_event_shape("Flow", "context", jnp.shape(context), context_shape)
    leading = jnp.shape(context)[: jnp.ndim(context) - len(context_shape)]
    try:
        return jnp.broadcast_shapes(leading, batch_shape)
    except ValueError as error:
        rule = f"must have leading axes that broadcast with the batch shape {tuple(batch_shape)}"
        raise InvalidValueError("Flow", "context", rule, got) from error


def check_not_empty(where: str, batch_shape: Shape) -> None:
    """Raises `InvalidValueError` for a batch without an example, of which `init` cannot take statistics."""
    if 0 in batch_shape:
        fix = "Give a few hundred examples."
        raise InvalidValueError(where, "x", "must hold at least one example", f"batch shape {tuple(batch_shape)}", fix)


def check_sample_shape(where: str, shape: Any) -> Shape:
    """The number of draws as a tuple; a size may be symbolic, as in programs that `jax.export` writes.

    Raises:
      InvalidTypeError: if it is no tuple of ints.
      InvalidValueError: if a size is negative.
    """
    if not isinstance(shape, tuple | list) or not all(map(_is_size, shape)):
        fix = f"Write ({shape},)." if isinstance(shape, int) else "Write it out, such as (16,)."
        raise InvalidTypeError(where, "sample_shape", "must be a tuple of ints", repr(shape), fix)
    if min(shape, default=0) < 0:
        raise InvalidValueError(where, "sample_shape", "must not hold a negative size", repr(shape))
    return tuple(shape)


def _is_size(size: Any) -> bool:
    return type(size) is int or jax.export.is_symbolic_dim(size)


def check_temperature(where: str, temperature: Any, zero: bool = True) -> None:
    """Raises unless the temperature is an array, or a finite number above 0; with `zero`, it may be 0."""
    if hasattr(temperature, "dtype"):
        return
    if not isinstance(temperature, int | float):
        rule = "must be a number or an array"
        raise InvalidTypeError(where, "temperature", rule, type(temperature).__name__)
    if not 0 <= temperature < math.inf or not (zero or temperature > 0):
        rule = "must be at least 0, and finite" if zero else "must be positive, and finite"
        raise InvalidValueError(where, "temperature", rule, repr(temperature))


def check_keys_of_samples(where: str, key: Key, shape: Shape, temperature: float | Array) -> None:
    """Raises `InvalidValueError` unless there is one key, or one for each sample and then one temperature for all."""
    if not key.ndim:
        return
    if key.shape != shape:
        rule = f"must be one key, or one per sample of shape {shape}"
        raise InvalidValueError(where, "key", rule, f"shape {key.shape}")
    if jnp.ndim(temperature):
        rule = "must be one number where each sample has a key"
        raise InvalidValueError(where, "temperature", rule, f"shape {jnp.shape(temperature)}")


def check_variables(variables: Any) -> None:
    """Raises `InvalidTypeError` unless these are collections, not the parameters alone."""
    if not isinstance(variables, Mapping) or {"bijector", "base", "embed"} & set(variables):
        got = f"entries {sorted(variables)}" if isinstance(variables, Mapping) else type(variables).__name__
        rule, fix = "must hold the collections that `init` returned", "Pass {**variables, 'params': params}."
        raise InvalidTypeError("Flow", "variables", rule, got, fix)
