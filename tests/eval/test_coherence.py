"""Coherence: bases in float64, regions, checks, shells, attributes on held-out rows, classes, conditional flows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.svm import LinearSVC

import jflows
from jflows import bijectors as b
from jflows import distributions as d
from jflows.data import TableData, eval_batches
from jflows.errors import DataError, InvalidTypeError, InvalidValueError
from jflows.eval import coherence as c
from jflows.flows import MixtureOfFlows


def draws(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def flow_of(base, dim=3, **options):
    flow = jflows.Flow(b.Identity(), base, (dim,), **options)
    context = np.zeros(2, np.int32) if options else None
    variables = flow.init(jax.random.key(0), jnp.zeros((2, dim)), context)
    return flow, jax.tree.map(lambda leaf: leaf + 0.3, variables)


def test_ln_p_two_deviations_from_the_mean_is_the_known_number():
    dim = 49152  # 128 by 128 pixels of three colours
    flow = jflows.Flow(b.Identity(), d.StandardNormal((dim,)), (dim,))
    for base in (c.normal_base((dim,)), c.base_of(flow, {})):
        points = c.deviation_points(base, (-2.0, 0.0, 2.0))
        found = base.log_prob(points, None)
        assert found.round(2).tolist() == [-143471.67, -45167.67, -143471.67]
        assert base.radius(points).tolist() == pytest.approx([2 * dim**0.5, 0, 2 * dim**0.5])


def test_bases_of_flows_are_those_of_scipy():
    z = draws(0, 5, 3)
    flow, variables = flow_of(d.DiagonalNormal((3,)))
    base, same = c.base_of(flow, variables), c.normal_base((3,), 0.3, np.exp(0.3))
    np.testing.assert_allclose(base.log_prob(z, None), same.log_prob(z, None), rtol=1e-9)
    np.testing.assert_allclose(base.radius(z), same.radius(z), rtol=1e-9)
    assert not base.is_standard_normal and not same.is_standard_normal and c.normal_base((3,)).is_standard_normal
    cold = base.draw(4, 0, None, 0.0)
    np.testing.assert_allclose(cold, np.full((4, 3), 0.3), rtol=1e-6)
    flow, variables = flow_of(d.StudentT((3,), 5.0))
    student, same = c.base_of(flow, variables), c.student_t_base((3,), 5.0)
    np.testing.assert_allclose(student.log_prob(z, None), same.log_prob(z, None), rtol=1e-9)
    np.testing.assert_allclose(same.draw(4000, 0, None, 0.5).std(axis=0), 0.5 * same.moments(None)[1], rtol=0.1)
    np.testing.assert_allclose(student.log_prob(z, None), stats.t.logpdf(z, 5).sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(student.moments(None)[1], np.sqrt(5 / 3))
    flow, variables = flow_of(d.Uniform((3,)))  # without a closed form of its deviation: by draws
    mean, deviation = c.base_of(flow, variables).moments(None)
    np.testing.assert_allclose(mean, 0.5, atol=0.06)
    np.testing.assert_allclose(deviation, 12**-0.5, rtol=0.1)


def test_a_conditional_base_is_that_of_each_row():
    flow, variables = flow_of(d.ClassConditionalNormal((3,)), embed=jflows.nn.ClassEmbed(2), context_shape=())
    moved = jax.tree.map(lambda leaf: leaf + jnp.arange(2.0).reshape(2, *(1,) * (leaf.ndim - 1)), variables)
    base, label = c.base_of(flow, moved), np.array([1, 0, 1, 1], np.int32)
    z = draws(1, 4, 3)
    place = np.where(label == 1, 1.3, 0.3)[:, None]
    np.testing.assert_allclose(base.log_prob(z, label), stats.norm.logpdf(z, place, np.exp(place)).sum(axis=1))
    np.testing.assert_allclose(base.radius(z, label), np.linalg.norm((z - place) / np.exp(place), axis=1))
    np.testing.assert_allclose(base.draw(4, 0, label, 0.0), np.broadcast_to(place, (4, 3)), rtol=1e-6)
    np.testing.assert_allclose(c.deviation_points(base, (2.0,), np.int32(1)), np.full((1, 3), 1.3 + 2 * np.exp(1.3)))
    other, of_other = flow_of(d.StandardNormal((3,)), embed=jflows.nn.ClassEmbed(2), context_shape=())
    assert c.regions_of(c.base_of(other, of_other), context=label) == c.normal_regions(3)
    x = TableData("x", z, label=label, num_classes=2)
    found = c.embedded(flow, moved, base, eval_batches(x, 3, flow.reading), jax.random.key(0))
    np.testing.assert_allclose(found.log_prob, flow.log_prob(moved, jnp.asarray(z), label), rtol=1e-5)
    np.testing.assert_array_equal(found.take(np.array([0, 2])).context, [1, 1])
    back = c.decoded(flow, moved, base, found.latents, found.context)
    np.testing.assert_allclose(back.x, z, rtol=1e-5)
    np.testing.assert_allclose(back.log_prob, found.log_prob, rtol=1e-5)


def test_regions_of_the_normal_are_those_of_draws():
    exact = {region.name: region for region in c.normal_regions(64)}
    base = c.normal_base((64,))
    drawn = draws(2, 4000, 64)
    far, nats = base.radius(drawn), base.log_prob(drawn, None)
    mode = float(base.log_prob(np.zeros((1, 64)), None)[0])
    for found in c.drawn_regions(far, nats, mode):
        own = exact[found.name]
        np.testing.assert_allclose(found.base_share, own.base_share, atol=4 * found.standard_error + 1e-3)
        np.testing.assert_allclose(own.inside(far, nats).mean(), own.base_share, atol=0.015)
        if found.name != "mode":
            np.testing.assert_allclose(found.log_prob, own.log_prob, atol=0.8)
    assert exact["mode"].base_share < 1e-40 and exact["mode"].inside([0.5], [0.0])[0]
    assert np.mean(nats) == pytest.approx(-32 * np.log(2 * np.pi * np.e), abs=0.4)
    low, high = exact["typical"].radius
    assert low < 8 < high < exact["highest"].radius[1] + 0.3
    plane = {region.name: region.base_share for region in c.normal_regions(2)}
    assert plane["mode"] == pytest.approx(1 - np.exp(-0.5))


def test_regions_of_a_base_without_closed_forms_hold_their_mass():
    flow, variables = flow_of(d.StudentT((3,), 5.0))
    base = c.base_of(flow, variables)
    regions = {region.name: region for region in c.regions_of(base, 0.9, 1500)}
    new = base.draw(1500, 77, None, 1.0)
    for name in ("highest", "typical"):
        share = regions[name].inside(base.radius(new), base.log_prob(new, None)).mean()
        assert share == pytest.approx(0.9, abs=0.035)
    np.testing.assert_allclose(regions["highest"].log_prob[1], 3 * stats.t.logpdf(0, 5))
    scaled = c.normal_base((3,), 1.0, 2.0)
    drawn = c.drawn_regions(scaled.radius(z := scaled.draw(4000, 0)), scaled.log_prob(z, None), 0.0 - 3 * np.log(2))
    for own, found in zip(c.regions_of(scaled), drawn, strict=True):
        np.testing.assert_allclose(own.log_prob[0], found.log_prob[0], atol=0.3)
    closed = c.regions_of(c.normal_base((3,)), 0.9)
    assert closed[1].base_share == 0.9 and closed[1].standard_error == 0


def test_a_classifier_is_unsure_of_images_of_no_class():
    random = np.random.default_rng(0)
    label = np.arange(400) % 2
    x = np.zeros((400, 4, 4, 1), np.uint8)
    x[np.arange(400), :, label * 3, 0] = 12
    x = np.clip(x + random.integers(0, 4, x.shape), 0, 15).astype(np.uint8)
    check = c.entropy_check(x[:300], label[:300], x[300:], label[300:], 16, steps=40)
    assert "right for 100.0% of 100 others" in check.statement and check.fails(x[300:]).mean() <= 0.01
    both = np.maximum(x[300:], x[299:399])  # lines of both classes
    assert check.fails(both).mean() > 0.9


def test_images_far_from_the_components_and_rows_far_from_all_fail():
    random = np.random.default_rng(0)
    plane = random.standard_normal((2, 4 * 4)) * 10
    images = lambda num: (random.standard_normal((num, 2)) @ plane + random.standard_normal((num, 16))).reshape(
        -1, 4, 4, 1
    )
    check = c.reconstruction_check(images(100), images(1000))
    assert " 2 principal components" in check.statement and check.fails(images(1000)).mean() < 0.03
    assert check.fails(images(50) + 10 * random.standard_normal((50, 4, 4, 1))).all()
    wide = lambda num: images(num).repeat(4, axis=1)  # 64 entries
    few = c.reconstruction_check(wide(40), wide(1000))  # fewer rows than entries
    assert " 2 principal components" in few.statement and few.threshold == pytest.approx(check.threshold, rel=0.1)
    near = c.nearest_check(draws(3, 300, 2) * [1, 100], draws(4, 200, 2) * [1, 100])
    assert near.fails(draws(5, 300, 2) * [1, 100]).mean() < 0.05
    assert near.fails(draws(5, 50, 2) * [1, 100] + [9, 0]).all() and near.fails([[np.nan, 0.0]]).all()


def test_shares_of_shells():
    fails = np.arange(100) >= 80
    inner, *_, outer = c.shells_by_radius(np.arange(100.0)[::-1], fails[::-1])
    assert (inner.failing, outer.failing, outer.num, outer.radius) == (0, 1, 20, 89.5)
    one = c.shell("temperature 0.7", np.ones(100), fails)
    assert one.failing == 0.2 and one.standard_error == pytest.approx(0.04)


def apart(seed, num, share, gap=1.5):
    positive = np.arange(num) < share * num
    z = draws(seed, num, 2, 4)
    z[positive, 1, 2] += gap
    return z, positive


def test_planes_of_attributes_are_judged_on_held_out_rows():
    (z, positive), (other, true) = apart(0, 300, 0.3), apart(1, 400, 0.25)
    found = c.attribute_plane(z, positive, other, true, name="glasses")
    machine = LinearSVC(dual=False, intercept_scaling=100.0, tol=1e-7).fit(z.reshape(300, -1), positive)
    guess = machine.predict(other.reshape(400, -1))
    assert found.accuracy == np.mean(guess == true)
    assert found.balanced_accuracy == 0.5 * (guess[true].mean() + 1 - guess[~true].mean())
    assert (found.majority, found.num_fitted, found.num_held_out) == (0.75, (90, 210), (100, 300))
    assert found.margin == pytest.approx(2 / np.linalg.norm(machine.coef_), rel=1e-4)
    inside = np.where(positive, 1, -1) * machine.decision_function(z.reshape(300, -1)) <= 1
    assert abs(found.num_support - inside.sum()) <= 1
    assert np.unravel_index(found.direction.argmax(), (2, 4)) == (1, 2)
    np.testing.assert_array_equal(found.distance(other) > 0, guess)
    moved, alphas = c.along(other[:3], 7 * found.direction)
    assert moved.shape == (3, 21, 2, 4) and alphas[[0, 10, 20]].tolist() == [-20, 0, 20]
    np.testing.assert_array_equal(moved[:, 10], other[:3])
    np.testing.assert_allclose(found.distance(moved[:, 20]) - found.distance(other[:3]), 20, rtol=1e-4)


def test_separable_rows_are_fitted_and_noise_is_found_to_be_chance():
    z, other = draws(2, 60, 200), draws(3, 200, 200)
    positive = np.arange(60) % 2 == 0
    found = c.attribute_plane(z, positive, other, np.arange(200) % 2 == 0)
    assert found.fitted_accuracy == 1 and abs(found.balanced_accuracy - 0.5) < 0.15


def test_classes_are_told_by_the_larger_density():
    (z, positive), (other, true) = apart(4, 600, 0.5, 3.0), apart(5, 200, 0.5, 3.0)
    of_base, of_data = -np.arange(200.0), np.arange(200.0)
    names = ("without", "with")
    found = c.class_table(
        z, positive.astype(int), other, true.astype(int), names=names, base_log_prob=of_base, log_prob=of_data
    )
    own = [
        stats.norm.logpdf(other, *(part[k] for part in (found.normals.mean, found.normals.deviation))) for k in (0, 1)
    ]
    of_classes = np.stack([each.sum(axis=(1, 2)) for each in own], axis=1)
    np.testing.assert_allclose(found.of_classes, of_classes)
    guess = of_classes.argmax(axis=1)
    assert found.confusion.tolist() == [[np.sum((true == a) & (guess == k)) for k in (0, 1)] for a in (0, 1)]
    assert found.accuracy == np.mean(guess == true) > 0.9 and found.balanced_accuracy == pytest.approx(found.accuracy)
    np.testing.assert_allclose(
        found.mean[1], [*of_classes[true].mean(axis=0), of_base[true].mean(), of_data[true].mean()]
    )
    drawn = found.draw(1, 5000, 0.5)
    np.testing.assert_allclose(drawn.mean(axis=0), found.posterior.mean[1], atol=0.05)
    np.testing.assert_allclose(drawn.std(axis=0), 0.5 * found.normals.deviation[1], rtol=0.1)


def with_nan(z):
    return np.where(np.arange(z.size).reshape(z.shape) == 11, np.nan, z)


Z, POSITIVE = apart(6, 60, 0.5)
LABEL = POSITIVE.astype(int)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: c.attribute_plane(Z, np.ones(60, bool), Z, POSITIVE, name="hat"), DataError,
         "attribute_plane: `hat` must have images with the attribute and images without it; got 60 with it of 60"),
        (lambda: c.attribute_plane(Z, POSITIVE, Z, np.arange(60) < 4, name="hat"), DataError,
         "`hat` must have at least 5 rows with it and 5 without it held out; got 4. Give more rows"),
        (lambda: c.attribute_plane(Z, np.arange(60) < 9, Z, POSITIVE), DataError, "at least 10 rows .* got 9"),
        (lambda: c.attribute_plane(with_nan(Z), POSITIVE, Z, POSITIVE), InvalidValueError,
         "`latents` must be finite; got NaN or infinite entries in 1 of 60 rows, the first of which is row 1. Leave"),
        (lambda: c.attribute_plane(Z, LABEL, Z, POSITIVE), InvalidValueError, "bool .num.; got shapes .60, 2, 4. and"),
        (lambda: c.attribute_plane(Z, POSITIVE, Z[:, 0], POSITIVE), InvalidValueError, "must have one latent shape"),
        (lambda: c.attribute_plane(0 * Z, POSITIVE, Z, POSITIVE), DataError, "must differ between latents with it and"),
        (lambda: c.along(Z, np.zeros((2, 4))), InvalidValueError, "`direction` must be of the shape of a latent"),
        (lambda: c.class_table(Z, LABEL, Z, LABEL, names=("one",)), DataError, "of two classes or more; got 1"),
        (lambda: c.class_table(Z, LABEL * 0, Z, LABEL, names=("a", "b")), DataError,
         "`label` must have at least 10 rows of each class to fit to; got 0 of 'b'. Give more rows of it"),
        (lambda: c.class_table(with_nan(Z), LABEL, Z, LABEL, names=("a", "b")), InvalidValueError, "must be finite"),
        (lambda: c.class_table(Z, LABEL + 1, Z, LABEL, names=("a", "b")), InvalidValueError, "integers .num. below 2"),
        (lambda: c.class_table(Z, LABEL, Z, LABEL, names=("a", "b"), log_prob=[0.0]), InvalidValueError,
         r"`log_prob` must be numbers of shape \(60,\); got shape \(1,\)"),
        (lambda: c.normal_base((2,), deviation=-1.0), InvalidValueError, "`deviation` must be positive and finite"),
        (lambda: c.normal_base((2,), mean=np.zeros(3)), InvalidValueError, r"must fit the shape \(2,\), as"),
        (lambda: c.base_of(MixtureOfFlows((jflows.realnvp((2,), 1, (4,)),), 2), {}), InvalidTypeError,
         "base_of: `flow` must be a flow, whose base latents are compared with; got MixtureOfFlows. Use a component"),
        (lambda: c.base_of(*flow_of(d.StudentT((3,), 2.0))).moments(None), DataError,
         "must have a finite mean and a finite deviation, to compare with; got a base without"),
        (lambda: c.student_t_base((3,), 2.0).moments(None), DataError, "Student t has both above 2 degrees"),
        (lambda: c.drawn_regions(np.ones(99), np.ones(99), 0.0), InvalidValueError, "of one length, at least 100; got"),
        (lambda: c.drawn_regions(np.full(100, np.inf), np.ones(100), 0.0), InvalidValueError, "with NaN or infinite"),
        (lambda: c.nearest_check(Z[:19, 0], Z[:, 0]), InvalidValueError, "`train` must be at least 20 rows of numbers"),
        (lambda: c.nearest_check(Z[:, 0], with_nan(Z)[:, 0]), InvalidValueError, "`test` must be finite; got NaN"),
        (lambda: c.entropy_check(Z[..., None], LABEL * 0, Z[..., None], LABEL), InvalidValueError, "two classes or"),
        (lambda: c.entropy_check(Z[..., None], POSITIVE, Z[..., None], LABEL), InvalidValueError, "must be integers"),
        (lambda: c.shell("s", [np.nan], np.array([True])), InvalidValueError, "`radius, fails` must be finite numbers"),
        (lambda: c.shells_by_radius(np.ones(3), np.ones(3, bool)), InvalidValueError, "`num_parts` must be at most 3"),
    ],
)  # fmt: skip
def test_what_does_not_serve_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
