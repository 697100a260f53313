# SPDX-License-Identifier: Apache-2.0
"""What runs on a node of the lab, and what can be done to it: kill, stop, cont, revive.

All nodes share one kernel here, so "on the node" is a matter of finding out: slurmd is known by its process id;
slurmstepd has the node's log open (it overwrites its own environment); tasks carry Slurm's SLURMD_NODENAME
and this lab's SLURM_CONF; and whatever descends from any of these belongs to the node too."""

import re
import signal
import time
from datetime import datetime
from typing import Iterable

from . import LabError, daemons, procfs
from .layout import Lab
from .procfs import Process


def _find(lab: Lab, names: Iterable[str]) -> set[Process]:
    """All processes of these nodes and daemons."""
    processes = procfs.snapshot()
    logs = {str(lab.log(node)): node for node in lab.nodes}
    roots = [process for process in processes if _node_of(lab, logs, process.pid) in names]
    roots += [process for process in map(lab.process, names) if process]
    protected = procfs.self_and_ancestors()
    return {process for process in procfs.with_descendants(roots, processes) if process.pid not in protected}


def _node_of(lab: Lab, logs: dict[str, str], pid: int) -> str | None:
    if procfs.program(pid).startswith(("slurmd", "slurmstepd")):  # Debian's are slurmd-wlm and slurmstepd-wlm
        return next((logs[path] for path in procfs.open_files(pid) if path in logs), None)
    marks = procfs.environment(pid)
    return marks.get("SLURMD_NODENAME") if marks.get("SLURM_CONF") == str(lab.slurm_conf) else None


def _check(lab: Lab, names: Iterable[str]) -> None:
    for name in names:
        if name not in lab.nodes + lab.services:
            raise LabError(f"no node or daemon '{name}' in this lab; it has {', '.join(lab.nodes + lab.services)}")


def kill(lab: Lab, *names: str) -> procfs.Killing:
    _check(lab, names)
    killing = procfs.kill_all(lambda: _find(lab, names))
    if killing.survivors:
        raise LabError(f"SIGKILL did not end {_named(killing.survivors)} of {', '.join(names)}")
    return killing


def stop(lab: Lab, *names: str) -> None:
    _check(lab, names)
    procfs.freeze(lambda: _find(lab, names))


def cont(lab: Lab, *names: str) -> None:
    _check(lab, names)
    procfs.send(_find(lab, names), signal.SIGCONT)


def expand(lab: Lab, names: str) -> list[str]:
    """node[5-6] is what Slurm gives its programs."""
    shown = daemons.run(lab, "scontrol", "show", "hostnames", names, seconds=60)
    if shown.returncode:
        raise LabError(f"scontrol show hostnames {names}: {shown.stderr.strip()}")
    return shown.stdout.split()


def wake(lab: Lab, name: str) -> None:
    _check(lab, [name])
    daemons.spawn(lab, name, rebooted=True)


def revive(lab: Lab, name: str) -> None:
    """Starts what was killed. A node comes back as a machine that was rebooted and that its admin returns to
    service; ready when Slurm would give it a job."""
    _check(lab, [name])
    started = int(time.time())
    daemons.spawn(lab, name, rebooted=name in lab.nodes)
    if name in lab.nodes:
        daemons.wait_until(lab, name, lambda: _registered_since(lab, name, started))
        daemons.run(lab, "scontrol", "update", f"nodename={name}", "state=resume")
    daemons.wait_until(lab, name, lambda: daemons.is_ready(lab, name))


def _registered_since(lab: Lab, node: str, seconds: int) -> bool:
    """Whether slurmctld has heard of a slurmd that was started then or later."""
    shown = daemons.run(lab, "scontrol", "--oneliner", "show", "node", node).stdout
    start = re.search(r"SlurmdStartTime=(\d\S+)", shown)
    return bool(start) and datetime.fromisoformat(start[1]).timestamp() >= seconds


def _named(found: set[Process]) -> str:
    return ", ".join(f"{procfs.program(process.pid) or '?'} ({process.pid})" for process in found)
