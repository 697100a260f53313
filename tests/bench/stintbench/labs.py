# SPDX-License-Identifier: Apache-2.0
"""Labs as the benchmarks use them: start, run a command in one, watch a run's log."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Callable

from . import BenchError

SOURCE = Path(__file__).resolve().parents[3]
LAB = SOURCE / "tests" / "lab" / "lab"
BUILD = Path(os.environ.get("STINT_BUILD") or SOURCE / "build" / "dev")


class Lab:
    """A lab in a folder of its own, for a with statement. work: a folder for what jobs write."""

    def __init__(self, *options: str):
        self._options = options

    def __enter__(self) -> "Lab":
        self.directory = Path(tempfile.mkdtemp(prefix="stint-bench-"))
        self.work = Path(tempfile.mkdtemp(prefix="stint-bench-work-"))
        self.environment = os.environ | {"STINT_LAB": str(self.directory)}
        try:
            self.run(str(LAB), "up", *self._options)
        except BaseException:
            self._remove_folders()
            raise
        self.environment |= {"SLURM_CONF": f"{self.directory}/slurm.conf", "PATH": f"{BUILD}/bin:{os.environ['PATH']}"}
        if "--plain" not in self._options:
            self.environment["STINT_CONF"] = f"{self.directory}/stint.conf"
        return self

    def __exit__(self, *_) -> None:
        try:
            self.run(str(LAB), "down")
        finally:
            self._remove_folders()

    def _remove_folders(self) -> None:
        for folder in (self.directory, self.work):
            shutil.rmtree(folder, ignore_errors=True)

    def run(self, *command: str, **environment: str) -> str:
        done = subprocess.run(command, cwd=self.work, env=self.environment | environment, text=True,
                              capture_output=True, timeout=120)
        if done.returncode != 0:
            raise BenchError(f"{' '.join(command)[:200]}: exit status {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip()

    def kill(self, node: str) -> float:
        """When, in Unix seconds."""
        return float(self.run(str(LAB), "kill", node).split()[0])

    def revive(self, node: str) -> None:
        self.run(str(LAB), "revive", node)

    def submit(self, *arguments: str, **environment: str) -> "Job":
        return Job(self, self.run("sbatch", "--parsable", *arguments, **environment))


class Job:
    def __init__(self, lab: Lab, number: str):
        self._lab = lab
        self.number = number

    def fields(self) -> dict[str, str]:
        """As scontrol shows them; empty when slurmctld does not answer for once."""
        try:
            shown = self._lab.run("scontrol", "--oneliner", "show", "job", self.number)
        except BenchError:
            return {}
        return dict(word.split("=", 1) for word in shown.split() if "=" in word)

    def nodes(self) -> list[str]:
        return self._lab.run("scontrol", "show", "hostnames", self.fields()["NodeList"]).split()

    def cancel(self) -> None:
        """And waits until its nodes are free."""
        self._lab.run("scancel", self.number)
        wait_for(lambda: self.fields().get("JobState") in ("CANCELLED", "COMPLETED", "FAILED"), 60,
                 f"job {self.number} to end")


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.1)


def run_events(log: Path) -> list[dict]:
    """All whole lines of a run's log.jsonl so far."""
    if not log.exists():
        return []
    events = []
    for line in log.read_text(errors="replace").splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            pass
    return events
