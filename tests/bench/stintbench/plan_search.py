# SPDX-License-Identifier: Apache-2.0
"""How long a search for offers takes on a large and busy cluster: the planner alone (plan_search, a C++ program),
over nodes, reservations and running jobs at four sizes. Beside it: how long Slurm takes to place the reservation
of one such plan, at one start that it is told (it searches none), among as many nodes and reservations but no jobs."""

import datetime
import json
import random
import statistics
import subprocess
import time

from . import Bench, BenchError, Case, Options
from .labs import BUILD, Lab

SEARCH_TARGET = 100.0  # ms
GROWTH_TARGET = 1.5    # times linear


def searches(options: Options) -> list[dict]:
    done = subprocess.run([BUILD / "tests" / "plan_search", str(options.seed)], text=True, capture_output=True,
                          check=True, timeout=600)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for search in found:
        print(f"  {search['nodes']} nodes, {search['reservations']} reservations, {search['jobs']} jobs: "
              f"{search['search_ms']:.1f} ms ({search['load_ms']:.1f} ms more to take them in)", flush=True)
    return found


LEAF = 32          # nodes
SLOT_HOURS = 49    # one reservation of a leaf at a time: Slurm refuses those that overlap
HORIZON_HOURS = 8 * 7 * 24


def crowded_lab(nodes: int) -> Lab:
    """One slurmctld and many nodes that are powered down, which Slurm may reserve like others."""
    names = f"big[0-{nodes - 1}]"
    lines = [f"NodeName={names} CPUs=2 RealMemory=4096 State=CLOUD", f"PartitionName=big Nodes={names}",
             "SuspendProgram=/bin/true", "ResumeProgram=/bin/true", "SuspendTime=600", "TopologyPlugin=topology/none"]
    return Lab("--plain", "--nodes", "2", *(word for line in lines for word in ("--slurm", line)))


def reservation(name: str, start: datetime.datetime, hours: int, what: str) -> list[str]:
    return ["create", "reservation", f"ReservationName={name}", f"StartTime={start:%Y-%m-%dT%H:%M:%S}",
            f"Duration={hours}:00:00", "PartitionName=big", "Users=root", what]


def fill(lab: Lab, nodes: int, count: int, seed: int) -> None:
    random_ = random.Random(seed)
    slots = [(first, hour) for first in range(0, nodes - LEAF, LEAF)
             for hour in range(1, HORIZON_HOURS, SLOT_HOURS)]
    now = datetime.datetime.now()
    commands = []
    for number, (first, hour) in enumerate(random_.sample(slots, count)):
        last = first + random_.randrange(LEAF)
        commands.append(" ".join(reservation(f"r{number}", now + datetime.timedelta(hours=hour),
                                             random_.randrange(1, SLOT_HOURS), f"Nodes=big[{first}-{last}]")))
    done = subprocess.run(["scontrol"], input="\n".join(commands) + "\n", env=lab.environment, text=True,
                          capture_output=True, timeout=600)
    made = done.stdout.count("Reservation created")
    if made != count:
        raise BenchError(f"Slurm made {made} of {count} reservations: {done.stderr[:300]}")


def slurm_placement_ms(options: Options, nodes: int, reservations: int) -> float:
    """Median of whole scontrol calls, its start included (a few ms)."""
    with crowded_lab(nodes) as lab:
        fill(lab, nodes, reservations, options.seed)
        start = datetime.datetime.now() + datetime.timedelta(days=3)
        wanted = reservation("plan", start, 36, f"NodeCnt={nodes // 4 + 2}")
        times = []
        for _ in range(3 if options.quick else 9):
            begin = time.monotonic()
            lab.run("scontrol", *wanted)
            times.append((time.monotonic() - begin) * 1000)
            lab.run("scontrol", "delete", "ReservationName=plan")
        return statistics.median(times)


def measure(options: Options) -> list[Case]:
    found = searches(options)
    smallest, largest = found[0], found[-1]
    taken = round(largest["search_ms"], 2)
    size = f"{largest['nodes']} nodes, {largest['reservations']} reservations, {largest['jobs']} jobs"
    times = largest["nodes"] / smallest["nodes"]
    growth = round(largest["search_ms"] / smallest["search_ms"], 2)
    placing = round(slurm_placement_ms(options, largest["nodes"], largest["reservations"]), 1)
    print(f"  Slurm: {placing} ms to place one reservation at a given start, without the jobs", flush=True)
    return [Case(f"one search, {size}", taken, placing, "ms", f"below {SEARCH_TARGET:.0f}", taken < SEARCH_TARGET),
            Case(f"time at {times:.0f} times the size, as a multiple", growth, None, "x",
                 f"below {times * GROWTH_TARGET:.0f}", growth < times * GROWTH_TARGET)]


BENCH = Bench(summary="search for offers on 10,000 nodes",
              targets=["plan_search"],
              measure=measure)
