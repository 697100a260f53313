# SPDX-License-Identifier: Apache-2.0
"""The lab as a whole: up, down, status."""

import os
import shutil
from pathlib import Path

from . import LabError, accounting, configuration, daemons, nodes, ports, procfs
from .layout import Lab

ATTEMPTS = 5       # to find ports that no other program takes in between
MAX_SOCKET_PATH = 107


def up(lab: Lab) -> None:
    _check(lab)
    _create_directory(lab.directory)
    try:
        _start_on_free_ports(lab)
    except BaseException:
        down(lab)
        raise


def _check(lab: Lab) -> None:
    if os.geteuid() != 0:
        raise LabError("slurmd wants to be root; call it as root or through sudo")
    if len(str(lab.munge_socket)) > MAX_SOCKET_PATH:
        raise LabError(f"{lab.directory}: too long a path for a socket in it; name a shorter one with --dir")
    if lab.plain:
        return
    for part in ("bin/stintd", "lib/spank_stint.so", "lib/job_submit_stint.so"):
        if not Path(lab.build, part).exists():
            raise LabError(f"{lab.build}/{part} is missing; build first (cmake --preset dev && cmake --build "
                           "--preset dev), set STINT_BUILD, or ask for Slurm alone with --plain")


def _create_directory(directory: Path) -> None:
    if directory.joinpath("lab.json").exists():
        raise LabError(f"a lab is in {directory} already; use it, end it with `lab down`, or name another "
                       "folder with --dir")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"{directory}: {error.strerror}; name another folder with --dir") from None
    if directory.stat().st_uid != os.geteuid() or any(directory.iterdir()):
        raise LabError(f"{directory} is not an empty folder of yours; name another with --dir")
    directory.chmod(0o755)


def _start_on_free_ports(lab: Lab) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        _choose_ports(lab)
        configuration.write_all(lab)
        if lab.accounting:
            accounting.prepare_database(lab)
        lab.save()
        try:
            return _start_all(lab)
        except daemons.PortTaken:
            kill_everything(lab)
            if attempt == ATTEMPTS:
                raise


def _choose_ports(lab: Lab) -> None:
    listeners = [service for service in lab.services if service != "munged"] + lab.nodes
    lab.ports = dict(zip(listeners, ports.pick_free(len(listeners))))
    for name in lab.ports:
        if name.removesuffix("2") in lab.services:
            lab.ports[name] = lab.ports[name.removesuffix("2")]  # of another address


def _start_all(lab: Lab) -> None:
    for service in lab.services:
        daemons.spawn(lab, service)
        if service == "slurmctld":
            for node in lab.nodes:
                if node not in lab.sleepers:
                    daemons.spawn(lab, node)
        daemons.wait_until(lab, service, lambda: daemons.is_ready(lab, service))
        if service == "slurmdbd":
            accounting.register_cluster(lab)
    for node in lab.nodes:
        if node not in lab.sleepers:
            daemons.wait_until(lab, node, lambda: daemons.is_ready(lab, node))


def kill_everything(lab: Lab) -> None:
    nodes.kill(lab, *lab.services, *lab.nodes)


def down(lab: Lab, keep_logs: bool = False) -> None:
    kill_everything(lab)
    for entry in lab.directory.iterdir():
        if keep_logs and entry.name == "log":
            continue
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    if not keep_logs:
        lab.directory.rmdir()


def status(lab: Lab) -> str:
    states = daemons.node_states(lab)
    lines = [f"{'daemon':<12}{'process':<10}{'port':<7}state"]
    for name in lab.services + lab.nodes:
        process = lab.process(name)
        state = states.get(name, "unknown to slurmctld") if name in lab.nodes else ""
        lines.append(f"{name:<12}{_process_state(process):<10}{lab.ports.get(name, ''):<7}{state}".rstrip())
    return "\n".join(lines)


def _process_state(process: procfs.Process | None) -> str:
    if process is None:
        return "dead"
    return "stopped" if procfs.is_stopped(process.pid) else str(process.pid)
