# SPDX-License-Identifier: Apache-2.0
"""Starting and finding a lab's daemons: munged, slurmctld, stintd, one slurmd a node, and for accounting mariadbd
and slurmdbd.

All run in the foreground of a session of their own, so that their process id is known from the first moment
and they outlive the shell that started them."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Callable

from . import LabError, procfs
from .layout import Lab
from .ports import answers

START_SECONDS = 20  # for one daemon to be ready


class PortTaken(LabError):
    """Another program was faster; the lab may try again on other ports."""


def find(program: str, package: str) -> str:
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        raise LabError(f"{program} not found; install the package {package}")
    return path


def _command(lab: Lab, daemon: str, rebooted: bool) -> list[str]:
    if daemon == "munged":
        munge = lab.path("munge")
        return [find("munged", "munge"), "--foreground", f"--socket={lab.munge_socket}", f"--key-file={munge}/key",
                f"--pid-file={munge}/pid", f"--seed-file={munge}/seed", f"--log-file={lab.log('munged')}",
                "--origin=127.0.0.1", "--num-threads=4"]
    if daemon == "mariadbd":
        return [find("mariadbd", "mariadb-server-core"), *_mariadbd_options(lab)]
    if daemon == "slurmdbd":
        return [find("slurmdbd", "slurmdbd"), "-D"]
    if daemon == "slurmctld":
        return [find("slurmctld", "slurmctld"), "-D", "-f", str(lab.slurm_conf)]
    if daemon == "slurmctld2":
        return [find("slurmctld", "slurmctld"), "-D", "-f", str(lab.path("slurm2.conf"))]
    if daemon == "stintd":
        return [str(Path(lab.build, "bin", "stintd"))]
    if daemon == "stintd2":
        return [str(Path(lab.build, "bin", "stintd")), "--config", str(lab.path("stint2.conf"))]
    return [find("slurmd", "slurmd"), "-D", "-f", str(lab.slurm_conf), "-N", daemon, *(["-b"] if rebooted else [])]


def _as_on_host(lab: Lab, host: str) -> list[str]:
    """Put before a command: it finds this name for its machine, and the lab's for others."""
    return ["unshare", "--uts", "--mount", "sh", "-c", 'hostname "$0" && mount --bind "$1" /etc/hosts && shift && exec "$@"',
            host, str(lab.hosts_file)]


def _mariadbd_options(lab: Lab) -> list[str]:
    folder = lab.path("mariadb")
    return ["--no-defaults", "--user=root", f"--datadir={folder}/data", f"--socket={folder}/socket",
            f"--pid-file={folder}/pid", "--bind-address=127.0.0.1", f"--port={lab.ports['mariadbd']}",
            f"--init-file={folder}/init.sql", "--skip-name-resolve", "--innodb-buffer-pool-size=32M",
            "--innodb-flush-log-at-trx-commit=2"]


def _environment(lab: Lab) -> dict[str, str]:
    """Clean, so that nothing of the shell that called leaks into daemons; STINT_KILL_AT is meant for stintd."""
    keep = {name: os.environ[name] for name in ("LANG", "TZ", "TMPDIR", "STINT_KILL_AT", "LD_PRELOAD") if name in os.environ}
    return keep | lab.environment() | {
        "PATH": f"{lab.programs()}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": os.environ.get("HOME", "/root"),
    }


def spawn(lab: Lab, daemon: str, rebooted: bool = False) -> None:
    """rebooted: a node tells slurmctld that its machine has been down, as it would in life."""
    if lab.process(daemon):
        raise LabError(f"{daemon} is running already")
    lab.path("spool", daemon).mkdir(exist_ok=True)
    with open(lab.path("log", f"{daemon}.out"), "ab") as output:
        host = lab.host_of(daemon)
        command = (_as_on_host(lab, host) if host else []) + _command(lab, daemon, rebooted)
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output,
                                 stderr=output, cwd=lab.directory, env=_environment(lab),
                                 start_new_session=True)
    process = procfs.identify(child.pid)
    if process:
        lab.remember(daemon, process)


def wait_until(lab: Lab, daemon: str, ready: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    """Throws with the tail of the daemon's log when it died or is not ready in time."""
    deadline = time.monotonic() + seconds
    while not ready():
        if not lab.process(daemon):
            raise _failure(lab, daemon, "ended as soon as it was started")
        if time.monotonic() > deadline:
            raise _failure(lab, daemon, f"was not ready within {seconds:.0f} s")
        time.sleep(0.02)


def _failure(lab: Lab, daemon: str, what: str) -> LabError:
    tail = log_tail(lab, daemon)
    if "in use" in tail.lower():
        return PortTaken(f"{daemon}: a port of {sorted(lab.ports.values())} is in use by another program")
    return LabError(f"{daemon} {what}; the end of its log:\n{tail}")


def log_tail(lab: Lab, daemon: str, lines: int = 15) -> str:
    for path in (lab.log(daemon), lab.path("log", f"{daemon}.out")):
        text = path.read_text(errors="replace") if path.exists() else ""
        if text.strip():
            return "".join(f"    {line}\n" for line in text.splitlines()[-lines:])
    return "    (it wrote nothing)\n"


def run(lab: Lab, *command: str, seconds: float = 10) -> subprocess.CompletedProcess:
    """A client program in the lab's environment."""
    environment = os.environ | lab.environment()
    try:
        return subprocess.run(command, env=environment, text=True, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"{command[0]} did not answer within {seconds:.0f} s")


def is_ready(lab: Lab, daemon: str) -> bool:
    if daemon == "munged":
        return lab.munge_socket.exists() and run(lab, "munge", "-n", f"--socket={lab.munge_socket}").returncode == 0
    if daemon in lab.nodes:
        return node_states(lab).get(daemon, "") in READY_STATES
    if daemon == "stintd2":
        return lab.process(daemon) is not None  # it answers nobody before its slurmctld is in control
    return answers(lab.ports[daemon], "127.0.0.2" if daemon == "slurmctld2" else "127.0.0.1")


READY_STATES = {"idle", "mixed", "allocated", "completing", "reserved"}


def node_states(lab: Lab) -> dict[str, str]:
    """As sinfo names them, "*" (not responding) and other marks kept; empty when slurmctld does not answer."""
    answer = run(lab, "sinfo", "--noheader", "--Node", "--format=%N %T")
    return dict(line.split() for line in answer.stdout.splitlines()) if answer.returncode == 0 else {}
