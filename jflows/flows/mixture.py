"""`MixtureOfFlows`: K flows, and an encoder that estimates from which of them an event comes.

Read next: `jflows/train/losses/mixture.py`, the loss of mixtures, and `jflows/eval/clusters.py`, which measures how
well clusters and labels agree.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jflows.bijectors.initialised import MISFITS, refuse_misfit
from jflows.data.reading import Statistics
from jflows.errors import InvalidValueError, check_key
from jflows.flows import door
from jflows.flows.door import (
    check_array,
    check_not_empty,
    check_sample_shape,
    check_temperature,
    check_variables,
)
from jflows.flows.flow import Flow
from jflows.flows.mixture_init import init_mixture, warn_of_constants
from jflows.flows.mixture_parts import (
    check_assignment,
    check_labels,
    components_of,
    exact_sum,
    join,
    over_components,
    part,
)
from jflows.flows.mixture_structure import MixtureStructure
from jflows.flows.summary import Summary, abstract_variables, mixture_rows, summary
from jflows.ops.numerics import log_mixture, log_shares, promoting
from jflows.spec import register
from jflows.typing import WRITTEN_IN_TRAINING, Array, Key, Shape, Variables


@register
@dataclasses.dataclass(frozen=True, repr=False)
class MixtureOfFlows(MixtureStructure):
    """A mixture of K flows, with an encoder q(k | x) that approximates which component an event belongs to.

        log p(x) = log sum_k w_k p_k(x)                                            [nats per event]
        elbo(x)  = sum_k q(k | x) [log p_k(x) + log w_k - log q(k | x)]  <=  log p(x)

    The sum over components is exact, so nothing is sampled, and both numbers can be computed. K components of one
    architecture run as one program with stacked variables, so that compile time does not depend on K: vectors under
    `vmap`, images in a loop. Methods are pure functions of explicit variables, like those of `Flow`.

    With a trunk, the components model its latent, and so share the layers next to the data. Without an encoder, q is
    the exact posterior and the bound is log p(x).

    If the components take no context, the context of every method may hold class labels: integers, -1 for no label.
    Only `jflows.train.MixtureLoss` reads them; densities do not depend on them.

    Source: Pires and Figueiredo 2020, arXiv:2009.00585 (VMoNF).

    Args:
      components: one flow for K copies of its architecture, or K different ones; see `mixture_of_flows`.
      num_components: K >= 2.
      encoder: a conditioner such as `jflows.nn.MLP` or `ConvNet`; the output of a `ConvNet` is averaged over space.
      weights: "uniform", "learned" (starting uniform), or K positive numbers that sum to one.
      trunk: a flow between the data and all components; its base is not used.
      start: which rows initialise a component: "same" takes the whole batch, "kmeans" takes the rows of cluster k for
        component k (by distances in the units of x), which matters for flows that whiten (norm="actnorm",
        standardize=True).
    Shapes:
      x: [*batch, *event_shape]; context: broadcast as in `Flow`, or labels [*batch].
      `params`: components (stacked, [K, ...], or one entry for each), encoder, trunk, log_weights [K] if learned.
    Raises:
      InvalidTypeError: if a part is of the wrong type.
      InvalidValueError: if K < 2, weights do not fit, or the parts do not agree on event shape or context.
    """

    @promoting
    def init(
        self,
        key: Key,
        x: Array | None = None,
        context: Array | None = None,
        statistics: Statistics | None = None,
        assignment: Array | None = None,
    ) -> Variables:
        """Creates the variables, with data-dependent initialisation from a batch.

        Args:
          key: typed key.
          x: [batch, *event_shape], a few hundred examples; must be given, as components start from data.
          context: [batch, *context_shape], or labels [batch], or None.
          statistics: statistics of all training rows, as in `Flow.init`. The trunk uses them, and so do components with
            start="same"; components that start from a cluster are standardised by its rows.
          assignment: int [batch], such as the clusters of `jflows.eval.fit_gaussian_mixture`: component k is
            initialised on rows drawn from cluster k, whatever `start` says.
        Raises:
          InvalidValueError: if x is missing, or labels are outside -1..K-1 (where they are not traced).
        """
        if x is None:
            raise InvalidValueError("MixtureOfFlows.init", "x", "must be given", None, "Components start from data.")
        check_key("MixtureOfFlows.init", key)
        check_labels("MixtureOfFlows.init", context if self.context_shape is None else None, self.num_components)
        x, context = self._entered(x, context)
        batch_shape = x.shape[: x.ndim - len(self.event_shape)]
        if len(batch_shape) != 1:
            fix = "Write x[None] for one example."
            raise InvalidValueError("MixtureOfFlows.init", "x", "must have one batch axis", f"shape {x.shape}", fix)
        check_not_empty("MixtureOfFlows.init", batch_shape)
        check_assignment("MixtureOfFlows.init", assignment, len(x), self.num_components)
        x, context = door.in_one_type(x, context, least=jnp.float32)
        variables = init_mixture(self, key, x, context, statistics, assignment)
        warn_of_constants(self, variables)
        return variables

    def log_weights(self, variables: Variables, dtype: Any = None) -> Array:
        """log w_k: [K]; of this type if they are not learned, None being JAX's default."""
        if self.weights == "learned":
            return jax.nn.log_softmax(variables["params"]["log_weights"])
        uniform = (1 / self.num_components,) * self.num_components
        return jnp.asarray(np.log(uniform if self.weights == "uniform" else self.weights), dtype)

    def log_joint(self, variables: Variables, x: Array, context: Array | None = None, key: Key | None = None) -> Array:
        """log w_k + log p_k(x): [*batch, K], nats."""
        return self._log_joint(variables, x, context, key, training=False)[0]

    def apply_log_joint(
        self, variables: Variables, x: Array, context: Array | None = None, key: Key | None = None
    ) -> tuple[Array, Variables]:
        """`log_joint` for training, with the updated batch statistics, see `Flow.apply_loss`."""
        return self._log_joint(variables, x, context, key, training=True)

    def log_prob(self, variables: Variables, x: Array, context: Array | None = None, key: Key | None = None) -> Array:
        """The exact log p(x) of the mixture (integers are treated as in `Flow.log_prob`): [*batch], nats."""
        return log_mixture(self.log_joint(variables, x, context, key))

    def apply_loss(
        self, variables: Variables, x: Array, context: Array | None = None, key: Key | None = None
    ) -> tuple[Array, Variables]:
        """`log_prob` for training, see `Flow.apply_loss`; with it, the exact likelihood can be a loss too."""
        log_joint, updates = self.apply_log_joint(variables, x, context, key)
        return log_mixture(log_joint), updates

    @promoting
    def elbo(
        self,
        variables: Variables,
        x: Array,
        context: Array | None = None,
        key: Key | None = None,
        temperature: float | Array = 1.0,
    ) -> Array:
        """The lower bound on log p(x) that the encoder gives at a softmax temperature: [*batch], nats."""
        log_joint = self.log_joint(variables, x, context, key)
        return exact_sum(log_joint, self.log_q(variables, x, context, key, temperature, log_joint))

    @promoting
    def log_q(
        self,
        variables: Variables,
        x: Array,
        context: Array | None = None,
        key: Key | None = None,
        temperature: float | Array = 1.0,
        log_joint: Array | None = None,
    ) -> Array:
        """log q(k | x) = log_softmax(logits / temperature): [*batch, K]; NaN where no component can have made x.

        Args:
          key: as in `log_prob`; only a mixture without an encoder uses it.
          log_joint: the result of `log_joint`, if you have it; only a mixture without an encoder uses it.
        """
        check_temperature("MixtureOfFlows.log_q", temperature, zero=False)
        check_variables(variables)
        if self.encoder is None:
            logits = self.log_joint(variables, x, context, key) if log_joint is None else log_joint
        else:
            x, context = self._entered(x, context)
            encoder = self.encoder_module(self.encoder)
            start = lambda x, context: encoder.init(jax.random.key(0), x, context)
            own, x, context = door.in_one_type(part(variables, "encoder"), x, context)
            try:
                logits: Any = encoder.apply(own, x, context)
            except MISFITS as error:
                refuse_misfit(error, "MixtureOfFlows.encoder", start, own, "x", x, context)
        return log_shares(logits / temperature)

    def responsibilities(
        self,
        variables: Variables,
        x: Array,
        context: Array | None = None,
        key: Key | None = None,
        exact: bool = False,
    ) -> Array:
        """The probability of each component: [*batch, K].

        Args:
          exact: True for the posterior w_k p_k(x) / p(x), False for the encoder's q(k | x).
        """
        if exact:
            return jax.nn.softmax(self.log_joint(variables, x, context, key), axis=-1)
        return jnp.exp(self.log_q(variables, x, context, key))

    def predict(
        self,
        variables: Variables,
        x: Array,
        context: Array | None = None,
        key: Key | None = None,
        exact: bool = False,
    ) -> Array:
        """The most probable component: int [*batch]; see `responsibilities`."""
        return jnp.argmax(self.responsibilities(variables, x, context, key, exact), axis=-1)

    @promoting
    def sample(
        self,
        variables: Variables,
        key: Key,
        sample_shape: Shape = (),
        context: Array | None = None,
        temperature: float | Array = 1.0,
    ) -> Array:
        """Draws from the mixture, at the cost of a draw from every component: [*sample_shape, *batch, *event_shape]."""
        check_key("MixtureOfFlows.sample", key)
        component_key, sample_key = jax.random.split(key)
        draws = self.sample_by_component(variables, sample_key, sample_shape, context, temperature)
        shape = draws.shape[1 : draws.ndim - len(self.event_shape)]
        component = jax.random.categorical(component_key, self.log_weights(variables), shape=shape)
        index = component.reshape(1, *shape, *(1,) * len(self.event_shape))
        return jnp.take_along_axis(draws, index, axis=0)[0]

    @promoting
    def sample_by_component(
        self,
        variables: Variables,
        key: Key,
        sample_shape: Shape = (),
        context: Array | None = None,
        temperature: float | Array = 1.0,
    ) -> Array:
        """Draws `sample_shape` events from every component: [K, *sample_shape, *batch, *event_shape]."""
        check_key("MixtureOfFlows.sample", key)
        check_sample_shape("MixtureOfFlows.sample", sample_shape)
        check_temperature("MixtureOfFlows.sample", temperature)
        keys = jax.random.split(key, self.num_components)
        context = context if self.context_shape is not None else None

        def run(flow: Flow, of_flow: Variables, key: Key):
            return flow.sample(of_flow, key, sample_shape, self.context_of(flow, context), temperature), {}

        draws: Any = over_components(self.components, run, components_of(self, variables), keys)[0]
        if self.trunk is None:
            return draws
        of_log_det = key if self.trunk.estimates_log_det else None  # which is dropped
        return self.trunk.quantize(self.trunk.decode(part(variables, "trunk"), draws, context, of_log_det)[0])

    @promoting
    def reconstruction_error(self, variables: Variables, x: Array, context: Array | None = None) -> Array:
        """The largest error of trunk and components, see `Density.reconstruction_error`."""
        own = self.own_context(x, context)
        inner, worst = x, jnp.zeros(())
        if self.trunk is not None:
            of_trunk = part(variables, "trunk")
            worst = self.trunk.reconstruction_error(of_trunk, x, own)
            key = jax.random.key(0) if self.trunk.estimates_log_det else None  # any: the log-det is dropped
            inner = self.trunk.encode(of_trunk, self.trunk.centres(x), own, key)[0]
        run = lambda flow, of_flow: (flow.reconstruction_error(of_flow, inner, self.context_of(flow, own)), {})
        errors = over_components(self.components, run, components_of(self, variables))[0]
        return jnp.maximum(worst, jnp.max(errors))

    def summary(self, batch_size: int = 64, num_devices: int = 1) -> Summary:
        """The table of trunk, encoder, weights and components, see `Flow.summary`."""
        variables = abstract_variables(self)
        return summary(self, mixture_rows(self, variables.get("params", {})), variables, batch_size, num_devices)

    def recorded(
        self, variables: Variables, x: Array, context: Array | None = None, key: Key | None = None
    ) -> dict[str, Array]:
        """What bijectors record, see `Density.recorded`; where components are stacked, K numbers instead of one."""
        own = self.own_context(x, context)
        found = {}
        if self.trunk is not None:
            of_trunk = part(variables, "trunk")
            found = {f"trunk/{path}": value for path, value in self.trunk.recorded(of_trunk, x, own, key).items()}
        inner = self._encode(variables, x, own, key, training=False)[0]
        run = lambda flow, of_flow: ((), {"all": flow.recorded(of_flow, inner, self.context_of(flow, own), key)})
        values = over_components(self.components, run, components_of(self, variables))[1]["all"]
        flat, _ = jax.tree_util.tree_flatten_with_path(values)
        named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in flat}
        return found | {f"components/{path}": leaf for path, leaf in named.items()}

    @promoting
    def _log_joint(self, variables, x, context, key, training: bool) -> tuple[Array, Variables]:
        context = self.own_context(x, context)
        inner, log_det, of_trunk = self._encode(variables, x, context, key, training)

        def run(flow: Flow, of_flow: Variables):
            given = self.context_of(flow, context)
            if training:
                return flow.apply_loss(of_flow, inner, given, key)
            return flow.log_prob(of_flow, inner, given, key), {}

        log_probs, updates = over_components(self.components, run, components_of(self, variables))
        log_joint = jnp.moveaxis(log_probs + log_det, 0, -1) + self.log_weights(variables, log_probs.dtype)
        return log_joint, join({"components": updates, "trunk": of_trunk})

    @promoting
    def _encode(self, variables, x, context, key, training: bool) -> tuple[Array, Array | float, Variables]:
        """What components see of x, the log-det on the way, and the trunk's updated collections."""
        if self.trunk is None:
            return x, 0.0, {}
        of_trunk = part(variables, "trunk")
        mutable = tuple(name for name in WRITTEN_IN_TRAINING if training and name in of_trunk)
        encode = lambda module, x, context, key: module.encode(x, context, key)
        (inner, log_det), updates = self.trunk.run(of_trunk, encode, x, self.trunk.check_x(x), context, key, mutable)
        return inner, log_det, updates

    def own_context(self, x: Array, context: Array | None) -> Array | None:
        """The context of trunk and components: None if `context` holds labels."""
        batch_shape = self._front.check_x(x)
        if self.context_shape is not None or context is None:
            self._front.check_context(context, batch_shape)
            return context
        check_array("MixtureOfFlows", "context", context)
        if not jnp.issubdtype(context.dtype, jnp.integer) or jnp.shape(context) != batch_shape:
            rule = f"must be None, or integer labels of shape {batch_shape} (-1 for none)"
            got = f"{context.dtype} of shape {jnp.shape(context)}"
            fix = "To condition on a context, build the components with one."
            raise InvalidValueError("MixtureOfFlows", "context", rule, got, fix)
        return None

    def _entered(self, x: Array, context: Array | None) -> tuple[Array, Array | None]:
        """x and the context of trunk and components, broadcast to each other."""
        context = self.own_context(x, context)
        batch_shape = self._front.check_context(context, self._front.check_x(x))
        return door.spread(x, len(self.event_shape), batch_shape), door.spread(
            context, len(self.context_shape or ()), batch_shape
        )
