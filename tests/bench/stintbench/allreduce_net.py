# SPDX-License-Identifier: Apache-2.0
"""All-reduce between four nodes on two leaf switches: ours over UCX, gloo and Open MPI over TCP and a plain ring of
sockets, in turn, in the same namespaces. Times are those of one call of many back to back.

All have the order of the topology, A1 A2 B1 B2; ours also runs in the alternating one, A1 B1 A2 B2. Twice 1 Gb/s: with
an uplink that carries both nodes of a leaf, where the links are the limit of what any ring can do, and with one of half
a node's rate. Bus bandwidth is 2(n-1)/n·size/t, what a ring sends over each link."""

import json
import os
import shlex
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import Bench, BenchError, Case, Options
from .allreduce_shm import MIB, size_text
from .fabric import NODES, Fabric, Rates
from .labs import BUILD

LARGEST = 64 * MIB
FASTER = 1.3              # than the better peer
SHARE_OF_PLAIN = 0.85     # of the plain ring's bus bandwidth
FASTER_IN_ORDER = 1.5     # than in the alternating order
ALTERNATING = ("A1", "B1", "A2", "B2")
PROGRAMS = BUILD / "tests"

Times = dict[tuple[str, int], float]  # microseconds, of what and how many bytes


@dataclass(frozen=True)
class Network:
    name: str
    rates: Rates
    thin: bool = False
    reported_only: bool = False


NETWORKS = (Network("1 Gb/s, uplink 2", Rates(1, 2)),
            Network("1 Gb/s, uplink 0.5", Rates(1, 0.5), thin=True),
            Network("10 Gb/s, uplink 20", Rates(10, 20), reported_only=True))


def ended(processes: list[subprocess.Popen], name: str) -> str:
    """What the first printed, once all have ended well."""
    deadline = time.monotonic() + 120
    try:
        outputs = [process.communicate(timeout=max(1.0, deadline - time.monotonic())) for process in processes]
    except subprocess.TimeoutExpired:
        raise BenchError(f"{name} hangs") from None
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for process, (_, complaint) in zip(processes, outputs):
        if process.returncode != 0:
            raise BenchError(f"{name} ended with status {process.returncode}: {complaint.strip()[:500]}")
    return outputs[0][0]


def start(command: list[str], **environment: str) -> subprocess.Popen:
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env={**os.environ, **environment})


