# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of Stint beside what a user would have without it; see tests/bench/run."""

import statistics
from dataclasses import asdict, dataclass
from typing import Callable


class BenchError(Exception):
    """The benchmark could not be done, as opposed to: its target was missed."""


@dataclass(frozen=True)
class Options:
    quick: bool    # fewer repeats
    seed: int


@dataclass(frozen=True)
class Case:
    case: str
    ours: float
    peer: float | None  # None: there is nothing to compare with
    unit: str
    target: str         # what `ours` promises, in words
    ok: bool

    @property
    def ratio(self) -> float | None:
        return round(self.peer / self.ours, 2) if self.peer is not None and self.ours else None

    def as_json(self) -> dict:
        fields = asdict(self)
        return {"case": fields["case"], "ours": self.ours, "peer": self.peer, "unit": self.unit,
                "ratio": self.ratio, "target": self.target, "ok": self.ok}


@dataclass(frozen=True)
class Bench:
    summary: str                                   # one line for the list
    targets: list[str]                             # to build first
    measure: Callable[[Options], list[Case]]
    peers: bool = False                            # wants the packages of tests/bench/packages.debian


def median(values: list[float]) -> float:
    return round(statistics.median(values), 2)
