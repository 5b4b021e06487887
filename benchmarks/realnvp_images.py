"""RealNVP of images beside nflows and normflows: log density, its gradient, a sample. One JSON line per row.

    python benchmarks/realnvp_images.py --other nflows --other-python PATH     # also normflows, normflows_packed
    python benchmarks/realnvp_images.py --profile                              # jflows alone: what a coupling costs

PATH is a python of an environment with `torch`, `nflows` and `normflows`. Images are 32x32x3 floats, batch 16. There
are 2 scales, with 3 checkerboard and 3 channel couplings in the first and 4 checkerboards in the second; networks have
2 residual blocks with 32 maps, and twice as many maps after the squeeze. There is no normalisation between couplings
and no dequantization; all numbers are float32. Each library has its own process and environment, and they take turns,
one call each; `times_faster` is the median ratio of the pairs.

What differs: the networks of jflows have weight normalisation, and their first convolution is of 3x3, where that of
nflows is of 1x1. nflows has no checkerboard, so a transform of its own networks stands for it. "normflows" masks the
image too (`MaskedAffineFlow`), with one network for the scale and one for the shift; "normflows_packed" moves kept
pixels together (`AffineCouplingBlock`), so that its convolutions see half as many pixels, which are not neighbours. The
networks of both are plain convolutions. A loaded machine slows PyTorch more than XLA: run it on a quiet one.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from timing import Worker, drawn_variables, milliseconds

import jflows
from jflows.bijectors import (
    Affine,
    Bijector,
    Chain,
    Coupling,
    Identity,
    Mirror,
    MultiScale,
    Repeat,
    Squeeze,
    SwapHalves,
)
from jflows.distributions import StandardNormal
from jflows.flows import Flow
from jflows.nn import ResidualConvNet


class Size(NamedTuple):
    """Of the comparison; `realnvp_images_worker.py` takes the same numbers on its command line."""

    side: int = 32
    couplings: int = 3
    blocks: int = 2
    width: int = 32
    batch: int = 16


OTHERS = ("nflows", "normflows", "normflows_packed")


def build(size: Size) -> Flow:
    """The layers of the preset `realnvp_images`, without dequantization and norms, which the others do not have."""
    shape = (size.side, size.side, 3)

    def repeated(flip: Bijector, mask: str, maps: int, num: int) -> Bijector:
        coupling = Coupling(ResidualConvNet(maps, size.blocks), Affine(), event_ndims=3, mask=mask)
        return Repeat(Chain((flip, coupling)), num)

    boards = repeated(Mirror(), "checkerboard", size.width, size.couplings)
    channels = repeated(SwapHalves(3), "channel", 2 * size.width, size.couplings)
    last = repeated(Mirror(), "checkerboard", 2 * size.width, size.couplings + 1)
    levels = (Chain((channels, Squeeze(order="realnvp"), boards)), last)
    bijector = MultiScale(shape, levels, (Identity(event_ndims=3), Identity(event_ndims=3)))
    return Flow(bijector, StandardNormal(bijector.z_event_shape(shape)), shape)


def calls_of(flow: Flow, batch: int) -> dict[str, tuple[Callable[..., Any], tuple]]:
    """The three things timed, with their arguments."""
    key = jax.random.key(0)
    x = jax.random.normal(key, (batch, *flow.event_shape))
    variables = drawn_variables(flow, x)
    gradient = jax.value_and_grad(lambda variables, x: jnp.mean(flow.log_prob(variables, x)))
    return {
        "log_prob": (flow.log_prob, (variables, x)),
        "gradient": (gradient, (variables, x)),
        "sample": (lambda variables, key: flow.sample(variables, key, (batch,)), (variables, key)),
    }


def compiled(calls: dict[str, tuple[Callable[..., Any], tuple]]) -> dict[str, Callable[[], object]]:
    """The same, compiled."""
    programs = {name: (jax.jit(call).lower(*args).compile(), args) for name, (call, args) in calls.items()}
    return {name: (lambda run=run, args=args: run(*args)) for name, (run, args) in programs.items()}


def versus(size: Size, library: str, python: str, num_calls: int) -> None:
    """Prints medians of interleaved calls, and the median ratio of the pairs."""
    other, flow = Worker(python, "realnvp_images_worker.py", library, *size), build(size)
    versions = {"jflows": jflows.__version__, "jax": jax.__version__} | other.versions()
    for name, ours in compiled(calls_of(flow, size.batch)).items():
        for _ in range(2):
            milliseconds(ours)
            other.milliseconds(name)
        pairs = [(milliseconds(ours), other.milliseconds(name)) for _ in range(num_calls)]
        medians = [round(statistics.median(column), 1) for column in zip(*pairs, strict=True)]
        row: dict[str, Any] = {"benchmark": "realnvp_images", "what": name}
        row |= dict(zip(("jflows_ms", f"{library}_ms"), medians, strict=True))
        row |= {"times_faster": round(statistics.median(b / a for a, b in pairs), 2), "calls": num_calls}
        print(json.dumps(row | {"size": size._asdict(), "versions": versions}), flush=True)
    other.close()


def profile(size: Size, num_calls: int) -> None:
    """Prints what the flow, one coupling of each kind and its network alone cost, with the rate of the network."""
    side, width = size.side, size.width
    for kind, shape, maps in (
        ("checkerboard", (side, side, 3), width),
        ("channel", (side // 2, side // 2, 12), 2 * width),
    ):
        network = ResidualConvNet(maps, size.blocks)
        coupling = Coupling(network, Affine(), event_ndims=3, mask=kind)
        flow = Flow(coupling, StandardNormal(shape), shape)
        calls = calls_of(flow, size.batch)
        seen = shape[-1] if kind == "checkerboard" else shape[-1] // 2
        x, features = jax.random.normal(jax.random.key(0), (size.batch, *shape[:2], seen)), 2 * seen
        own = {"params": calls["log_prob"][1][0]["params"]["bijector"]["conditioner"]}
        apply = lambda own, x, network=network, features=features: network.apply(own, x, features)
        calls["network"] = (apply, (own, x))
        loss = lambda own, x, apply=apply: jnp.sum(jnp.asarray(apply(own, x)) ** 2)
        calls["network_gradient"] = (jax.grad(loss, argnums=(0, 1)), (own, x))
        weights = 9 * maps * (seen + 2 * size.blocks * maps) + maps * features
        flop = 2 * size.batch * shape[0] * shape[1] * weights
        for name, run in compiled(calls).items():
            milliseconds(run)
            found = min(milliseconds(run) for _ in range(num_calls))
            row = {"benchmark": "realnvp_images/profile", "coupling": kind, "what": name, "min_ms": round(found, 2)}
            times = 3 if name.endswith("gradient") else 1
            print(json.dumps(row | {"gflop_per_second": round(times * flop / found / 1e6, 1)}), flush=True)


def main() -> None:
    """Reads the command line and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", choices=OTHERS, help="the library to compare with")
    parser.add_argument("--other-python", default="", help="python of an environment with that library")
    parser.add_argument("--profile", action="store_true", help="time the parts of jflows instead")
    parser.add_argument("--calls", type=int, default=15)
    for name, value in Size()._asdict().items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    size = Size(*(getattr(options, name) for name in Size._fields))
    if options.profile:
        return profile(size, options.calls)
    if options.other is None or not options.other_python:
        sys.exit("benchmarks/realnvp_images.py: give --other and --other-python, or --profile.")
    return versus(size, options.other, options.other_python, options.calls)


if __name__ == "__main__":
    main()
