# SPDX-License-Identifier: Apache-2.0
"""Ranks of a training run that obey line by line: ours (step_ddp, a C++ program) and PyTorch's (step_ddp_peer.py), from the
same weights and tokens. One core and one thread each; one pair of teams at a time, whose turns alternate while the other
waits.

OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE, which slow OpenBLAS where they are set, are taken away from both."""

import json
import os
import random
import select
import statistics
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from . import BenchError, Options
from .labs import BUILD, SOURCE

RANKS = 2
STEPS = 100               # of the learning rate's schedule
PATIENCE = 240            # seconds for one turn, or one start


@dataclass(frozen=True)
class Model:
    name: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    heads: int
    key_value_heads: int
    tied: bool
    length: int
    sequences: int        # of one rank
    steps: int            # a turn


MODELS = [Model("10 M", 4096, 320, 864, 6, 5, 5, False, 256, 4, 8),
          Model("135 M", 49152, 576, 1536, 30, 9, 3, True, 256, 1, 3)]
OPTIM = {"learning_rate": 1e-3, "min_learning_rate": 0.0, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1,
         "grad_clip": 1.0, "warmup_steps": 20}


@dataclass(frozen=True)
class Peer:
    name: str
    python: Path
    target: float         # our time at most so many times its
    environment: dict[str, str] = field(default_factory=dict)


class Team:
    """The ranks of one run; for a with statement."""

    def __init__(self, command: list[str], folder: Path, settings: str, environment: dict[str, str] | None = None,
                 cores: tuple[str, ...] = ("0", "1"), way: tuple[str, ...] = (), enter=lambda rank, words: words):
        """A rank on each of `cores`. `way` is said last; `enter` makes of a rank's words those that start it."""
        base = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
        self._ranks = []
        for rank, core in enumerate(cores):
            words = ["taskset", "-c", core, *command, str(folder), str(rank), str(len(cores)), settings, *way]
            self._ranks.append(subprocess.Popen(enter(rank, words), env=base | {"OMP_NUM_THREADS": "1"} | (environment or {}),
                                                text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE))

    def __enter__(self) -> "Team":
        return self

    def __exit__(self, *_) -> None:
        for rank in self._ranks:
            rank.kill()
            rank.wait()

    def ask(self, command: str) -> list[dict]:
        for rank in self._ranks:
            rank.stdin.write(command + "\n")
            rank.stdin.flush()
        return self.answers()

    def answers(self) -> list[dict]:
        return [self._answer(rank) for rank in self._ranks]

    @staticmethod
    def _answer(rank: subprocess.Popen) -> dict:
        ready, _, _ = select.select([rank.stdout], [], [], PATIENCE)
        line = rank.stdout.readline() if ready else ""
        if not line:
            raise BenchError(f"{' '.join(map(str, rank.args[:5]))[:200]}: gave no answer")
        return json.loads(line)


def write_text(path: Path, seed: int) -> None:
    dice = random.Random(seed)
    words = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=dice.randint(2, 9))) for _ in range(400)]
    path.write_text(" ".join(dice.choices(words, k=60000)))


def recipe_of(model: Model, precision: str, text: Path, ranks: int, sharding: str, overlap: bool,
              **others) -> str:
    """`others`: section__key = value."""
    keys = {"model.vocab_size": model.vocab_size, "model.hidden_size": model.hidden_size,
            "model.intermediate_size": model.intermediate_size, "model.num_hidden_layers": model.num_hidden_layers,
            "model.num_attention_heads": model.heads, "model.num_key_value_heads": model.key_value_heads,
            "model.tie_word_embeddings": "yes" if model.tied else "no", "model.precision": precision,
            "data.path": text, "data.sequence_length": model.length, "data.micro_batch_size": model.sequences,
            "data.global_batch_size": model.sequences * ranks, "run.steps": STEPS, "resources.nodes": ranks,
            "parallel.sharding": sharding, "parallel.overlap": "yes" if overlap else "no"}
    keys |= {f"optim.{key}": ",".join(map(str, value)) if isinstance(value, list) else value
             for key, value in OPTIM.items()}
    keys |= {key.replace("__", "."): value for key, value in others.items()}
    return f"{SOURCE}/recipes/small-llama.ini," + ",".join(f"{key}={value}" for key, value in keys.items())


def settings_of(model: Model, precision: str, ranks: int, sharding: str, exact_norm: bool) -> str:
    return json.dumps(vars(model) | OPTIM | {"steps": STEPS, "bf16": precision == "bf16", "rope_theta": 10000.0,
                                             "rms_norm_eps": 1e-5, "slots": model.sequences * ranks,
                                             "sharding": sharding, "exact_norm": exact_norm})


def ours(model: Model, precision: str, folder: Path, options: Options, sharding: str = "none", overlap: bool = True,
         cores: tuple[str, ...] = ("0", "1"), **settings) -> Team:
    write_text(folder / "text", options.seed)
    recipe = recipe_of(model, precision, folder / "text", len(cores), sharding, overlap)
    return Team([str(BUILD / "tests" / "step_ddp")], folder, recipe, cores=cores, **settings)


