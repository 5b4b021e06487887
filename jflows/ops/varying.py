"""Over which axes of a device mesh values vary inside `jax.shard_map`, and loops that keep track of it.

`jax.shard_map` gives every value a type that says over which mesh axes it varies, and JAX's own operations cast their
arguments alike. Loops do not: a carry that starts as a constant and becomes varying is refused. The loops here are
those of `jax.lax`, with a first carry that is cast to the type of the later ones. All of jflows loops through them.
Outside `shard_map`, and with `check_vma=False`, they add nothing to the program.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jflows.typing import Array, PyTree

_BATCH_AXIS = contextvars.ContextVar[str | None]("batch_axis", default=None)


@contextlib.contextmanager
def batch_over(axis: str | None) -> Iterator[None]:
    """Inside the block, the rows of a batch lie on several devices along this axis of `pmap` or `shard_map`.

    The training step says so while it is traced, so that batch normalisation finds all rows wherever it stands.
    """
    token = _BATCH_AXIS.set(axis)
    try:
        yield
    finally:
        _BATCH_AXIS.reset(token)


def batch_mean(values: Array, axis_name: str | None = None) -> Array:
    """The mean over all axes but the last, and over the devices that hold the rows of one batch.

    Args:
      values: [..., channels].
      axis_name: the axis of devices; None takes that of an enclosing `batch_over`, and without one, one device.
    Shapes:
      -> [channels].
    """
    axis, mean = axis_name or _BATCH_AXIS.get(), jnp.mean(values, axis=tuple(range(values.ndim - 1)))
    return mean if axis is None else lax.pmean(mean, axis)


def batch_rows(num: int) -> int:
    """The number of rows of a batch of which each device holds `num`, see `batch_mean`."""
    axis = _BATCH_AXIS.get()
    return num if axis is None else num * lax.axis_size(axis)


def batch_moments(values: Array, axis_name: str | None = None) -> tuple[Array, Array]:
    """Mean and variance of every channel by `batch_mean`, in two passes: [..., channels] -> [channels], [channels]."""
    mean = batch_mean(values, axis_name)
    return mean, batch_mean((values - mean) ** 2, axis_name)


def varying_axes(value: Any) -> frozenset[str]:
    """The mesh axes of an enclosing `shard_map` over which an array, or its `ShapeDtypeStruct`, varies."""
    kind: Any = value if isinstance(value, jax.ShapeDtypeStruct) else jax.typeof(value)
    if hasattr(kind, "vma"):  # JAX renamed it in 0.10
        return frozenset(kind.vma or ())
    manual = kind.manual_axis_type
    return frozenset() if manual is None else frozenset(manual.varying)


def vary_alike(*values: PyTree) -> list[Any]:
    """Casts all arrays of some pytrees to vary over the same mesh axes, as JAX's own operations do before they bind.

    The transpose of that cast is the sum over devices: without it the gradient of a replicated kernel would be the
    local one.
    """
    union = frozenset().union(*map(varying_axes, jax.tree.leaves(values)))
    return [jax.tree.map(lambda leaf: _cast(leaf, union), tree) for tree in values]


def as_carried(body: Callable[[PyTree], PyTree], init: PyTree) -> PyTree:
    """`init`, cast to vary over the mesh axes over which `body`, applied to it again and again, makes it vary.

    Args:
      body: carry -> next carry, of the same structure and shapes; traced once more than there are mesh axes at most.
      init: the first carry, any pytree of arrays.
    """
    if not _is_tracked():
        return init
    while True:
        carried = jax.tree.map(lambda old, new: _cast(old, varying_axes(new)), init, jax.eval_shape(body, init))
        same = jax.tree.map(lambda old, new: varying_axes(old) == varying_axes(new), init, carried)
        if all(jax.tree.leaves(same)):
            return init
        init = carried


def scan(body: Callable, init: PyTree, xs: PyTree, *, reverse: bool = False) -> tuple[Any, Any]:
    """`jax.lax.scan` for a first carry that may be constant over devices."""

    def one_step(carry: PyTree, xs: PyTree) -> PyTree:
        return body(carry, jax.tree.map(lambda leaf: jnp.asarray(leaf)[0], xs))[0]

    return lax.scan(body, as_carried(lambda carry: one_step(carry, xs), init), xs, reverse=reverse)


def while_loop(running: Callable[[Any], Array], body: Callable[[Any], Any], init: PyTree) -> Any:
    """`jax.lax.while_loop` for a first carry that may be constant over devices."""
    return lax.while_loop(running, body, as_carried(body, init))


def fori_loop(lower: int, upper: Array | int, body: Callable[[Array, Any], Any], init: PyTree) -> Any:
    """`jax.lax.fori_loop` for a first value that may be constant over devices, or an `upper` that varies over them."""

    def one_step(value: PyTree) -> PyTree:
        # Where the number of iterations varies, so does what they compute.
        return jax.tree.map(lambda leaf: _cast(leaf, varying_axes(upper)), body(jnp.asarray(lower), value))

    return lax.fori_loop(lower, upper, body, as_carried(one_step, init))


def _cast(value: Any, axes: frozenset[str]) -> Any:
    missing = axes - varying_axes(value)
    return lax.pcast(value, tuple(missing), to="varying") if missing else value


def _is_tracked() -> bool:
    """True inside a `shard_map` that tracks over which axes values vary."""
    axes = jax.sharding.get_abstract_mesh().manual_axes
    return any(varying_axes(jax.eval_shape(lambda axis=axis: lax.axis_index(axis))) for axis in axes)
