# SPDX-License-Identifier: Apache-2.0
"""How long a search for offers takes on a large and busy cluster: the planner alone (plan_search, a C++ program),
over nodes, reservations and running jobs at four sizes."""

import json
import subprocess

from . import Bench, Case, Options
from .labs import BUILD

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


def measure(options: Options) -> list[Case]:
    found = searches(options)
    smallest, largest = found[0], found[-1]
    taken = round(largest["search_ms"], 2)
    size = f"{largest['nodes']} nodes, {largest['reservations']} reservations, {largest['jobs']} jobs"
    times = largest["nodes"] / smallest["nodes"]
    growth = round(largest["search_ms"] / smallest["search_ms"], 2)
    return [Case(f"one search, {size}", taken, None, "ms", f"below {SEARCH_TARGET:.0f}", taken < SEARCH_TARGET),
            Case(f"time at {times:.0f} times the size, as a multiple", growth, None, "x",
                 f"below {times * GROWTH_TARGET:.0f}", growth < times * GROWTH_TARGET)]


BENCH = Bench(summary="search for offers on 10,000 nodes",
              targets=["plan_search"],
              measure=measure)
