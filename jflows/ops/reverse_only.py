"""A mark on the inputs of a function that has derivatives in reverse mode only, so that others fail with advice.

`jax.custom_vjp` refuses forward mode by a message that knows nothing of the setting that would allow it, and only when
the program runs or is lowered: by then no function of jflows is being called that could catch it. The mark is a
primitive that returns its argument. Its tangent goes through a second one, which can be transposed, as reverse mode
does, but not evaluated.
"""

from typing import NamedTuple

import jax

from jflows.errors import InvalidValueError
from jflows.ops.primitives import Operation, is_zero
from jflows.typing import PyTree

FORWARD = "for derivatives in forward mode (jax.jvp, jax.jacfwd, jax.linearize)"
SECOND = "for derivatives in forward mode (jax.jvp, jax.jacfwd, jax.hessian) and of second order"


class Refusal(NamedTuple):
    """What the error says: the class, its setting, and which values of it allow what is refused.

    Attributes:
      where: class that has the setting.
      setting: the name of the setting.
      allowed: the values in words, such as "'standard' or 'remat'".
      got: the value that refuses.
      second_order: whether derivatives of second order are possible.
    """

    where: str
    setting: str
    allowed: str
    got: str
    second_order: bool

    def error(self) -> InvalidValueError:
        """The error to raise."""
        rule = f"must be {self.allowed} {FORWARD if self.second_order else SECOND}"
        return InvalidValueError(self.where, self.setting, rule, repr(self.got))


def reverse_only(tree: PyTree, refusal: Refusal) -> PyTree:
    """The tree itself, whose floating leaves have derivatives in reverse mode only."""
    is_floating = lambda leaf: jax.numpy.issubdtype(jax.typeof(leaf).dtype, jax.numpy.inexact)
    mark = lambda leaf: _mark(leaf, refusal=refusal, order=1) if is_floating(leaf) else leaf
    return jax.tree.map(mark, tree)


def _refuse(tangent, *, refusal: Refusal):
    raise refusal.error()


def _same(x, **_):
    return x


_mark = Operation("reverse_only", _same, _same)
_tangent = Operation("reverse_only_tangent", _same, _refuse)


def _mark_jvp(primals, tangents, *, refusal: Refusal, order: int):
    if not refusal.second_order and order > 1:
        raise refusal.error()
    (x,), (tangent,) = primals, tangents
    # A second derivative meets the mark again only if it is left on the primal value.
    x = x if refusal.second_order else _mark(x, refusal=refusal, order=order + 1)
    return x, tangent if is_zero(tangent) else _tangent(tangent, refusal=refusal)


_mark.has_jvp(_mark_jvp)
_tangent.is_linear(lambda cotangent, **_: cotangent)
_mark.is_elementwise()
_tangent.is_elementwise()
