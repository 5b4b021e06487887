"""Bridges to NumPyro: a flow as a distribution, as a transform, and as the guide of a model.

`FlowDistribution` stands in a model wherever a distribution may. `AutoFlow` is a guide for any model with continuous
latent sites, which NumPyro's own `SVI` trains, `Predictive` draws from, and `NeuTraReparam` takes, so that NUTS then
runs in the latent space of the flow.
"""

import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jflows.distributions import StandardNormal
from jflows.errors import InvalidTypeError, InvalidValueError, MissingPackageError, kind_of
from jflows.flows import Flow
from jflows.ops.domain import REALS
from jflows.typing import Array, Key, Shape, Variables

try:
    import numpyro
    from numpyro import distributions as dist
    from numpyro import handlers
    from numpyro.distributions import constraints
    from numpyro.distributions.transforms import ComposeTransform, Transform, biject_to
    from numpyro.infer.autoguide import AutoContinuous
    from numpyro.infer.initialization import init_to_uniform
except ImportError as error:
    fix = "Run `pip install 'jflows-flax[numpyro]'`."
    raise MissingPackageError("jflows.interop.numpyro", "numpyro", "must be installed", error, fix) from error


def _check_flow(where: str, flow: object) -> None:
    """Raises unless `flow` is a flow of continuous values with an exact log-det."""
    if not isinstance(flow, Flow):
        raise InvalidTypeError(where, "flow", "must be a Flow", kind_of(flow))
    if flow.dequantize is not None:
        fix = "Build the flow with dequantize=None, over dequantized data."
        raise InvalidValueError(where, "flow", "must not dequantize", type(flow.dequantize).__name__, fix)
    if flow.estimates_log_det:
        fix = "Use an exact estimator."
        raise InvalidValueError(where, "flow", "must have an exact log-det", "an estimated one", fix)


def _tree(*names: str) -> Any:
    """A pair of methods that make transforms and constraints pytrees: arrays by name, and the flow as structure."""
    return lambda self: (tuple(getattr(self, name) for name in names), (names, {"flow": self.flow}))


def _real(ndims: int) -> Any:
    return constraints.independent(constraints.real, ndims)


