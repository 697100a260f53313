# SPDX-License-Identifier: Apache-2.0
"""How long training stands still for a checkpoint: ours, which is written beside the steps that follow, torch.save, and
PyTorch's DCP async_save, all of the same state: 10 M parameters in fp32 with AdamW's two averages, one rank with one thread
of mathematics on two cores. For each: the time of the call, to which ours adds what the next updates spent on keeping
what had not been written yet. DCP keeps its staging memory over the calls, of which the first does not count.

Also told: how much longer the steps took until the checkpoint was safe, its writer beside them."""

import os
import statistics
import tempfile
import time
from pathlib import Path

from . import Bench, BenchError, Case, Options
from .teams import MODELS, Peer, milliseconds, newest_torch, ours, theirs, version_of

SHARE = 1 / 10            # of the better peer's
BYTES = 12                # a parameter, at least
CORES = ("0,1",)


def slower(answer: dict) -> float:
    """Seconds that a checkpoint cost beyond the steps that were trained meanwhile."""
    step = statistics.median(answer["alone"])
    return statistics.median(blocked + sum(steps) - step * len(steps)
                             for blocked, steps in zip(answer["blocked"], answer["steps"]))


def measure(options: Options) -> list[Case]:
    begin = time.monotonic()
    python = newest_torch()
    rounds, each = (1, 2) if options.quick else (5, 3)
    blocked: dict[str, list[float]] = {}
    cost: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="stint-bench-") as name:
        folder = Path(name)
        with ours(MODELS[0], "fp32", folder, options, cores=CORES) as us:
            least = BYTES * us.ask("inputs 100")[0]["parameters"]
            with theirs(Peer("torch", python, 1), MODELS[0], "fp32", folder, cores=CORES) as them:
                them.answers()
                for team, what in ((us, "saves 1"), (them, "dcp_async 1")):
                    team.ask(what)
                for number in range(rounds):
                    answers = {"ours": us.ask(f"saves {each}")[0], "torch.save": them.ask(f"torch_save {each}")[0],
                               "DCP async_save": them.ask(f"dcp_async {each}")[0]}
                    if not answers["ours"]["same"]:
                        raise BenchError("our checkpoint does not hold the state of its step")
                    for what, answer in answers.items():
                        if answer["bytes"] < least:
                            raise BenchError(f"{what} wrote {answer['bytes']} bytes, not the {least} of the state")
                        blocked.setdefault(what, []).append(statistics.median(answer["blocked"]))
                        if answer["steps"]:
                            cost.setdefault(what, []).append(slower(answer))
                    print(f"  round {number + 1}: " + ", ".join(
                        f"{what} {milliseconds(times[-1])} ms" for what, times in blocked.items()) +
                        f"; load {os.getloadavg()[0]:.1f}", flush=True)
    print(f"  {time.monotonic() - begin:.0f} s in all", flush=True)
    middle = {what: statistics.median(times) for what, times in blocked.items()}
    best = min(middle[what] for what in middle if what != "ours")
    cases = [Case(f"training stands still; peer: {what} of torch {version_of(python)}", milliseconds(middle["ours"]),
                  milliseconds(middle[what]), "ms", f"at most {SHARE:g} of the better peer's",
                  middle["ours"] <= SHARE * best) for what in middle if what != "ours"]
    cases.append(Case("steps are longer until it is safe; peer: DCP async_save",
                      *(milliseconds(statistics.median(cost[what])) for what in ("ours", "DCP async_save")), "ms", "none", True))
    return cases


BENCH = Bench(summary="how long training stands still for a checkpoint, beside torch.save and DCP async_save",
              targets=["step_ddp"],
              measure=measure)
