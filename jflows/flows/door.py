"""The door of a flow, where what it is given gets one floating type, one batch shape, and at least one example.

Read next: `Flow.run`, through which all methods of a flow go.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jflows.ops.promotion import promoting
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
