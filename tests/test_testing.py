"""The property suite tested on bijectors broken on purpose: each must be refused, for the right reason."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from jflows import bijectors as b
from jflows import nn as networks
from jflows.bijectors import Bijector
from jflows.distributions import StandardNormal
from jflows.errors import InvalidTypeError, InvalidValueError
from jflows.flows import Flow
from jflows.ops import constant_log_det, sum_event
from jflows.testing import PROPERTIES, CheckError, check_bijector, check_flow, integrate_density

VECTOR, IMAGE = (3,), (2, 2, 3)


class Scaled(Bijector):
    """z = x exp(log_scale): right as it stands; its subclasses each break one thing."""

    event_ndims: int = 1

    @property
    def x_event_ndims(self) -> int:
        return self.event_ndims

    z_event_ndims = x_event_ndims

    @nn.compact
    def log_scale(self, values):
        return self.param("log_scale", nn.initializers.constant(0.5), values.shape[-1:], values.dtype)

    def log_det(self, values, log_scale):
        return sum_event(jnp.broadcast_to(log_scale, values.shape), self.event_ndims)

    def _forward_and_log_det(self, z, context):
        log_scale = self.log_scale(z)
        return z * jnp.exp(-log_scale), -self.log_det(z, log_scale)

    def _inverse_and_log_det(self, x, context):
        log_scale = self.log_scale(x)
        return x * jnp.exp(log_scale), self.log_det(x, log_scale)


class TenPercentOff(Scaled):
    def log_det(self, values, log_scale):
        return 1.1 * super().log_det(values, log_scale)


class WrongSign(Scaled):
    def log_det(self, values, log_scale):
        return -super().log_det(values, log_scale)


class WrongSignOfForward(Scaled):
    def _forward_and_log_det(self, z, context):
        x, log_det = super()._forward_and_log_det(z, context)
        return x, -log_det


def has_two_batch_axes(bijector, values) -> bool:
    return values.ndim - bijector.event_ndims == 2


class LeaksWithTwoBatchAxes(Scaled):
    """Right for one batch axis, where the usual tests look."""

    def _forward_and_log_det(self, z, context):
        x, log_det = super()._forward_and_log_det(z, context)
        return x + (jnp.mean(z, axis=0) if has_two_batch_axes(self, z) else 0), log_det


class LogDetWrongWithTwoBatchAxes(Scaled):
    def log_det(self, values, log_scale):
        return (1.1 if has_two_batch_axes(self, values) else 1.0) * super().log_det(values, log_scale)


class LogDetPerElement(Scaled):
    def log_det(self, values, log_scale):
        return jnp.broadcast_to(log_scale, values.shape)


class LogDetOfWholeBatch(Scaled):
    def log_det(self, values, log_scale):
        return jnp.sum(log_scale)


class LogDetSummedOverBatch(Scaled):
    def log_det(self, values, log_scale):
        per_example = super().log_det(values, log_scale)
        return jnp.broadcast_to(jnp.sum(per_example), per_example.shape)


class DropsPositions(Scaled):
    def log_det(self, values, log_scale):
        return constant_log_det(values, self.event_ndims, jnp.sum(log_scale))


class NotInverse(Scaled):
    def _forward_and_log_det(self, z, context):
        x, log_det = super()._forward_and_log_det(z, context)
        return x + 1e-6, log_det


class Float32(Scaled):
    def _inverse_and_log_det(self, x, context):
        z, log_det = super()._inverse_and_log_det(x.astype(jnp.float32), context)
        return z.astype(x.dtype), log_det


class Promotes(Scaled):
    def _inverse_and_log_det(self, x, context):
        z, log_det = super()._inverse_and_log_det(x, context)
        return z * jnp.ones((), jnp.float64), log_det


class NarrowLogDet(Scaled):
    def log_det(self, values, log_scale):
        return sum_event(jnp.broadcast_to(log_scale, values.shape), self.event_ndims).astype(jnp.float32)


class LeaksBatchMean(Scaled):
    """A permutation of latents that depends on the batch: right log-det, right round trip, wrong model."""

    def shift(self, values):
        return jnp.mean(values, axis=tuple(range(values.ndim - 1)), keepdims=True) if values.ndim > 1 else 0.0

    def _forward_and_log_det(self, z, context):
        x, log_det = super()._forward_and_log_det(z, context)
        return x - self.shift(x) / 2, log_det  # mean of the result is half of that of x

    def _inverse_and_log_det(self, x, context):
        return super()._inverse_and_log_det(x + self.shift(x), context)


class SometimesInfinite(Scaled):
    def _inverse_and_log_det(self, x, context):
        z, log_det = super()._inverse_and_log_det(x, context)
        return z + 0 * jnp.sqrt(jnp.abs(x) - 1e-7), log_det  # NaN below 1e-7, an infinite slope near it


class Estimated(Scaled):
    """A log-det with noise of mean 0: right in the mean."""

    needs_key = True
    deviation = 0.1
    factor = 1.0

    def log_det(self, values, log_scale):
        noise = self.deviation * jax.random.normal(self._noise_key(), values.shape, values.dtype)
        return self.factor * sum_event(log_scale * (1 + noise), self.event_ndims)


class EstimatedTenPercentOff(Estimated):
    factor = 1.1


class EstimatedWithTooMuchNoise(Estimated):
    deviation = 3.0


class UnusedParameter(Scaled):
    @nn.compact
    def log_scale(self, values):
        self.param("unused", nn.initializers.zeros, (2,), values.dtype)
        return self.param("log_scale", nn.initializers.zeros, values.shape[-1:], values.dtype)


class Reinitialising(Bijector):
    """ActNorm that whitens again whenever it may write."""

    x_event_ndims = z_event_ndims = 1

    @nn.compact
    def log_scale(self, values):
        log_scale = self.param("log_scale", nn.initializers.zeros, values.shape[-1:], values.dtype)
        if self.is_mutable_collection("params"):
            log_scale = -jnp.log(jnp.std(values.reshape(-1, values.shape[-1]), axis=0))
            self.put_variable("params", "log_scale", log_scale)
        return log_scale

    def _forward_and_log_det(self, z, context):
        log_scale = self.log_scale(z)
        return z * jnp.exp(-log_scale), constant_log_det(z, 1, -jnp.sum(log_scale))

    def _inverse_and_log_det(self, x, context):
        log_scale = self.log_scale(x)
        return x * jnp.exp(log_scale), constant_log_det(x, 1, jnp.sum(log_scale))


class OverridesPublicMethod(Scaled):
    def inverse_and_log_det(self, x, context=None):
        return self._inverse_and_log_det(x, context)


class WrongEventShape(Scaled):
    def x_event_shape(self, z_event_shape):
        return (*z_event_shape[:-1], z_event_shape[-1] + 1)


class Unhashable(Scaled):
    numbers: object = None

    def __hash__(self):
        raise TypeError("unhashable type: 'numbers'")


BROKEN = [
    (TenPercentOff, VECTOR, "log-det"),
    (WrongSign, VECTOR, "log-det"),
    (WrongSignOfForward, VECTOR, "log-det"),
    (LogDetSummedOverBatch, VECTOR, "batch"),
    (DropsPositions, IMAGE, "log-det"),
    (NotInverse, VECTOR, "round trip"),
    (Float32, VECTOR, "round trip"),
    (Promotes, VECTOR, "dtypes"),
    (NarrowLogDet, VECTOR, "dtypes"),
    (LeaksBatchMean, VECTOR, "batch"),
    (LeaksWithTwoBatchAxes, VECTOR, "round trip"),
    (LogDetWrongWithTwoBatchAxes, VECTOR, "cancel"),
    (SometimesInfinite, VECTOR, "finite"),
    (EstimatedTenPercentOff, VECTOR, "log-det"),
    (UnusedParameter, VECTOR, "gradients"),
    (Reinitialising, VECTOR, "init"),
    (OverridesPublicMethod, VECTOR, "rank"),
    (WrongEventShape, VECTOR, "events"),
    (Unhashable, VECTOR, "hash"),
]


@pytest.mark.parametrize(("cls", "shape", "name"), BROKEN, ids=[cls.__name__ for cls, _, _ in BROKEN])
def test_broken_bijectors_are_refused_with_the_property(cls, shape, name):
    bijector = cls() if cls is Reinitialising else cls(event_ndims=len(shape))
    with pytest.raises(CheckError, match=rf"check_bijector\({cls.__name__}\): `{name}` must") as caught:
        check_bijector(bijector, shape)
    assert isinstance(caught.value, AssertionError)
    assert caught.value.settings == (name,)


@pytest.mark.parametrize(
    ("cls", "wrong"), [(LogDetPerElement, r"shape \(12, 3\)"), (LogDetOfWholeBatch, r"shape \(\)")]
)
def test_a_log_det_that_is_not_per_example_is_refused_by_the_base_class(cls, wrong):
    rule = r"`_inverse_and_log_det` must return a log_det of batch shape \(1\d,\), float32 or wider; got shape"
    with pytest.raises(InvalidValueError, match=rule):
        check_bijector(cls(), VECTOR)


@pytest.mark.parametrize("shape", [VECTOR, IMAGE])
def test_the_unbroken_bijector_passes(shape):
    check_bijector(Scaled(event_ndims=len(shape)), shape)


def test_an_estimated_log_det_is_held_to_its_mean():
    check_bijector(Estimated(), VECTOR)
    biased = EstimatedTenPercentOff()
    with pytest.raises(CheckError, match=r"by autodiff, in the mean over 1024 keys; got .* > 1e-09 beyond 0\.0"):
        check_bijector(biased, VECTOR)
    check_bijector(biased, VECTOR, log_det_bias=0.2)
    with pytest.raises(CheckError, match=r"`log-det` must be known to 1% after 1024 keys; got a standard error of"):
        check_bijector(EstimatedWithTooMuchNoise(), VECTOR)


def test_leak_alone_is_found():
    with pytest.raises(CheckError, match="`leak` must be absent: example 0 of x -> z may not depend on the input"):
        check_bijector(LeaksBatchMean(), VECTOR, skip=("batch",))


def test_ignored_context_is_refused():
    with pytest.raises(CheckError, match="`context` must change the result of x -> z; got no dependence for 6 of 6"):
        check_bijector(Scaled(), VECTOR, context_shape=(2,))


def test_wrong_jacobian_pattern_is_refused():
    pattern = jnp.tril(jnp.ones((3, 3), bool))
    with pytest.raises(
        CheckError, match="`jacobian` must have dz_i/dx_j = 0 where the pattern is False; got .* i=0, j="
    ):
        check_bijector(b.InvertibleLinear(), VECTOR, jacobian_pattern=pattern)
    with pytest.raises(InvalidValueError, match=r"`jacobian_pattern` must be of shape \(3, 3\); got \(3,\)"):
        check_bijector(Scaled(), VECTOR, jacobian_pattern=pattern[0])


def test_poor_float32_is_refused():
    with pytest.raises(CheckError, match="`float32` must hold for x -> z -> x"):
        check_bijector(b.InvertibleLinear(), (6,), float32_tol=1e-9)


def test_arguments_are_checked():
    with pytest.raises(InvalidTypeError, match="`bijector` must be a jflows Bijector; got Affine"):
        check_bijector(b.Affine(), VECTOR)
    with pytest.raises(InvalidValueError, match="`skip` must be one of 'hash', 'spec'.*; got 'everything'"):
        check_bijector(Scaled(), VECTOR, skip=("everything",))
    with pytest.raises(InvalidTypeError, match=r"`flow` must be a jflows.Flow; got Scaled"):
        check_flow(Scaled(), jnp.zeros((2, 3)))


def test_every_property_is_listed_in_the_docstring():
    documented = [line.split('"')[1] for line in check_bijector.__doc__.splitlines() if line.strip().startswith('| "')]
    assert tuple(documented) == PROPERTIES


def test_settings_are_left_alone():
    with jax.enable_x64(False):
        check_bijector(b.ActNorm(), VECTOR)
        assert jnp.zeros(()).dtype == jnp.float32


def test_check_flow_finds_a_wrong_log_det():
    x = jax.random.normal(jax.random.key(0), (16, 3))
    check_flow(Flow(Scaled(), StandardNormal((3,)), (3,)), x)
    with pytest.raises(CheckError, match="`decode` must negate the log_det of `encode`"):
        check_flow(Flow(WrongSignOfForward(), StandardNormal((3,)), (3,)), x)
    with pytest.raises(CheckError, match="`decode` must invert `encode`"):
        check_flow(Flow(NotInverse(), StandardNormal((3,)), (3,)), x)


class WrongNormal(StandardNormal):
    def log_prob(self, z, context=None):
        return super().log_prob(z, context) / 2


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.by_default("1")
def test_a_density_integrates_to_one(dim):
    bijector = Scaled() if dim == 1 else b.Chain((b.Coupling(networks.MLP((8,)), b.Affine()), b.InvertibleLinear()))
    x = jax.random.normal(jax.random.key(0), (16, dim))

    def integral(base):
        flow = Flow(bijector, base, (dim,))
        return float(integrate_density(flow, flow.init(jax.random.key(1), x), num_points=201))

    assert integral(StandardNormal((dim,))) == pytest.approx(1, abs=1e-6)
    assert abs(integral(WrongNormal((dim,))) - 1) > 0.5


def test_integrate_density_is_for_small_dimensions():
    flow = Flow(Scaled(), StandardNormal((3,)), (3,))
    with pytest.raises(InvalidValueError, match=r"`flow` must have event_shape \(1,\) or \(2,\) and no dequantization"):
        integrate_density(flow, {})
