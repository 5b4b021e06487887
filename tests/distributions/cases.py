"""Every base under test, at parameters away from their start, with its moments. A new one is a line here."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats
from flax import linen as nn

import jflows
from jflows import distributions as d
from jflows.distributions import Base
from jflows.nn import MLP


@dataclasses.dataclass(frozen=True)
class Case:
    """A base over events of `event_shape`, and what its samples must be like.

    `mean` and `std` have the event's shape (NaN where there is none); `support` is where the 1-D density integrates
    to 1, and `tol` how close to it (an estimated constant is not exact). Samples that are `slow_to_sample` repeat what
    another case draws; they run with `-m slow`.
    """

    name: str
    make: Callable[[tuple[int, ...]], Base]
    mean: Any
    std: Any
    event_shape: tuple[int, ...] = (3,)
    variables: Callable[[], dict] = dict
    context: Any = None
    support: tuple[float, float] = (-60.0, 60.0)
    tol: float = 1e-6
    slow_to_sample: bool = False


MEAN, LOG_STD = np.array([1.0, -2.0, 0.5]), np.array([0.3, -0.5, 0.0])
CHOLESKY = np.array([[0.2, 9.0, 9.0], [0.5, -0.3, 9.0], [-1.0, 0.7, 0.1]])  # what is above the diagonal is not used
LOGITS, MEANS = np.log([0.5, 0.3, 0.2]), np.array([[0.0, 1.0, 2.0], [-3.0, 0.0, 1.0], [4.0, 4.0, 4.0]])
LOG_STDS = np.linspace(-0.7, 0.4, 9).reshape(3, 3)
CONTEXT = np.array([0.0, 1.0])


def product(shape: tuple[int, ...]) -> Base:
    if shape[-1] == 1:
        return d.Product(shape, (d.StandardNormal(shape),), ((0,),))
    parts = d.UniformAngle((*shape[:-1], 1)), d.StandardNormal((*shape[:-1], 2))
    return d.Product(shape, parts, ((1,), (2, 0)))


def factor() -> np.ndarray:
    return np.tril(CHOLESKY, -1) + np.diag(np.exp(np.diag(CHOLESKY)))


def mixture_std() -> np.ndarray:
    weights = np.exp(LOGITS)
    second = weights @ (MEANS**2 + np.exp(2 * LOG_STDS))
    return np.sqrt(second - (weights @ MEANS) ** 2)


def rejecting() -> dict:
    """Acceptance that grows with z_0, and proposals at quantiles of N(0, 1): Z is then exact to about 1e-4."""
    from scipy.stats import norm

    points = norm.ppf((np.arange(512) + 0.5) / 512)[:, None]
    layer = {"kernel": np.full((1, 4), 2.0), "bias": np.linspace(-2, 2, 4)}
    output = {"kernel": np.full((4, 1), 0.8), "bias": np.full(1, -2.0)}
    return {"params": {"acceptance": {"hidden_0": layer, "output": output}}, "constants": {"points": points}}


def learned_df() -> dict:
    return {"params": {"log_df": np.log([5.0, 8.0, 30.0])}}


@jflows.register
class LinearMeans(nn.Module):
    """An autoregressive conditioner by which earlier coordinates move means only, all of one coordinate alike."""

    @nn.compact
    def __call__(self, x, num_features, context=None):
        dim = x.shape[-1]
        weights = self.param("weights", nn.initializers.zeros, (dim, dim), x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (num_features // dim, dim), x.dtype)
        third = num_features // dim // 3
        moved = jnp.repeat(jnp.array([0.0, 1.0, 0.0], x.dtype), third)[:, None]
        return (bias + moved * (x @ jnp.triu(weights, 1))[..., None, :]).reshape(*x.shape[:-1], -1)


WEIGHTS, BIAS = np.arange(9.0).reshape(3, 3) / 10 - 0.3, np.linspace(-1.0, 1.5, 18).reshape(6, 3) ** 2
MIXTURE_START = 0.8 * scipy.stats.norm.ppf(0.75)  # two components start at this and its negative


def linear_mixture() -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of z = z W + noise, where the noise is a mixture in each coordinate."""
    weights = scipy.special.softmax(BIAS[:2], axis=0)
    means = np.array([[-MIXTURE_START], [MIXTURE_START]]) + BIAS[2:4]
    unit = np.sqrt(1 - MIXTURE_START**2) - 1e-3
    stds = 1e-3 + unit * np.log1p(np.exp(BIAS[4:]) * (np.e - 1))
    mean = (weights * means).sum(0)
    variance = (weights * (means**2 + stds**2)).sum(0) - mean**2
    to_z = np.linalg.inv(np.eye(3) - np.triu(WEIGHTS, 1))
    return mean @ to_z, np.sqrt(variance @ to_z**2)


