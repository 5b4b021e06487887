"""Names for the types that several packages of jflows use.

Arrays are `jax.Array`; docstrings write shapes as `[*batch, height, width, channels]`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

Array = jax.Array
Key = jax.Array  # typed: jax.random.key(0), never a raw uint32 pair
Shape = tuple[int, ...]
Variables = Mapping[str, Any]  # Linen collections: "params" is trained; "constants" and those below are not
PyTree = Any


class Conditioner(Protocol):
    """A network that turns the kept part of an event into the parameters of a bijector.

    Any Linen module with this `__call__` can be one. The bijector says how many features it needs, so a conditioner is
    written without knowing the inner map.
    """

    def __call__(self, inputs: Array, num_features: int, context: Array | None = None) -> Array:
        """[*batch, *space, channels] -> [*batch, *space, num_features]."""
        ...


@runtime_checkable
class OrderedConditioner(Conditioner, Protocol):
    """A conditioner whose params_i depend on inputs before i only, and which computes them in turn at little cost.

    params = self(x, num_params * dim, context), as [*batch, num_params, dim]. If a conditioner has the two methods
    below, which `isinstance` tells, `MaskedAutoregressive` uses both, and `AutoregressiveMixture` uses the first.
    """

    def solve_in_order(
        self, solve: Callable[[PyTree, Array], Array], z: PyTree, num_features: int, context: Array | None = None
    ) -> Array:
        """x with x_i = solve(z_i, params_i): [*batch, dim]; `solve` takes [*batch, 1], [*batch, num_params, 1].

        z is an array [*batch, dim], or a tree of them, of which `solve` then gets column i each.
        """
        ...

    def solve_transposed(
        self, rhs: Array, diagonal: Array, slopes: Array, x: Array, context: Array | None = None
    ) -> Array:
        """The solution u of diagonal_i u_i + sum_j (d params_j / d x_i) . slopes_j u_j = rhs_i.

        Shapes:
          rhs, diagonal, x: [*batch, dim]; slopes: [*batch, num_params, dim] -> u: [*batch, dim].
        """
        ...


class Batch(NamedTuple):
    """The rows of one step of training or evaluation.

    Attributes:
      x: [batch, *event_shape], in the form of the flow's data (integers for images).
      context: [batch, *context_shape] or None; class labels are int32 [batch], -1 for a row without a label.
      weight: float32 [batch], how much a row counts: 1 on average over all rows of the data, 0 for padding.
      index: uint32 [batch], the number of this visit: `epoch * num_examples + row`. Noise is drawn from
        `fold_in(key, index)`, so it depends on neither batch size nor device count.
      gradient: gradients of a log density at x, [batch, *event_shape], where the data have them, else None.
    """

    x: Array
    context: Array | None
    weight: Array
    index: Array
    gradient: Array | None = None


SINGULAR_VECTORS = "singular_vectors"
"""The collection of the vectors of power iteration, see `jflows/nn/lipschitz.py`."""

WRITTEN_IN_TRAINING = ("batch_stats", SINGULAR_VECTORS)
"""The collections that a training step writes beside the parameters; they are part of the state of a run."""
