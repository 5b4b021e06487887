"""`Flow`: a bijector and a base as one density, with methods that are pure functions of explicit variables.

Read next: `jflows/flows/presets/coupling.py` for complete flows, `jflows/bijectors/base.py` for the contract of the
parts.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jflows.bijectors import MultiScale
from jflows.bijectors.actnorm import warn_of_constant_channels
from jflows.bijectors.base import nan_where_zero
from jflows.bijectors.initialised import MISFITS, refuse_misfit
from jflows.data.reading import Statistics
from jflows.data.statistics import Axes
from jflows.errors import InvalidTypeError, InvalidValueError, check_event_shape, check_key
from jflows.flows import door
from jflows.flows.columns import difference
from jflows.flows.flow_structure import FlowModule, FlowStructure
from jflows.flows.once import jit_once
from jflows.flows.summary import Summary, abstract_variables, flow_rows, summary
from jflows.flows.support import moved_inside
from jflows.ops.numerics import promoting
from jflows.spec import register
from jflows.typing import WRITTEN_IN_TRAINING, Array, Key, Shape, Variables

INIT_SAMPLES = 256  # base samples that stand in for a batch when `init` gets no data
LOG_DET_STREAM = 0x6C6F6764  # folded into the key, so that noise of the log-det differs from that of dequantization


@register
@dataclasses.dataclass(frozen=True, repr=False)
class Flow(FlowStructure):
    """A density over events of shape `event_shape`: a bijector applied to a base distribution.

        log p(x) = log p_base(z) + log|det dz/dx|,   z = f^-1(x)          [nats per event; may exceed 0]

    A flow is hashable and holds no arrays. Every method takes `variables` (the Linen collections that `init` returns:
    only "params" is trained) and is pure: `jax.jit(flow.log_prob)`, `jax.grad` and `jax.vmap` apply directly.

    Data are floats or, with `dequantize`, integers. With a key, integers get fresh noise, and their
    score is a lower bound on log P(x); without one, they are put at bin centres, and the score is smooth but no bound.
    Floats count as dequantized already: pixels from 0 to 2^bits, not fractions of 1. Values are not checked here, so
    that tracing works; `jflows.data` checks them.

    Args:
      bijector: maps z to (preprocessed) x.
      base: density of z.
      event_shape: shape of one event of the data: (height, width, channels) or (dim,).
      dequantize: how integers become floats; None for data that are floats.
      preprocess: a map of the (dequantized) data that comes first, such as `LogitPixels`; its log-det counts.
      embed: maps the context once, before bijector and base see it, such as `ClassEmbed` for labels.
      context_shape: event shape of the context, () for class labels; None if the flow takes no context.
      domains: what values the columns of a table can have, by position, so that data are checked before training;
        presets make the maps to these domains, which are then the first of `preprocess`.
      data_kind: what data without `dequantize` are: "table", or "waveforms", which data sets of speech are.
    Shapes:
      x: [*batch, *event_shape]; context: [*batch, *context_shape]. Their batch axes broadcast to each other, as NumPy's
        do: one context serves all rows, and one row is scored under many contexts, as x [*event_shape] and context
        [num, *context_shape] give log densities [num]. No row gives no result, in every method.
      Types: data narrower than the parameters are widened to their type, and parameters where the data are wider.
    Raises:
      InvalidValueError: if the shapes of bijector, base and data do not fit.
    Example:
      >>> import jax, jflows
      >>> flow = jflows.realnvp((2,), num_layers=2)
      >>> x = jax.random.normal(jax.random.key(0), (16, 2))
      >>> variables = flow.init(jax.random.key(1), x)
      >>> jax.jit(flow.log_prob)(variables, x).shape
      (16,)
      >>> flow.sample(variables, jax.random.key(2), (4,)).shape
      (4, 2)
    """

    def init(
        self,
        key: Key,
        x: Array | None = None,
        context: Array | None = None,
        statistics: Statistics | None = None,
    ) -> Variables:
        """Creates the variables, with data-dependent initialisation from a batch.

        Args:
          key: typed key.
          x: [batch, *event_shape], a few hundred examples. None initialises in the direction of sampling from base
            samples, one per context or 256, and standardises nothing: for IAF and training without data.
          context: [batch, *context_shape] or None.
          statistics: `data.statistics(flow.before_standardizing, flow.whitens)` of all training rows, used if the flow
            standardises or whitens; None takes those of `x` and `context`.
        Returns:
          Linen collections: "params", and "constants", "batch_stats" or "singular_vectors" where parts have them.
        """
        check_key("Flow.init", key)
        leading = () if context is None else self.context_batch(context)
        sample_shape = leading if math.prod(leading) > 1 else (INIT_SAMPLES,)
        batch_shape = self.check_context(context, sample_shape if x is None else self.check_x(x))
        door.check_not_empty("Flow.init", (*batch_shape, *leading))
        x, context = door.in_one_type(x, context, least=jnp.result_type(float) if x is None else jnp.float32)
        x = door.spread(x, len(self.event_shape), batch_shape)
        axes = statistics.axes if self.whitens and statistics is not None else None
        of_columns = None if statistics is None else statistics.of_columns()
        variables = _init(self, key, x, context, of_columns, axes, batch_shape)
        warn_of_constant_channels("Flow.init", self.bijector, variables.get("params", {}).get("bijector", {}))
        return variables

    def log_prob(self, variables: Variables, x: Array, context: Array | None = None, key: Key | None = None) -> Array:
        """log density of x in nats.

        Args:
          x: [*batch, *event_shape].
          context: [..., *context_shape] or None.
          key: for the noise of dequantization: one key, or one per example [*batch]; None puts integers at bin centres.
            A flow with an estimated log-det needs a key; of several keys, its estimate uses the first.
        Returns:
          [*batch], float32 or wider; a density, so it may exceed 0. Outside the support, it is -inf with gradient 0;
          it is NaN only where x is NaN.
        """
        run = lambda module, x, context, key: module.log_prob(x, context, key)
        return self.run(variables, run, x, self.check_x(x), context, key)[0]

    def apply_loss(
        self, variables: Variables, x: Array, context: Array | None = None, key: Key | None = None
    ) -> tuple[Array, Variables]:
        """`log_prob` for training: `BatchNorm` uses the statistics of the batch and updates their averages, and
        Lipschitz networks with norms="power" move their singular vectors.

        Returns:
          log_prob: [*batch], and the updated collections, an empty dict for flows that have none of these.
        """
        run = lambda module, x, context, key: module.log_prob(x, context, key)
        mutable = tuple(name for name in WRITTEN_IN_TRAINING if name in variables)
        return self.run(variables, run, x, self.check_x(x), context, key, mutable, training=True)

    def sample(
        self,
        variables: Variables,
        key: Key,
        sample_shape: Shape = (),
        context: Array | None = None,
        temperature: float | Array = 1.0,
    ) -> Array:
        """Draws samples in the form of the data: integers if the flow dequantizes.

        Args:
          key: one key, or one per sample of shape [*sample_shape, *batch]. With one per sample, each sample depends on
            its own key alone, so that samples may be drawn in parts or on several devices; only the noise of estimated
            log-dets still comes from the first key.
          sample_shape: number of draws; static under jit.
          context: [*batch, *context_shape] or None.
          temperature: multiplies the base's deviation from its mean.
        Returns:
          [*sample_shape, *batch, *event_shape].
        """
        return self.sample_and_log_prob(variables, key, sample_shape, context, temperature)[0]

    @promoting
    def sample_and_log_prob(
        self,
        variables: Variables,
        key: Key,
        sample_shape: Shape = (),
        context: Array | None = None,
        temperature: float | Array = 1.0,
    ) -> tuple[Array, Array]:
        """`sample`, and the log density of the continuous draw, before rounding to integers, at temperature 1.

        A flow that `is_restricted` scores its samples in one more pass, see `jflows.flows.support.moved_inside`.

        Returns:
          x: [*sample_shape, *batch, *event_shape], log_prob: [*sample_shape, *batch] in nats.
        """
        shape, warmth = self._drawn(key, sample_shape, context, temperature)
        run = lambda module, like, context, key: module.sample(key, like.shape, context, warmth)
        x, log_prob = self.run(variables, run, jnp.zeros(shape), shape, context, key)[0]
        if self.is_restricted:
            continuous = dataclasses.replace(self, dequantize=None)  # x has its noise
            x, log_prob = moved_inside(continuous, variables, x, context, key)
        return self.quantize(x), log_prob

    @promoting
    def sample_latent(
        self,
        variables: Variables,
        key: Key,
        sample_shape: Shape = (),
        context: Array | None = None,
        temperature: float | Array = 1.0,
    ) -> Array:
        """Draws latents from the base, of which `decode` makes samples; see `sample` for the arguments.

        Returns:
          [*sample_shape, *batch, *latent_shape].
        """
        shape, warmth = self._drawn(key, sample_shape, context, temperature)
        run = lambda module, like, context, key: module.sample_base(key, like.shape, context, warmth)
        return self.run(variables, run, jnp.zeros(shape), shape, context, key)[0]

    def _drawn(
        self, key: Key, sample_shape: Shape, context: Array | None, temperature: float | Array
    ) -> tuple[Shape, float | Array]:
        """The batch shape of samples, and their temperature; for no sample, one of another batch shape is traced."""
        check_key("Flow.sample", key)
        leading = () if context is None else self.context_batch(context)
        shape = (*door.check_sample_shape("Flow.sample", sample_shape), *leading)
        door.check_temperature("Flow.sample", temperature)
        door.check_keys_of_samples("Flow.sample", key, shape, temperature)
        return shape, temperature if math.prod(shape) else 1.0

    @promoting
    def encode(
        self, variables: Variables, x: Array, context: Array | None = None, key: Key | None = None
    ) -> tuple[Array, Array]:
        """Data to latent: z [*batch, *latent_shape] and log|det dz/dx| [*batch]. `decode` is its inverse.

        Data outside the support have no latent: z is NaN and the log-det -inf.
        """
        run = lambda module, x, context, key: module.encode(x, context, key)
        z, log_det = self.run(variables, run, x, self.check_x(x), context, key)[0]
        return nan_where_zero(z, log_det), log_det

    def decode(
        self, variables: Variables, z: Array, context: Array | None = None, key: Key | None = None
    ) -> tuple[Array, Array]:
        """Latent to data: x [*batch, *event_shape] and log|det dx/dz| [*batch].

        x is continuous, so that `decode` inverts `encode`; `flow.quantize(x)` gives integers. A key is needed only for
        a log-det that is estimated.
        """
        door.check_array("Flow.decode", "z", z)
        check_event_shape("Flow.decode", "z", jnp.shape(z), self.latent_shape, "Use flow.latent_shape.")
        batch_shape = jnp.shape(z)[: jnp.ndim(z) - len(self.latent_shape)]
        run = lambda module, z, context, key: module.decode(z, context)
        return self.run(variables, run, z, batch_shape, context, key)[0]

    @promoting
    def reconstruction_error(self, variables: Variables, x: Array, context: Array | None = None) -> Array:
        """The largest |decode(encode(x)) - x|, see `Density.reconstruction_error`."""
        key = jax.random.key(0) if self.estimates_log_det else None  # any: the log-det is dropped
        z, _ = self.encode(variables, self.centres(x), context, key)
        back = self.decode(variables, z, context, key)[0]
        return jnp.max(jnp.abs(self.deviation(back, x)), initial=0.0)

    @promoting
    def deviation(self, rebuilt: Array, x: Array) -> Array:
        """rebuilt - x; integers count from the centres of their bins, and columns on a circle modulo the period."""
        return difference(rebuilt, self.centres(x), self.domains)

    def quantize(self, x: Array) -> Array:
        """Continuous values in the form of the data: rounded down to integers if the flow dequantizes, else x."""
        return x if self.dequantize is None else self.dequantize.quantize(x)

    def latents(
        self,
        variables: Variables,
        x: Array,
        context: Array | None = None,
        key: Key | None = None,
        raw: bool = False,
    ) -> tuple[Array, ...]:
        """The latents of a multi-scale flow, level by level as images [*batch, h_l, w_l, c_l], finest first.

        Args:
          raw: False for the standardised latents (N(0, I) under the model), True for the factored-out values before
            the learned priors standardise them.
        Raises:
          InvalidTypeError: if the bijector is not a `MultiScale`.
        """
        if not isinstance(self.bijector, MultiScale):
            got = type(self.bijector).__name__
            raise InvalidTypeError("Flow.latents", "bijector", "must be a MultiScale", got, "Use encode.")
        if not raw:
            return self.bijector.split_latent(self.encode(variables, x, context, key)[0])
        run = lambda module, x, context, key: module.raw_latents(x, context, key)
        return self.run(variables, run, x, self.check_x(x), context, key)[0]

    def recorded(
        self, variables: Variables, x: Array, context: Array | None = None, key: Key | None = None
    ) -> dict[str, Array]:
        """What bijectors record while x is encoded, see `Density.recorded`; steps of a `Repeat` come stacked."""
        run = lambda module, x, context, key: module.log_prob(x, context, key)
        found = self.run(variables, run, x, self.check_x(x), context, key, ("intermediates",))[1]
        flat, _ = jax.tree_util.tree_flatten_with_path(found.get("intermediates", {}))
        return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in flat}

    def summary(self, batch_size: int = 64, num_devices: int = 1) -> Summary:
        """The table of layers, shapes and parameters, with the memory planned for a gradient on `batch_size` examples.

        To plan the memory, the gradient is compiled, which takes seconds; batch_size=0 leaves this out. Of several
        devices, it tells what each holds of a training state with parallel="fsdp"; `jflows.train.plan_step` plans a
        whole training step.
        """
        variables = abstract_variables(self)
        return summary(self, flow_rows(self, variables.get("params", {})), variables, batch_size, num_devices)

    @promoting
    def run(
        self,
        variables: Variables,
        function: Callable[[FlowModule, Any, Array | None, Any], Any],
        values: Array,
        batch_shape: Shape,
        context: Array | None = None,
        key: Key | None = None,
        mutable: tuple[str, ...] = (),
        training: bool = False,
    ) -> tuple[Any, Variables]:
        """Runs a function of the flow's parts; all other methods are made of this one.

        Args:
          function: `function(module, values, context, key)`, given the `FlowModule` bound to the variables, the values,
            and the context embedded and broadcast to the batch, or None; it returns arrays that begin with the batch
            axes. All have one floating type. For an empty batch it is only traced, for the shapes of its results.
          values: what the function works on, [*batch, ...].
          batch_shape: batch shape of the values.
          context: the context before it is embedded: [..., *context_shape].
          key: key for the function, and for the noise of estimated log-dets; in training, for that of bases too.
          mutable: names of the collections that the function may write.
          training: whether bases that need a key draw fresh noise, see `Base.needs_key`.
        Returns:
          What the function returns, and the collections it has written.
        """
        door.check_variables(variables)
        if key is not None:
            check_key("Flow", key)
        event_ndims = values.ndim - len(batch_shape)
        batch_shape = self.check_context(context, batch_shape)
        is_float = jnp.issubdtype(values.dtype, jnp.floating)  # unlike integers, which become floats
        least = None if is_float else jnp.result_type(float)
        cast, values, context = door.in_one_type(variables, values, context, least=least)
        values = door.spread(values, event_ndims, batch_shape)

        def run(values: Any, context: Array | None, key: Key | None, batch_shape: Shape) -> tuple[Any, Variables]:
            def method(module: FlowModule) -> Any:
                return function(module, values, module.embedded(context, self.context_ndims, batch_shape), key)

            rngs = self._rngs(key, training)
            found = self.module.apply(cast, method=method, mutable=list(mutable) or False, rngs=rngs)
            return found if mutable else (found, {})

        try:
            if 0 in batch_shape:
                return door.nothing(run, values, context, key, batch_shape, variables)
            found, written = run(values, context, key, batch_shape)
        except MISFITS as error:
            x = jax.ShapeDtypeStruct((1, *self.event_shape), self.reading.dtype)
            init = lambda x, context: self.init(jax.random.key(0), x, context)
            refuse_misfit(error, "Flow", init, variables, "x", x, context)
        return found, door.in_types_of(written, variables)

    def check_x(self, x: Array) -> Shape:
        """The batch shape of data; raises unless they are an array of a shape and type that the flow scores."""
        return door.check_x(x, self.event_shape, self.dequantize is not None)

    def check_context(self, context: Array | None, batch_shape: Shape) -> Shape:
        """The batch shape of values and context together; raises unless the context is what the flow takes for them."""
        return door.check_context(context, self.context_shape, batch_shape)

    def _rngs(self, key: Key | None, training: bool = False) -> dict[str, Key]:
        """The Linen streams that the bijector and, in training, the base draw from."""
        if key is None and self.bijector.needs_key:
            fix = "Pass key=jax.random.key(seed)."
            raise InvalidValueError("Flow", "key", "must be given, as the log-det is estimated", None, fix)
        names = ["noise"] * self.bijector.needs_key + ["fresh"] * (training and self.base.needs_key)
        if key is None or not names:
            return {}
        return dict.fromkeys(names, jax.random.fold_in(key.reshape(-1)[0], LOG_DET_STREAM))


@jit_once(static_argnames=("flow", "statistics", "batch_shape"))
@promoting
def _init(
    flow: Flow,
    key: Key,
    x: Array | None,
    context: Array | None,
    statistics: Statistics | None,
    axes: Axes | None,
    batch_shape: Shape,
) -> Variables:
    params_key, noise_key = jax.random.split(key)

    def first_pass(module: FlowModule) -> Any:
        module.standardise(statistics, axes, jnp.result_type(float) if x is None else jnp.result_type(x, jnp.float32))
        embedded = module.embedded(context, flow.context_ndims, batch_shape)
        if x is None:
            return module.sample(noise_key, batch_shape, embedded, 1.0)
        return module.log_prob(x, embedded, noise_key)

    variables = flow.module.init({"params": params_key} | flow._rngs(noise_key), method=first_pass)
    # Bases make parameters of JAX's default type, which with x64 is wider than float32 data, and would widen all else.
    dtype = door.type_of_variables(x)
    cast = lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
    return jax.tree.map(cast, variables)
