"""`Repeat`: a stack of equal steps as one scanned step, and back-propagation without stored activations.

This module has two mechanisms. The scan makes compile time independent of depth. `backprop="invertible"` makes the
memory for activations independent of depth too: the backward pass rebuilds every step's input by inverting the step.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from jflows.bijectors.base import FINITE_CHECKS, METHODS, Bijector, Part, SameShape
from jflows.errors import InvalidValueError
from jflows.modules import variables_known
from jflows.ops import varying
from jflows.ops.numerics import promoting
from jflows.ops.primitives import stored
from jflows.ops.reverse_only import Refusal, reverse_only
from jflows.options import Count, Option
from jflows.typing import Array, PyTree, Shape, Variables

BACKPROP_MODES = ("standard", "remat", "invertible")
RANDOM_STREAMS = ("dropout", "noise")  # Linen streams that are handed on to the steps, folded by step index


class Repeat(SameShape):
    """Applies `num_layers` copies of one layer, each with its own parameters, by a `lax.scan`.

        x = f_n(... f_2(f_1(z))),   all f_k of one architecture
        log_det = sum_k log_det_k                            [nats per event]

    Every variable of the layer is stored once under `layers`, with a leading axis of length `num_layers` in the order
    of `forward`. `init` scans too: each step's data-dependent initialisation sees the output of the steps before it.

    Back-propagation through the stack:

    | backprop | stores per step | computes |
    |---|---|---|
    | "standard" | all intermediate values | once |
    | "remat" | the step's input | the step twice |
    | "invertible" | nothing | the step twice and its inverse once |

    "invertible" (Gomez et al. 2017, arXiv:1707.04585, section 3.2) rebuilds activations from the output. Rounding
    errors grow with the condition number of the stack, so use bounded scales, watch the `reconstruction_error` that
    training reports, and set `anchor_every=k` to store every k-th activation if it grows. It is reverse-mode only.

    Args:
      layer: the step, a bijector whose x and z have the same shape.
      num_layers: number of steps, at least 1.
      backprop: "standard", "remat" or "invertible", see the table.
      anchor_every: with "invertible", store the activations after every so many steps; it must divide num_layers. 0
        stores none.
    Shapes:
      x: [*batch, *event] <-> z: the same; log_det: [*batch].
    Raises:
      InvalidValueError: for an unknown mode, a bad `anchor_every`, or a layer that cannot be replayed (`BatchNorm` in
        training, a numerical inverse) with "invertible".
    """

    layer: Bijector
    num_layers: Count
    backprop: Annotated[str, Option(choices=BACKPROP_MODES)] = "standard"
    anchor_every: Annotated[int, Option(low=0)] = 0

    def _check(self) -> None:
        if self.layer.x_event_ndims != self.layer.z_event_ndims:
            got = f"{type(self.layer).__name__}: {self.layer.x_event_ndims} axes -> {self.layer.z_event_ndims}"
            raise InvalidValueError("Repeat", "layer", "must keep the event shape", got, "Put that layer in a Chain.")
        if self.anchor_every and (self.backprop != "invertible" or self.num_layers % self.anchor_every):
            rule = f"must be 0, or divide num_layers={self.num_layers} with backprop='invertible'"
            raise InvalidValueError("Repeat", "anchor_every", rule, repr(self.anchor_every))
        if self.backprop == "invertible" and not self.layer.allows_invertible_backprop:
            fix = "Use backprop='remat'."
            got = type(self.layer).__name__
            raise InvalidValueError("Repeat", "layer", "must be replayable for backprop='invertible'", got, fix)

    @property
    def uses_invertible_backprop(self) -> bool:
        return self.backprop == "invertible" or super().uses_invertible_backprop

    @property
    def event_ndims(self) -> int:
        return self.layer.x_event_ndims

    def z_event_shape(self, x_event_shape: Shape) -> Shape:
        """The same shape, if the layer keeps it."""
        z_event_shape = self.layer.z_event_shape(x_event_shape)
        if z_event_shape != tuple(x_event_shape):
            got = f"{tuple(x_event_shape)} -> {z_event_shape}"
            raise InvalidValueError("Repeat", "layer", "must keep the event shape", got, "Put that layer in a Chain.")
        return z_event_shape

    def _forward_and_log_det(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        return self._run("forward_and_log_det", z, context)

    def _inverse_and_log_det(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        return self._run("inverse_and_log_det", x, context)

    def parts(self) -> Iterator[tuple[str, Bijector]]:
        yield "layers", self.layer

    def parts_with_shapes(self, x_event_shape: Shape) -> Iterator[Part]:
        yield Part("layers", self.layer, x_event_shape, copies=self.num_layers)

    def layer_names(self) -> list[str]:
        return [f"step {index + 1}" for index in range(self.num_layers)]

    def layer_values(self, values: Array, context: Array | None, direction: str) -> list[Array]:
        steps = _Steps(self.layer.clone(parent=None, name=None), direction, self.num_layers)
        keys = {name: self.make_rng(name) for name in RANDOM_STREAMS if self.has_rng(name)}

        def body(values: Array, per_step: Any) -> tuple[Array, Array]:
            values = steps.apply(direction, per_step[0], context, keys, per_step[1], values)
            return values, values

        per_step = (self._stacked(), steps.indices())
        stacked = varying.scan(body, values, per_step, reverse=direction == "inverse")[1]
        found = [stacked[index] for index in range(self.num_layers)]  # stored in the order of `forward`
        return found if direction == "forward" else found[::-1]

    def _stacked(self) -> Variables:
        """The variables of all steps."""
        assert self.scope is not None
        stacked = {c: tree["layers"] for c, tree in self.scope.variables().items() if "layers" in tree}
        lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(stacked)} - {(self.num_layers,)}
        if lengths:
            rule = f"must hold num_layers={self.num_layers} copies of each variable, on its first axis"
            got = ", ".join("an array without axes" if length == () else str(length[0]) for length in sorted(lengths))
            raise InvalidValueError("Repeat", "variables", rule, got, "Pass what `init` of this flow has returned.")
        return stacked

    def _run(self, method: str, values: Array, context: Array | None) -> tuple[Array, Array]:
        layer = self.layer.clone(parent=None, name=None)
        # `init` may be given one key for all streams; the steps it runs still want their noise.
        wanted = ("noise",) if self.is_initializing() and self.needs_key else ()
        keys = {name: self.make_rng(name) for name in RANDOM_STREAMS if self.has_rng(name) or name in wanted}
        steps = _Steps(layer, method, self.num_layers)
        if self.is_initializing() and not self.has_variable("params", "layers"):
            for collection, stacked in steps.init(self.make_rng("params"), keys, values, context).items():
                self.put_variable(collection, "layers", stacked)
        variables = self._stacked()
        mutable = [c for c in (*variables, "intermediates") if c != "params" and self.is_mutable_collection(c)]
        if mutable and not self.is_initializing():
            remat = self.backprop == "remat"
            values, log_det, updates = steps.run_and_update(variables, context, keys, values, mutable, remat)
            for collection, stacked in updates.items():
                self.put_variable(collection, "layers", stacked)
            return values, log_det
        if self.backprop != "invertible" or _checks_layers_plainly():
            return steps.run(variables, context, keys, values, remat=self.backprop == "remat")
        refusal = Refusal("Repeat", "backprop", "'standard' or 'remat'", self.backprop, second_order=True)
        variables, context, values = reverse_only((variables, context, values), refusal)
        return _anchored(steps, self.anchor_every or self.num_layers, variables, context, keys, values)


def _checks_layers_plainly() -> bool:
    """Whether layers are checked for `find_non_finite` by a JAX whose coming custom_vjp takes no checks inside."""
    return FINITE_CHECKS.get() and jax.config.values.get("jax_custom_vjp3", False)


@dataclasses.dataclass(frozen=True)
class _Steps:
    """The scan over steps, as pure functions of explicit arrays; hashable, so it can be a static argument."""

    layer: Bijector  # unbound
    method: str
    num_layers: int

    @property
    def inverse_method(self) -> str:
        return METHODS[1 - METHODS.index(self.method)]

    @property
    def reverse(self) -> bool:
        """Variables are stored in the order of `forward`, so the inverse scans them backwards."""
        return self.method == "inverse_and_log_det"

    def apply(self, method, variables, context, keys, index, values, mutable=False) -> Any:
        rngs = {name: jax.random.fold_in(key, index) for name, key in keys.items()}
        variables = jax.tree.map(lambda leaf: stored(leaf) if leaf.ndim == 1 and _is_inexact(leaf) else leaf, variables)
        with variables_known():
            return self.layer.apply(variables, values, context, method=method, rngs=rngs, mutable=mutable)

    def init(self, key, keys, values, context) -> Variables:
        def body(values, per_step):
            step_key, index = per_step
            rngs = {"params": step_key} | {name: jax.random.fold_in(k, index) for name, k in keys.items()}
            variables = self.layer.init(rngs, values, context, method=self.method)
            values, _ = self.apply(self.method, variables, context, keys, index, values)
            return values, variables

        step_keys = jax.random.split(key, self.num_layers)
        return varying.scan(body, values, (step_keys, self.indices()), reverse=self.reverse)[1]

    def indices(self) -> Array:
        return jnp.arange(self.num_layers)

    def run(self, variables, context, keys, values, remat: bool = False, offset: Array | int = 0):
        def body(values, per_step):
            step_variables, index = per_step
            return self.apply(self.method, step_variables, context, keys, index, values)

        body = jax.checkpoint(body, prevent_cse=False) if remat else body
        values, log_dets = varying.scan(body, values, (variables, self.indices() + offset), reverse=self.reverse)
        return values, jnp.sum(log_dets, axis=0)

    def run_and_update(self, variables, context, keys, values, mutable, remat: bool = False):
        """The scan for callers that make collections mutable: running statistics, recorded activations."""

        def body(values, per_step):
            step_variables, index = per_step
            (values, log_det), updates = self.apply(
                self.method, step_variables, context, keys, index, values, mutable=mutable
            )
            return values, (log_det, updates)

        body = jax.checkpoint(body, prevent_cse=False) if remat else body
        values, (log_dets, updates) = varying.scan(body, values, (variables, self.indices()), reverse=self.reverse)
        return values, jnp.sum(log_dets, axis=0), updates


def _anchored(steps: _Steps, anchor_every: int, variables, context, keys, values):
    """Runs chunks of `anchor_every` invertible steps; the outer scan stores what each chunk puts out."""
    num_chunks = steps.num_layers // anchor_every
    chunk = dataclasses.replace(steps, num_layers=anchor_every)
    if num_chunks == 1:
        return _invertible_scan(chunk, variables, context, keys, jnp.asarray(0), values)
    variables = jax.tree.map(lambda leaf: leaf.reshape(num_chunks, anchor_every, *leaf.shape[1:]), variables)

    def body(values, per_chunk) -> Any:
        chunk_variables, offset = per_chunk
        return _invertible_scan(chunk, chunk_variables, context, keys, offset, values)

    offsets = jnp.arange(num_chunks) * anchor_every
    values, log_dets = varying.scan(body, values, (variables, offsets), reverse=steps.reverse)
    return values, jnp.sum(log_dets, axis=0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _invertible_scan(steps: _Steps, variables, context, keys, offset, values):
    """`steps.run` whose backward pass stores no activations: everything it needs is an explicit argument."""
    return steps.run(variables, context, keys, values, offset=offset)


@promoting
def _invertible_scan_fwd(steps: _Steps, variables, context, keys, offset, values):
    outputs = steps.run(variables, context, keys, values, offset=offset)
    return outputs, (variables, context, keys, offset, outputs[0])


@promoting
def _invertible_scan_bwd(steps: _Steps, residuals, cotangents):
    variables, context, keys, offset, outputs = residuals
    g_outputs, g_log_det = cotangents
    inexact, rest, merge = _partition(variables)

    def body(carry, per_step):
        outputs, g_outputs, g_context = carry
        step_inexact, step_rest, index = per_step

        def step(step_inexact, context, inputs):
            step_variables = merge(step_inexact, step_rest)
            return steps.apply(steps.method, step_variables, context, keys, index, inputs)

        step_variables = merge(step_inexact, step_rest)
        inputs, _ = steps.apply(steps.inverse_method, step_variables, context, keys, index, outputs)
        _, vjp = jax.vjp(step, step_inexact, context, inputs)
        g_variables, g_step_context, g_inputs = vjp((g_outputs, g_log_det))
        g_context = jax.tree.map(_add_cotangents, g_context, g_step_context)
        return (inputs, g_inputs, g_context), g_variables

    zero_context = jax.tree.map(jnp.zeros_like, context)
    carry = (outputs, g_outputs, zero_context)
    per_step = (inexact, rest, steps.indices() + offset)
    (_, g_values, g_context), g_inexact = varying.scan(body, carry, per_step, reverse=not steps.reverse)
    g_variables = merge(g_inexact, [_zero_cotangent(leaf) for leaf in rest])
    g_context = jax.tree.map(lambda g, c: g if _is_inexact(c) else _zero_cotangent(c), g_context, context)
    return g_variables, g_context, jax.tree.map(_zero_cotangent, keys), _zero_cotangent(offset), g_values


_invertible_scan.defvjp(_invertible_scan_fwd, _invertible_scan_bwd)


def _is_inexact(leaf) -> bool:
    return jnp.issubdtype(jax.typeof(leaf).dtype, jnp.inexact)


def _zero_cotangent(leaf):
    """JAX's cotangent of an integer, boolean or key argument: zeros of the empty dtype float0.

    Under `jax.checkpoint` residuals that are constants, such as an offset of 0, come as Python numbers.
    """
    return np.zeros(jnp.shape(leaf), jax.dtypes.float0)


def _add_cotangents(total: Array, cotangent) -> Array:
    return total if cotangent.dtype == jax.dtypes.float0 else total + cotangent


def _partition(tree: PyTree):
    """Splits the leaves into those with gradients and the rest; `merge(inexact, rest)` rebuilds the tree."""
    leaves, treedef = jax.tree.flatten(tree)
    differentiable = [_is_inexact(leaf) for leaf in leaves]
    inexact = [leaf for leaf, flag in zip(leaves, differentiable, strict=True) if flag]
    rest = [leaf for leaf, flag in zip(leaves, differentiable, strict=True) if not flag]

    def merge(inexact, rest):
        inexact, rest = iter(inexact), iter(rest)
        return jax.tree.unflatten(treedef, [next(inexact) if flag else next(rest) for flag in differentiable])

    return inexact, rest, merge
