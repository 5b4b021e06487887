"""Columns with a domain: the density has mass 1 there, samples lie inside, circles have no seam, declarations hold."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import vonmises

import jflows
from jflows.bijectors import Standardize
from jflows.data import Domains, TableData, check_batch_values, eval_batches
from jflows.errors import DataError, InvalidTypeError, InvalidValueError
from jflows.eval import evaluate
from jflows.flows import DequantizeColumns
from jflows.testing import check_flow
from jflows.testing.common import cast, perturb
from jflows.typing import Batch

KEY = jax.random.key(0, impl="unsafe_rbg")
QUICK = {"xla_backend_optimization_level": 0}
SMALL = dict(hidden_sizes=(4,), activation="tanh")
NSF = functools.partial(jflows.nsf_autoregressive, num_layers=1, num_bins=3, **SMALL)
COUPLING = functools.partial(jflows.nsf_coupling, num_layers=2, num_bins=3, **SMALL)
MAF = functools.partial(jflows.maf, num_layers=1, **SMALL)
NAMES = ("income", "share", "phase", "count", "a", "b", "c", "plain")
ALL = Domains(
    positive=("income",),
    interval=(("share", 0, 1),),
    circle=(("phase", 0, 4),),
    integer=("count",),
    simplex=(("a", "b", "c"),),
)


def rows(num: int, seed: int = 0) -> np.ndarray:
    """Columns that depend on each other, in the order of NAMES."""
    random = np.random.default_rng(seed)
    phase = random.vonmises(1, 3, num) * 2 / np.pi % 4
    income = np.exp(0.8 * random.normal(size=num) + np.sin(phase * np.pi / 2))
    share = random.beta(0.5 + (phase > 2), 0.5, num).clip(1e-5, 1 - 1e-5)
    parts = random.dirichlet([0.6, 1.5, 3], num)
    count = random.poisson(6 * parts[:, 1])
    return np.stack([income, share, phase, count, *parts.T, random.normal(size=num) + income], axis=-1)


def table(num: int, seed: int = 0) -> TableData:
    return TableData("made up", rows(num, seed), columns=NAMES)


def prepared(flow, x, noise: float = 0.3):
    """Variables away from the start, in float64."""
    return perturb(jax.jit(flow.init, compiler_options=QUICK)(KEY, x), 0, noise, jnp.float64)


def log_prob(flow, variables, x, key=None):
    return np.asarray(jax.jit(flow.log_prob, compiler_options=QUICK)(variables, x, None, key))


def logistic(num: int, half_width: float = 40.0) -> tuple[np.ndarray, np.ndarray]:
    """Points of (0, 1) that crowd at both ends, and their weights for an integral."""
    t = np.linspace(-half_width, half_width, num)
    points = 1 / (1 + np.exp(-t))
    return points, points / (1 + np.exp(t)) * (t[1] - t[0])


def on_positive():
    t = np.linspace(-40, 40, 2001)
    return np.exp(RANDOM.normal(size=(64, 1))), np.exp(t)[:, None], np.exp(t) * (t[1] - t[0])


def on_interval():
    points, weights = logistic(2001, 25.0)
    return RANDOM.uniform(-2, 3, (64, 1)), (points * 5 - 2)[:, None], weights * 5


def on_circle():
    return RANDOM.uniform(0, 4, (64, 1)), (np.arange(4000) / 1000)[:, None], np.full(4000, 1e-3)


def on_line_and_circle():
    circle, line = np.arange(200) / 50, np.linspace(-12, 12, 401)
    grid = np.stack(np.meshgrid(line, circle, indexing="ij"), axis=-1).reshape(-1, 2)
    start = np.stack([RANDOM.normal(size=64), RANDOM.uniform(0, 4, 64)], axis=-1)
    return start, grid, np.full(len(grid), (line[1] - line[0]) / 50)


def on_simplex():
    (first, weights), (rest, of_rest) = logistic(301, 30.0), logistic(301, 30.0)
    a, b = np.meshgrid(first, rest, indexing="ij")
    x = np.stack([a, (1 - a) * b, (1 - a) * (1 - b)], axis=-1).reshape(-1, 3)
    inside = (x > 0).all(axis=1)
    return RANDOM.dirichlet([1, 2, 3], 64), x[inside], np.outer(weights * (1 - first), of_rest).reshape(-1)[inside]


RANDOM = np.random.default_rng(0)
INTEGRALS = {
    "positive": (MAF, Domains(positive=(0,)), on_positive),
    "interval": (MAF, Domains(interval=((0, -2, 3),)), on_interval),
    "circle": (NSF, Domains(circle=((0, 4),)), on_circle),
    "line_and_circle": (COUPLING, Domains(circle=((1, 4),)), on_line_and_circle),
    "simplex": (MAF, Domains(simplex=((0, 1, 2),)), on_simplex),
}


@pytest.mark.parametrize("name", INTEGRALS)
def test_the_density_integrates_to_one_on_its_domain(name):
    preset, domains, grid = INTEGRALS[name]
    start, x, weights = grid()
    flow = preset((x.shape[-1],), domains=domains)
    density = np.exp(log_prob(flow, prepared(flow, start), x))
    np.testing.assert_allclose(density @ weights, 1, atol=2e-3)
    assert density.std() > 0.01 * density.mean()  # it is not a constant


@pytest.mark.parametrize(
    "domains", [Domains(integer=(0,), positive=(0,)), Domains(integer=(0,), interval=((0, 0, 9),))]
)
def test_probabilities_of_whole_numbers_sum_to_one_and_bounds_to_less(domains):
    counts = np.arange(60.0 if domains.positive else 10.0)[:, None]
    flow = MAF((1,), domains=domains)
    variables = prepared(flow, np.asarray(np.random.default_rng(0).poisson(3.0, (64, 1)), float).clip(0, 9))
    keys = jax.random.split(KEY, 100)
    draws = np.asarray(jax.jit(jax.vmap(lambda key: flow.log_prob(variables, counts, key=key)))(keys))
    assert 0.97 < np.exp(draws).mean(axis=0).sum() < 1.03
    assert np.exp(draws.mean(axis=0)).sum() <= 1
    assert np.isfinite(log_prob(flow, variables, counts)).all()  # without a key, at the centres of bins
    assert flow.unit is jflows.flows.NATS and flow.needs_key


@functools.cache
def whole():
    """A flow of all domains, with its variables in float32, as a user has them."""
    data = table(512)
    flow = NSF((8,), domains=ALL.of(data.columns))
    with jax.enable_x64(False):
        variables = flow.init(KEY, jax.device_put(data.x), None, data.statistics(flow.before_standardizing))
        return flow, perturb(variables, 0, 0.3, jnp.float32)


def check_samples(flow, variables, num: int, count: int) -> None:
    @functools.partial(jax.jit, compiler_options=QUICK)
    def draw(key):
        x, own = flow.sample_and_log_prob(variables, key, (num,))
        return x, own, flow.log_prob(variables, x, key=key)

    with jax.enable_x64(False):
        for seed in range(count):
            x, own, again = map(np.asarray, draw(jax.random.key(seed)))
            assert x.dtype == np.float32
            flow.domains.check(x, "sample", NAMES)
            assert x[:, 2].min() >= 0 and x[:, 2].max() < 4
            assert np.isfinite(own).all() and np.isfinite(again).all()


def test_samples_lie_in_the_support_and_have_a_density():
    check_samples(*whole(), 10_000, 1)


@pytest.mark.slow
def test_a_million_samples_lie_in_the_support_and_have_a_density():
    check_samples(*whole(), 100_000, 10)


def test_a_flow_of_all_domains_survives_json_and_its_latents_come_back():
    flow, variables = whole()
    assert jflows.from_spec(json.loads(json.dumps(jflows.to_spec(flow)))) == flow
    assert flow.latent_shape == (7,) and flow.event_shape == (8,)
    x = np.asarray(table(32).x, float)
    variables = cast(variables, float)
    z, log_det = jax.jit(flow.encode, compiler_options=QUICK)(variables, x)
    back, back_log_det = jax.jit(flow.decode, compiler_options=QUICK)(variables, z)
    np.testing.assert_allclose(back, x + 0.5 * (np.arange(8) == 3), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(log_det, -back_log_det, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(jax.jit(flow.quantize)(back))[:, 3], x[:, 3])


def test_noise_lies_strictly_between_whole_numbers_and_leaves_derivatives_alone():
    part = DequantizeColumns((0, 1))
    x = np.asarray([[0.0, -1.0, 3.0], [2.0**22 - 1, 1000.0, 0.5]], np.float32)
    keys = jax.random.split(KEY, (2000,))

    @functools.partial(jax.jit, compiler_options=QUICK)
    def run(x):
        draw = lambda key: part.dequantize(x, key)[0]
        return jax.vmap(draw)(keys), jax.grad(lambda x: jnp.sum(part.dequantize(x, KEY)[0]))(x)

    v, gradient = map(np.asarray, run(x))
    assert v.dtype == np.float32 and (np.floor(v[..., :2]) == x[:, :2]).all() and (v[..., :2] > x[:, :2]).all()
    np.testing.assert_array_equal(v[..., 2], np.broadcast_to(x[:, 2], (2000, 2)))
    np.testing.assert_array_equal(gradient, np.ones((2, 3)))
    with pytest.MonkeyPatch.context() as patch:  # the draw that comes once in eight million
        patch.setattr(jax.random, "uniform", lambda key, shape, dtype: jnp.zeros(shape, dtype))
        assert part.dequantize(x, KEY)[0][0, 0] == 2.0**-24
    np.testing.assert_array_equal(part.dequantize(x.astype(int), None)[0][0], [0.5, -0.5, 3])
    with pytest.raises(
        InvalidValueError, match="DequantizeColumns: `key` must be one key, or one per example of shape"
    ):
        part.dequantize(x, keys)


def test_statistics_are_those_of_all_mapped_rows():
    data = TableData("skewed", np.exp(np.random.default_rng(0).normal(3, 2, (5000, 2))), columns=("x", "y"))
    flow = MAF((2,), domains=Domains(positive=("y",)).of(data.columns))
    variables = flow.init(KEY, data.x[:16], statistics=data.statistics(flow.before_standardizing))
    found = variables["constants"]["preprocess"]["layers_0"]
    wanted = np.stack([data.x[:, 0], np.log(data.x[:, 1])], axis=-1).astype(np.float64)
    np.testing.assert_allclose(found["shift"], -wanted.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found["log_scale"], -np.log(wanted.std(axis=0)), rtol=1e-5)


def test_statistics_leave_angles_alone():
    layer = Standardize(skip=(1,))
    x = np.random.default_rng(0).normal(3, 2, (64, 3))
    z = np.asarray(jax.jit(lambda x: layer.init_with_output(KEY, x, method="inverse")[0], compiler_options=QUICK)(x))
    np.testing.assert_array_equal(z[:, 1], x[:, 1])
    np.testing.assert_allclose(z.std(axis=0)[np.array([0, 2])], 1)


@pytest.mark.parametrize(
    "preset", [pytest.param(functools.partial(NSF, num_layers=3), marks=pytest.mark.slow), COUPLING]
)
def test_a_circle_has_no_seam(preset):
    flow = preset((2,), domains=Domains(circle=((0, 4.0),)))
    line = np.random.default_rng(0).normal(size=64)
    x = np.stack([np.linspace(0.1, 3.9, 64), line], axis=-1)
    variables = prepared(flow, x)
    turn = np.array([4.0, 0.0])
    run = jax.jit(jax.vmap(jax.value_and_grad(lambda x: flow.log_prob(variables, x))), compiler_options=QUICK)
    values = lambda x: jax.device_get(run(x))
    for moved in (x + turn, x - 3 * turn):  # every branch is one density
        np.testing.assert_allclose(values(moved)[0], values(x)[0], atol=1e-9)
    at = lambda phase: np.stack([np.full(64, phase), line], axis=-1)
    before, after = values(at(4 - 1e-7)), values(at(1e-7))
    np.testing.assert_allclose(before[0], after[0], atol=1e-5)
    np.testing.assert_allclose(before[1], after[1], atol=1e-4)
    assert np.abs(values(at(1.0))[0] - before[0]).max() > 0.01  # it does depend on the angle


REFUSALS = {
    "two domains": (
        lambda: Domains(positive=("a",), circle=(("a", 1.0),)),
        r"Domains: `positive, circle` must not share a column, as one domain excludes the other; got 'a'. Keep one.",
    ),
    "by name and position": (
        lambda: Domains(positive=("a",), interval=((0, 0, 1),)).of(("a", "b")),
        r"Domains: `positive, interval` must not share a column, .*; got 'a'",
    ),
    "twice": (lambda: Domains(positive=("a", "a")), "Domains: `positive` must name a column once; got 'a'"),
    "in two simplexes": (
        lambda: Domains(simplex=(("a", "b"), ("b", "c"))),
        "`simplex` must name a column once; got 'b'",
    ),
    "whole parts": (
        lambda: Domains(simplex=(("a", "b"),), integer=("a",)),
        "Domains: `simplex, integer` must not share a column",
    ),
    "ends": (
        lambda: Domains(interval=(("a", 1, 1),)),
        "Domains: `interval` must have a lower end below the upper one for 'a', both finite; got 1, 1",
    ),
    "period": (lambda: Domains(circle=(("a", -1),)), "Domains: `circle` must have a lower end below the .*; got 0, -1"),
    "infinite": (
        lambda: Domains(interval=(("a", 0, np.inf),)),
        "Domains: `interval` must have .* both finite; got 0, inf",
    ),
    "words": (
        lambda: Domains(interval=(("a", "b", "c"),)),
        r"Domains: `interval` must hold a column, by name or position, and numbers; got \('a', 'b', 'c'\)",
    ),
    "no ends": (
        lambda: Domains(interval=(("a",),)),
        "Domains: `interval` must hold a column and two ends, as in share=0,1",
    ),
    "no period": (lambda: Domains(circle=(("a",),)), "Domains: `circle` must hold a column and a period, or where it"),
    "alone": (lambda: Domains(simplex=(("a",),)), "Domains: `simplex` must hold at least 2 columns that sum to 1"),
    "half": (
        lambda: Domains(interval=(("a", 0, 1.5),), integer=("a",)),
        r"Domains: `interval` must have whole ends for 'a', which holds whole numbers \(integer\); got 0, 1.5",
    ),
    "unknown": (
        lambda: Domains(positive=("incme",)).of(("income", "age")),
        r"Domains: `positive` must name columns, or count them up to 1; got 'incme'. Did you mean income\?",
    ),
    "beyond": (lambda: Domains(integer=(2,)).of(("a", "b")), "Domains: `integer` must name columns, .* up to 1; got 2"),
    "names": (
        lambda: jflows.maf((2,), domains=Domains(positive=("a",))),
        r"maf: `domains` must hold positions of columns; got 'a'. Write domains.of\(table.columns\).",
    ),
    "too far": (
        lambda: jflows.maf((2,), domains=Domains(positive=(2,))),
        "maf: `domains` must hold positions from 0 to 1 in positive; got 2",
    ),
    "circle": (
        lambda: jflows.realnvp((2,), domains=Domains(circle=((1, 4),))),
        "realnvp: `circle` is not for realnvp, as its maps are not those of a circle; got column 1. Use nsf_coup",
    ),
    "base": (
        lambda: jflows.nsf_autoregressive((2,), base="made", domains=Domains(circle=((1, 4),))),
        "nsf_autoregressive: `base` must be normal where a column is on a circle, whose base is uniform; got 'made'",
    ),
    "too wide": (
        lambda: Domains(interval=((0, -3e38, 3e38),)),
        "Domains: `interval` must have a lower end below the upper one for 0, not further apart than float32 can hold",
    ),
    "nothing to couple": (
        lambda: jflows.nsf_coupling((2,), domains=Domains(simplex=((0, 1),))),
        "nsf_coupling: `simplex` must leave 2 dimensions, to couple one part to the other; got 1 left. Use maf or",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_contradictions_are_refused_in_one_line(name):
    make, message = REFUSALS[name]
    with pytest.raises(InvalidValueError, match=message):
        make()
    with pytest.raises(InvalidTypeError, match="Domains: `circle` must be a tuple of entries such as"):
        Domains(circle="phase")
    rule = r"Domains: `positive` must be a tuple of names or positions of columns; got 'a'. Write \('a',\)"
    with pytest.raises(InvalidTypeError, match=rule):
        Domains(positive="a")


OUTSIDE = {
    "income": (0.0, "`column 'income'` must be positive; got 0 in row 7 .1 such rows.. Remove"),
    "share": (1.0, "`column 'share'` must lie between 0 and 1, without these ends; got 1 in row 7"),
    "phase": (5.0, "`column 'phase'` must lie in one period of 4, whose start may be anywhere; .*; got 5 in row 7"),
    "count": (1.5, "`column 'count'` must be whole; got 1.5 in row 7 .1 such rows.. Leave it out of integer"),
    "a": (-0.1, "`column 'a'` must be positive, as one of columns that sum to 1, 'a', 'b', 'c'; got -0.1"),
    "b": (0.99, "`column 'a'` must sum to 1 within 0.001, together with 'b', 'c'; got a sum of"),
}


@pytest.mark.parametrize("column", OUTSIDE)
def test_values_outside_are_named_by_row_and_column_before_training(column):
    value, message = OUTSIDE[column]
    x = rows(32)
    x[:, 2] = np.linspace(0.5, 3, 32)
    x[7, NAMES.index(column)] = value
    flow = NSF((8,), domains=ALL.of(NAMES))
    with pytest.raises(DataError, match=f"^fit: {message}"):
        jflows.fit(flow, TableData("bad", x, columns=NAMES), jflows.TrainConfig(steps=1))


def test_batches_made_by_hand_are_checked_too():
    flow, x = MAF((1,), domains=Domains(positive=(0,))), np.array([[1.0], [-1.0], [-2.0]])
    batch = Batch(jnp.asarray(x), None, np.array([1.0, 0.0, 1.0]), jnp.arange(3))
    with pytest.raises(DataError, match=r"^here: `column '0'` must be positive; got -2 in row 2"):
        check_batch_values(batch, flow.reading, "here")


def test_ends_belong_to_whole_numbers_and_hours_may_begin_anywhere():
    domains = Domains(interval=((0, 1, 5),), circle=((1, 24),), integer=(0, 1, 2), positive=(2,))
    domains.check(np.array([[1.0, 24.0, 0.0], [5.0, 1.0, 3.0]]), "check")
    with pytest.raises(DataError, match="must be 1 to 5; got 6 in row 0"):
        domains.check(np.array([[6.0, 0.0, 0.0]]), "check")
    with pytest.raises(DataError, match="must be less than 4,194,304 in size, to leave float32 room for noise"):
        domains.check(np.array([[1.0, 0.0, 2.0**22]]), "check")
    assert not Domains() and domains


@pytest.mark.slow
@pytest.mark.parametrize("preset", [functools.partial(NSF, num_layers=3), functools.partial(COUPLING, num_layers=5)])
def test_a_flow_of_all_domains_keeps_the_contract_of_flows(preset):
    x = table(16).x.astype(float)
    check_flow(preset((8,), context_dim=2, domains=ALL.of(NAMES)), x, context=np.ones((16, 2)), tol=1e-7)


MIXTURES = {
    "vmonf": lambda domains: jflows.vmonf((8,), 2, MAF, encoder_sizes=(4,), start="kmeans", domains=domains),
    "flow_gmm": lambda domains: jflows.flow_gmm((8,), 2, MAF, domains=domains),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_mixtures_take_domains_but_circles(name):
    domains = dataclasses.replace(ALL, circle=()).of(NAMES)
    mixture = MIXTURES[name](domains)
    assert jflows.from_spec(jflows.to_spec(mixture)) == mixture and mixture.reading.domains == domains
    with pytest.raises(InvalidValueError, match=f"^{name}: `circle` is not for {name}, as its maps are not those of a"):
        MIXTURES[name](ALL.of(NAMES))


@pytest.mark.slow
@pytest.mark.parametrize("name", MIXTURES)
def test_samples_of_mixtures_lie_in_the_support(name):
    data = table(256)
    domains = dataclasses.replace(ALL, circle=()).of(data.columns)
    mixture = MIXTURES[name](domains)
    x = np.asarray(data.x, float)
    variables = perturb(mixture.init(KEY, x, None, data.statistics(mixture.before_standardizing)), 0, 0.1, jnp.float64)

    @functools.partial(jax.jit, compiler_options=QUICK)
    def draw(key):
        drawn = mixture.sample(variables, key, (500,))
        return drawn, mixture.log_prob(variables, drawn), mixture.elbo(variables, drawn.at[:, 0].multiply(-1))

    drawn, log_prob, outside = map(np.asarray, draw(KEY))
    domains.check(drawn, "sample", NAMES)
    assert np.isfinite(log_prob).all() and np.isneginf(outside).all()


def likelihood(flow, data: TableData, test: TableData, steps: int) -> float:
    """Nats on held-out rows after a short training."""
    config = jflows.TrainConfig(
        steps=steps, batch_size=256, learning_rate=3e-3, log_every=steps, checkpoint_every=steps
    )
    result = jflows.fit(flow, data, config, progress=False)
    batches = eval_batches(test, 500, flow.reading)
    return evaluate(flow, result.variables, batches, jax.random.key(0)).nats


def test_rebuilt_angles_are_compared_modulo_their_period_and_integers_with_their_bins():
    flow = jflows.nsf_coupling((2,), 1, (2,), num_bins=2, domains=Domains(circle=((0, -2, 2),), integer=(1,)))
    x = np.array([[3.9, 0.0], [-9.0, 5.0], [1.999, 2.0]])  # two of them in another branch than the samples
    error = jax.jit(lambda x: flow.reconstruction_error(flow.init(KEY, x), x), compiler_options=QUICK)
    assert float(error(x)) < 1e-6
    moved = flow.deviation(np.array([[-0.2, 1.5]]), np.array([[3.9, 0.0]]))
    np.testing.assert_allclose(moved, [[-0.1, 1.0]], atol=1e-12)


@pytest.mark.slow
def test_domains_fit_a_table_better_than_a_flow_of_real_numbers():
    """Both densities are over all columns but c, and of the count with noise: they compare."""
    with jax.enable_x64(False):
        of = {"num_layers": 2, "hidden_sizes": (32,), "num_bins": 4}
        rowwise = [table(4000), table(4000, 1)]
        own = likelihood(jflows.nsf_autoregressive((8,), domains=ALL.of(NAMES), **of), *rowwise, 300)
        left = [index for index, name in enumerate(NAMES) if name != "c"]
        plain = [TableData("plain", data.x[:, left]) for data in rowwise]
        noise = Domains(integer=(3,))
        without = likelihood(jflows.nsf_autoregressive((7,), domains=noise, **of), *plain, 300)
    assert own > without + 0.5, (own, without)


@pytest.mark.slow
def test_a_mixture_of_von_mises_is_recovered():
    """KL(truth, flow) by quadrature: below 0.01 nats, where the uniform density is at 0.56."""
    weights, centres, concentrations = np.array([0.6, 0.4]), np.array([0.3, 3.5]), np.array([8.0, 3.0])
    random = np.random.default_rng(0)
    component = random.choice(2, 5000, p=weights)
    x = random.vonmises(centres[component], concentrations[component]) % (2 * np.pi)  # a mode is cut by the seam
    grid = (np.arange(2000) + 0.5) * np.pi / 1000
    truth = sum(w * vonmises.pdf(grid, k, c) for w, c, k in zip(weights, centres, concentrations, strict=True))
    flow = jflows.nsf_autoregressive((1,), 2, (16,), domains=Domains(circle=((0, 2 * np.pi),)))
    config = jflows.TrainConfig(steps=600, batch_size=256, learning_rate=5e-3, log_every=600, checkpoint_every=600)
    with jax.enable_x64(False):
        result = jflows.fit(flow, TableData("angles", x[:, None]), config, progress=False)
        found = np.asarray(flow.log_prob(result.variables, jnp.asarray(grid[:, None], jnp.float32)))
    kl = lambda log_density: np.sum(truth * (np.log(truth) - log_density)) * np.pi / 1000
    assert kl(found) < 0.01 and kl(np.log(np.full(2000, 0.5 / np.pi))) > 0.5, kl(found)