CASES = (
    Case("standard_normal", d.StandardNormal, 0.0, 1.0),
    Case(
        "diagonal_normal",
        d.DiagonalNormal,
        MEAN,
        np.exp(LOG_STD),
        variables=lambda: {"params": {"mean": MEAN, "log_std": LOG_STD}},
    ),
    Case(
        "full_normal",
        d.FullNormal,
        MEAN,
        np.linalg.norm(factor(), axis=1),
        variables=lambda: {"params": {"mean": MEAN, "cholesky": CHOLESKY}},
    ),
    Case(
        "class_conditional_normal",
        d.ClassConditionalNormal,
        MEAN,
        np.exp(LOG_STD),
        variables=lambda: {
            "params": {"mean": np.stack([np.zeros(3), MEAN]), "log_std": np.stack([np.ones(3), LOG_STD])}
        },
        context=CONTEXT,
    ),
    Case("standard_logistic", d.StandardLogistic, 0.0, np.pi / np.sqrt(3)),
    Case("laplace", d.Laplace, 0.0, np.sqrt(2), tol=1e-5),
    Case(
        "location_scale",
        lambda shape: d.LocationScale(shape, d.StandardLogistic(shape)),
        MEAN,
        np.exp(LOG_STD) * np.pi / np.sqrt(3),
        variables=lambda: {"params": {"mean": MEAN, "log_std": LOG_STD}},
        tol=1e-5,
    ),
    Case("student_t", lambda shape: d.StudentT(shape, 6.0), 0.0, np.sqrt(1.5), tol=1e-5, slow_to_sample=True),
    Case(
        "student_t_learned",
        lambda shape: d.StudentT(shape, learned=True),
        0.0,
        np.sqrt([5 / 3, 8 / 6, 30 / 28]),
        variables=learned_df,
        tol=1e-4,
    ),
    Case(
        "uniform",
        lambda shape: d.Uniform(shape, -1.0, 3.0),
        1.0,
        4 / np.sqrt(12),
        support=(-1.0, 3.0),
    ),
    Case("uniform_angle", d.UniformAngle, 0.0, 2 * np.pi / np.sqrt(12), support=(-np.pi, np.pi)),
    Case(
        "product",
        product,
        0.0,
        np.array([1.0, 2 * np.pi / np.sqrt(12), 1.0]),
        tol=1e-5,
    ),
    Case(
        "normal_mixture",
        lambda shape: d.NormalMixture(shape, 3),
        np.exp(LOGITS) @ MEANS,
        mixture_std(),
        variables=lambda: {"params": {"logits": LOGITS, "means": MEANS, "log_stds": LOG_STDS}},
    ),
    Case(
        "autoregressive_mixture",
        lambda shape: d.AutoregressiveMixture(shape, LinearMeans(), 2),
        *linear_mixture(),
        variables=lambda: {"params": {"conditioner": {"weights": WEIGHTS, "bias": BIAS}, "start": np.zeros((6, 3))}},
    ),
    Case(
        "resampled_normal",
        lambda shape: d.ResampledNormal(shape, MLP((4,), "tanh"), 3, 512),
        None,
        None,
        event_shape=(1,),
        variables=rejecting,
        tol=1e-3,
    ),
)


def one_dimensional(case: Case) -> tuple[Base, dict]:
    """The first coordinate's base with its variables: parameters are cut down to the event shape (1,)."""
    base, variables = case.make((1,)), case.variables()
    if case.event_shape == (1,):
        return base, variables

    def cut(path, value):
        name = path[-1].key
        if name == "logits":
            return value
        return value[..., :1, :1] if name in ("cholesky", "weights") else value[..., :1]

    return base, jax.tree_util.tree_map_with_path(cut, variables)
