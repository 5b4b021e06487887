"""`Loss`: the base class of what a training step minimises; and `NegativeLogLikelihood`, the shortest complete loss."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Annotated, ClassVar

from jflows.errors import InvalidTypeError, kind_of
from jflows.flows import Density
from jflows.flows.dequantize import example_keys
from jflows.options import Checked, Option
from jflows.typing import Array, Batch, Key, PyTree, Variables

HOW_TO_WRITE = (
    "Write FunctionLoss(f), where f(flow, variables, batch, key, step) returns one number per row and the updated "
    "collections ({{}} for none), or subclass jflows.train.Loss."
)


@dataclasses.dataclass(frozen=True)
class Loss(Checked, abc.ABC):
    """A function that gives one number per row of a batch, whose weighted mean a step minimises.

    A subclass is a frozen, hashable dataclass whose fields are its options: `Annotated[type, Option(sentence)]`. It
    writes `__call__`, and sets the attributes and methods below where their defaults do not hold. Recipes find a loss
    by its name in `jflows.train.LOSSES`; any other loss is given to `fit` as an instance.

    Attributes:
      name: the name by which recipes and the command line choose the loss.
      unit: "nats" if the loss bounds the negative log-likelihood per event, so that bits per dimension can be logged
        beside it; None for any other loss.
      needs_data: whether batches must have `x`; False for a loss that draws its own samples.
      needs_gradient: whether batches must have `gradient`; data with gradients are refused by other losses.
      takes_labels: whether the loss learns from the labels of partly labelled data; they become the context of a batch
        if the flow takes no context itself.
      selects_rows: whether `select` leaves rows out, for which the mean weight of the others is not 1.
      keeps_memory: whether the loss keeps a memory from step to step, which is a part of the training state. There is
        one for all devices, so that the modes "pmap" and "shard_map" are refused.
    """

    name: ClassVar[str]
    unit: ClassVar[str | None] = None
    needs_data: ClassVar[bool] = True
    needs_gradient: ClassVar[bool] = False
    takes_labels: ClassVar[bool] = False
    keeps_memory: ClassVar[bool] = False

    @property
    def selects_rows(self) -> bool:
        """False: all rows count in every step."""
        return False

    def select(self, batch: Batch, step: Array | int) -> Batch:
        """The batch with weight 0 for rows that do not count in this step; called while tracing."""
        return batch

    def first_memory(self, flow: Density, variables: Variables, key: Key, batch_size: int) -> PyTree:
        """The memory before the first step, a tree of arrays, for batches of `batch_size` rows."""
        return {}

    def recall(
        self, flow: Density, variables: Variables, memory: PyTree, batch: Batch, key: Key, step: Array | int
    ) -> tuple[Batch, PyTree]:
        """The batch of which the loss is taken, and the new memory; called in every step, without derivatives.

        A step that is skipped keeps the old memory.
        """
        return batch, memory

    def check(self, flow: Density) -> None:
        """Raises a typed error if the flow cannot be trained by this loss; called before anything is compiled."""

    @abc.abstractmethod
    def __call__(
        self, flow: Density, variables: Variables, batch: Batch, key: Key, step: Array | int = 0
    ) -> tuple[Array, Variables]:
        """One loss per row, and the updated collections, such as batch statistics, or {}; called while tracing.

        Args:
          flow: the density that is trained.
          variables: the flow's collections.
          batch: the rows of one step; noise must depend on `key` and `batch.index` alone.
          key: typed key, the same in every step.
          step: optimizer steps taken before this one, a traced int32.
        Returns:
          [batch], and a dictionary of collections.
        """


@dataclasses.dataclass(frozen=True)
class NegativeLogLikelihood(Loss):
    """-log p(x) in nats per event; dequantization noise is drawn per example, which makes it an upper bound.

    Shapes:
      per row: [batch].
    """

    name: ClassVar[str] = "likelihood"
    unit: ClassVar[str | None] = "nats"

    def __call__(
        self, flow: Density, variables: Variables, batch: Batch, key: Key, step: Array | int = 0
    ) -> tuple[Array, Variables]:
        """Losses [batch], and the updated collections (batch statistics), {} for most flows."""
        keys = example_keys(key, batch.index) if flow.needs_key else None
        log_prob, updates = flow.apply_loss(variables, batch.x, batch.context, keys)
        return -log_prob, updates


@dataclasses.dataclass(frozen=True)
class FunctionLoss(Loss):
    """Wraps a function as a loss without options: `fit(..., loss=FunctionLoss(f))`.

    Args:
      function: `f(flow, variables, batch, key, step)`, see `Loss.__call__`.
      in_nats: whether the function bounds the negative log-likelihood per event, in nats.
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

    function: Annotated[Callable[..., tuple[Array, Variables]], Option("Function that returns the loss of each row.")]
    in_nats: Annotated[
        bool,
        Option(
            "Whether the losses are upper bounds on the negative log-likelihood, in nats per event, so that logs "
            "state this unit; losses of another kind have none."
        ),
    ] = False

    name: ClassVar[str] = "function"

    def _check(self) -> None:
        if not callable(self.function):
            raise InvalidTypeError("FunctionLoss", "function", "must be a function", kind_of(self.function))

    @property
    def unit(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The unit "nats" if `in_nats` is set, else None."""
        return "nats" if self.in_nats else None

    def __call__(
        self, flow: Density, variables: Variables, batch: Batch, key: Key, step: Array | int = 0
    ) -> tuple[Array, Variables]:
        """The losses and collections that the function returns."""
        result = self.function(flow, variables, batch, key, step)
        if not isinstance(result, tuple) or len(result) != 2:
            rule, fix = "must return (one number per row, updated collections)", "Return losses, {{}} if none change."
            raise InvalidTypeError("FunctionLoss", "function", rule, kind_of(result), fix)
        return result


def check_loss(where: str, loss: object) -> None:
    """Raises `InvalidTypeError`, which says what to write instead, unless `loss` is an instance of `Loss`."""
    if not isinstance(loss, Loss):
        name = getattr(loss, "__name__", "")
        got = kind_of(loss) if isinstance(loss, type) or not name else f"the function {name}"
        raise InvalidTypeError(where, "loss", "must be a jflows.train.Loss", got, HOW_TO_WRITE)
