"""Settings of flows of tables: one class for each preset of `jflows/flows/vectors.py`."""

import dataclasses
from collections.abc import Callable

from jflows.errors import InvalidValueError, check_choice
from jflows.flows import Flow, made, maf, nice, nsf_autoregressive, nsf_coupling, realnvp
from jflows.train.config import TrainConfig
from jflows.typing import Shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableConfig(TrainConfig):
    """What all flows of tables have in common."""

    data: str = "two_moons"
    """Name of a table, or path of a .csv, .tsv, .parquet, .npy or .npz file."""
    columns: tuple[str, ...] = ()
    """Of a file: the columns to take, by name or position; all if empty."""
    classes: tuple[int, ...] = ()
    """Of rows with labels: the classes to take, numbered anew from 0; all if empty."""
    num_train: int = 0
    """Most training rows to use, the first so many; 0 for all."""
    fold: int = 0
    """Of red_wine, ionosphere and boston: which of ten parts is for testing, 0 to 9."""
    manual_dir: str = ""
    """Where you put the files of gas, hepmass, miniboone and bsds300."""

    hidden_sizes: tuple[int, ...] = (256, 256)
    """Hidden units of each conditioner."""
    activation: str = "relu"
    """Of the conditioners: relu, tanh, elu, ..."""
    standardize: bool = True
    """Bring columns to mean 0 and deviation 1 first; this counts in the density."""

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
        if self.num_train < 0:
            raise InvalidValueError(type(self).__name__, "num_train", "must be at least 0", repr(self.num_train))
        super().__post_init__()

    def _build(self, preset: Callable[..., Flow], event_shape: Shape, *more: str) -> Flow:
        names = ("hidden_sizes", "activation", "standardize", *more)
        return preset(event_shape, **{name: getattr(self, name) for name in names})


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayersConfig(TableConfig):
    """The options of flows that are made of layers."""

    num_layers: int = 5
    """Layers, all alike."""
    permutation: str = "reverse"
    """Between layers: swap (the halves), reverse, shuffle or linear (learned)."""
    norm: str = "none"
    """After each layer: none, actnorm or batchnorm."""
    backprop: str = "standard"
    """standard, remat or invertible."""

    def _build(self, preset: Callable[..., Flow], event_shape: Shape, *more: str) -> Flow:
        return super()._build(preset, event_shape, "num_layers", "permutation", "norm", "backprop", *more)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NiceConfig(LayersConfig):
    """`jflows.nice`."""

    permutation: str = "swap"
    """Between layers: swap (the halves), reverse, shuffle or linear (learned)."""
    base: str = "logistic"
    """logistic or normal."""

    def build(self, event_shape: Shape, num_classes: int | None) -> Flow:
        """`jflows.nice` with these settings."""
        return self._build(nice, event_shape, "base")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RealNVPConfig(LayersConfig):
    """`jflows.realnvp`."""

    num_layers: int = 8
    """Layers, all alike."""
    hidden_sizes: tuple[int, ...] = (128, 128)
    """Hidden units of each layer's conditioner."""
    permutation: str = "swap"
    """Between layers: swap (the halves), reverse, shuffle or linear (learned)."""
    scale: str = "tanh"
    """Scale of the couplings: tanh (bounded on both sides), sigmoid or exp."""
    max_log_scale: float = 2.0
    """Bound of the tanh scale."""

    def build(self, event_shape: Shape, num_classes: int | None) -> Flow:
        """`jflows.realnvp` with these settings."""
        return self._build(realnvp, event_shape, "scale", "max_log_scale")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MafConfig(LayersConfig):
    """`jflows.maf`."""

    inner: str = "affine"
    """Map of one column given those before it: affine, or mixture (of logistics, made normal)."""
    scale: str = "tanh"
    """Scale of affine maps: tanh (bounded on both sides), sigmoid or exp."""
    max_log_scale: float = 2.0
    """Bound of the tanh scale, and of the components of a mixture."""
    residual: bool = False
    """Residual connections; then hidden sizes must be equal."""
    base: str = "normal"
    """normal, made, or mixture (MAF MoG)."""
    num_components: int = 10
    """Of mixtures."""

    def __post_init__(self):
        check_choice(type(self).__name__, "inner", self.inner, ("affine", "mixture"))
        super().__post_init__()

    def build(self, event_shape: Shape, num_classes: int | None) -> Flow:
        """`jflows.maf` with these settings."""
        more = ("inner", "scale", "max_log_scale", "residual", "base", "num_components")
        return self._build(maf, event_shape, *more)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MadeConfig(TableConfig):
    """`jflows.made`: MADE, or MADE MoG; a density without layers."""

    num_components: int = 10
    """Normals in each conditional."""
    residual: bool = False
    """Residual connections; then hidden sizes must be equal."""

    def build(self, event_shape: Shape, num_classes: int | None) -> Flow:
        """`jflows.made` with these settings."""
        return self._build(made, event_shape, "num_components", "residual")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NsfCouplingConfig(LayersConfig):
    """`jflows.nsf_coupling`."""

    hidden_sizes: tuple[int, ...] = (128, 128)
    """Hidden units of each layer's conditioner."""
    permutation: str = "linear"
    """Between layers: swap (the halves), reverse, shuffle or linear (learned)."""
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
    base: str = "normal"
    """normal, made, or mixture."""
    num_components: int = 10
    """Of the base mixture."""

    def build(self, event_shape: Shape, num_classes: int | None) -> Flow:
        """`jflows.nsf_autoregressive` with these settings."""
        return self._build(nsf_autoregressive, event_shape, "num_bins", "bound", "residual", "base", "num_components")
