"""Shared by both suites: the error, comparisons that report their numbers, and noise added to initial parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jflows.errors import JflowsError
from jflows.typing import Key, PyTree, Variables


class CheckError(JflowsError, AssertionError):
    """A property of the contract does not hold; `settings` names the property and `got` holds the numbers."""


def require_close(where: str, name: str, rule: str, got: Any, wanted: Any, tol: float, slack: Any = 0.0) -> None:
    """Raises `CheckError` unless |got - wanted| <= tol (1 + |wanted|) + slack everywhere; NaN never passes."""
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    if got.shape != wanted.shape:
        raise CheckError(where, name, rule, f"shape {got.shape} beside {wanted.shape}")
    if not got.size:
        return
    with np.errstate(invalid="ignore"):
        error = np.maximum(np.abs(got - wanted) - slack, 0) / (1 + np.abs(wanted))
    error = np.where(np.isnan(error), np.inf, error)
    worst = np.unravel_index(np.argmax(error), error.shape)
    if not error[worst] <= tol:
        numbers = f"{got[worst]:.9g} beside {wanted[worst]:.9g}, relative error {error[worst]:.2g} > {tol:.2g}"
        if np.any(slack):
            numbers += f" beyond {np.broadcast_to(slack, error.shape)[worst]:.2g}"
        raise CheckError(where, name, rule, numbers)


def require_finite(where: str, name: str, rule: str, tree: PyTree) -> None:
    """Raises `CheckError` naming the leaf if any number in the tree is NaN or infinite."""
    for path, leaf in named_leaves(tree):
        bad = ~np.isfinite(np.asarray(leaf, np.float64))
        if bad.any():
            raise CheckError(where, name, rule, f"{bad.sum()} of {bad.size} not finite in {path}")


def named_leaves(tree: PyTree) -> list[tuple[str, Any]]:
    """The leaves of a tree by their paths as text."""
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in flat]


def noise_rngs(bijector: Any, key: Key) -> dict[str, Key]:
    """The random streams that a bijector wants in `apply`."""
    return {"noise": key} if bijector.needs_key else {}


def cast(tree: PyTree, dtype: Any) -> PyTree:
    """Casts the inexact leaves of a tree; integers, booleans and keys stay as they are. Not for traced values.

    NumPy casts, and `device_put` moves: JAX would compile a program for every shape, as `jnp.asarray` does.
    """
    narrow = lambda a: jax.device_put(np.asarray(a).astype(dtype)) if jnp.issubdtype(a.dtype, jnp.inexact) else a
    return jax.tree.map(narrow, tree)


def perturb(variables: Variables, seed: int, noise: float, dtype: Any = None) -> Variables:
    """Adds N(0, noise^2) to every inexact leaf of "params", as zero-initialised layers would hide most mistakes.

    The noise comes from NumPy: `jax.random` would compile a program for every shape.
    """
    random = np.random.default_rng(seed)

    def shifted(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf
        moved = np.asarray(leaf) + (noise * random.standard_normal(leaf.shape)).astype(leaf.dtype)
        return jax.device_put(moved)

    params = {"params": jax.tree.map(shifted, variables["params"])} if "params" in variables else {}
    perturbed = {**variables, **params}
    return perturbed if dtype is None else cast(perturbed, dtype)
