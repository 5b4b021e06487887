"""Losses without data: which gradient they have, its variance, what is reached, and that devices do not matter."""

import functools
import itertools
import math
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jflows
from jflows import bijectors as b
from jflows.data import NoData, TableData
from jflows.distributions import (
    AutoregressiveMixture,
    ClassConditionalNormal,
    NormalMixture,
    ResampledNormal,
    StandardNormal,
)
from jflows.errors import InvalidTypeError, InvalidValueError, RunError
from jflows.eval import importance_sample
from jflows.flows import normal
from jflows.nn import MADE, TimeMLP
from jflows.testing.common import perturb
from jflows.train import (
    Runner,
    TrainConfig,
    alpha_divergence,
    distillation,
    fit,
    init_state,
    make_train_step,
    reverse_kl,
)
from jflows.typing import Batch

KEY = jax.random.key(5)
CONFIG = TrainConfig(
    steps=300, batch_size=64, warmup_steps=10, learning_rate=2e-2, log_every=100, ema_decay=0.98, parallel="none"
)
COVARIANCE = np.array([[1.0, 0.6], [0.6, 2.0]])


def gaussian(x):
    """Unnormalised, around (1, -1); the log of its integral is `GAUSSIAN_LOG_Z`."""
    deviation = x - np.array([1.0, -1.0])
    return -0.5 * jnp.einsum("...i,ij,...j->...", deviation, np.linalg.inv(COVARIANCE), deviation)


GAUSSIAN_LOG_Z = math.log(2 * math.pi) + 0.5 * np.linalg.slogdet(COVARIANCE)[1]


def banana(x):
    return -0.5 * x[..., 0] ** 2 - 2 * (x[..., 1] - x[..., 0] ** 2) ** 2


def rows(num: int, context=None) -> Batch:
    return Batch(None, context, jnp.ones(num), jnp.arange(num, dtype=jnp.uint32))


def perturbed(flow, seed: int = 0, scale: float = 0.3, context=None):
    """Variables away from their start, where zeros would hide mistakes."""
    return perturb(flow.init(jax.random.key(seed), context=context), seed, scale, jnp.float64)


def flat_gradients(flow, loss, variables, num: int):
    """The gradient of every row of a batch: [num, number of parameters], and the losses [num]."""

    def of_row(index):
        batch = Batch(None, None, jnp.ones(1), index[None])
        value = lambda params: loss(flow, {**variables, "params": params}, batch, KEY)[0][0]
        return jax.value_and_grad(value)(variables["params"])

    values, grads = jax.jit(jax.vmap(of_row))(jnp.arange(num, dtype=jnp.uint32))
    return np.concatenate([np.reshape(leaf, (num, -1)) for leaf in jax.tree.leaves(grads)], axis=1), values


FLOWS = {
    "iaf": lambda: jflows.iaf((2,), 2, (4,)),
    "parallel maf": lambda: jflows.Flow(
        b.Chain((b.MaskedAutoregressive(MADE((8,)), b.Affine(), inversion="parallel"), b.Reverse())),
        StandardNormal((2,)),
        (2,),
    ),
}


@pytest.mark.parametrize("name", ["iaf", pytest.param("parallel maf", marks=pytest.mark.slow)])
def test_the_path_gradient_leaves_out_the_score(name):
    """Exactly, and all of the gradient at the optimum; the plain gradient is that of the value, by differences."""
    flow = FLOWS[name]()
    variables, batch = perturbed(flow), rows(16)
    weight = np.random.default_rng(0).normal(size=(16,))  # with random weights, a sum is right only if each term is
    keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(KEY, i), 1)[0])(batch.index)
    samples = flow.sample(variables, keys, (16,))

    def total(loss, params):
        return weight @ loss(flow, {**variables, "params": params}, batch, KEY)[0]

    @jax.jit
    def gradients(params):
        plain = jax.value_and_grad(functools.partial(total, reverse_kl(banana, path_gradient=False)))(params)
        path = jax.value_and_grad(functools.partial(total, reverse_kl(banana)))(params)
        optimum = jax.grad(functools.partial(total, distillation(flow, variables)))(params)
        score = jax.grad(lambda params: weight @ flow.log_prob({**variables, "params": params}, samples))(params)
        rest = jax.tree.map(lambda *g: g[0] - g[1] - g[2], plain[1], path[1], score)
        return plain, path[0], *map(optax.tree.norm, (plain[1], rest, optimum, score))

    params = variables["params"]
    (value, plain), path_value, norm, rest, optimum, score = gradients(params)
    np.testing.assert_allclose(value, path_value, rtol=1e-12)
    assert score > 0.1
    assert rest < 1e-7 * norm
    assert optimum < 1e-6
    along = lambda length: jax.tree.map(lambda p, g: np.asarray(p) + length * np.asarray(g), params, plain)
    ahead, behind = (gradients(along(length / norm))[0][0] for length in (1e-5, -1e-5))
    assert (ahead - behind) / 2e-5 == pytest.approx(float(norm), rel=1e-5)


