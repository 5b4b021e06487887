"""`MixtureLoss`: the loss of a mixture of flows, with labels for none, some or all of the rows."""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from jflows.errors import InvalidTypeError, InvalidValueError, kind_of
from jflows.flows import Density, MixtureOfFlows
from jflows.flows.dequantize import example_keys
from jflows.flows.mixture_parts import exact_sum
from jflows.options import Option, documented
from jflows.train.losses.base import Loss
from jflows.typing import Array, Batch, Key, Variables

CONSISTENCY_STREAM = 0x636F6E73  # folded into the key, so that this noise differs from that of dequantization


@documented
@dataclasses.dataclass(frozen=True)
class MixtureLoss(Loss):
    """The negative ELBO of a `MixtureOfFlows`, per row in nats.

        no label:  -sum_k q_T(k | x) [log p_k(x) + log w_k - log q_T(k | x)],   q_T = softmax(logits / T)
        label y:   -log p_y(x) - log w_y - supervised * log q(y | x)
        both:      + consistency * KL(q(. | x) || q(. | x + noise)),   the first q held fixed
        T(step) = 1 + (temperature - 1) exp(-step / temperature_decay)

    The loss learns from the labels of partly labelled data, as `jflows.data.hide_labels` makes them: they are the
    context of a batch, -1 for a row without a label. It does not see the labels of fully labelled data, so that
    clusters are found without them; to learn from all of these, pass `dataclasses.replace(data, partly_labelled=True)`.
    Labels outside -1..K-1 make the loss NaN. Components that take a context themselves are trained without labels.

    Source: Pires and Figueiredo 2020, arXiv:2009.00585; the consistency term is that of Izmailov et al. 2020,
    arXiv:1912.13025, section 3.4.

    Shapes:
      per row: [batch].
    Raises:
      InvalidValueError: if a setting is out of range, or if only labels would count and the batch has none.
      InvalidTypeError: by `check`, if the flow is not a `MixtureOfFlows`.
    """

    temperature: Annotated[
        float,
        Option(
            "Softmax temperature of the encoder at step 0. A higher one gives every component a share of every row "
            "while the encoder knows nothing yet, which keeps components from going unused; the bound is looser "
            "meanwhile. 1 leaves the encoder as it is.",
            low=1,
        ),
    ] = 1.0
    temperature_decay: Annotated[
        float,
        Option(
            "Number of steps in which (temperature - 1) falls to 1/e of its value; more steps keep components mixed "
            "for longer.",
            above=0,
        ),
    ] = 1000.0
    supervised: Annotated[
        float,
        Option(
            "Weight of the encoder's cross-entropy on rows that have a label. A larger weight makes the encoder follow "
            "the labels more closely; with 0, only rows without a label train it.",
            low=0,
        ),
    ] = 1.0
    consistency: Annotated[
        float,
        Option(
            "Weight of a term that trains the encoder to give the same answer for x and for x with noise. Above 0 it "
            "costs one more pass through the encoder; 0 leaves the term out.",
            low=0,
        ),
    ] = 0.0
    consistency_noise: Annotated[
        float,
        Option(
            "Standard deviation of the noise in the consistency term, in the units of the data; more noise smooths the "
            "encoder over a wider neighbourhood.",
            above=0,
        ),
    ] = 0.05
    pretrain_steps: Annotated[
        int,
        Option(
            "Number of steps at the start that train only on rows with a label; the others get weight 0. More of them "
            "fit few labels better and may learn these rows by heart. 0 starts with all rows.",
            low=0,
        ),
    ] = 0
    interleave_every: Annotated[
        int,
        Option(
            "Rows with a label and rows without one take turns: each kind counts for this many steps, while the other "
            "has weight 0, so that few labels are not drowned; longer turns let each kind forget more of the other. "
            "0 lets all rows count in every step.",
            low=0,
        ),
    ] = 0

    name: ClassVar[str] = "mixture"
    unit: ClassVar[str | None] = "nats"
    takes_labels: ClassVar[bool] = True

    def check(self, flow: Density) -> None:
        """Raises unless the flow is a `MixtureOfFlows`."""
        if not isinstance(flow, MixtureOfFlows):
            fix = "Train other flows by NegativeLogLikelihood()."
            raise InvalidTypeError("MixtureLoss", "flow", "must be a MixtureOfFlows", kind_of(flow), fix)

    def temperature_at(self, step: Array | int) -> Array:
        """The softmax temperature T at a step: a scalar."""
        return 1 + (self.temperature - 1) * jnp.exp(-step / self.temperature_decay)

    def __call__(
        self, flow: Density, variables: Variables, batch: Batch, key: Key, step: Array | int = 0
    ) -> tuple[Array, Variables]:
        """Losses [batch] and updated collections."""
        self.check(flow)
        assert isinstance(flow, MixtureOfFlows)
        labels = None if flow.context_shape is not None else batch.context
        if labels is None and self.selects_rows:
            got, fix = "a batch without labels", "Train on partly labelled data, or set both to 0."
            raise InvalidValueError("MixtureLoss", ("pretrain_steps", "interleave_every"), "need labels", got, fix)
        keys = example_keys(key, batch.index) if flow.needs_key else None
        log_joint, updates = flow.apply_log_joint(variables, batch.x, batch.context, keys)
        log_q = flow.log_q(variables, batch.x, batch.context, log_joint=log_joint)
        tempered = jax.nn.log_softmax(log_q / self.temperature_at(step), axis=-1)
        loss = -exact_sum(log_joint, tempered)
        if labels is not None:
            loss = self._with_labels(loss, log_joint, log_q, labels)
        if self.consistency:
            loss = loss + self.consistency * self._inconsistency(flow, variables, batch, key, log_q)
        return loss, updates

    def _with_labels(self, loss: Array, log_joint: Array, log_q: Array, labels: Array) -> Array:
        num_components = log_joint.shape[-1]
        # Picked, not multiplied by one-hot rows: 0 * -inf would be NaN.
        own = jnp.clip(labels, 0, num_components - 1)[..., None]
        pick = lambda values: jnp.take_along_axis(values, own, axis=-1)[..., 0]
        of_label = -pick(log_joint) - self.supervised * pick(log_q)
        loss = jnp.where(labels < 0, loss, of_label)
        return jnp.where((labels < -1) | (labels >= num_components), jnp.nan, loss)

    @property
    def selects_rows(self) -> bool:
        """Whether rows with a label and rows without one take turns, or the former come first."""
        return bool(self.pretrain_steps or self.interleave_every)

    def select(self, batch: Batch, step: Array | int) -> Batch:
        """The batch with weight 0 for rows that do not count in this step."""
        if batch.context is None or not self.selects_rows:
            return batch
        labelled, every = batch.context != -1, self.interleave_every
        turn = (step - self.pretrain_steps) // every % 2 if every else 0
        counts = (labelled == (turn == 0)) if every else jnp.ones_like(labelled)
        counts = jnp.where(step < self.pretrain_steps, labelled, counts)
        return batch._replace(weight=jnp.where(counts, batch.weight, 0))

    def _inconsistency(self, flow: MixtureOfFlows, variables: Variables, batch: Batch, key: Key, log_q: Array) -> Array:
        """KL from q at x to q at a neighbour of x: [batch]."""
        x = jnp.asarray(batch.x)
        if jnp.issubdtype(x.dtype, jnp.integer):
            x = x + 0.5  # the centre of the bin, as a float
        noise_keys = example_keys(jax.random.fold_in(key, CONSISTENCY_STREAM), batch.index)
        noise = jax.vmap(lambda k: jax.random.normal(k, x.shape[1:], x.dtype))(noise_keys)
        keys = example_keys(key, batch.index) if flow.needs_key else None
        nearby = flow.log_q(variables, x + self.consistency_noise * noise, batch.context, keys)
        fixed = jax.lax.stop_gradient(log_q)
        return jnp.sum(jnp.exp(fixed) * (fixed - nearby), axis=-1)
