# SPDX-License-Identifier: Apache-2.0
"""The files that a lab's daemons read."""

import os
import socket
from pathlib import Path

from . import LabError
from .layout import SOURCE, Lab, write_atomically

# Slurm's defaults are made for clusters whose hardware takes minutes; these make a test wait seconds.
# `--stock` leaves them all out.
SHORT_TIMES = """\
# Short times (lab up --stock leaves these out; Slurm's default in brackets)
SlurmdTimeout=10        # a node silent for so long is DOWN [300]
KillWait=2              # from SIGTERM to SIGKILL at a job's end [30]
UnkillableStepTimeout=10  # how long slurmd waits for a step to be gone [60]
BatchStartTimeout=5     # for a batch script to start after its job did [10]
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1  # seconds between looks at the queue [60, 30, 3]
"""


def plugin_directory() -> Path:
    candidates = [*Path("/usr/lib").glob("*/slurm-wlm"), Path("/usr/lib64/slurm"), Path("/usr/lib/slurm")]
    for candidate in candidates:
        if candidate.joinpath("auth_munge.so").exists():
            return candidate
    raise LabError("Slurm's plugins not found; install the package slurm-wlm-basic-plugins")


def _leaves(nodes: list[str]) -> list[list[str]]:
    """Two leaf switches or more, of at most four nodes each where there are that many."""
    size = min(4, max(1, (len(nodes) + 1) // 2))
    return [nodes[i:i + size] for i in range(0, len(nodes), size)]


def topology_conf(lab: Lab) -> str:
    leaves = _leaves(lab.nodes)
    lines = [f"SwitchName=leaf{k} Nodes={','.join(nodes)}" for k, nodes in enumerate(leaves, 1)]
    lines.append(f"SwitchName=spine Switches=leaf[1-{len(leaves)}]")
    return "\n".join(lines) + "\n"


def gres_conf(lab: Lab) -> str:
    """A GPU wants a device: an empty file, of which all nodes may have the same."""
    for k in range(max(lab.gpus)):
        lab.path("gpu", f"nvidia{k}").touch()
    return "".join(f"NodeName={node} Name=gpu File={lab.path('gpu')}/nvidia[0-{count - 1}]\n"
                   for node, count in _gpus(lab).items() if count)


def _gpus(lab: Lab) -> dict[str, int]:
    return {node: lab.gpus[min(k, len(lab.gpus) - 1)] if lab.gpus else 0 for k, node in enumerate(lab.nodes)}


def slurm_conf(lab: Lab) -> str:
    host = socket.gethostname().split(".")[0]
    plugins = [plugin_directory()] + ([] if lab.plain else [Path(lab.build, "lib")])
    gpus = _gpus(lab)
    nodes = "\n".join(f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={lab.ports[node]} "
                      f"CPUs=2 RealMemory=4096 {f'Gres=gpu:{gpus[node]} ' if gpus[node] else ''}"
                      f"State={'CLOUD' if node in lab.sleepers else 'UNKNOWN'}"
                      for node in lab.nodes)
    return f"""\
ClusterName={lab.cluster}
{_controller_lines(lab, host)}
SlurmctldPort={lab.ports["slurmctld"]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={lab.munge_socket}
PluginDir={":".join(map(str, plugins))}
StateSaveLocation={lab.path("state")}
SlurmctldPidFile={lab.path("run")}/slurmctld.own.pid
SlurmctldLogFile={lab.log("slurmctld")}
SlurmdSpoolDir={lab.path("spool")}/%n
SlurmdPidFile={lab.path("run")}/%n.own.pid
SlurmdLogFile={lab.path("log")}/%n.log
SlurmctldDebug=verbose
SlurmdDebug=verbose
MailProg=/bin/true

# Every node is this machine: no cgroups, made-up sizes, no binding.
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
TopologyPlugin=topology/tree
{"GresTypes=gpu" if any(gpus.values()) else ""}
{_accounting_lines(lab)}
{_power_lines(lab)}
JobCompType=jobcomp/none
ReturnToService=2
{"" if lab.plain else "JobSubmitPlugins=stint"}

{"" if lab.stock else SHORT_TIMES}
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
""" + "".join(line + "\n" for line in lab.slurm_lines)


def _controller_lines(lab: Lab, host: str) -> str:
    if not lab.backup:
        return f"SlurmctldHost={host}(127.0.0.1)"
    # Each on its own address: by default they would take the port of all.
    return ("SlurmctldHost=head1(127.0.0.1)\nSlurmctldHost=head2(127.0.0.2)\n"
            "CommunicationParameters=NoCtldInAddrAny\nSlurmctldTimeout=5")


def _accounting_lines(lab: Lab) -> str:
    if not lab.accounting:
        return "AccountingStorageType=accounting_storage/none"
    return ("AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1\n"
            f"AccountingStoragePort={lab.ports['slurmdbd']}\nAccountingStoragePass={lab.munge_socket}")


def _power_lines(lab: Lab) -> str:
    """Nodes of the state CLOUD are powered down when slurmctld starts, and shown only with PrivateData=cloud; nothing
    is put to sleep by itself."""
    if not lab.asleep:
        return ""
    return (f"ResumeProgram={lab.path('wake')}\nSuspendProgram={lab.path('sleep')}\n"
            "SuspendTime=86400\nResumeTimeout=60\nSuspendTimeout=5\nPrivateData=cloud")


def _write_power_programs(lab: Lab) -> None:
    for verb in ("wake", "sleep"):
        write_atomically(lab.path(verb), f'#!/bin/sh\nexec {SOURCE}/tests/lab/lab {verb} --dir {lab.directory} "$1"\n',
                         mode=0o755)


def slurmdbd_conf(lab: Lab) -> str:
    return f"""\
AuthType=auth/munge
AuthInfo=socket={lab.munge_socket}
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={lab.ports["slurmdbd"]}
SlurmUser=root
PluginDir={plugin_directory()}
LogFile={lab.log("slurmdbd")}
PidFile={lab.path("run")}/slurmdbd.own.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={lab.ports["mariadbd"]}
StorageUser=slurm
StoragePass={lab.database_password}
StorageLoc=slurm
"""


def stint_conf(lab: Lab, own_address: str = "127.0.0.1") -> str:
    port = lab.ports["stintd"]
    both = {"address": f"127.0.0.1:{port},127.0.0.2:{port}", "listen": f"{own_address}:{port}"}
    sections = {
        "stintd": {**(both if lab.backup else {"address": f"127.0.0.1:{port}"}), "user": "root",
                   "ledger": str(lab.path("stintd", "ledger.sqlite"))},
        "munge": {"socket": str(lab.munge_socket)},
        "price": {"node_hour": "2.50", "currency": "EUR"},
        # A lab's plans begin within seconds and its nodes are one machine: a test that wants openings asks for them.
        "policy": {"prepare_before": "0"},
    }
    for setting in lab.stint_keys:
        name, equals, value = setting.partition("=")
        section, dot, key = name.partition(".")
        if not (equals and dot):
            raise LabError(f"--stint {setting}: wants section.key=value")
        sections.setdefault(section, {})[key] = value
    return "\n".join(f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
                     for section, keys in sections.items())


def write_all(lab: Lab) -> None:
    for folder in ("log", "run", "state", "spool", "stintd"):
        lab.path(folder).mkdir(exist_ok=True)
    lab.path("munge").mkdir(exist_ok=True, mode=0o755)
    _write_munge_key(lab.path("munge", "key"))
    write_atomically(lab.slurm_conf, slurm_conf(lab))
    write_atomically(lab.path("topology.conf"), topology_conf(lab))
    if any(lab.gpus):
        lab.path("gpu").mkdir(exist_ok=True)
        write_atomically(lab.path("gres.conf"), gres_conf(lab))
    if lab.asleep:
        _write_power_programs(lab)
    if lab.accounting:
        write_atomically(lab.path("slurmdbd.conf"), slurmdbd_conf(lab), mode=0o600)
    if lab.backup:
        write_atomically(lab.hosts_file, "127.0.0.1 localhost head1\n127.0.0.2 head2\n")
        write_atomically(lab.path("slurm2.conf"), slurm_conf(lab).replace("/slurmctld.own.pid", "/slurmctld2.own.pid")
                         .replace("/slurmctld.log", "/slurmctld2.log"))
        if not lab.plain:
            write_atomically(lab.path("stint2.conf"), stint_conf(lab, "127.0.0.2"))
    if not lab.plain:
        write_atomically(lab.path("plugstack.conf"), f"optional {lab.build}/lib/spank_stint.so\n")
        write_atomically(lab.stint_conf, stint_conf(lab))


def _write_munge_key(path: Path) -> None:
    if not path.exists():
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as key:
            key.write(os.urandom(128))
