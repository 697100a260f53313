# SPDX-License-Identifier: Apache-2.0
"""A step of two ranks over TCP beside the same step when communication costs nothing: the collectives do not happen, each
rank works on its own. Both in turn, on the same cores; and in turn with them the step that waits for each collective at
once (`parallel.overlap = no`), whose waiting is the time of the communication alone. The ranks are nodes in namespaces, one
core each, whose cable is slowed until communication alone takes half of the compute time.

The model has many layers and few words: what the first layer and the embedding have to send when all is computed, nobody
can hide who clips by the norm of the whole gradient."""

import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from . import Bench, BenchError, Case, Options
from .fabric import Fabric, Rates
from .teams import Model, Team, middle, milliseconds, ours

TARGET = 1.15             # times the step without communication
SHARE = 0.5               # of the compute time, that communication alone is to take
NEAR = 0.1                # and so near it must come, of the compute time
MODEL = Model("10 M in 12 layers", 256, 256, 704, 12, 4, 4, False, 256, 16, 4)
NODES = ("A1", "A2")
UNLIMITED = 40            # Gb/s
TCP = {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "net0"}
# What a rank sends in a step: gradients are summed by a reduce-scatter and an all-gather of half of them each; zero3 gathers
# the parameters twice and scatters the gradients once.
FLOATS_SENT = {"none": 1.0, "zero1": 1.0, "zero3": 1.5}


@dataclass
class Times:
    free: float
    beside: float
    alone: float          # waiting, where nothing is overlapped


class Race:
    """The three runs, of which one trains while the others wait; for a with statement."""

    def __init__(self, sharding: str, options: Options):
        self._sharding, self._options = sharding, options

    def __enter__(self) -> "Race":
        with ExitStack() as stack:
            self._fabric = stack.enter_context(Fabric(Rates(UNLIMITED, UNLIMITED)))
            self.free = stack.enter_context(self._team(stack, True, way=("free",)))
            self.beside, self.on_top = (stack.enter_context(self._over_tcp(stack, overlap)) for overlap in (True, False))
            self.size = self.free.ask("inputs 1")[0]["parameters"]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()

    def _team(self, stack: ExitStack, overlap: bool, **settings) -> Team:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stint-bench-")))
        return ours(MODEL, "fp32", folder, self._options, self._sharding, overlap, **settings)

    def _over_tcp(self, stack: ExitStack, overlap: bool) -> Team:
        return self._team(stack, overlap, environment=TCP, way=("tcp",),
                          enter=lambda rank, words: self._fabric.inside(NODES[rank], words))

    def slow_down(self) -> float:
        """The cables, to the rate in Gb/s that is told: first by what is sent, then corrected by what that takes."""
        compute = self._step(self.free)
        rate = FLOATS_SENT[self._sharding] * 4 * self.size * 8 / (SHARE * compute) / 1e9
        for _ in range(2):
            self._fabric.slow_down(rate)
            rate *= self._waiting() / (SHARE * self._step(self.free))
        self._fabric.slow_down(rate)
        return rate

    def turn(self) -> Times:
        return Times(self._step(self.free), self._step(self.beside), self._waiting())

    @staticmethod
    def _step(team: Team) -> float:
        return middle(team.ask(f"steps {MODEL.steps}"))

    def _waiting(self) -> float:
        return statistics.mean(statistics.median(answer["waited"][1:]) for answer in self.on_top.ask(f"steps {MODEL.steps}"))


def compare(sharding: str, options: Options) -> Case:
    with Race(sharding, options) as race:
        rate = race.slow_down()
        found = [race.turn() for _ in range(2 if options.quick else 5)]
    free, beside, alone = (statistics.median(getattr(one, what) for one in found) for what in ("free", "beside", "alone"))
    share = alone / free
    print(f"  {sharding}, {rate:.2f} Gb/s: {milliseconds(beside)} ms, without communication {milliseconds(free)} ms, "
          f"communication alone {milliseconds(alone)} ms, {share:.0%} of that; load {os.getloadavg()[0]:.1f}", flush=True)
    if abs(share - SHARE) > NEAR:
        raise BenchError(f"communication alone takes {share:.0%} of the compute time, not about {SHARE:.0%}: "
                         "is the machine busy?")
    return Case(f"step, {sharding}; peer: without communication", milliseconds(beside), milliseconds(free), "ms",
                f"at most {TARGET} times the peer's", beside <= TARGET * free)


def measure(options: Options) -> list[Case]:
    begin = time.monotonic()
    cases = [compare(sharding, options) for sharding in FLOATS_SENT]
    print(f"  {time.monotonic() - begin:.0f} s in all", flush=True)
    return cases


BENCH = Bench(summary="a step over a slow network beside the same step without communication",
              targets=["step_ddp"],
              measure=measure)
