# SPDX-License-Identifier: Apache-2.0
"""How long a search for offers takes on a large and busy cluster.

Ours: the planner alone (plan_search, a C++ program), over nodes, reservations and running jobs. Peer: the time that
Slurm itself needs to place one reservation of as many nodes and hours among as many reservations; it is told when,
and no jobs run there, so its task is the easier one. Its slurmctld is real, its nodes are powered down."""

import json
import random
import subprocess
import time

from . import Bench, BenchError, Case, Options, median
from .labs import BUILD, Lab

SEARCH_TARGET = 100.0  # ms
GROWTH_TARGET = 1.5    # times linear
NODES = 10_000
RESERVATIONS = 5_000
HOURS = 36


def our_searches(options: Options) -> list[dict]:
    done = subprocess.run([BUILD / "tests" / "plan_search", str(options.seed)], text=True, capture_output=True,
                          check=True, timeout=600)
    searches = [json.loads(line) for line in done.stdout.splitlines()]
    for search in searches:
        print(f"  ours: {search['nodes']} nodes, {search['reservations']} reservations, {search['jobs']} jobs: "
              f"{search['search_ms']:.1f} ms ({search['load_ms']:.1f} ms more to take them in)", flush=True)
    return searches


def peer_lab() -> Lab:
    lines = [f"NodeName=cloud[1-{NODES}] CPUs=2 State=CLOUD", f"PartitionName=big Nodes=cloud[1-{NODES}] State=UP",
             "SuspendProgram=/bin/true", "ResumeProgram=/bin/true", "SuspendTime=INFINITE"]
    return Lab("--nodes", "1", "--plain", *(word for line in lines for word in ("--slurm", line)))


def fill(lab: Lab, count: int, dice: random.Random) -> None:
    now = int(time.time())
    commands = []
    for number in range(count):
        start = now + 60 * dice.randrange(1, 8 * 7 * 24 * 60)
        first = dice.randrange(1, NODES - 32)
        nodes = f"cloud[{first}-{first + dice.randrange(32)}]"
        commands.append(f"create reservation ReservationName=busy{number} StartTime={clock(start)} "
                        f"Duration={dice.randrange(1, 49)}:00:00 Nodes={nodes} Users=root Flags=OVERLAP")
    for begin in range(0, count, 500):
        subprocess.run(["scontrol"], input="\n".join(commands[begin:begin + 500]) + "\nquit\n", text=True,
                       env=lab.environment, capture_output=True, check=True, timeout=600)
    made = lab.run("scontrol", "--oneliner", "show", "reservation").count("ReservationName=busy")
    if made < count:
        raise BenchError(f"Slurm made {made} of {count} reservations")


def clock(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))


def slurm_placements(lab: Lab, nodes: int) -> list[float]:
    times = []
    for number in range(7):
        start = clock(int(time.time()) + 86_400 * (1 + 5 * number))
        began = time.monotonic()
        lab.run("scontrol", "create", "reservation", "ReservationName=wanted", f"StartTime={start}",
                f"Duration={HOURS}:00:00", f"NodeCnt={nodes}", "PartitionName=big", "Users=root")
        times.append(1000 * (time.monotonic() - began))
        lab.run("scontrol", "delete", "ReservationName=wanted")
    return times


def measure(options: Options) -> list[Case]:
    searches = our_searches(options)
    smallest, largest = searches[0], searches[-1]
    with peer_lab() as lab:
        fill(lab, 500 if options.quick else RESERVATIONS, random.Random(options.seed))
        peer = median(slurm_placements(lab, NODES // 4 + 2))
    print(f"  peer: places a reservation of {NODES // 4 + 2} nodes for {HOURS} h in {peer:.1f} ms", flush=True)
    ours = round(largest["search_ms"], 2)
    size = f"{largest['nodes']} nodes, {largest['reservations']} reservations, {largest['jobs']} jobs"
    times = largest["nodes"] / smallest["nodes"]
    growth = round(largest["search_ms"] / smallest["search_ms"], 2)
    return [Case(f"one search, {size}", ours, peer, "ms", f"below {SEARCH_TARGET:.0f}", ours < SEARCH_TARGET),
            Case(f"time at {times:.0f} times the size, as a multiple", growth, None, "x",
                 f"below {times * GROWTH_TARGET:.0f}", growth < times * GROWTH_TARGET)]


BENCH = Bench(summary="search for offers on 10,000 nodes; Slurm placing the same reservation",
              targets=["programs", "plan_search"],
              measure=measure)