def ranks(fabric: Fabric, name: str, order: tuple[str, ...], command, **environment: str) -> str:
    """`command` makes the words of a rank from its number, its address and an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        return ended([start(fabric.inside(node, command(rank, fabric.address(node), folder)), **environment)
                      for rank, node in enumerate(order)], name)


def ours_or_plain(fabric: Fabric, way: str, order: tuple[str, ...] = NODES) -> str:
    return ranks(fabric, way, order, lambda rank, address, folder:
                 [PROGRAMS / "allreduce_net", way, len(order), folder, rank, address],
                 UCX_TLS="tcp,self", UCX_NET_DEVICES="net0")


def gloo(fabric: Fabric) -> str:
    return ranks(fabric, "gloo", NODES, lambda rank, address, folder:
                 [PROGRAMS / "allreduce_gloo", len(NODES), folder, rank, address])


def open_mpi(fabric: Fabric) -> str:
    """mpirun starts its daemons through a program in place of ssh, which enters a host's namespace."""
    with tempfile.TemporaryDirectory() as folder:
        agent = Path(folder) / "enter"
        lines = [f"{fabric.address(node)}) exec {shlex.join(fabric.inside(node, ['sh', '-c']))} \"$*\" ;;"
                 for node in NODES]
        agent.write_text("\n".join(["#!/bin/sh", "host=$1", "shift", "case $host in", *lines, "esac", "exit 1", ""]))
        agent.chmod(0o700)
        hosts = ",".join(f"{fabric.address(node)}:1" for node in NODES)
        only = "10.78.0.0/24"
        settings = {"plm_rsh_agent": str(agent), "oob_tcp_if_include": only, "btl_tcp_if_include": only, "pml": "ob1",
                    "btl": "tcp,self", "mpi_yield_when_idle": "1"}
        words = [word for setting in settings.items() for word in ("--mca", *setting)]
        command = ["mpirun", "--host", hosts, "--bind-to", "none", *words, PROGRAMS / "allreduce_mpi", "network"]
        return ended([start(fabric.inside(NODES[0], command), OMPI_ALLOW_RUN_AS_ROOT="1",
                            OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", TMPDIR=folder)], "open mpi")


def times_in(what: str, output: str) -> Times:
    return {(what, found["count"] * 4): found["us"] for found in map(json.loads, output.splitlines())}


def one_round(network: Network) -> Times:
    with Fabric(network.rates) as fabric:
        times = times_in("stint", ours_or_plain(fabric, "stint"))
        if network.thin:
            times |= times_in("alternating", ours_or_plain(fabric, "stint", ALTERNATING))
        times |= times_in("plain", ours_or_plain(fabric, "plain"))
        times |= times_in("gloo", gloo(fabric))
        times |= times_in("open mpi", open_mpi(fabric))
    return times


def medians(network: Network, rounds: int) -> Times:
    all_times = []
    for number in range(rounds):
        print(f"  {network.name}, round {number + 1} of {rounds}; load {os.getloadavg()[0]:.1f}", flush=True)
        all_times.append(one_round(network))
    return {key: statistics.median(times[key] for times in all_times) for key in all_times[0]}


def bus_bandwidth(microseconds: float) -> float:
    """In Gb/s, of the largest size."""
    return 2 * (len(NODES) - 1) / len(NODES) * LARGEST * 8 / microseconds / 1e3


def cases_of(network: Network, times: Times) -> list[Case]:
    cases = []
    for size in sorted(size for what, size in times if what == "stint"):
        ours = times["stint", size]
        for peer in ("gloo", "open mpi"):
            better = min(times["gloo", size], times["open mpi", size])
            target = f"at most 1/{FASTER:g} of the better peer's"
            # Large ones are held to the links' limit, which the plain ring shows: a ring that reaches it leaves room
            # only where the uplink is thin, which others load more than they need.
            held = not network.reported_only and (network.thin or size < MIB)
            cases.append(Case(f"{network.name}, {size_text(size)}, {peer}", round(ours, 1), round(times[peer, size], 1),
                              "us", target if held else "none", not held or ours * FASTER <= better))
    ours, plain = (bus_bandwidth(times[what, LARGEST]) for what in ("stint", "plain"))
    held = not network.reported_only
    cases.append(Case(f"{network.name}, {size_text(LARGEST)}, bus bandwidth; peer: the plain ring", round(ours, 3),
                      round(plain, 3), "Gb/s", f"at least {SHARE_OF_PLAIN:.0%} of the peer's" if held else "none",
                      not held or ours >= SHARE_OF_PLAIN * plain))
    if network.thin:
        for size in (MIB, LARGEST):
            ours, alternating = times["stint", size], times["alternating", size]
            held = size == LARGEST
            cases.append(Case(f"{network.name}, {size_text(size)}; peer: ours in the order A1 B1 A2 B2", round(ours, 1),
                              round(alternating, 1), "us",
                              f"at most 1/{FASTER_IN_ORDER:g} of the peer's" if held else "none",
                              not held or ours * FASTER_IN_ORDER <= alternating))
    return cases


def measure(options: Options) -> list[Case]:
    rounds = 1 if options.quick else 5
    return [case for network in NETWORKS for case in cases_of(network, medians(network, rounds))]


BENCH = Bench(summary="all-reduce between four nodes on two switches beside gloo, Open MPI and a plain ring",
              targets=["allreduce_net", "allreduce_mpi", "allreduce_gloo"],
              measure=measure,
              peers=True)
