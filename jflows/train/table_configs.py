"""Settings of flows of tables: one class for each preset of `jflows/flows/vectors.py`."""

import dataclasses
import functools
from collections.abc import Callable

from jflows.bijectors import Affine
from jflows.errors import InvalidValueError
from jflows.flows import Flow, maf, nice, nsf_autoregressive, nsf_coupling, realnvp
from jflows.train.config import TrainConfig
from jflows.typing import Shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableConfig(TrainConfig):
    """What all flows of tables have in common: the data, and the options that the presets share."""

    data: str = "two_moons"
    """Name of a table, or path of a .csv, .tsv, .parquet, .npy or .npz file."""
    columns: tuple[str, ...] = ()
    """Of a file: the columns to take, by name or position; all if empty."""
    fold: int = 0
    """Of red_wine, ionosphere and boston: which of ten parts is for testing, 0 to 9."""
    manual_dir: str = ""
    """Where you put the files of gas, hepmass, miniboone and bsds300."""

    num_layers: int = 5
    """Layers, all alike."""
    hidden_sizes: tuple[int, ...] = (256, 256)
    """Hidden units of each layer's conditioner."""
    activation: str = "relu"
    """Of the conditioners: relu, tanh, elu, ..."""
    permutation: str = "reverse"
    """Between layers: reverse, shuffle or linear (learned)."""
    norm: str = "none"
    """After each layer: none, actnorm or batchnorm."""
    standardize: bool = True
    """Bring columns to mean 0 and deviation 1 first; this counts in the density."""
    backprop: str = "standard"
    """standard, remat or invertible."""

    batch_size: int = 512
    """Examples per step, over all devices."""
    clip_norm: float = 5.0
    """Largest global norm of the gradient of the loss in nats per event; 0 for none."""
    init_batch: int = 4096
    """Examples that the data-dependent initialisation sees."""
    eval_batch_size: int = 4096
    """Examples per evaluation call."""

    def __post_init__(self):
        if self.fold < 0:
            raise InvalidValueError(type(self).__name__, "fold", "must be 0 to 9", repr(self.fold))
        super().__post_init__()

    def _build(self, preset: Callable[..., Flow], event_shape: Shape, *more: str) -> Flow:
        shared = ("num_layers", "hidden_sizes", "activation", "permutation", "norm", "standardize", "backprop")
        return preset(event_shape, **{name: getattr(self, name) for name in (*shared, *more)})


@dataclasses.dataclass(frozen=True, kw_only=True)
class NiceConfig(TableConfig):
    """`jflows.nice`."""

    base: str = "logistic"
    """logistic or normal."""

    def build(self, event_shape: Shape, num_classes: int | None) -> Flow:
        """`jflows.nice` with these settings."""
        return self._build(nice, event_shape, "base")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RealNVPConfig(TableConfig):
    """`jflows.realnvp`."""

    num_layers: int = 8
    """Layers, all alike."""
    hidden_sizes: tuple[int, ...] = (128, 128)
    """Hidden units of each layer's conditioner."""
    scale: str = "tanh"
    """Scale of the couplings: tanh (bounded on both sides), sigmoid or exp."""
    max_log_scale: float = 2.0
    """Bound of the tanh scale."""

    def build(self, event_shape: Shape, num_classes: int | None) -> Flow:
        """`jflows.realnvp` with these settings."""
        return self._build(realnvp, event_shape, "scale", "max_log_scale")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MafConfig(TableConfig):
    """`jflows.maf`, with affine maps."""

    scale: str = "tanh"
    """Scale of the maps: tanh (bounded on both sides), sigmoid or exp."""
    max_log_scale: float = 2.0
    """Bound of the tanh scale."""
    residual: bool = False
    """Residual connections; then hidden sizes must be equal."""

    def build(self, event_shape: Shape, num_classes: int | None) -> Flow:
        """`jflows.maf` with these settings."""
        preset = functools.partial(maf, inner=Affine(self.scale, self.max_log_scale))
        return self._build(preset, event_shape, "residual")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NsfCouplingConfig(TableConfig):
    """`jflows.nsf_coupling`."""

    hidden_sizes: tuple[int, ...] = (128, 128)
    """Hidden units of each layer's conditioner."""
    permutation: str = "linear"
    """Between layers: reverse, shuffle or linear (learned)."""
    num_bins: int = 8
    """Of each spline."""
    bound: float = 3.0
    """Splines act on [-bound, bound] and are the identity outside."""

    def build(self, event_shape: Shape, num_classes: int | None) -> Flow:
        """`jflows.nsf_coupling` with these settings."""
        return self._build(nsf_coupling, event_shape, "num_bins", "bound")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NsfAutoregressiveConfig(NsfCouplingConfig):
    """`jflows.nsf_autoregressive`."""

    residual: bool = True
    """Residual connections; then hidden sizes must be equal."""

    def build(self, event_shape: Shape, num_classes: int | None) -> Flow:
        """`jflows.nsf_autoregressive` with these settings."""
        return self._build(nsf_autoregressive, event_shape, "num_bins", "bound", "residual")
