# SPDX-License-Identifier: Apache-2.0
"""One data-parallel training step: the engine (step_ddp, a C++ program) beside PyTorch's DistributedDataParallel over gloo
(step_ddp_peer.py), Debian's and the newest of PyPI, each with the vector units and malloc that suit it best. Two ranks of
one core and one thread; one pair of teams at a time, whose turns alternate while the other waits. Beside it: the matrix
products of the step alone. And 100 steps of 10 M parameters in fp32 have the same losses as PyTorch's, one by one, where
PyTorch is given the gradient's norm in double: its own sum in fp32 is off by more than the rest together.

OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE, which slow OpenBLAS where they are set, are taken away from both."""

import statistics
import time
from pathlib import Path

from . import Bench, Case, Options
from .teams import MODELS, Peer, at_its_best, compare, losses_apart, milliseconds, newest_torch, version_of

LOSS_TARGET = 1e-5        # relative, at any of the steps
PRODUCTS_TARGET = 1.3     # times the matrix products alone


def measure(options: Options) -> list[Case]:
    peers = [Peer("torch " + version_of(python), python, target)
             for python, target in ((Path("/usr/bin/python3"), 0.7), (newest_torch(), 0.85))]
    begin = time.monotonic()
    peers = [peer if options.quick else at_its_best(peer, options) for peer in peers]
    cases = []
    for peer in peers:
        apart = losses_apart(peer, options)
        cases.append(Case(f"losses of 10 M, fp32, beside {peer.name}", apart, None, "relative",
                          f"at most {LOSS_TARGET:.0e} apart", apart <= LOSS_TARGET))
    for model in MODELS:
        for precision in ("fp32", "bf16"):
            results = []
            for peer in peers:
                result = compare(peer, model, precision, options)
                what = f"step of {model.name}, {precision}"
                cases.append(Case(f"{what}, beside {peer.name}", milliseconds(result.ours), milliseconds(result.peer),
                                  "ms", f"at most {peer.target} times the peer's",
                                  result.ours <= peer.target * result.peer))
                results.append(result)
            step, alone = (statistics.mean(times) for times in zip(*((one.ours, one.products) for one in results)))
            cases.append(Case(f"{what}, beside its products alone", milliseconds(step), milliseconds(alone), "ms",
                              f"at most {PRODUCTS_TARGET} times the products", step <= PRODUCTS_TARGET * alone))
    print(f"  {time.monotonic() - begin:.0f} s in all", flush=True)
    return cases


BENCH = Bench(summary="a data-parallel training step beside PyTorch's, and beside its matrix products alone",
              targets=["step_ddp"],
              measure=measure)
