# SPDX-License-Identifier: Apache-2.0
"""What runs on a node of the lab, and what can be done to it: kill, stop, cont, revive.

All nodes share one kernel here, so "on the node" is a matter of finding out: slurmd is known by its process id;
slurmstepd has the node's log open (it overwrites its own environment); tasks carry Slurm's SLURMD_NODENAME
and this lab's SLURM_CONF; and whatever descends from any of these belongs to the node too."""

import re
import signal
import time
from datetime import datetime

from . import LabError, daemons, procfs
from .layout import Lab
from .procfs import Process


def processes(lab: Lab, node: str) -> set[Process]:
    log = str(lab.log(node))
    roots = [process for process in procfs.all_processes() if _belongs(lab, node, log, process.pid)]
    slurmd = lab.process(node)
    protected = procfs.self_and_ancestors()
    found = procfs.with_descendants(roots + ([slurmd] if slurmd else []))
    return {process for process in found if process.pid not in protected}


def _belongs(lab: Lab, node: str, log: str, pid: int) -> bool:
    if procfs.program(pid).startswith(("slurmd", "slurmstepd")):  # Debian's are slurmd-wlm, slurmstepd-wlm
        return log in procfs.open_files(pid)
    marks = procfs.environment(pid)
    return marks.get("SLURMD_NODENAME") == node and marks.get("SLURM_CONF") == str(lab.slurm_conf)


def service_processes(lab: Lab, service: str) -> set[Process]:
    process = lab.process(service)
    return procfs.with_descendants([process]) if process else set()


def _find(lab: Lab, name: str):
    if name in lab.nodes:
        return lambda: processes(lab, name)
    if name in lab.services:
        return lambda: service_processes(lab, name)
    raise LabError(f"no node or daemon '{name}' in this lab; it has {', '.join(lab.nodes + lab.services)}")


def kill(lab: Lab, name: str) -> None:
    find = _find(lab, name)
    left = procfs.kill_all(find) | find()
    if left:
        raise LabError(f"{name}: SIGKILL did not end {_named(left)}")


def stop(lab: Lab, name: str) -> None:
    procfs.freeze(_find(lab, name))


def cont(lab: Lab, name: str) -> None:
    procfs.send(_find(lab, name)(), signal.SIGCONT)


def revive(lab: Lab, name: str) -> None:
    """Starts what was killed. A node comes back as a machine that was rebooted and that its admin returns to
    service; ready when Slurm would give it a job."""
    _find(lab, name)
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
