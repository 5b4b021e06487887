"""`Flow`: a bijector and a base as one density, with methods that are pure functions of explicit variables.

Read next: `jflows/flows/presets.py` for complete flows, `jflows/bijectors/base.py` for the contract of the parts.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jflows.bijectors import Bijector, MultiScale
from jflows.distributions import Base
from jflows.errors import InvalidTypeError, InvalidValueError, check_event_shape, check_key, check_positive
from jflows.flows.dequantize import Dequantize
from jflows.spec import register
from jflows.typing import Array, Key, Shape, Variables

INIT_SAMPLES = 256  # base samples that stand in for a batch when `init` gets no data


class _FlowModule(nn.Module):
    """The one Linen module under a `Flow`: it fixes the variable paths `bijector`, `base`, `embed`, `preprocess`."""

    bijector: Bijector
    base: Base
    dequantize: Dequantize | None
    preprocess: Bijector | None
    embed: nn.Module | None

    def embedded(self, context: Array | None, batch_shape: Shape, context_ndims: int) -> Array | None:
        """The context as bijectors see it: embedded once, with the batch axes of the event."""
        if context is None:
            return None
        context = jnp.asarray(context)  # a label may come as a plain int
        leading = context.shape[: context.ndim - context_ndims]
        if self.embed is not None:
            context = jnp.asarray(self.embed(context))
        return jnp.broadcast_to(context, (*batch_shape, *context.shape[len(leading) :]))

    def encode(self, x: Array, context: Array | None, key: Key | None) -> tuple[Array, Array]:
        x, log_det = self.to_model_space(x, key)
        z, bijector_log_det = self.bijector.inverse_and_log_det(x, context)
        return z, log_det + bijector_log_det

    def to_model_space(self, x: Array, key: Key | None) -> tuple[Array, Array]:
        """Dequantized and preprocessed x, with the log-det of that and -log q of the noise."""
        v, log_det = (x, jnp.zeros(())) if self.dequantize is None else self.dequantize.dequantize(x, key)
        if self.preprocess is None:
            return v, log_det
        v, preprocess_log_det = self.preprocess.inverse_and_log_det(v)
        return v, log_det + preprocess_log_det

    def decode(self, z: Array, context: Array | None) -> tuple[Array, Array]:
        x, log_det = self.bijector.forward_and_log_det(z, context)
        if self.preprocess is not None:
            x, preprocess_log_det = self.preprocess.forward_and_log_det(x)
            log_det = log_det + preprocess_log_det
        return x if self.dequantize is None else self.dequantize.crop(x), log_det

    def log_prob(self, x: Array, context: Array | None, context_ndims: int, event_ndims: int, key: Key | None) -> Array:
        context = self.embedded(context, x.shape[: x.ndim - event_ndims], context_ndims)
        z, log_det = self.encode(x, context, key)
        return self.base.log_prob(z, context) + log_det

    def sample(self, key, shape, context, context_ndims, temperature) -> tuple[Array, Array]:
        context = self.embedded(context, shape, context_ndims)
        z = self.base.sample(key, shape, context, temperature)
        x, log_det = self.decode(z, context)
        return x, self.base.log_prob(z, context) - log_det

    def encode_with_context(self, x, context, context_ndims, event_ndims, key):
        context = self.embedded(context, x.shape[: x.ndim - event_ndims], context_ndims)
        return self.encode(x, context, key)

    def decode_with_context(self, z, context, context_ndims):
        batch_shape = z.shape[: z.ndim - self.bijector.z_event_ndims]
        return self.decode(z, self.embedded(context, batch_shape, context_ndims))

    def raw_latents(self, x, context, context_ndims, event_ndims, key):
        context = self.embedded(context, x.shape[: x.ndim - event_ndims], context_ndims)
        assert isinstance(self.bijector, MultiScale)
        return self.bijector.raw_latents(self.to_model_space(x, key)[0], context)


@register
@dataclasses.dataclass(frozen=True)
class Flow:
    """A density over events of shape `event_shape`: a bijector applied to a base distribution.

        log p(x) = log p_base(z) + log|det dz/dx|,   z = f^-1(x)          [nats per event; may exceed 0]

    A flow is hashable and holds no arrays. Every method takes `variables` (the Linen collections that `init` returns:
    only "params" is trained) and is pure: `jax.jit(flow.log_prob)`, `jax.grad` and `jax.vmap` apply directly.

    Data are floats, or, with `dequantize`, integers 0..2^num_bits - 1. Integers scored with a key get fresh noise (a
    lower bound on log P(x)); without a key they are taken at bin centres (smooth, but not a bound). Floats are taken as
    dequantized already. Values are not checked here, so that tracing works: `jflows.data` checks their range.

    Args:
      bijector: maps z to (preprocessed) x.
      base: density of z.
      event_shape: of x, as the data come: (height, width, channels) or (dim,).
      dequantize: integers to floats, or None.
      preprocess: fixed map of dequantized pixels, such as `LogitPixels`; its log-det counts.
      embed: maps the context once, before it is handed to bijector and base; `ClassEmbed` for labels.
      context_shape: event shape of the context, () for class labels; None if the flow takes no context.
    Shapes:
      x: [*batch, *event_shape]; context: [..., *context_shape], its leading axes broadcast to the batch.
    Raises:
      InvalidValueError: if the shapes of bijector, base and data do not fit.
    Example:
      >>> import jax, jflows
      >>> flow = jflows.glow(event_shape=(8, 8, 1), num_levels=2, num_steps=2, width=8)
      >>> x = jax.random.randint(jax.random.key(0), (16, 8, 8, 1), 0, 256)
      >>> variables = flow.init(jax.random.key(1), x)
      >>> flow.log_prob(variables, x, key=jax.random.key(2)).shape
      (16,)
      >>> flow.sample(variables, jax.random.key(3), (4,)).shape
      (4, 8, 8, 1)
    """

    bijector: Bijector
    base: Base
    event_shape: Shape
    dequantize: Dequantize | None = None
    preprocess: Bijector | None = None
    embed: nn.Module | None = None
    context_shape: Shape | None = None

    def __post_init__(self):
        object.__setattr__(self, "event_shape", tuple(self.event_shape))
        if self.context_shape is not None:
            object.__setattr__(self, "context_shape", tuple(self.context_shape))
        if not isinstance(self.bijector, Bijector) or not isinstance(self.base, Base):
            got = f"{type(self.bijector).__name__} and {type(self.base).__name__}"
            raise InvalidTypeError("Flow", "bijector, base", "must be a Bijector and a Base", got)
        shape = self.event_shape if self.dequantize is None else self.dequantize.padded_shape(self.event_shape)
        for argument, bijector in (("bijector", self.bijector), ("preprocess", self.preprocess)):
            if bijector is not None and bijector.x_event_ndims != len(shape):
                rule = f"must have x_event_ndims={len(shape)}, the axes of event_shape {self.event_shape}"
                got = f"{type(bijector).__name__} with x_event_ndims={bijector.x_event_ndims}"
                raise InvalidValueError("Flow", argument, rule, got, f"Set event_ndims={len(shape)}.")
        latent_shape = self.bijector.z_event_shape(shape)
        if latent_shape != tuple(self.base.event_shape):
            rule = f"must have event_shape {latent_shape}, the bijector's latent shape for {self.event_shape}"
            raise InvalidValueError("Flow", "base", rule, f"{self.base.event_shape}")

    @property
    def needs_key(self) -> bool:
        """True if `log_prob` is a lower bound only with a key: the flow dequantizes."""
        return self.dequantize is not None

    @property
    def num_dims(self) -> int:
        """Dimensions of an event, without padding."""
        return math.prod(self.event_shape)

    @property
    def latent_shape(self) -> Shape:
        """Event shape of z."""
        return tuple(self.base.event_shape)

    def init(self, key: Key, x: Array | None = None, context: Array | None = None) -> Variables:
        """Creates the variables, with data-dependent initialisation from a batch.

        Args:
          key: typed key.
          x: [batch, *event_shape], a few hundred examples; None initialises in the direction of sampling, from base
            samples (for IAF and reverse-KL training): one per context, or 256.
          context: [batch, *context_shape] or None.
        Returns:
          Linen collections: "params", and "constants" or "batch_stats" where the bijectors have them.
        """
        leading = () if context is None else self._context_batch(context)
        sample_shape = leading if math.prod(leading) > 1 else (INIT_SAMPLES,)
        batch_shape = sample_shape if x is None else self._check_x(x)
        self._check_context(context, batch_shape)
        return _init(self, key, x, context, batch_shape)

    def log_prob(self, variables: Variables, x: Array, context: Array | None = None, key: Key | None = None) -> Array:
        """log density of x in nats.

        Args:
          x: [*batch, *event_shape].
          context: [..., *context_shape] or None.
          key: noise for dequantization: one key, or one per example of shape [*batch]. None: bin centres.
        Returns:
          [*batch], float32 or wider; a density, so it may exceed 0.
        """
        return self.apply_loss(variables, x, context, key, mutable=())[0]

    def apply_loss(
        self, variables: Variables, x: Array, context: Array | None = None, key: Key | None = None, mutable=None
    ) -> tuple[Array, Variables]:
        """`log_prob` in training: batch statistics are used and updated.

        Returns:
          log_prob: [*batch], and the updated collections, an empty dict for flows that have no batch statistics.
        """
        self._check_context(context, self._check_x(x))
        if key is not None:
            check_key("Flow", key)
        if mutable is None:
            mutable = tuple(name for name in ("batch_stats",) if name in variables)
        args = (x, context, self._context_ndims, len(self.event_shape), key)
        if not mutable:
            return self._apply(variables, *args, method="log_prob"), {}
        return self._apply(variables, *args, method="log_prob", mutable=list(mutable))

    def bits_per_dim(
        self, variables: Variables, x: Array, context: Array | None = None, key: Key | None = None, num_draws: int = 1
    ) -> Array:
        """Bits per dimension, -log2 p(x) / D: an upper bound on the code length of integer data.

        A uniform model over 8-bit pixels scores exactly 8. D counts the data's dimensions, padded or not.

        Args:
          x: [*batch, *event_shape].
          key: required for flows that dequantize.
          num_draws: M noise draws give the importance-weighted bound log 1/M sum_m p(x + u_m), tighter than one draw.
        Returns:
          [*batch].
        Raises:
          InvalidValueError: if the flow dequantizes and no key is given.
        """
        if self.needs_key and key is None:
            rule, fix = "must be given, as this flow dequantizes", "Pass key=jax.random.key(seed)."
            raise InvalidValueError("Flow.bits_per_dim", "key", rule, None, fix)
        check_positive("Flow.bits_per_dim", "num_draws", num_draws)
        if num_draws == 1 or key is None:
            return self.to_bits_per_dim(self.log_prob(variables, x, context, key))
        fold = functools.partial(jax.random.fold_in, key) if key.ndim == 0 else None

        def draw(index: Array) -> Array:
            folded = fold(index) if fold else jax.vmap(lambda k: jax.random.fold_in(k, index))(key.reshape(-1))
            return self.log_prob(variables, x, context, folded if fold else folded.reshape(key.shape))

        log_probs = jax.lax.map(draw, jnp.arange(num_draws))
        return self.to_bits_per_dim(jax.nn.logsumexp(log_probs, axis=0) - math.log(num_draws))

    def to_bits_per_dim(self, log_prob: Array) -> Array:
        """Nats per event to bits per dimension; the only place where this formula stands."""
        return -log_prob / (self.num_dims * math.log(2))

    def sample(
        self,
        variables: Variables,
        key: Key,
        sample_shape: Shape = (),
        context: Array | None = None,
        temperature: float | Array = 1.0,
    ) -> Array:
        """Draws samples, as the data come: integers if the flow dequantizes.

        Args:
          sample_shape: number of draws; static under jit.
          context: [*batch, *context_shape] or None.
          temperature: multiplies the base's deviation from its mean.
        Returns:
          [*sample_shape, *batch, *event_shape].
        """
        return self.sample_and_log_prob(variables, key, sample_shape, context, temperature)[0]

    def sample_and_log_prob(
        self,
        variables: Variables,
        key: Key,
        sample_shape: Shape = (),
        context: Array | None = None,
        temperature: float | Array = 1.0,
    ) -> tuple[Array, Array]:
        """`sample`, with the log density under the untempered model (of the continuous draw, before rounding).

        Returns:
          x: [*sample_shape, *batch, *event_shape], log_prob: [*sample_shape, *batch] in nats.
        """
        check_key("Flow.sample", key)
        if not isinstance(sample_shape, tuple | list):
            got, fix = repr(sample_shape), f"Write ({sample_shape},)."
            raise InvalidTypeError("Flow.sample", "sample_shape", "must be a tuple of ints", got, fix)
        if isinstance(temperature, int | float) and not temperature >= 0:
            raise InvalidValueError("Flow.sample", "temperature", "must be at least 0", repr(temperature))
        batch_shape = () if context is None else self._context_batch(context)
        shape = (*sample_shape, *batch_shape)
        self._check_context(context, shape)
        args = (key, shape, context, self._context_ndims, temperature)
        x, log_prob = self._apply(variables, *args, method="sample")
        return x if self.dequantize is None else self.dequantize.quantize(x), log_prob

    def encode(
        self, variables: Variables, x: Array, context: Array | None = None, key: Key | None = None
    ) -> tuple[Array, Array]:
        """Data to latent: z [*batch, *latent_shape] and log|det dz/dx| [*batch]. `decode` is its inverse."""
        self._check_context(context, self._check_x(x))
        args = (x, context, self._context_ndims, len(self.event_shape), key)
        return self._apply(variables, *args, method="encode_with_context")

    def decode(self, variables: Variables, z: Array, context: Array | None = None) -> tuple[Array, Array]:
        """Latent to data: x [*batch, *event_shape] and log|det dx/dz| [*batch].

        x is continuous, so that it inverts `encode`; `flow.quantize(x)` gives integers.
        """
        check_event_shape("Flow.decode", "z", jnp.shape(z), self.latent_shape, "Use flow.latent_shape.")
        self._check_context(context, z.shape[: z.ndim - len(self.latent_shape)])
        return self._apply(variables, z, context, self._context_ndims, method="decode_with_context")

    def quantize(self, x: Array) -> Array:
        """Continuous data to data as they come: integers if the flow dequantizes, else x itself."""
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
        self._check_context(context, self._check_x(x))
        args = (x, context, self._context_ndims, len(self.event_shape), key)
        return self._apply(variables, *args, method="raw_latents")

    def activations(
        self, variables: Variables, x: Array, context: Array | None = None, key: Key | None = None
    ) -> dict[str, Array]:
        """Largest |output| of every bijector while x is encoded, by path; steps of a `Repeat` come as a vector."""
        _, recorded = self.apply_loss(variables, x, context, key, mutable=("intermediates",))
        flat, _ = jax.tree_util.tree_flatten_with_path(recorded["intermediates"])
        return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in flat}

    def _apply(self, variables: Variables, *args: Any, method: str, mutable: Any = False) -> Any:
        if not isinstance(variables, Mapping) or {"bijector", "base", "embed"} & set(variables):
            got = f"entries {sorted(variables)}" if isinstance(variables, Mapping) else type(variables).__name__
            rule, fix = "must hold the collections that `init` returned", "Pass {**variables, 'params': params}."
            raise InvalidTypeError("Flow", "variables", rule, got, fix)
        return self._module.apply(variables, *args, method=method, mutable=mutable)

    @property
    def _module(self) -> _FlowModule:
        return _FlowModule(self.bijector, self.base, self.dequantize, self.preprocess, self.embed)

    @property
    def _context_ndims(self) -> int:
        return len(self.context_shape or ())

    def _context_batch(self, context: Array) -> Shape:
        return jnp.shape(context)[: jnp.ndim(context) - self._context_ndims]

    def _check_x(self, x: Array) -> Shape:
        if not hasattr(x, "shape"):
            raise InvalidTypeError("Flow", "x", "must be an array", type(x).__name__, "Wrap it in jnp.asarray.")
        check_event_shape("Flow", "x", jnp.shape(x), self.event_shape, f"Reshape x to [*batch, *{self.event_shape}].")
        return jnp.shape(x)[: jnp.ndim(x) - len(self.event_shape)]

    def _check_context(self, context: Array | None, batch_shape: Shape) -> None:
        if (context is None) != (self.context_shape is None):
            rule = "must be None" if self.context_shape is None else f"must have event shape {self.context_shape}"
            got = "None" if context is None else f"shape {jnp.shape(context)}"
            fix = "Build the flow with num_classes or context_shape." if self.context_shape is None else ""
            raise InvalidValueError("Flow", "context", rule, got, fix)
        if context is None:
            return
        check_event_shape("Flow", "context", jnp.shape(context), self.context_shape or ())
        leading = self._context_batch(context)
        try:
            fits = jnp.broadcast_shapes(leading, batch_shape) == tuple(batch_shape)
        except ValueError:
            fits = False
        if not fits:
            rule = f"must have leading axes that broadcast to the batch shape {tuple(batch_shape)}"
            raise InvalidValueError("Flow", "context", rule, f"shape {jnp.shape(context)}")


@functools.partial(jax.jit, static_argnames=("flow", "batch_shape"))
def _init(flow: Flow, key: Key, x: Array | None, context: Array | None, batch_shape: Shape) -> Variables:
    params_key, noise_key = jax.random.split(key)
    module, ndims = flow._module, flow._context_ndims
    if x is None:
        args = (noise_key, batch_shape, context, ndims, 1.0)
        return module.init(params_key, *args, method="sample")
    return module.init(params_key, x, context, ndims, len(flow.event_shape), noise_key, method="log_prob")