class FlowTransform(Transform):
    """The map of a flow from latents to data, with its log-det: `Flow.decode`; its inverse is `Flow.encode`.

    The log-det that comes with the map is handed on as NumPyro's intermediates, so that it is computed once.

    Args:
      flow: a flow of continuous values with an exact log-det.
      variables: the collections of `flow`.
      context: [*batch, *context_shape] or None; its batch axes broadcast to those of the values.
    Shapes:
      z: [*batch, *latent_shape] -> x: [*batch, *event_shape], log_det: [*batch].
    Raises:
      InvalidTypeError: if `flow` is not a flow.
      InvalidValueError: if it dequantizes, or its log-det is estimated.
    """

    tree_flatten = _tree("variables", "context")

    def __init__(self, flow: Flow, variables: Variables, context: Array | None = None):
        _check_flow("FlowTransform", flow)
        self.flow, self.variables, self.context = flow, variables, context

    _last: Any = None  # the latest result, weakly, and its log-det

    @property
    def domain(self) -> Any:
        return _real(len(self.flow.latent_shape))

    @property
    def codomain(self) -> Any:
        return _support(self.flow, self.variables, self.context)

    def __call__(self, x: Any) -> Array:
        result, log_det = self.call_with_intermediates(x)
        # NeuTraReparam hands no intermediates on, and XLA does not merge two equal scans: without this, a gradient
        # costs half as much again. The log-det goes with the result, so that no traced value outlives its trace.
        self._last = weakref.ref(result, self._forget), log_det
        return result

    def _forget(self, reference: Any) -> None:
        if self._last is not None and self._last[0] is reference:
            self._last = None

    def call_with_intermediates(self, x: Any) -> tuple[Array, Array]:
        return self.flow.decode(self.variables, x, self.context)

    def _inverse(self, y: Any) -> Array:
        return self.flow.encode(self.variables, y, self.context)[0]

    def log_abs_det_jacobian(self, x: Any, y: Any, intermediates: Any = None) -> Array:
        if intermediates is not None:
            return intermediates
        if self._last is not None and self._last[0]() is y:
            return self._last[1]
        return self.call_with_intermediates(x)[1]

    def forward_shape(self, shape: Shape) -> Shape:
        return self._moved(shape, self.flow.latent_shape, self.flow.event_shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        return self._moved(shape, self.flow.event_shape, self.flow.latent_shape)

    def _moved(self, shape: Shape, source: Shape, target: Shape) -> Shape:
        context = () if self.context is None else self.flow.context_batch(self.context)
        return (*jnp.broadcast_shapes(tuple(shape)[: len(shape) - len(source)], context), *target)


class FlowSupport(constraints.Constraint):
    """Where the density of a flow that `is_restricted` is not 0; its bijection from the reals is the flow itself."""

    tree_flatten = _tree("variables", "context")

    def __init__(self, flow: Flow, variables: Variables, context: Array | None):
        self.flow, self.variables, self.context = flow, variables, context

    @property
    def event_dim(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return len(self.flow.event_shape)

    def __call__(self, x: Any) -> Array:
        return jnp.isfinite(self.flow.log_prob(self.variables, jnp.asarray(x), self.context))

    def feasible_like(self, prototype: Any) -> Array:
        flow = self.flow
        batch = jnp.shape(prototype)[: jnp.ndim(prototype) - self.event_dim]
        z = jnp.full((*batch, *flow.latent_shape), flow.base.domain.centre)
        return flow.decode(self.variables, z, self.context)[0]


@biject_to.register(FlowSupport)
def _from_reals(support: FlowSupport) -> Transform:
    transform = FlowTransform(support.flow, support.variables, support.context)
    domain = support.flow.base.domain
    if domain == REALS:
        return transform
    ends = constraints.independent(constraints.interval(domain.low, domain.high), len(support.flow.latent_shape))
    return ComposeTransform([biject_to(ends), transform])


def _support(flow: Flow, variables: Variables, context: Array | None) -> Any:
    return FlowSupport(flow, variables, context) if flow.is_restricted else _real(len(flow.event_shape))


class FlowDistribution(dist.Distribution):
    """A flow, with its variables, as a NumPyro distribution.

    Samples are differentiable in variables and context where the base's are. The support is all real numbers unless
    the flow `is_restricted`; NumPyro then samples such a site in the latent space of the flow. Columns of a simplex
    have the density of all of them but the last, as those of NumPyro's `Dirichlet` have.

    Args:
      flow: a flow of continuous values with an exact log-det.
      variables: the collections of `flow`; arrays, or parameters of the model that are learned.
      context: [*batch, *context_shape] or None; its batch axes are the batch shape of the distribution.
      validate_args: whether values are checked to lie in the support, see NumPyro.
    Shapes:
      batch_shape: the batch axes of the context; event_shape: that of the flow.
    Raises:
      InvalidTypeError: if `flow` is not a flow.
      InvalidValueError: if it dequantizes, or its log-det is estimated.
    Example:
      >>> import jax, jflows
      >>> from jflows.interop.numpyro import FlowDistribution
      >>> flow = jflows.realnvp((2,), num_layers=2)
      >>> prior = FlowDistribution(flow, flow.init(jax.random.key(0)))
      >>> prior.sample(jax.random.key(1), (3,)).shape
      (3, 2)
    """

    pytree_data_fields = ("variables", "context")
    pytree_aux_fields = ("flow",)

    def __init__(
        self, flow: Flow, variables: Variables, context: Any = None, *, validate_args: bool | None = None
    ) -> None:
        _check_flow("FlowDistribution", flow)
        self.flow, self.variables = flow, variables
        self.context = None if context is None else jnp.asarray(context)
        batch_shape = flow.check_context(self.context, ())
        super().__init__(batch_shape, flow.event_shape, validate_args=validate_args)

    @property
    def support(self) -> Any:
        return _support(self.flow, self.variables, self.context)

    @property
    def has_rsample(self) -> bool:
        return self.flow.base.is_reparameterized

    def sample(self, key: Any, sample_shape: Shape = ()) -> Array:
        return self.flow.sample(self.variables, _typed(key), tuple(sample_shape), self.context)

    def log_prob(self, value: Any) -> Array:
        value = jnp.asarray(value)
        if self._validate_args:
            self._validate_sample(value)
        return self.flow.log_prob(self.variables, value, self.context)


def _typed(key: Any) -> Key:
    return key if jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(key)


class AutoFlow(AutoContinuous):
    """A flow as the guide of a model: over all its latent sites together, each mapped to the real numbers.

    Train it by NumPyro's `SVI`, which fits the parameters of the flow and leaves its constants as they are. Then
    `guide.sample_posterior(key, params, sample_shape=...)` draws the latent sites, `Predictive(model, guide=guide,
    params=params, num_samples=...)` draws data, and `NeuTraReparam(guide, params).reparam(model)` is the model in the
    latent space of the flow, for NUTS.

    Source: Hoffman et al. 2019, arXiv:1903.03704, for the last.

    Args:
      model: a NumPyro model whose latent sites are continuous, and of the same shapes in every call.
      make_flow: makes a flow over the standard normal from its event shape, which is (number of latent values,): a
        preset, or `functools.partial(jflows.realnvp, num_layers=4, standardize=False)`. A guide samples in every step,
        so that flows with a fast map from latent to data serve best: couplings, and `iaf`.
      prefix: comes before the names of the sites and parameters of the guide.
      init_loc_fn: where NumPyro tries the model first.
      seed: seed of the flow's first parameters, and of constants such as permutations.
    Raises:
      InvalidTypeError: when first called, if `make_flow` does not return a flow.
      InvalidValueError: when first called, if a latent site is discrete, if there is none, or if the flow has another
        event shape, another base, or no exact log-det.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        make_flow: Callable[[Shape], Flow],
        *,
        prefix: str = "auto",
        init_loc_fn: Any = init_to_uniform,
        seed: int = 0,
    ):
        super().__init__(model, prefix=prefix, init_loc_fn=init_loc_fn)
        self.make_flow, self.seed = make_flow, seed

    def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
        _check_sites(self.model, args, kwargs)
        super()._setup_prototype(*args, **kwargs)
        flow = self.make_flow((self.latent_dim,))
        _check_flow("AutoFlow", flow)
        if flow.event_shape != (self.latent_dim,) or flow.latent_shape != (self.latent_dim,):
            rule = f"must return a flow of event shape {(self.latent_dim,)}, the number of latent values of the model"
            fix = "Use the event shape that it is given."
            raise InvalidValueError("AutoFlow", "make_flow", rule, f"one of {flow.event_shape}", fix)
        if flow.base != StandardNormal((self.latent_dim,)):
            rule, fix = "must return a flow over a StandardNormal", "Put learned scales into the bijector."
            raise InvalidValueError("AutoFlow", "make_flow", rule, f"one over {type(flow.base).__name__}", fix)
        self.flow = flow
        with jax.ensure_compile_time_eval():  # SVI may be jitted, and constants outlive the trace
            self._initial = flow.init(jax.random.key(self.seed))

    def get_base_dist(self) -> Any:
        return dist.Normal(jnp.zeros(self.latent_dim), 1.0).to_event(1)

    def _get_posterior(self) -> Any:
        first: Any = dict(self._initial["params"])
        params = numpyro.param(f"{self.prefix}_flow", first)
        return dist.TransformedDistribution(
            self.get_base_dist(), FlowTransform(self.flow, {**self._initial, "params": params})
        )


def _check_sites(model: Callable[..., Any], args: tuple, kwargs: dict[str, Any]) -> None:
    """Raises `InvalidValueError` unless a model has latent sites, and all are continuous."""
    with handlers.block():
        sites = handlers.trace(handlers.seed(model, rng_seed=0)).get_trace(*args, **kwargs)
    latent = {name: site for name, site in sites.items() if site["type"] == "sample" and not site["is_observed"]}
    discrete = sorted(name for name, site in latent.items() if site["fn"].support.is_discrete)
    if discrete:
        fix = "Sum over discrete sites inside the model, for example by a mixture distribution."
        raise InvalidValueError("AutoFlow", "model", "must have continuous latent sites", ", ".join(discrete), fix)
    if not latent:
        fix = "Leave at least one `numpyro.sample` without `obs`."
        raise InvalidValueError("AutoFlow", "model", "must have a latent site", "a model without any", fix)
