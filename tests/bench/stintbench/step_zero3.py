# SPDX-License-Identifier: Apache-2.0
"""One training step of two ranks that hold half of the state each: the engine with `parallel.sharding = zero3` beside the
newest PyTorch's FSDP (fully_shard, a group a layer) over gloo, from the same weights and tokens. And the losses of both."""

import time

from . import Bench, Case, Options
from .teams import MODELS, Peer, at_its_best, compare, losses_apart, milliseconds, newest_torch, version_of

TARGET = 0.9              # times the peer's
LOSS_TARGET = 1e-5        # relative, at any of the steps


def measure(options: Options) -> list[Case]:
    begin = time.monotonic()
    python = newest_torch()
    peer = Peer(f"FSDP of torch {version_of(python)}", python, TARGET)
    if not options.quick:
        peer = at_its_best(peer, options)
    apart = losses_apart(peer, options, "zero3")
    cases = [Case(f"losses of 10 M, fp32, beside {peer.name}", apart, None, "relative", f"at most {LOSS_TARGET:.0e} apart",
                  apart <= LOSS_TARGET)]
    for model in MODELS:
        for precision in ("fp32", "bf16"):
            result = compare(peer, model, precision, options, "zero3")
            cases.append(Case(f"step of {model.name}, {precision}, beside {peer.name}", milliseconds(result.ours),
                              milliseconds(result.peer), "ms", f"at most {TARGET} times the peer's",
                              result.ours <= TARGET * result.peer))
    print(f"  {time.monotonic() - begin:.0f} s in all", flush=True)
    return cases


BENCH = Bench(summary="a training step with everything sharded beside PyTorch's FSDP",
              targets=["step_ddp"],
              measure=measure)
