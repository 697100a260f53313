# SPDX-License-Identifier: Apache-2.0
"""From the call of the launcher to the end of the first step: an agent and its two workers (stint-train) beside torchrun and
two processes of PyTorch's DistributedDataParallel over gloo. The same model on the same text, one thread a rank, both
cores for both. The files of both are in the page cache, from a first start that does not count."""

import json
import math
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from . import Bench, BenchError, Case, Options
from .labs import BUILD, SOURCE, run_events
from .teams import MODELS, RANKS, newest_torch, recipe_of, settings_of, version_of, write_text

SHARE = 0.5               # of the peer's time, at most
MODEL = MODELS[0]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")} | {
    "OMP_NUM_THREADS": "1"}


def check(what: str, loss: float, parameters: int) -> int:
    """Of random weights the loss is that of a guess, or the step was none."""
    if abs(loss - math.log(MODEL.vocab_size)) > 1:
        raise BenchError(f"{what}: a first loss of {loss} is not near {math.log(MODEL.vocab_size):.2f}")
    return parameters


def run(command: list, **settings) -> tuple[float, str]:
    """When it began, and its output."""
    began = time.time()
    done = subprocess.run(command, env=ENVIRONMENT, text=True, capture_output=True, timeout=120, check=False, **settings)
    if done.returncode != 0:
        raise BenchError(f"{command[0]}: exit status {done.returncode}: {(done.stderr or done.stdout).strip()[-800:]}")
    return began, done.stdout


def ours(text: Path, folder: Path) -> tuple[float, int]:
    """Seconds, and parameters."""
    recipe = recipe_of(MODEL, "fp32", text, RANKS, "none", True, run__steps=1, optim__warmup_steps=0, resources__nodes=1,
                       resources__workers_per_node=RANKS, resources__threads_per_worker=1)
    began, _ = run([BUILD / "bin" / "stint-train", "--local", "1", "--recipe", recipe, "--run-directory", folder / "run"],
                   cwd=folder)
    events = {event["event"]: event for event in run_events(folder / "run" / "log.jsonl")}
    return events["step"]["t"] - began, check("stint-train", events["step"]["loss"], events["start"]["parameters"])


def theirs(python: Path, text: Path, folder: Path) -> tuple[float, int]:
    # Debian's torchrun ends with an error unless output is redirected by number.
    old = ["--redirects", "1", "--tee", "1"] if version_of(python).startswith("1.") else []
    began, output = run([python, "-m", "torch.distributed.run", f"--nproc_per_node={RANKS}", "--master_port=29555", *old,
                         *(["--log_dir", folder / "logs"] if old else []), SOURCE / "tests" / "bench" / "start_peer.py", text,
                         settings_of(MODEL, "fp32", RANKS, "none", False)], cwd=folder)
    found = json.loads(output[output.index("{"):output.rindex("}") + 1])
    return found["time"] - began, check("torchrun", found["loss"], found["parameters"])


def measure(options: Options) -> list[Case]:
    pythons = [Path("/usr/bin/python3"), newest_torch()]
    names = ["ours"] + [f"torchrun of torch {version_of(python)}" for python in pythons]
    times: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="stint-bench-") as name:
        text = Path(name) / "text"
        write_text(text, options.seed)
        for number in range(3 if options.quick else 8):
            sizes = set()
            for index, what in enumerate(names):
                with tempfile.TemporaryDirectory(prefix="stint-bench-") as folder:
                    seconds, size = (ours(text, Path(folder)) if index == 0 else
                                     theirs(pythons[index - 1], text, Path(folder)))
                sizes.add(size)
                if number > 0:
                    times[what].append(seconds)
            if len(sizes) != 1:
                raise BenchError(f"models of {sizes} parameters are not the same")
            if number > 0:
                print("  " + ", ".join(f"{what} {found[-1]:.2f} s" for what, found in times.items()) +
                      f"; load {os.getloadavg()[0]:.1f}", flush=True)
    middle = {what: statistics.median(found) for what, found in times.items()}
    return [Case(f"start to the first step, beside {what}", round(middle["ours"], 2), round(middle[what], 2), "s",
                 f"at most {SHARE:g} of the peer's", middle["ours"] <= SHARE * middle[what]) for what in names[1:]]


BENCH = Bench(summary="from the launcher's call to the first step, beside torchrun",
              targets=["stint-train", "stint-worker"],
              measure=measure)