@pytest.mark.parametrize(
    ("alpha", "num_samples"),
    [(0.4, 3), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((1.0, 1), (0.0, 3), (1.5, 2)))],
)
def test_path_and_plain_gradients_agree_in_the_mean(alpha, num_samples):
    flow, num = normal((2,)), 20_000
    variables = perturbed(flow)
    path, values = flat_gradients(flow, alpha_divergence(gaussian, alpha, num_samples), variables, num)
    loss = alpha_divergence(gaussian, alpha, num_samples, path_gradient=False)
    plain, plain_values = flat_gradients(flow, loss, variables, num)
    np.testing.assert_allclose(values, plain_values, rtol=1e-10)
    difference = path - plain
    error = difference.std(axis=0) / math.sqrt(num)
    used = error > 0  # a triangle of the covariance's factor is not
    assert used.sum() == 5
    assert np.all(np.abs(difference.mean(axis=0)) < 4.5 * error + 1e-12)
    assert np.all(np.abs(path.mean(axis=0)[used]) > 10 * error[used].min())  # there is something to agree about


@pytest.mark.slow
def test_the_path_gradient_loses_its_variance_at_the_optimum():
    """That of reverse KL and of tighter bounds; the plain gradient keeps it."""
    flow = normal((2,))
    variables = perturbed(flow)
    path, _ = flat_gradients(flow, distillation(flow, variables), variables, 64)
    plain, _ = flat_gradients(flow, distillation(flow, variables, path_gradient=False), variables, 64)
    assert np.abs(path).max() < 1e-10
    assert plain.std(axis=0).max() > 0.5
    loss = alpha_divergence(lambda x: flow.log_prob(variables, x) + 3, 0.3, 4)
    path, values = flat_gradients(flow, loss, variables, 64)
    assert np.abs(path).max() < 1e-10
    np.testing.assert_allclose(values, -3, rtol=1e-10)


def conditional():
    return jflows.Flow(b.Identity(), ClassConditionalNormal((2,)), (2,), context_shape=(3,))


def values_of(losses, flow, batch: Batch):
    """Of several losses, compiled together."""
    variables = perturbed(flow)
    return jax.jit(lambda batch: [loss(flow, variables, batch, KEY)[0] for loss in losses])(batch)


def test_orders_of_the_divergence():
    """K = 1 is the reverse KL for every alpha; power means order the rest, and are continuous at alpha = 1."""
    alphas = (0.0, 0.5, 1 - 1e-7, 1.0, 1 + 1e-7, 2.0)
    singles = [reverse_kl(gaussian), *(alpha_divergence(gaussian, alpha, 1) for alpha in alphas)]
    several = [alpha_divergence(gaussian, alpha, 5) for alpha in alphas]
    values = np.asarray(values_of([*singles, *several], normal((2,)), rows(32)))
    np.testing.assert_allclose(values[1:7], np.broadcast_to(values[0], (6, 32)), rtol=1e-6)
    assert all(np.all(low <= high + 1e-6) for low, high in itertools.pairwise(values[7:]))
    assert np.all(values[7] < values[-1] - 1e-3)
    np.testing.assert_allclose(values[9], values[10], atol=1e-5)
    np.testing.assert_allclose(values[11], values[10], atol=1e-5)


def test_samples_outside_the_support_count_for_nothing():
    flow = normal((2,))
    half = lambda x: jnp.where(x[..., 0] > 0, gaussian(x), -jnp.inf)
    grads, values = flat_gradients(flow, alpha_divergence(half, 0.0, 16), perturbed(flow), 8)
    assert np.all(np.isfinite(values)) and np.all(np.isfinite(grads)) and np.abs(grads).max() > 0


@pytest.mark.slow
def test_noise_depends_on_the_visit_alone():
    losses, batch = [alpha_divergence(gaussian, 0.5, 3)], rows(8)
    (values,) = values_of(losses, normal((2,)), batch)
    some = np.array([5, 0])
    (few,) = values_of(losses, normal((2,)), jax.tree.map(lambda leaf: leaf[some], batch))
    np.testing.assert_allclose(few, values[some], rtol=1e-10)
    (later,) = values_of(losses, normal((2,)), batch._replace(index=batch.index + 8))
    assert len(np.unique([*values, *later])) == 16


