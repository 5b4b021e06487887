"""Operations of our own that JAX transforms by rules of ours: the only file that uses JAX's interpreters.

`jax.interpreters` is public but promises no stability, so all of it is here, behind a class with one method for each
kind of rule. It is used, instead of `jax.custom_jvp` and `jax.custom_vjp`, where these cannot do it: a convolution that
is linear in each argument for transposition, whose platform is known only when it is lowered, and a mark that is
refused by derivatives in forward mode.

Operations that say what a program holds in memory are here too: `relu`, `stored`, `as_computed` and
`gradient_as_computed`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jflows.ops.varying import vary_alike
from jflows.typing import Array


class Operation:
    """An operation with one result, called as `operation(*arrays, **params)`.

    Args:
      name: name of the operation in traced programs.
      shape: its result, given abstract arguments and the parameters.
      run: computes it where it is not compiled for a CPU, or everywhere; takes the arrays and the parameters.
      run_on_cpu: computes it on a CPU; None for no difference.
    """

    def __init__(
        self, name: str, shape: Callable[..., Any], run: Callable[..., Array], run_on_cpu: Callable | None = None
    ):
        self.primitive = Primitive(name)
        self.primitive.def_abstract_eval(shape)
        self.primitive.def_impl(self._at_once)
        mlir.register_lowering(self.primitive, mlir.lower_fun(run, multiple_results=False))
        if run_on_cpu is not None:
            mlir.register_lowering(self.primitive, mlir.lower_fun(run_on_cpu, multiple_results=False), platform="cpu")

    def __call__(self, *arrays: Any, **params: Any) -> Any:
        """The result of arrays, which may be traced, with parameters, which may not."""
        return self.primitive.bind(*arrays, **params)

    def _at_once(self, *arrays: Any, **params: Any) -> Array:
        """Runs outside of any transformation."""
        # The same function in every call, so that `jit` finds what it has compiled.
        return jax.jit(self.primitive.bind, static_argnames=tuple(params))(*arrays, **params)

    def is_bilinear(self, transposed_first: Callable[..., Any], transposed_second: Callable[..., Any]) -> None:
        """Declares it linear in each of two arguments, with the cotangent of either, given that of the result."""
        ad.defbilinear(self.primitive, transposed_first, transposed_second)

    def is_linear_in_second(self, transposed: Callable[..., Any]) -> None:
        """Declares it linear in the second of two arguments, and constant in the first."""
        ad.defjvp(self.primitive, None, lambda tangent, first, second: self(first, tangent))
        pull = lambda cotangent, first, second: cotangent if is_zero(cotangent) else transposed(cotangent, first)
        ad.primitive_transposes[self.primitive] = lambda *args: (None, pull(*args))

    def is_linear(self, transposed: Callable[..., Any]) -> None:
        """Declares it linear in its only argument."""
        ad.deflinear2(self.primitive, lambda cotangent, _, **params: [transposed(cotangent, **params)])

    def has_jvp(self, rule: Callable[..., Any]) -> None:
        """Gives the rule of forward mode: `rule(primals, tangents, **params)` -> (result, tangent)."""
        ad.primitive_jvps[self.primitive] = rule

    def has_batching(self, rule: Callable[..., Any]) -> None:
        """Gives the rule of `vmap`: `rule(arrays, axes, **params)` -> (result, axis)."""
        batching.primitive_batchers[self.primitive] = rule

    def is_elementwise(self) -> None:
        """Lets `vmap` run it on whole batches."""
        batching.defvectorized(self.primitive)


def is_zero(tangent: Any) -> bool:
    """Whether a tangent or a cotangent is known to be zero, so that JAX has made no array for it."""
    return type(tangent) is ad.Zero


def moved_to_front(arrays: Sequence[Any], axes: Sequence[int | None]) -> tuple[Array, ...]:
    """The arrays with the axis of `vmap` in front; those without one are repeated along it."""
    size = next(array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if axis is not None)
    return tuple(
        jnp.broadcast_to(array, (size, *array.shape)) if axis is None else jnp.moveaxis(array, axis, 0)
        for array, axis in zip(arrays, axes, strict=True)
    )


_gate = Operation("relu_gate", lambda y, t: t, lambda y, t: jnp.where(y > 0, t, jnp.zeros_like(t)))
_gate.is_linear_in_second(lambda dt, y: _gate(y, dt))
_gate.has_batching(lambda args, dims: (_gate(*moved_to_front(args, dims)), 0))


def relu(x: Array) -> Array:
    """max(x, 0), whose backward pass looks at the sign of its own output.

    `jax.nn.relu` stores a mask beside the output that the next layer stores anyway. Under `lax.scan`, which stacks
    both, the mask costs up to a third of the gradient's time, and nothing while all of it fits the cache.
    Differentiable in both modes, to any order; the derivative at 0 is 0, and NaN stays NaN.

    Args:
      x: any shape; real and floating.
    """
    return _relu(x)


@jax.custom_jvp
def _relu(x):
    return jnp.maximum(x, 0)


@_relu.defjvp
def _relu_jvp(primals, tangents):
    y = _relu(*primals)
    return y, _gate(*vary_alike(y, tangents[0]))


def _reduced(x: Array) -> Array:
    """x as a sum over an axis, which XLA computes by a call to its library and never inside another loop."""
    return jnp.sum(jnp.stack([x, jnp.zeros_like(x)]), axis=0)


_stored = Operation("stored", lambda x: x, lambda x: x, _reduced)
_stored.is_linear(lambda cotangent: cotangent)
_stored.is_elementwise()


def stored(x: Array) -> Array:
    """The array itself, in all transformations and on all platforms; on a CPU in memory of its own, where -0.0 is 0.0.

    `lax.scan` cuts what a step needs out of stacks of all steps. A kernel is copied out for its product, but a bias is
    not: XLA puts its slice into the loop that adds it, and on a CPU a loop that reads a slice at a traced place,
    between an exponential and the joining of two halves, does not vectorise. Sampling from a RealNVP of 64 numbers took
    1.5 times as long for that, and scoring by an IAF twice as long.

    Args:
      x: any shape; real and floating. It is worth it for arrays that are much smaller than those that read them.
    """
    return _stored(x)


_as_computed = Operation("as_computed", lambda x: x, lambda x: x, lax.optimization_barrier)
_as_computed.is_linear(lambda cotangent: cotangent)
_gradient_as_computed = Operation("gradient_as_computed", lambda x: x, lambda x: x)
_gradient_as_computed.is_linear(lambda cotangent: _as_computed(cotangent))
for _operation in (_as_computed, _gradient_as_computed):
    # Nothing of many arrays at once: XLA ends the process at a barrier behind products of a batch of kernels.
    _operation.has_batching(lambda arrays, axes: (arrays[0], axes[0]))


def as_computed(x: Array) -> Array:
    """The array itself, which XLA computes on a CPU before anything reads it, and its cotangent likewise.

    What moves an array in memory is otherwise done again in each loop that reads it, which then does not vectorise.
    Under `vmap`, XLA is free to do so.

    Args:
      x: any shape; real and floating.
    """
    return _as_computed(x)


def gradient_as_computed(x: Array) -> Array:
    """The array itself, whose cotangent XLA computes on a CPU as the program says, before anything reads it.

    A transposition after a product is otherwise folded into the product, whose operands then change places. Under
    `vmap`, XLA is free to do so.

    Args:
      x: any shape; real and floating.
    """
    return _gradient_as_computed(x)
