"""Is what was proved on a CPU true on this accelerator? One JSON line per row; `jflows bench` tells how fast it is.

    python benchmarks/accelerator.py                        # five minutes on one GPU
    python benchmarks/accelerator.py --only presets --minutes 2
    python benchmarks/accelerator.py --small --minutes 1    # tiny sizes, as the test of this script on a CPU

"bijectors": every bijector of `tests/cases.py` in float32 on the device, beside float64 on the host: the largest errors
of the round trip and of the log-det, with products of the highest precision; "ok" compares with the case's bound.
"presets": log density and gradient of every preset of `tests/presets.py` on the device and on the host, same weights
and noise, with products of the highest precision and of the device's default one, which rounds their inputs.
Each part takes its share of the minutes, and names in its last row what it had no time for.
"""

import argparse
import functools
import json
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import numpy as np
from timing import drawn_variables

import jflows
from jflows.flows import Density
from jflows.testing import float32_errors

ROOT = Path(__file__).resolve().parents[1]
SHARES = {"bijectors": 0.6, "presets": 0.4}
FLOAT32_TOL = 1e-4  # of `check_bijector`, where a case states none
PRECISIONS = ("highest", "default")
Row = dict[str, Any]


def until(names: list[str], seconds: float) -> Iterator[str]:
    """The names, as long as there is time; a last row says which are left."""
    end = time.monotonic() + seconds
    for index, name in enumerate(names):
        if time.monotonic() > end:
            show({"left_out": names[index:]})
            return
        yield name


def show(row: Row) -> None:
    """Prints a row at once, so that what is measured is kept if the time runs out."""
    print(json.dumps(row), flush=True)


def bijectors(device: Any, seconds: float, small: bool) -> bool:
    """Errors of every bijector in float32; whether all are within their bounds."""
    from tests.cases import CASES

    cases = {case.name: case for case in CASES if not case.slow and (case.requires is None or find_spec(case.requires))}
    names, fine = list(cases)[:: 40 if small else 1], True
    for name in until(names, seconds):
        case = cases[name]
        found = float32_errors(case.make(), case.x_event_shape, device=device, **case.options)
        bound = case.options.get("float32_tol", FLOAT32_TOL)
        ok = "float32" in case.options.get("skip", ()) or max(found.round_trip, found.log_det) <= bound
        fine &= ok
        show(
            {"part": "bijectors", "what": name, **{k: float(f"{v:.3g}") for k, v in found._asdict().items()}, "ok": ok}
        )
    return fine


def presets(device: Any, seconds: float, small: bool) -> bool:
    """Differences between device and host; whether all are small with products of the highest precision."""
    from tests.presets import PRESETS, build, data_of

    host, fine = jax.devices("cpu")[0], True
    for name in until(list(PRESETS)[:: 8 if small else 1], seconds):
        density, key = build(name, 8, 2), jax.random.key(1)
        with jax.default_device(host):
            x = data_of(density, 16)
            variables = drawn_variables(density, x)
        row: Row = {"part": "presets", "what": name}
        wanted = jax.device_get(score(density, "highest", *jax.device_put((variables, x, key), host)))
        for precision in PRECISIONS:
            found = jax.device_get(score(density, precision, *jax.device_put((variables, x, key), device)))
            row |= {f"{what}_{precision}": apart(found[what], wanted[what]) for what in ("log_prob", "gradient")}
        row["ok"] = row["log_prob_highest"] <= FLOAT32_TOL and row["gradient_highest"] <= 10 * FLOAT32_TOL
        fine &= row["ok"]
        show(row)
    return fine


@functools.partial(jax.jit, static_argnums=(0, 1))
def score(density: Density, precision: str, variables: Any, x: Any, key: Any) -> dict[str, Any]:
    """Log densities, and the gradient of their mean by the parameters."""
    rest = {name: tree for name, tree in variables.items() if name != "params"}

    def mean(params):
        own = key if density.needs_key else None
        log_prob = density.log_prob({**rest, "params": params}, x, key=own)
        return log_prob.mean(), log_prob

    with jax.default_matmul_precision(precision):
        gradient, log_prob = jax.grad(mean, has_aux=True)(variables.get("params", {}))
    return {"log_prob": log_prob, "gradient": gradient}


def apart(found: Any, wanted: Any) -> float:
    """The largest difference of two trees of arrays, relative to 1 + the largest value of a leaf."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True)
    differences = [np.max(np.abs(a - b), initial=0) / (1 + np.max(np.abs(b), initial=0)) for a, b in pairs]
    return float(f"{max(differences, default=0.0):.3g}")


def main() -> None:
    """Reads the command line, prints the rows, and fails if an error is beyond its bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=tuple(SHARES), help="one part only")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--small", action="store_true", help="tiny sizes, a few of the cases")
    options = parser.parse_args()
    sys.path.append(str(ROOT))  # for the registries of tests/
    device = jax.devices()[0]
    versions = {"jflows": jflows.__version__, "jax": jax.__version__}
    show({"part": "device", "platform": device.platform, "kind": device.device_kind, "versions": versions})
    chosen = {options.only: 1.0} if options.only else SHARES
    parts = {"bijectors": bijectors, "presets": presets}
    fine = [parts[name](device, 60 * options.minutes * share, options.small) for name, share in chosen.items()]
    if not all(fine):
        sys.exit("benchmarks/accelerator.py: some errors are beyond their bounds; see the rows with ok=false.")


if __name__ == "__main__":
    main()
