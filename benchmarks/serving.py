"""What the worker processes of benchmarks share: they answer requests with times. It needs no library but Python's own.

Read next: `timing.py`, whose `Worker` asks.
"""

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping

Calls = Mapping[str, Callable[[], object]]


def torch_calls(model, log_prob: Callable, sample: Callable, x) -> Calls:
    """A torch model's log density of x, its gradient by the parameters, and as many samples as x has rows."""
    import torch

    def gradient() -> None:
        model.zero_grad()
        log_prob(x).mean().backward()

    def without_gradient(call: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            with torch.no_grad():
                return call()

        return run

    print(sum(parameter.numel() for parameter in model.parameters()), "parameters", file=sys.stderr)
    return {
        "log_prob": without_gradient(lambda: log_prob(x)),
        "gradient": gradient,
        "sample": without_gradient(lambda: sample(len(x))),
    }


def serve(calls: Calls, packages: Iterable[str] = ()) -> None:
    """Until the input ends: does what a line names, once, and answers with milliseconds; "versions" gives versions."""
    for line in sys.stdin:
        if line.strip() == "versions":
            print(json.dumps({name: importlib.metadata.version(name) for name in packages}), flush=True)
            continue
        start = time.perf_counter()
        calls[line.strip()]()
        print(1e3 * (time.perf_counter() - start), flush=True)