def theirs(peer: Peer, model: Model, precision: str, folder: Path, sharding: str = "none", exact_norm: bool = False,
           cores: tuple[str, ...] = ("0", "1")) -> Team:
    return Team([str(peer.python), str(SOURCE / "tests" / "bench" / "step_ddp_peer.py")], folder,
                settings_of(model, precision, len(cores), sharding, exact_norm), peer.environment, cores=cores)


def newest_torch() -> Path:
    """A virtual environment of its own, made once."""
    folder = BUILD.parent / "torch"
    if not (folder / "done").exists():
        print("  installing the newest torch into build/torch: some 3 GB", flush=True)
        subprocess.run(["/usr/bin/python3", "-m", "venv", "--clear", folder], check=True)
        subprocess.run([folder / "bin/pip", "install", "--quiet", "torch", "numpy"], check=True)
        (folder / "done").touch()
    return folder / "bin" / "python"


def version_of(python: Path) -> str:
    done = subprocess.run([python, "-c", "import torch; print(torch.__version__)"], text=True, capture_output=True,
                          check=False)
    if done.returncode != 0:
        raise BenchError(f"{python} has no torch: install the package python3-torch\n{done.stderr.strip()[-300:]}")
    return done.stdout.strip()


def at_its_best(peer: Peer, options: Options) -> Peer:
    """With the environment in which ten steps of the small model are fastest."""
    kept = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1", "MALLOC_TOP_PAD_": str(64 << 20)}
    found = []
    with tempfile.TemporaryDirectory(prefix="stint-bench-") as name:
        folder = Path(name)
        with ours(MODELS[0], "fp32", folder, options) as us:
            us.ask("inputs 12")
        for malloc in ({}, kept):
            for unit in ("avx2", "avx512"):
                tried = Peer(peer.name, peer.python, peer.target, malloc | {"ATEN_CPU_CAPABILITY": unit})
                (folder / "gloo").unlink(missing_ok=True)
                with theirs(tried, MODELS[0], "fp32", folder) as them:
                    them.answers()
                    seconds = middle(them.ask("steps 8"))
                print(f"  {peer.name}, {unit}, malloc {'that keeps its memory' if malloc else 'as it is'}: "
                      f"{1000 * seconds:.0f} ms", flush=True)
                found.append((seconds, tried))
    return min(found, key=lambda one: one[0])[1]


def middle(answers: list[dict]) -> float:
    """Median over the steps of a turn but its first, which finds the caches cold."""
    return statistics.median(answers[0]["seconds"][1:])


@dataclass
class Result:
    ours: float
    peer: float
    products: float


def compare(peer: Peer, model: Model, precision: str, options: Options, sharding: str = "none") -> Result:
    turns = 2 if options.quick else 5
    mine, yours, products = [], [], []
    with tempfile.TemporaryDirectory(prefix="stint-bench-") as name:
        folder = Path(name)
        with ours(model, precision, folder, options, sharding) as us:
            size = us.ask(f"inputs {turns * model.steps}")[0]["parameters"]
            with theirs(peer, model, precision, folder, sharding) as them:
                them.answers()
                for _ in range(turns):
                    we, they = us.ask(f"steps {model.steps}"), them.ask(f"steps {model.steps}")
                    mine.append(middle(we))
                    yours.append(middle(they))
                    products.append(statistics.median(us.ask(f"products {3 if model.steps > 3 else 1}")[0]["seconds"]))
    result = Result(*(statistics.median(times) for times in (mine, yours, products)))
    print(f"  {model.name} ({size} parameters), {precision}: {1000 * result.ours:.0f} ms, {peer.name} "
          f"{1000 * result.peer:.0f} ms, products {1000 * result.products:.0f} ms; at most {we[0]['peak_mib']} and "
          f"{they[0]['peak_mib']} MiB; load {os.getloadavg()[0]:.1f}", flush=True)
    return result


def losses_apart(peer: Peer, options: Options, sharding: str = "none") -> float:
    """Largest relative difference of two losses of the same step."""
    model = MODELS[0]
    with tempfile.TemporaryDirectory(prefix="stint-bench-") as name:
        folder, losses = Path(name), []
        with ours(model, "fp32", folder, options, sharding) as us:
            us.ask(f"inputs {STEPS}")
            with theirs(peer, model, "fp32", folder, sharding, exact_norm=True) as them:
                them.answers()
                for _ in range(1 if options.quick else STEPS // 20):
                    we, they = us.ask("steps 20"), them.ask("steps 20")
                    losses += zip(we[0]["losses"], map(statistics.mean, zip(*(rank["losses"] for rank in they))))
    apart = max(abs(a - b) / abs(b) for a, b in losses)
    print(f"  losses of {len(losses)} steps differ from {peer.name}'s by at most {apart:.1e}", flush=True)
    return apart


def milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 1)
