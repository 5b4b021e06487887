"""Figures of flows in the plane: which panels they have, what these show, and the files that become of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jflows import InvalidValueError
from jflows.data.toys import circles, two_moons
from jflows.errors import RunError
from jflows.eval import Evaluation, Panel, drawing, flows_figure, plane, plane_page
from jflows.flows import maf, normal, realnvp
from jflows.runs.reports import REPORTS, Material
from jflows.runs.reports import page as report_of_page
from jflows.runs.reports.report import save_figure
from jflows.testing.common import perturb

PANELS = [
    *("x, data", "encode(x) before training", "encode(x) after training", "|decode(encode(x)) − x|, units of x"),
    *("z, draws of the base", "decode(z) before training", "decode(z) after training: samples"),
    *("|encode(decode(z)) − z|, units of z", "histogram of 500 rows, log density"),
]
LAYERS = ["x", "after step 2", "after step 1", "z", "after step 1", "after step 2"]


def titles(figure) -> list[str]:
    return [axes.get_title("left") for axes in figure.axes]


def limits(figure, title: str) -> tuple[float, ...]:
    axes = next(axes for axes in figure.axes if axes.get_title("left") == title)
    return (*axes.get_xlim(), *axes.get_ylim())


@pytest.fixture(scope="module")
def moons():
    return two_moons(500, seed=2)


@pytest.fixture(scope="module")
def trained(moons):
    flow = realnvp((2,), 2, (4,), standardize=False)
    initial = flow.init(jax.random.key(0), moons.x)
    return flow, perturb(initial, 0, 0.3), initial


@pytest.fixture(scope="module")
def page(trained, moons):
    flow, variables, initial = trained
    return plane_page(flow, variables, moons.x, moons.label, initial_variables=initial, title="two_moons")


def test_the_page_has_its_panels(page, trained, moons):
    found = titles(page)
    assert found[: len(PANELS)] == PANELS and found[-len(LAYERS) :] == LAYERS
    flow, variables, initial = trained
    score = jax.jit(flow.log_prob)
    for when, v in (("before", initial), ("after", variables)):
        mean = float(score(v, moons.x).mean())
        assert f"log p(x) {when}, mean {mean:.2f} nats".replace("-", "−") in found
    assert page.texts[-1].get_text() == "two_moons"


def test_panels_of_one_space_share_their_limits(page):
    data, latents = limits(page, PANELS[0]), limits(page, PANELS[4])
    assert limits(page, PANELS[5]) == limits(page, PANELS[6]) == limits(page, PANELS[8]) == data != latents
    assert limits(page, PANELS[1]) == limits(page, PANELS[2]) == latents


def test_points_are_those_of_encode_and_keep_their_colours(page, trained, moons):
    flow, variables, _ = trained
    data, _, latents = (axes.collections[0] for axes in page.axes[:3])
    z, _ = jax.jit(flow.encode)(variables, moons.x)
    np.testing.assert_allclose(latents.get_offsets(), z, atol=1e-5)
    np.testing.assert_array_equal(latents.get_facecolors(), data.get_facecolors())
    base, samples = (np.ma.getdata(page.axes[index].collections[0].get_offsets()) for index in (4, 6))
    np.testing.assert_allclose(samples, jax.jit(flow.decode)(variables, base)[0], atol=1e-5)


def test_the_density_is_that_of_the_flow(page, trained):
    (image,) = page.axes[10].get_images()
    left, right, bottom, _ = image.get_extent()
    half = (right - left) / plane.GRID / 2
    flow, variables, _ = trained
    corner = jax.jit(flow.log_prob)(variables, jnp.array([right - half, bottom + half], jnp.float32))
    values = image.get_array()
    assert values.shape == (plane.GRID, plane.GRID)
    np.testing.assert_allclose(values[0, -1], max(float(corner), image.get_clim()[0]), rtol=1e-4)
    assert image.get_clim()[1] == values.max()


def test_panels_do_not_overlap(page):
    boxes = [axes.get_position() for axes in page.axes]
    assert all(min(box.x0, box.y0) >= 0 and max(box.x1, box.y1) <= 1 for box in boxes)
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:index])


def test_a_file_is_written_whole_small_and_of_the_stated_size(page, tmp_path):
    save_figure(page, tmp_path / "new" / "page.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.png"]
    assert 20_000 < (tmp_path / "new" / "page.png").stat().st_size < 300_000
    with Image.open(tmp_path / "new" / "page.png") as image:
        assert image.mode == "P" and image.size == tuple((page.get_size_inches() * drawing.DPI).astype(int))
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="must be writable"):
        save_figure(page, tmp_path / "file" / "page.png")


def test_flows_stand_side_by_side_five_in_a_row(trained, moons):
    flow, variables, initial = trained
    names = [f"{n} layers: NLL 1.250 nats" for n in range(1, 7)]
    pairs = zip(names, [initial, *[variables] * 5], strict=True)
    figure = flows_figure([Panel(name, flow, v) for name, v in pairs], moons.x)
    assert titles(figure) == [*names[:5], *[""] * 5, names[5], ""]
    first, last = figure.axes[0], figure.axes[-2]
    assert first.get_position().x0 == last.get_position().x0 and first.get_position().y0 > last.get_position().y1
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert len({image.get_clim() for axes in figure.axes for image in axes.get_images()}) == 1


def test_a_run_draws_a_page_without_labels_and_layers(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(report_of_page, "save_figure", lambda figure, path: drawn.append((figure, path)))
    table = circles(300)
    flow = normal((2,), standardize=False)
    variables, score = (
        flow.init(jax.random.key(0), table.x),
        Evaluation(0.0, 0.0, 0.0, 0.0, 300, 300),
    )
    out = tmp_path / "circles"
    assert REPORTS["page"].write(Material(flow, variables, table, [], score, out)) == ["page.png"]
    ((figure, path),) = drawn
    assert path == out / "page.png" and figure.texts[-1].get_text() == "circles"
    assert titles(figure)[-4:] == ["x", "after Identity", "z", "after Identity"]
    figure.canvas.draw()  # errors of exactly 0 everywhere: axes without a curve


def test_values_that_are_not_finite_leave_a_page(trained, moons):
    flow, variables, initial = trained
    broken = jax.tree.map(lambda leaf: leaf * np.nan, variables)
    figure = plane_page(flow, broken, moons.x, initial_variables=initial)
    assert "log p(x) after, mean nan nats" in titles(figure)


def test_exchanged_coordinates_are_turned_back():
    x = np.random.default_rng(0).normal(size=(50, 2))
    turned = plane._turned([x, x[:, ::-1], x[:, ::-1] + 0.1, x])
    assert [exchanged for _, exchanged in turned] == [False, True, True, False]
    np.testing.assert_allclose(turned[2][0], x + 0.1)


def test_colours_differ_between_classes_and_directions():
    x = np.random.default_rng(0).normal(size=(200, 2))
    label = (x[:, 0] > 0).astype(int)
    for colours in (drawing.colours_of_data(x, label), drawing.colours_of_data(x), drawing.colours_of_latents(x)):
        assert colours.shape == (200, 3) and colours.min() >= 0 and colours.max() <= 1
    red_or_blue = drawing.colours_of_data(x, label)
    assert ((red_or_blue[:, 0] > red_or_blue[:, 2]) == (label == 0)).all()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda f, v, x: plane_page(f, v, x[:, :1]), r"plane_page: `x` must be \[num, 2\]; got shape \(500, 1\)"),
        (lambda f, v, x: plane_page(f, v, x[:0]), r"`x` must be \[num, 2\]; got shape \(0, 2\)"),
        (
            lambda f, v, x: plane_page(f, v, x, x),
            r"`label` must hold one label per row; got shape \(500, 2\) for 500 rows",
        ),
        (
            lambda f, v, x: plane_page(maf((3,), 1, (4,)), {}, x),
            r"`flow` must map \(2,\) to \(2,\) without a context; got",
        ),
        (lambda f, v, x: plane_page(realnvp((2,), context_dim=1), {}, x), r"context_shape \(1,\)"),
        (lambda f, v, x: flows_figure([], x), "flows_figure: `panels` must hold at least one flow; got none"),
        (lambda f, v, x: flows_figure([Panel("", f, v)], x[0]), r"flows_figure: `x` must be \[num, 2\]"),
    ],
)
def test_errors(trained, moons, call, match):
    with pytest.raises(InvalidValueError, match=match):
        call(*trained[:2], moons.x)


def test_columns_of_other_units_have_lengths_of_their_own():
    corners = np.array([[0.0, 0.0], [1.0, 1.0]])
    length = lambda scale: (lambda box: (box.right - box.left, box.top - box.bottom))(drawing.square(corners * scale))
    np.testing.assert_allclose(length(np.array([4.0, 1.0])), (4 * drawing.ROOM,) * 2, rtol=0.01)
    np.testing.assert_allclose(length(np.array([5e4, 1e-16])), (5e4 * drawing.ROOM, 1e-16 * drawing.ROOM), rtol=0.01)
    assert min(length(0.0)) > 0
