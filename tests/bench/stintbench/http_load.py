# SPDX-License-Identifier: Apache-2.0
"""Whether stintd keeps up with 500 signed requests a second from 50 clients (http_load, a C++ program), with clients,
munged, slurmctld and stintd on one machine.

Peer: slurmctld, asked for its reservations as `scontrol show reservation` asks, as often and by as many clients: the
service that a user without Stint would ask. It does less for each request: it neither searches nor signs a reply."""

import json

from . import Bench, BenchError, Case, Options
from .labs import BUILD, Lab

RATE = 500      # requests a second
CLIENTS = 50
P99_TARGET = 250.0  # ms


def load(lab: Lab, whom: str, seconds: int) -> dict:
    found = json.loads(lab.run(str(BUILD / "tests" / "http_load"), whom, str(seconds), str(RATE), str(CLIENTS)))
    print(f"  {whom}: {found['requests']} requests in {found['seconds']:.1f} s, {found['errors']} errors, "
          f"half within {found['p50_ms']:.1f} ms, 99 of 100 within {found['p99_ms']:.1f} ms"
          + (f"; first error: {found['first_error']}" if found["errors"] else ""), flush=True)
    return found


def measure(options: Options) -> list[Case]:
    seconds = 5 if options.quick else 30
    with Lab("--nodes", "4") as lab:
        lab.run("stint", "plan", "create", "--name", "bench", "--nodes", "2", "--duration", "2h")
        load(lab, "ours", 2)  # what is only done once is done
        ours = load(lab, "ours", seconds)
        peer = load(lab, "peer", seconds)
    if ours["requests"] != RATE * seconds:
        raise BenchError(f"{ours['requests']} requests were made of {RATE * seconds}")
    rate = round(ours["requests"] / ours["seconds"], 1)
    return [Case("errors", ours["errors"], peer["errors"], "requests", "0", ours["errors"] == 0),
            Case("requests answered a second", rate, round(peer["requests"] / peer["seconds"], 1), "1/s",
                 f"at least {0.95 * RATE:.0f}", rate >= 0.95 * RATE),
            Case("median time of a request", round(ours["p50_ms"], 1), round(peer["p50_ms"], 1), "ms", "none", True),
            Case("time of 99 of 100 requests", round(ours["p99_ms"], 1), round(peer["p99_ms"], 1), "ms",
                 f"below {P99_TARGET:.0f}", ours["p99_ms"] < P99_TARGET)]


BENCH = Bench(summary="stintd under 500 requests a second from 50 clients",
              targets=["programs", "http_load"],
              measure=measure)
