"""What the workers share: requests, answers and times. It needs no library until a request names one.

Requests:
  {"do": "versions"}: versions of the packages.
  {"do": "prepare", "subject": NAME, "shape": [...], "dtype": ..., "platform": ..., "sizes": {...}}: builds a model, and
    answers with what can be timed of it, which is nothing if the library has no such model.
  {"do": "time", "what": NAME, "count": N}: makes N calls one after the other, and answers with mean milliseconds.
"""

# pyright: reportMissingImports=false
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Calls = Mapping[str, Callable[[], object]]
Build = Callable[..., Calls]


def serve(models: Mapping[str, Build], packages: Iterable[str], prepare: Callable[[dict], None]) -> None:
    """Answers requests until the input ends.

    Args:
      models: functions (shape, **sizes) -> what to time, by the names of subjects.
      packages: those whose versions are told.
      prepare: is handed each request for a model before it is built, to choose dtype and device.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    calls: Calls = {}
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any
        if request["do"] == "versions":
            answer = {name: importlib.metadata.version(name) for name in packages}
        elif request["do"] == "prepare":
            calls, build = {}, models.get(request["subject"])
            if build is not None:
                prepare(request)
                calls = build(tuple(request["shape"]), **request["sizes"])
            answer = list(calls)
        else:
            call = calls[request["what"]]
            start = time.perf_counter()
            for _ in range(request["count"]):
                call()
            answer = 1e3 * (time.perf_counter() - start) / request["count"]
        print(json.dumps(answer), file=answers, flush=True)


def set_jax(request: dict) -> None:
    """Chooses the dtype of a JAX library."""
    import jax

    jax.config.update("jax_enable_x64", request["dtype"] == "float64")


def set_torch(request: dict) -> None:
    """Chooses the dtype and the device of a PyTorch library."""
    import torch

    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, request["dtype"]))
    torch.set_default_device("cuda" if request["platform"] == "gpu" else "cpu")


def waiting(function: Callable[..., Any], *args: Any) -> Callable[[], object]:
    """A call of a JAX program whose result is awaited."""
    import jax

    return lambda: jax.block_until_ready(function(*args))


def jax_map(forward: Callable | None, inverse: Callable | None, params: Any, z: Any) -> Calls:
    """Both directions of (params, values) -> (values, log_det), and the gradients of a loss by both, compiled.

    None stands for a direction that the library does not have.
    """
    import jax
    import jax.numpy as jnp

    def gradient(run: Callable) -> Callable:
        def loss(params: Any, values: Any) -> Any:
            out, log_det = run(params, values)
            return 0.5 * jnp.sum(out**2) - jnp.sum(log_det)

        return jax.value_and_grad(loss, argnums=(0, 1))

    x = z if forward is None else jax.jit(forward)(params, z)[0]
    calls = {name: (run, v) for name, run, v in (("forward", forward, z), ("inverse", inverse, x)) if run is not None}
    calls |= {f"{name}_gradient": (gradient(run), values) for name, (run, values) in calls.items()}
    return {name: waiting(jax.jit(run), params, values) for name, (run, values) in calls.items()}


def torch_map(forward: Callable, inverse: Callable | None, params: Any, z: Any) -> Calls:
    """The same of a function of torch tensors; gradients are taken by the list of parameters and the values."""

    def gradient(run: Callable, values: Any) -> Callable[[], object]:
        values = values.detach().clone().requires_grad_(True)

        def call() -> object:
            import torch

            out, log_det = run(params, values)
            found = torch.autograd.grad(0.5 * (out**2).sum() - log_det.sum(), [*params, values])
            return synchronized(found)

        return call

    x = without_gradient(lambda: forward(params, z)[0])()
    calls = {name: (run, v) for name, run, v in (("forward", forward, z), ("inverse", inverse, x)) if run is not None}
    plain = {name: without_gradient(lambda run=run, v=v: run(params, v)) for name, (run, v) in calls.items()}
    return plain | {f"{name}_gradient": gradient(run, v) for name, (run, v) in calls.items()}


def torch_flow(model: Any, log_prob: Callable, sample: Callable, x: Any) -> Calls:
    """A torch model's log density of x, its gradient by the parameters, and as many samples as x has rows."""

    def gradient() -> object:
        model.zero_grad()
        log_prob(x).mean().backward()
        return synchronized(None)

    return {
        "log_prob": without_gradient(lambda: log_prob(x)),
        "gradient": gradient,
        "sample": without_gradient(lambda: sample(len(x))),
    }


def without_gradient(call: Callable[[], Any]) -> Callable[[], Any]:
    """The call with nothing recorded for gradients."""
    import torch

    def run() -> Any:
        with torch.no_grad():
            return synchronized(call())

    return run


def synchronized(result: Any) -> Any:
    """The result, once a GPU has it."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result
