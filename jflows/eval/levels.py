"""`resample_levels`: what each level of a multi-scale flow decides about an image.

Read next: `jflows/bijectors/multiscale.py`, which factors out the levels; `jflows/eval/latent.py`, other uses.
"""

import jax.numpy as jnp

from jflows.errors import InvalidValueError
from jflows.eval.latent import encode_centres, log_det_key
from jflows.flows import Flow
from jflows.flows.door import check_temperature
from jflows.typing import Array, Key, Variables


def resample_levels(
    flow: Flow,
    variables: Variables,
    x: Array,
    key: Key,
    context: Array | None = None,
    temperature: float | Array = 1.0,
) -> Array:
    """Draws the latent of one level anew, and keeps those of all others, for each level in turn.

        x_l = decode(z with z_l replaced by e_l),   z = encode(x),   e ~ base at this temperature

    All levels take their parts of one draw e for each image. The finest level holds single pixels and textures; the
    coarsest one holds what the image is.

    Source: Dinh et al. 2017, arXiv:1605.08803, section 3.6 and appendix D, which draws all finer levels anew at once.

    Args:
      key: typed key.
      context: [*batch, *context_shape] or None.
      temperature: factor of the deviation of the draw from the mean of the base; 1 draws from the density itself.
    Shapes:
      x: [*batch, *event_shape] -> [*batch, num_levels, *event_shape], finest level first; integers if the flow
      dequantizes.
    Raises:
      InvalidValueError: if the flow has no levels.
    """
    check_levels("resample_levels", flow)
    check_temperature("resample_levels", temperature)
    batch_shape, sizes = flow.check_x(x), flow.level_sizes
    z = encode_centres(flow, variables, x, context)
    drawn = flow.sample_latent(variables, key, batch_shape if context is None else (), context, temperature)
    of_level = jnp.repeat(jnp.arange(len(sizes)), jnp.array(sizes), total_repeat_length=sum(sizes))
    level = jnp.arange(len(sizes)).reshape(-1, *(1,) * z.ndim)
    changed = jnp.where(of_level == level, drawn, z)  # levels first, so that contexts broadcast to them
    found = flow.decode(variables, changed, context, log_det_key(flow))[0]
    return flow.quantize(jnp.moveaxis(found, 0, len(batch_shape)))


def check_levels(where: str, flow: Flow) -> None:
    """Raises `InvalidValueError` unless the flow has at least two levels."""
    if len(flow.level_sizes) < 2:
        rule, fix = "must have at least two levels, each with a latent of its own", "Try {num_levels=2} of glow."
        raise InvalidValueError(where, "flow", rule, f"{len(flow.level_sizes) or 1} in {flow!r}", fix)
