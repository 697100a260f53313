# SPDX-License-Identifier: Apache-2.0
"""All-reduce among ranks of one machine: ours through shared memory, Open MPI and gloo, in turn, on the same cores
(rank r on core r, round and round). Times are those of one call of many back to back.

Registered buffers are those that lie in the shared segment, where each rank reads and writes the others' in place;
the peers know no such thing, so both of ours are held against their one. The limit is STREAM's triad by the same
ranks in the same run; in place each of n ranks has its buffer read and written once: 2·n·size bytes."""

import json
import os
import statistics
import subprocess
import tempfile

from . import Bench, BenchError, Case, Options
from .labs import BUILD

RANKS = (2, 4)
MIB = 1 << 20
FASTER_IN_PLACE = {2: 5.0, 4: 2.5}   # than Open MPI, from 1 MiB up
FASTER_ANYWHERE = {2: 1.5, 4: 1.0}   # the same
FASTER_ANYWHERE_LARGEST = 3.0        # at 64 MiB, 2 ranks
SLOWER_WHEN_SMALL = 1.1              # at most, below 64 KiB
SHARE_OF_LIMIT = 0.7
BF16_SHARE = 0.6                     # of the time of as many fp32, where those take 1 MiB or more

Times = dict[tuple[str, int], float]  # of what ("stint registered fp32", "open mpi", …, "triad"), of how many elements


def run(command: list, name: str, **environment: str) -> Times:
    done = subprocess.run(command, text=True, capture_output=True, timeout=300, check=False,
                          env={**os.environ, **environment})
    if done.returncode != 0:
        raise BenchError(f"{name} ended with status {done.returncode}: {done.stderr.strip()[:500]}")
    times = {}
    for line in done.stdout.splitlines():
        found = json.loads(line)
        if "triad_gbps" in found:
            times["triad", 0] = found["triad_gbps"]
        else:
            what = f"stint {found['buffers']} {found['type']}" if name == "stint" else name
            times[what, found["count"]] = found["us"]
    return times


def one_round(ranks: int) -> Times:
    programs = BUILD / "tests"
    times = run([programs / "allreduce_stint", str(ranks)], "stint")
    # Root may run it; it is not to bind ranks, which do that by themselves, nor to refuse more ranks than cores.
    times |= run(["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), programs / "allreduce_mpi"],
                 "open mpi", OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    with tempfile.TemporaryDirectory() as folder:
        times |= run([programs / "allreduce_gloo", str(ranks), folder], "gloo")
    return times


def medians(ranks: int, rounds: int) -> Times:
    all_times = []
    for number in range(rounds):
        print(f"  {ranks} ranks, round {number + 1} of {rounds}; load {os.getloadavg()[0]:.1f}", flush=True)
        all_times.append(one_round(ranks))
    return {key: statistics.median(times[key] for times in all_times) for key in all_times[0]}


def size_text(size: int) -> str:
    for unit, name in ((MIB, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


def faster_case(ranks: int, what: str, size: int, ours: float, peer: float) -> Case:
    name = f"{ranks} ranks, {what}, {size_text(size)}, Open MPI"
    if size < 64 << 10:
        return Case(name, round(ours, 2), round(peer, 2), "us", f"at most {SLOWER_WHEN_SMALL} times the peer's",
                    ours <= SLOWER_WHEN_SMALL * peer)
    if size < MIB:
        return Case(name, round(ours, 2), round(peer, 2), "us", "none", True)
    times = (FASTER_IN_PLACE if what == "registered" else FASTER_ANYWHERE)[ranks]
    if what == "arbitrary" and ranks == 2 and size == 64 * MIB:
        times = FASTER_ANYWHERE_LARGEST
    return Case(name, round(ours, 1), round(peer, 1), "us", f"at most 1/{times:g} of the peer's", ours * times <= peer)


def cases_of(ranks: int, times: Times) -> list[Case]:
    counts = sorted(count for what, count in times if what == "open mpi")
    cases = []
    for what in ("registered", "arbitrary"):
        for count in counts:
            ours = times[f"stint {what} fp32", count]
            cases.append(faster_case(ranks, what, count * 4, ours, times["open mpi", count]))
    for count in counts:
        cases.append(Case(f"{ranks} ranks, arbitrary, {size_text(count * 4)}, gloo",
                          round(times["stint arbitrary fp32", count], 2), round(times["gloo", count], 1), "us", "none",
                          True))
    for what in ("registered", "arbitrary"):
        for count in (c for c in counts if c * 4 >= MIB):
            share = times[f"stint {what} bf16", count] / times[f"stint {what} fp32", count]
            cases.append(Case(f"{ranks} ranks, {what}, time of {count // 1024} Ki bf16 as part of fp32's",
                              round(share, 2), None, "x", f"at most {BF16_SHARE}", share <= BF16_SHARE))
    largest = counts[-1]
    moved = 2 * ranks * largest * 4 / times["stint registered fp32", largest] / 1e3
    limit = times["triad", 0]
    cases.append(Case(f"{ranks} ranks, registered, {size_text(largest * 4)}, memory moved; peer: the triad",
                      round(moved, 1), round(limit, 1), "GB/s", f"at least {SHARE_OF_LIMIT:.0%} of the peer's",
                      moved >= SHARE_OF_LIMIT * limit))
    return cases


def measure(options: Options) -> list[Case]:
    rounds = 1 if options.quick else 7
    return [case for ranks in RANKS for case in cases_of(ranks, medians(ranks, rounds))]


BENCH = Bench(summary="all-reduce on one machine beside Open MPI and gloo",
              targets=["allreduce_stint", "allreduce_mpi", "allreduce_gloo"],
              measure=measure,
              peers=True)