@pytest.mark.parametrize("parallel", ["pmap", "shard_map"])
@pytest.mark.by_default("shard_map")
def test_eight_devices_equal_one(parallel):
    """Under SGD, as in test_sharding.py; contexts are sharded with their rows."""
    flow = conditional()
    loss = alpha_divergence(lambda x, c: gaussian(x) + c[:, 0] * x[:, 0], 0.5, 2)
    optimizer, contexts = optax.sgd(1e-2), np.linspace(-1, 1, 96).reshape(2, 16, 3)
    batches = Batch(None, contexts, np.ones((2, 16)), np.arange(32, dtype=np.uint32).reshape(2, 16))

    def train(parallel):
        runner = Runner(
            functools.partial(make_train_step, flow, optimizer, loss), parallel, batch_size=16, steps_per_call=2
        )
        state = init_state(perturbed(flow, context=jnp.ones((4, 3))), optimizer, jax.random.key(1))
        state, metrics = runner.run(runner.put_state(state), batches)
        return runner.get_state(state).params, metrics["loss"]

    (params, losses), (expected, expected_losses) = train(parallel), train("none")
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-9)
    for obtained, wanted in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(obtained, wanted, rtol=0, atol=1e-10)


def test_reverse_kl_finds_a_density_and_its_normaliser():
    flow = normal((2,))
    result = fit(flow, NoData(), CONFIG, loss=reverse_kl(gaussian))
    assert result.history[-1]["loss"] == pytest.approx(-GAUSSIAN_LOG_Z, abs=1e-3)
    drawn = importance_sample(flow, result.variables, gaussian, KEY, 2000, batch_size=2000)
    assert drawn.ess_fraction > 0.9999
    assert drawn.log_normalizer == pytest.approx(GAUSSIAN_LOG_Z, abs=1e-3)
    np.testing.assert_allclose(drawn.expectation(drawn.x), [1.0, -1.0], atol=0.15)


@pytest.mark.slow
def test_a_maf_teaches_an_iaf():
    teacher = jflows.maf((3,), 1, (8,), activation="tanh", standardize=False)
    student = jflows.iaf((3,), 2, (16,), activation="tanh")
    teacher_variables = perturbed(teacher, scale=0.5)
    result = fit(student, NoData(), CONFIG, loss=distillation(teacher, teacher_variables))
    log_density = lambda x: teacher.log_prob(teacher_variables, x)
    before = importance_sample(student, student.init(KEY), log_density, KEY, 1000)
    after = importance_sample(student, result.variables, log_density, KEY, 1000)
    assert before.ess_fraction < 0.3 and after.ess_fraction > 0.8
    assert -after.log_weights.mean() < 0.1 < 1 < -before.log_weights.mean()  # the reverse KL
    assert abs(after.log_normalizer) < 4 * after.standard_error


@pytest.mark.slow
def test_contexts_make_it_amortised():
    """x ~ N(0, 1), context | x ~ N(x, 1/4): one flow for the posteriors N(0.8 context, 0.2) of all contexts."""
    log_joint = lambda x, context: (-0.5 * x**2 - 2 * (context[:, :1] - x) ** 2)[:, 0]
    flow = jflows.Flow(b.Identity(), ClassConditionalNormal((1,)), (1,), context_shape=(2,))
    contexts = np.stack([np.random.RandomState(0).randn(100), np.ones(100)], axis=1)
    result = fit(flow, NoData(contexts), CONFIG, loss=alpha_divergence(log_joint, 0.5, 4))
    assert result.history[-1]["epoch"] == 300 * 64 / 100
    some = np.array([[-1.0, 1.0], [0.5, 1.0]])
    drawn = importance_sample(flow, result.variables, log_joint, KEY, 2000, some, batch_size=2000)
    assert drawn.x.shape == (2000, 2, 1) and drawn.ess.shape == (2,)
    assert np.all(drawn.ess_fraction > 0.99)
    np.testing.assert_allclose(drawn.expectation(drawn.x), 0.8 * some[:, :1], atol=0.05)
    expected = 0.5 * math.log(2 * math.pi * 0.2) - 0.4 * some[:, 0] ** 2
    assert np.all(np.abs(drawn.log_normalizer - expected) < 4 * drawn.standard_error + 1e-4)


@pytest.mark.slow
def test_a_run_without_data_that_goes_wrong_names_a_layer():
    config = TrainConfig(steps=4, log_every=4, batch_size=4, max_skipped=4, parallel="none")
    with pytest.raises(RunError, match="must stay finite.*largest activation .* in bijector"):
        fit(normal((2,)), NoData(), config, loss=reverse_kl(lambda x: x[:, 0] * jnp.nan))


