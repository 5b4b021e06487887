"""Degrees and masks of autoregressive networks: which unit may see which input.

Every input has a degree 1..D, its place in the order, and every unit a degree: a unit of degree d sees only inputs of
degree <= d. NumPy only: all of this is known before anything is traced.

Units are sorted by degree. All units of one degree are then a contiguous block, so an inverse that finds the inputs in
order of degree can compute each unit once, when the inputs that it sees are known.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from jflows.errors import check_choice

ORDERS = ("natural", "reversed", "random")


def made_degrees(
    dim: int, hidden_sizes: Sequence[int], order: str = "natural", seed: int = 0, conditional: bool = False
) -> tuple[np.ndarray, ...]:
    """Degrees of the inputs and of each hidden layer, hidden ones ascending and evenly spread.

    Hidden degrees run from 1, or from 0 if `conditional`, to D - 1. Units of degree 0 see the context alone, which is
    how the parameters of the first input come to depend on it; without a context they would be wasted.

    Source: Germain et al. 2015, arXiv:1502.03509, section 4. Differs: hidden degrees are not drawn but spread, and may
    be 0.

    Args:
      dim: D >= 1, number of inputs.
      hidden_sizes: units of each hidden layer.
      order: "natural" (input i has degree i + 1), "reversed", or "random", a permutation drawn from `seed`.
      seed: seed of the order "random".
      conditional: whether there is a context.
    Returns:
      The degrees of the inputs, int [dim], then those of each hidden layer, int [size].
    Raises:
      InvalidValueError: for another `order`.
    """
    check_choice("made_degrees", "order", order, ORDERS)
    inputs = np.arange(1, dim + 1)
    if order == "reversed":
        inputs = inputs[::-1]
    elif order == "random":
        inputs = np.random.default_rng(seed).permutation(inputs)
    lowest = 0 if conditional or dim == 1 else 1
    hidden = [lowest + np.arange(size) * (dim - lowest) // size for size in hidden_sizes]
    return (inputs, *hidden)


def made_masks(degrees: Sequence[np.ndarray], num_params: int) -> tuple[np.ndarray, ...]:
    """Masks of the kernels [in, out] between the layers of `degrees`, and of the output, True where a weight is kept.

    A hidden unit sees what has at most its degree; an output of input i sees what has a lower degree than i.

    Args:
      degrees: the degrees of the units of each layer, as `made_degrees` gives them.
      num_params: outputs per input; output p * dim + i is parameter p of input i.
    Returns:
      One mask per hidden layer, bool [in, out], and that of the output, bool [last size, num_params * dim].
    """
    hidden = [below[:, None] <= above for below, above in itertools.pairwise(degrees)]
    return (*hidden, degrees[-1][:, None] < np.tile(degrees[0], num_params))
