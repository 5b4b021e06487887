"""`Loss`: what a training step minimises, and what it declares of itself.

Read next: `jflows/train/losses/likelihood.py`, the shortest complete loss.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Annotated, ClassVar

from jflows.errors import InvalidTypeError, kind_of
from jflows.flows import Density
from jflows.options import Checked, Option
from jflows.typing import Array, Batch, Key, Variables

HOW_TO_WRITE = (
    "Write FunctionLoss(f), where f(flow, variables, batch, key, step) returns one number per row and the updated "
    "collections ({{}} for none), or subclass jflows.train.Loss."
)


@dataclasses.dataclass(frozen=True)
class Loss(Checked, abc.ABC):
    """A function that gives one number per row of a batch, whose weighted mean a step minimises.

    A subclass is a frozen dataclass, hashable, whose fields are its options: `Annotated[type, Option(sentence)]`. It
    writes `__call__`, and says what else is true of it by the attributes and methods below. It is found by its name if
    `jflows.train.LOSSES` has it, and given to `fit` as an instance otherwise.

    Attributes:
      name: by which recipes and the command line ask for it.
      unit: "nats" if it is a bound on the negative log-likelihood per event, so that bits per dimension may be logged
        beside it; None for all else.
      needs_data: whether batches must have `x`. False for a loss that draws its own samples.
      takes_labels: whether the context of a batch is to hold the labels of partly labelled data, where the flow does
        not take a context itself.
    """

    name: ClassVar[str]
    unit: ClassVar[str | None] = None
    needs_data: ClassVar[bool] = True
    takes_labels: ClassVar[bool] = False

    def select(self, batch: Batch, step: Array | int) -> Batch:
        """The batch of a step; rows that do not count in it have weight 0. Traced."""
        return batch

    def check(self, flow: Density) -> None:
        """Raises a typed error if the flow cannot be trained by this loss; called before anything is compiled."""

    @abc.abstractmethod
    def __call__(
        self, flow: Density, variables: Variables, batch: Batch, key: Key, step: Array | int = 0
    ) -> tuple[Array, Variables]:
        """Losses of the rows, and the updated collections, such as batch statistics; {} if there are none. Traced.

        Args:
          flow: what is trained.
          variables: its collections.
          batch: one step's rows; noise is to depend on `key` and `batch.index` alone.
          key: typed key, the same in every step.
          step: optimizer steps taken before this one, a traced int32.
        Returns:
          [batch], and a dictionary of collections.
        """


@dataclasses.dataclass(frozen=True)
class FunctionLoss(Loss):
    """A loss made of a function, for one that needs no options: `fit(..., loss=FunctionLoss(f))`.

    Args:
      function: `f(flow, variables, batch, key, step)`, see `Loss.__call__`.
      in_nats: whether it is a bound on the negative log-likelihood per event.
    Raises:
      InvalidTypeError: if `function` cannot be called.
    Example:
      >>> import jax.numpy as jnp
      >>> from jflows.train import FunctionLoss, TrainConfig, fit
      >>> from jflows.data import load
      >>> import jflows
      >>> def clipped(flow, variables, batch, key, step):
      ...     return jnp.minimum(-flow.log_prob(variables, batch.x), 20.0), {}
      >>> config = TrainConfig(steps=10, parallel="none")
      >>> fit(jflows.flows.normal((2,)), load("two_moons"), config, loss=FunctionLoss(clipped)).step
      10
    """

    function: Annotated[Callable[..., tuple[Array, Variables]], Option("The function that gives the losses of rows.")]
    in_nats: Annotated[bool, Option("Whether the function bounds the negative log-likelihood, in nats per event.")] = (
        False
    )

    name: ClassVar[str] = "function"

    def _check(self) -> None:
        if not callable(self.function):
            raise InvalidTypeError("FunctionLoss", "function", "must be a function", kind_of(self.function))

    @property
    def unit(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As `in_nats` says."""
        return "nats" if self.in_nats else None

    def __call__(
        self, flow: Density, variables: Variables, batch: Batch, key: Key, step: Array | int = 0
    ) -> tuple[Array, Variables]:
        """What the function gives."""
        result = self.function(flow, variables, batch, key, step)
        if not isinstance(result, tuple) or len(result) != 2:
            rule, fix = "must return (one number per row, updated collections)", "Return losses, {{}} if none change."
            raise InvalidTypeError("FunctionLoss", "function", rule, kind_of(result), fix)
        return result


def check_loss(where: str, loss: object) -> None:
    """Raises `InvalidTypeError` unless `loss` is an instance of `Loss`; says what to write instead."""
    if not isinstance(loss, Loss):
        name = getattr(loss, "__name__", "")
        got = kind_of(loss) if isinstance(loss, type) or not name else f"the function {name}"
        raise InvalidTypeError(where, "loss", "must be a jflows.train.Loss", got, HOW_TO_WRITE)
