"""`conv2d` and `relu` against `lax.conv_general_dilated` and `jax.nn.relu`: values, derivatives, transformations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from jflows.errors import InvalidValueError
from jflows.ops.conv import conv2d
from jflows.ops.primitives import relu

CHANNELS = [(2, 5), (5, 2), (12, 13)]  # the forms gather, scatter and Winograd's, if the size is one that it takes
SIZES = [(1, 1), (2, 3), (7, 7)]
SMALLEST = (3, 3)  # of the sizes that Winograd's form takes


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def arrays(c_in, c_out, k=3, size=(4, 3), batch=(2,), dtype=np.float64):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(*batch, *size, c_in)), rng.normal(size=(k, k, c_in, c_out))
    return x.astype(dtype), kernel.astype(dtype)


@functools.partial(jax.jit, static_argnums=2)
def with_gradients(x, kernel, mode):
    """The output and both gradients for a cotangent that differs at every pixel."""
    y, vjp = jax.vjp(lambda x, kernel: conv2d(x, kernel, mode=mode), x, kernel)
    return y, *vjp(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))


def assert_close(got, want, tolerance=1e-12):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.by_default(
    *("channels0-3-size1", "channels1-3-size0", "channels0-1-size0", "channels1-5-size2"),
    *("channels2-3-size2", "channels2-3-size1", "channels2-5-size2"),
)
def test_matrix_products_equal_lax_in_value_and_gradient(channels, k, size):
    x, kernel = arrays(*channels, k, size)
    want = with_gradients(x, kernel, "lax")
    assert_close(with_gradients(x, kernel, "matrix"), want)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.by_default("channels0-batch2", "channels1-batch0", "channels2-batch2")
def test_any_number_of_batch_axes(channels, batch):
    x, kernel = arrays(*channels, batch=batch)
    y, dx, dk = with_gradients(x, kernel, "auto")
    assert y.shape == (*batch, 4, 3, channels[1])
    assert_close((y, dx, dk), with_gradients(x, kernel, "lax"))


def test_value_by_hand_and_outside_jit():
    x, kernel = np.arange(6.0).reshape(2, 3, 1), np.zeros((3, 3, 1, 2))
    kernel[1, 2, 0, 0], kernel[0, 1, 0, 1] = 1.0, 10.0
    y = np.asarray(conv2d(x, kernel))
    np.testing.assert_array_equal(y[..., 0], [[1, 2, 0], [4, 5, 0]])
    np.testing.assert_array_equal(y[..., 1], [[0, 0, 0], [0, 10, 20]])


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (2, 3)])
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.by_default("channels0-axes3", "channels1-axes1", "channels2-axes2")
def test_vmap_over_images_kernels_and_both(channels, axes):
    x, kernel = arrays(*channels)
    scale = np.array([1.0, -2.0, 0.5])
    x_many = x if axes[0] is None else np.stack([x * s for s in scale], axes[0])
    kernel_many = kernel if axes[1] is None else np.stack([kernel + s for s in scale], axes[1])

    def run(mode):
        return jax.jit(jax.vmap(lambda x, kernel: with_gradients(x, kernel, mode), axes))(x_many, kernel_many)

    assert_close(run("auto"), run("lax"))


@pytest.mark.parametrize("channels", [CHANNELS[0], *(pytest.param(c, marks=pytest.mark.slow) for c in CHANNELS[1:])])
def test_gradient_of_vmap(channels):
    x, kernel = arrays(*channels)
    kernels = np.stack([kernel, 2 * kernel])

    def loss(x, kernels, mode):
        return jnp.sum(jax.vmap(lambda x, kernel: conv2d(x, kernel, mode=mode))(x, kernels) ** 3)

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)), static_argnums=2)
    assert_close(gradient(x, kernels, "matrix"), gradient(x, kernels, "lax"), 1e-10)


def test_gradient_through_scan():
    x, narrow = arrays(2, 5)
    _, wide = arrays(5, 2)
    stack = (np.stack([narrow, -narrow, narrow]), np.stack([wide, wide, -wide]))

    def loss(x, stack, mode, act):
        def step(x, kernels):
            return x + 0.1 * conv2d(act(conv2d(x, kernels[0], mode=mode)), kernels[1], mode=mode), None

        return jnp.sum(jax.lax.scan(step, x, stack)[0] ** 2)

    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)), static_argnums=(2, 3))
    assert_close(gradient(x, stack, "auto", relu), gradient(x, stack, "lax", jax.nn.relu), 1e-10)


@pytest.mark.parametrize("argument", [0, 1])
@pytest.mark.parametrize("channels", CHANNELS)
def test_jacobians_in_both_modes(channels, argument):
    inputs = arrays(*channels, size=SMALLEST, batch=())

    def jacobian(of, mode):
        return jax.jit(of(lambda x, kernel: conv2d(x, kernel, mode=mode), argnums=argument))(*inputs)

    want = jacobian(jax.jacrev, "lax")
    assert_close(jacobian(jax.jacrev, "auto"), want)
    assert_close(jacobian(jax.jacfwd, "auto"), want)


@pytest.mark.parametrize("channels", CHANNELS)
def test_second_order(channels):
    inputs = arrays(*channels, size=SMALLEST, batch=())
    direction = jax.tree.map(np.sin, inputs)

    def products(mode):
        gradient = jax.grad(lambda inputs: jnp.sum(jnp.sin(conv2d(*inputs, mode=mode))))
        along = lambda inputs: sum(map(jnp.vdot, jax.tree.leaves(gradient(inputs)), direction))
        return jax.jvp(gradient, (inputs,), (direction,)), jax.grad(along)(inputs)

    got, want = jax.jit(products, static_argnums=0)("auto"), jax.jit(products, static_argnums=0)("lax")
    assert_close(got, want, 1e-10)


@pytest.mark.parametrize("mode", ["auto", "matrix", "lax"])
def test_dtypes(mode):
    for dtype in (jnp.bfloat16, jnp.float32, jnp.float64):
        x, kernel = arrays(2, 3, dtype=dtype)
        y, dx, dk = with_gradients(x, kernel, mode)
        assert y.dtype == dx.dtype == dk.dtype == dtype
        tolerance = {2: 0.1, 4: 1e-5, 8: 1e-12}[y.dtype.itemsize]
        np.testing.assert_allclose(
            np.asarray(y, np.float64), conv2d(*arrays(2, 3), mode="lax"), rtol=tolerance, atol=tolerance
        )
    assert conv2d(x, kernel.astype(jnp.float32), mode=mode).dtype == jnp.float64


def test_precision_reaches_the_product_from_argument_and_context():
    x, kernel = arrays(2, 3, dtype=np.float32)
    given = jax.jit(lambda x, kernel: conv2d(x, kernel, precision="highest")).lower(x, kernel)
    assert "HIGHEST" in given.as_text()
    with jax.default_matmul_precision("highest"):
        traced = jax.jit(conv2d).trace(x, kernel)
    assert "HIGHEST" in traced.lower().as_text()


def test_platform_is_that_of_the_lowering():
    x, kernel = arrays(2, 3)
    traced = jax.jit(jax.grad(lambda x, kernel: conv2d(x, kernel).sum(), argnums=(0, 1))).trace(x, kernel)
    assert "stablehlo.convolution" not in traced.lower(lowering_platforms=("cpu",)).as_text()
    on_gpu = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "stablehlo.convolution" in on_gpu and "stablehlo.dot_general" not in on_gpu
    forced = jax.jit(lambda x, kernel: conv2d(x, kernel, mode="matrix")).trace(x, kernel)
    assert "stablehlo.convolution" not in forced.lower(lowering_platforms=("cuda",)).as_text()


def test_gradient_of_a_replicated_kernel_under_shard_map():
    x, kernel = arrays(2, 3)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    split, whole = PartitionSpec("data"), PartitionSpec()

    def loss(x, kernel):
        return jax.lax.psum(jnp.sum(relu(conv2d(x, kernel)) ** 2), "data")

    sharded = jax.shard_map(loss, mesh=mesh, in_specs=(split, whole), out_specs=whole)
    got = jax.jit(jax.grad(sharded, argnums=(0, 1)))(x, kernel)
    want = jax.grad(lambda x, kernel: jnp.sum(jax.nn.relu(conv2d(x, kernel, mode="lax")) ** 2), argnums=(0, 1))
    assert_close(got, want(x, kernel))


def test_no_images_gives_no_images_and_a_zero_gradient():
    x, kernel = arrays(5, 2, batch=(0,))
    y, dx, dk = with_gradients(x, kernel, "auto")
    assert y.shape == (0, 4, 3, 2) and dx.shape == x.shape
    np.testing.assert_array_equal(dk, 0)


@pytest.mark.slow
def test_relu_equals_jax_nn_relu_with_its_derivatives():
    x = jnp.asarray([-1.5, -0.0, 0.0, 2.0, 1e-300, jnp.inf, -jnp.inf])

    def both(f):
        def value(x):
            return jnp.sum(f(x) * jnp.sin(x) * jnp.isfinite(x), where=jnp.isfinite(x))

        batched = jax.vmap(lambda s: jax.jvp(f, (x,), (s * x,))[1])(jnp.arange(2.0))
        return f(x), jax.vmap(f)(x), jax.grad(value)(x[:5]), jax.hessian(value)(x[:5]), jax.jacfwd(f)(x), batched[:, :5]

    assert_close(both(relu), both(jax.nn.relu))
    assert jnp.isnan(relu(jnp.nan))


def test_relu_keeps_its_output_and_no_mask():
    _, vjp = jax.vjp(relu, jnp.ones((3, 4)))
    assert [leaf.dtype for leaf in jax.tree.leaves(vjp)] == [jnp.float64]


@pytest.mark.parametrize(
    ("x_shape", "kernel_shape", "message"),
    [
        ((4, 4), (3, 3, 4, 2), r"conv2d: `x` must be \[\*batch, height, width, channels\]; got shape \(4, 4\)"),
        (
            (2, 4, 4, 3),
            (2, 2, 3, 2),
            r"conv2d: `kernel` must be \[k, k, in, out\] with k odd; got shape \(2, 2, 3, 2\)",
        ),
        ((2, 4, 4, 3), (3, 1, 3, 2), r"with k odd; got shape \(3, 1, 3, 2\)"),
        ((2, 4, 4, 3), (3, 3, 2), r"must be \[k, k, in, out\]"),
        ((2, 4, 4, 3), (3, 3, 2, 5), r"`kernel` must have 3 input channels.*got shape \(3, 3, 2, 5\)"),
    ],
)
def test_shape_errors(x_shape, kernel_shape, message):
    with pytest.raises(InvalidValueError, match=message):
        conv2d(jnp.zeros(x_shape), jnp.zeros(kernel_shape))


def test_unknown_mode():
    with pytest.raises(InvalidValueError, match="conv2d: `mode` must be one of 'auto', 'matrix', 'lax'; got 'fft'"):
        conv2d(*arrays(2, 3), mode="fft")