def call(loss, flow, context=None):
    return lambda: loss(flow, flow.init(KEY, context=context), rows(4, context), KEY)


def estimated():
    return jflows.Flow(b.Continuous(TimeMLP((4,)), trace="hutchinson"), StandardNormal((2,)), (2,))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: reverse_kl(normal((2,))),
            InvalidTypeError,
            r"reverse_kl: `log_density` must be a function of x, .*; got Flow. The density of a flow is lambda",
        ),
        (lambda: alpha_divergence(2.0, 0.5, 2), InvalidTypeError, "alpha_divergence: `log_density` .*; got float"),
        (
            lambda: alpha_divergence(banana, -0.5, 2),
            InvalidValueError,
            "alpha_divergence: `alpha` must be at least 0; got -0.5",
        ),
        (lambda: alpha_divergence(banana, math.nan, 2), InvalidValueError, "`alpha` must be finite; got nan"),
        (lambda: alpha_divergence(banana, 0.5, 0), InvalidValueError, "`num_samples` must be at least 1; got 0"),
        (lambda: distillation(banana, {}), InvalidTypeError, "`teacher` must be a Flow or a .*; got function"),
        (lambda: reverse_kl(banana)(b.Exp(), {}, rows(4), KEY), InvalidTypeError, "`flow` must be a Flow; got Exp"),
        (lambda: distillation(estimated(), {}), InvalidValueError, "`teacher` must have an exact log-det; got an est"),
        (
            call(reverse_kl(lambda x: -(x**2)), normal((2,))),
            InvalidValueError,
            r"reverse_kl: `log_density` must return one float per event, shape \(4,\), for x of shape \(4, 2\); got "
            r"shape \(4, 2\), float64. Sum it over the event",
        ),
        (call(reverse_kl(lambda x: jnp.zeros(4, int)), normal((2,))), InvalidValueError, r"got shape \(4,\), int64"),
        (
            call(reverse_kl(lambda x, c: jnp.zeros(())), conditional(), jnp.ones((4, 3))),
            InvalidValueError,
            r"must return one float per event, .*; got shape \(\), float64",
        ),
        (
            lambda: reverse_kl(banana)(jflows.glow((4, 4, 1), num_levels=1, num_steps=1), {}, rows(4), KEY),
            InvalidValueError,
            "reverse_kl: `flow` must have differentiable samples; got one that dequantizes. Build it without",
        ),
        *(
            (
                lambda base=base: reverse_kl(banana)(jflows.Flow(b.Identity(), base, (2,)), {}, rows(4), KEY),
                InvalidValueError,
                f"`flow` must have differentiable samples; got the base {type(base).__name__}. Use a base",
            )
            for base in (NormalMixture((2,)), ResampledNormal((2,), MADE()), AutoregressiveMixture((2,), MADE()))
        ),
        (
            lambda: alpha_divergence(banana, 0.0, 2)(estimated(), {}, rows(4), KEY),
            InvalidValueError,
            "`flow` must have an exact log-det for alpha != 1; got an estimated one. Use an exact estimator",
        ),
        (
            lambda: fit(normal((2,)), TableData("rows", np.ones((8, 2))), CONFIG, loss=reverse_kl(gaussian)),
            InvalidValueError,
            r"fit: `data` must have no rows with the loss divergence; got .*rows.*Pass jflows.data.NoData",
        ),
        (
            lambda: fit(normal((2,)), NoData(), CONFIG),
            InvalidValueError,
            r"fit: `loss` must draw its own samples where there are no data; got likelihood. Pass "
            r"loss=jflows.train.reverse_kl\(log_density\)",
        ),
    ],
)
def test_mistakes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.slow
def test_the_example_of_the_docs_runs(capsys):
    text = (Path(__file__).resolve().parents[2] / "docs" / "variational.md").read_text()
    names = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
        assert names["drawn"].ess_fraction > 0.5
        assert abs(names["drawn"].log_normalizer - math.log(math.pi)) < 4 * names["drawn"].standard_error
    assert 0.4 < names["share"] < 0.6
    fitted = names["taught"].log_prob(names["by_scores"].variables, names["x"])
    assert abs(np.mean(fitted - names["log_density"](names["x"])) + math.log(math.pi)) < 0.2
    np.testing.assert_allclose(names["mean"], [0, 0.5], atol=0.1)
    assert "log Z = 1.1" in capsys.readouterr().out
