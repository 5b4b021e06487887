"""Settings of flows of images."""

import dataclasses

from jflows.errors import InvalidValueError
from jflows.flows import Flow, glow
from jflows.train.config import TrainConfig
from jflows.typing import Shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageConfig(TrainConfig):
    """What all flows of images have in common."""

    data: str = "mnist"
    """Name of a data set, or path of a folder of images or an .npz file."""
    num_bits: int = 8
    """Bits kept of every pixel."""
    mirror: bool = False
    """Flip images left to right with probability 1/2."""
    image_size: int = 0
    """For folders: centre-crop and resize to this side; 0 keeps the images as they are."""

    def __post_init__(self):
        if self.image_size < 0:
            rule = "must be at least 0"
            raise InvalidValueError(type(self).__name__, "image_size", rule, repr(self.image_size))
        super().__post_init__()


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlowConfig(ImageConfig):
    """A Glow on images, with the arguments of `jflows.glow`."""

    num_levels: int = 3
    """Number of squeezes."""
    num_steps: tuple[int, ...] = (8,)
    """Steps per level: one number for all levels, or one per level."""
    width: int = 64
    """Hidden channels of the conditioners."""
    coupling: str = "affine"
    """affine or additive."""
    scale: str = "tanh"
    """Scale of affine couplings: tanh (bounded on both sides), sigmoid (published code) or exp."""
    max_log_scale: float = 2.0
    """Bound of the tanh scale."""
    permutation: str = "conv1x1"
    """conv1x1, reverse or shuffle."""
    norm: str = "actnorm"
    """Of the conditioners: actnorm or bias."""
    preprocess: str = "centred"
    """centred or logit."""
    alpha: float = 0.05
    """Of logit."""
    padding: int = 0
    """Zero pixels added on each side; bits/dim still count the data's own pixels."""
    class_conditional: bool = False
    """Condition on the class label."""
    base: str = "normal"
    """normal or diagonal (learned)."""
    backprop: str = "standard"
    """standard, remat or invertible."""
    anchor_every: int = 0
    """Steps between stored activations with backprop=invertible."""

    @property
    def wants_labels(self) -> bool:
        """As `class_conditional`."""
        return self.class_conditional

    def build(self, event_shape: Shape, num_classes: int | None) -> Flow:
        """`jflows.glow` with these settings."""
        if self.class_conditional and num_classes is None:
            rule, fix = "needs data with labels", "Set class_conditional=False."
            raise InvalidValueError(type(self).__name__, "class_conditional", rule, "data without labels", fix)
        return glow(
            event_shape,
            num_levels=self.num_levels,
            num_steps=self.num_steps[0] if len(self.num_steps) == 1 else self.num_steps,
            width=self.width,
            coupling=self.coupling,
            scale=self.scale,
            max_log_scale=self.max_log_scale,
            permutation=self.permutation,
            norm=self.norm,
            num_bits=self.num_bits,
            preprocess=self.preprocess,
            alpha=self.alpha,
            padding=self.padding,
            num_classes=num_classes if self.class_conditional else None,
            base=self.base,
            backprop=self.backprop,
            anchor_every=self.anchor_every,
        )
