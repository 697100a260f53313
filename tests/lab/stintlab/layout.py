# SPDX-License-Identifier: Apache-2.0
"""Where a lab keeps its files, and what it remembers between two commands. One folder holds everything."""

import json
import os
import secrets
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import LabError
from .procfs import Process, alive

SOURCE = Path(__file__).resolve().parents[3]


def build_directory() -> Path:
    return Path(os.environ.get("STINT_BUILD") or SOURCE / "build" / "dev").resolve()


def default_directory() -> Path:
    user = os.environ.get("SUDO_USER") or os.environ.get("USER") or str(os.getuid())
    return Path(tempfile.gettempdir()) / f"stint-lab-{user}"


@dataclass
class Lab:
    directory: Path
    cluster: str                 # Slurm's ClusterName, unique on this machine
    nodes: list[str]
    build: str                   # the build folder whose plugins and programs it uses
    plain: bool = False          # Slurm alone: no stintd, no plugins
    stock: bool = False          # Slurm's own time-outs
    accounting: bool = False     # with a slurmdbd and its MariaDB
    backup: bool = False         # with a second controller
    gpus: list[int] = field(default_factory=list)          # of each node; Slurm counts them, nothing uses them
    asleep: int = 0              # so many of the last nodes are powered down until Slurm wakes them
    slurm_lines: list[str] = field(default_factory=list)   # more lines for slurm.conf
    stint_keys: list[str] = field(default_factory=list)    # section.key=value for stint.conf
    database_password: str = field(default_factory=lambda: secrets.token_hex(16))
    ports: dict[str, int] = field(default_factory=dict)    # of slurmctld, stintd and each node

    def path(self, *parts: str) -> Path:
        return self.directory.joinpath(*parts)

    @property
    def slurm_conf(self) -> Path:
        return self.path("slurm.conf")

    @property
    def stint_conf(self) -> Path:
        return self.path("stint.conf")

    @property
    def hosts_file(self) -> Path:
        return self.path("hosts")

    @property
    def munge_socket(self) -> Path:
        return self.path("munge", "socket")

    @property
    def services(self) -> list[str]:
        """In the order in which they start."""
        controllers = ["slurmctld", *(["slurmctld2"] if self.backup else [])]
        return ["munged", *(["mariadbd", "slurmdbd"] if self.accounting else []), *controllers,
                *([] if self.plain else [name.replace("slurmctld", "stintd") for name in controllers])]

    @property
    def sleepers(self) -> list[str]:
        """Nodes whose slurmd is not started with the lab, but by Slurm's ResumeProgram."""
        return self.nodes[len(self.nodes) - self.asleep:]

    def host_of(self, service: str) -> str | None:
        """With a backup, each pair of slurmctld and stintd believes to be on a host of its own."""
        if not self.backup or not service.startswith(("slurmctld", "stintd")):
            return None
        return "head2" if service.endswith("2") else "head1"

    def log(self, daemon: str) -> Path:
        return self.path("log", f"{daemon}.log")

    def environment(self) -> dict[str, str]:
        """What a shell needs to use this lab, PATH aside."""
        exports = {"SLURM_CONF": str(self.slurm_conf), "STINT_LAB": str(self.directory)}
        if not self.plain:
            exports["STINT_CONF"] = str(self.stint_conf)
        return exports

    def programs(self) -> str:
        return str(Path(self.build, "bin"))

    # ---- memory between commands ----

    def save(self) -> None:
        state = asdict(self) | {"directory": str(self.directory)}
        write_atomically(self.path("lab.json"), json.dumps(state, indent=2) + "\n", mode=0o600)

    @staticmethod
    def load(directory: Path) -> "Lab":
        try:
            state = json.loads(directory.joinpath("lab.json").read_text())
        except FileNotFoundError:
            raise LabError(f"no lab in {directory}; start one with `lab up`, or name its folder with --dir") from None
        except (OSError, ValueError) as error:
            raise LabError(f"{directory}/lab.json: {error}") from None
        return Lab(**state | {"directory": directory})

    # ---- process ids ----

    def remember(self, daemon: str, process: Process) -> None:
        write_atomically(self.path("run", f"{daemon}.pid"), f"{process.pid} {process.start}\n")

    def process(self, daemon: str) -> Process | None:
        """The daemon's process if it runs (or is stopped), else None."""
        try:
            pid, start = self.path("run", f"{daemon}.pid").read_text().split()
        except (OSError, ValueError):
            return None
        process = Process(int(pid), int(start))
        return process if alive(process) else None


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.touch(mode)
    temporary.write_text(text)
    temporary.rename(path)
