"""WaveGlow: a flow of waveforms, conditioned on frames of features such as a mel spectrogram."""

from typing import Annotated

from jflows.bijectors import ActNorm, Affine, Chain, Coupling, InvertibleLinear, MultiScale, Repeat, Reshape
from jflows.data.kinds import WAVEFORMS
from jflows.distributions import StandardNormal
from jflows.errors import InvalidValueError
from jflows.flows.flow import Flow
from jflows.flows.presets import shared as s
from jflows.flows.presets.preset import preset
from jflows.nn import UpsampledContext, WaveNet
from jflows.nn.wavenet import CONTEXT_TAPS
from jflows.options import Option
from jflows.typing import Shape

CONTEXT_RADIUS = CONTEXT_TAPS // 2
"""How many frames of the context, to either side of its own, a step of time sees beside what `radius` says."""

NumLevels = Annotated[
    int,
    Option(
        "Number of levels. After each level but the last, num_out of the channels leave the flow, so that later steps "
        "work on fewer. More levels with as many steps each fit more, and cost time in proportion.",
        low=1,
    ),
]
NumSteps = Annotated[
    int,
    Option(
        "Number of flow steps in each level. More steps fit more; a training step takes time in proportion, while "
        "compile time does not grow.",
        low=1,
    ),
]
Width = Annotated[
    int,
    Option("Number of residual channels in the couplings' networks; time grows with their square.", low=1),
]
NumDilations = Annotated[
    int,
    Option(
        "Number of layers in each coupling's network, whose dilations are 1, 2, 4, ...: one more layer doubles how far "
        "the network sees.",
        low=1,
    ),
]
SkipWidth = Annotated[
    int | None,
    Option("Number of channels that the layers of a network add up for its output; none takes width.", low=1),
]
Group = Annotated[
    int,
    Option(
        "Number of neighbouring samples that become the channels of one step of time; the length of a waveform must be "
        "a multiple. Larger groups are faster, and see less of the order of samples.",
        low=2,
    ),
]
NumOut = Annotated[
    int,
    Option("Number of channels that leave the flow after each level but the last; two must be left.", low=1),
]
ContextWidth = Annotated[
    int,
    Option(
        "Number of channels of the context at each step of time, after it was brought from frames to steps. Every "
        "layer of every network reads them, so that few are faster.",
        low=1,
    ),
]
ContextShape = Annotated[
    Shape | None,
    Option(
        "Shape of the context of a waveform: (frames, channels), such as that of a mel spectrogram; none builds a flow "
        "without a context.",
        low=1,
        axes=2,
        noun="(frames, channels)",
        from_data=True,
    ),
]


@preset
def waveglow(
    event_shape: s.EventShape,
    num_levels: NumLevels = 3,
    num_steps: NumSteps = 4,
    width: Width = 256,
    *,
    num_layers: NumDilations = 8,
    skip_width: SkipWidth = None,
    group: Group = 8,
    num_out: NumOut = 2,
    context_width: ContextWidth = 640,
    scale: s.Scale = "tanh",
    max_log_scale: s.MaxLogScale = 2.0,
    context_shape: ContextShape = None,
    compute_dtype: s.ComputeDtype = "full",
    backprop: s.Backprop = "standard",
    anchor_every: s.AnchorEvery = 0,
) -> Flow:
    """WaveGlow: Glow on groups of samples, whose couplings' networks are WaveNets that see a mel spectrogram.

    From data to latent: one ActNorm, then levels of steps, each an invertible linear map of the channels and an affine
    coupling; `num_out` channels leave after each level but the last. Everything is convolutional, so that the
    variables of a trained flow serve waveforms of any length: build it for another event shape.

    Source: Prenger et al. 2018, arXiv:1811.00002, sections 2.1 to 2.3 and figure 1. The defaults are the model of the
    published code, whose networks have 256 channels; the paper's text has 512 residual and 256 skip channels. Differs:
    the scale is bounded on both sides unless `scale="exp"`; the ActNorm; and see `WaveNet` and `UpsampledContext`.
    """
    time = _time(event_shape, group, num_levels, num_out)
    factor = None if context_shape is None else _factor(context_shape, time)

    def step() -> Chain:
        network = WaveNet(width, num_layers, skip_width, compute_dtype=compute_dtype)
        return Chain((Coupling(network, Affine(scale, max_log_scale), event_ndims=3), InvertibleLinear(event_ndims=3)))

    shape = (1, time, group)
    levels = tuple(Repeat(step(), num_steps, backprop, anchor_every) for _ in range(num_levels))
    scales = MultiScale(shape, levels, num_out=num_out)
    return Flow(
        bijector=Chain((scales, ActNorm(event_ndims=3), Reshape(event_shape, shape))),
        base=StandardNormal(event_shape),
        event_shape=event_shape,
        embed=None if factor is None else UpsampledContext(context_width, factor, compute_dtype),
        context_shape=context_shape,
        data_kind=WAVEFORMS.name,
    )


def radius(num_levels: int, num_steps: int, num_layers: int) -> int:
    """How many steps of time, to either side, one step of a `waveglow` depends on, in either direction."""
    return num_levels * num_steps * WaveNet(num_layers=num_layers).radius


def _time(event_shape: Shape, group: int, num_levels: int, num_out: int) -> int:
    """The number of steps of time, if the waveform can be cut into groups, and enough channels are left."""
    if len(event_shape) != 1:
        rule, fix = "must be (samples,)", "Use glow for images."
        raise InvalidValueError("waveglow", "event_shape", rule, repr(event_shape), fix)
    if event_shape[0] % group:
        rule, fix = f"must be a multiple of group={group}", "Choose another {group}."
        raise InvalidValueError("waveglow", "event_shape", rule, repr(event_shape), fix)
    left = group - num_out * (num_levels - 1)
    if left < 2:
        rule = f"must leave two of the {group} channels to the last of num_levels={num_levels}"
        fix = "Lower it, or {num_levels}, or raise {group}."
        raise InvalidValueError("waveglow", "num_out", rule, repr(num_out), fix)
    return event_shape[0] // group


def _factor(context_shape: Shape, time: int) -> int:
    """The number of steps of time in a frame of the context."""
    if time % context_shape[0]:
        rule = f"must have a number of frames that divides the {time} steps of time of a waveform"
        raise InvalidValueError("waveglow", "context_shape", rule, repr(context_shape), "Choose another {group}.")
    return time // context_shape[0]
