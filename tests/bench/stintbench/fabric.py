# SPDX-License-Identifier: Apache-2.0
"""Four nodes on two leaf switches, in namespaces of one machine.

Each node and the switches have a network namespace of their own, held by a process that dies with this one, and no
name outside: nothing is ever left behind. Rates are those of a token bucket at both ends of a cable; its burst holds
several of the 64 KiB packets that the kernel hands down, which it would cut up otherwise."""

import signal
import subprocess
from dataclasses import dataclass

from . import BenchError

NODES = ("A1", "A2", "B1", "B2")  # the letter is the leaf switch


@dataclass(frozen=True)
class Rates:
    node: float    # Gb/s of a node's cable
    uplink: float  # and of the one between the switches


class Fabric:
    """For a with statement."""

    def __init__(self, rates: Rates):
        self._rates = rates
        self._holders: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> "Fabric":
        try:
            self._hold("switches")
            for leaf in "AB":
                self._set_up("switches", f"link add leaf{leaf} type bridge", f"link set leaf{leaf} up")
            self._set_up("switches", "link add upA type veth peer name upB")
            for leaf in "AB":
                self._set_up("switches", f"link set up{leaf} master leaf{leaf} up")
                self._limit("switches", f"up{leaf}", self._rates.uplink)
            for node in NODES:
                self._cable(node)
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._release()

    def address(self, node: str) -> str:
        return f"10.78.0.{NODES.index(node) + 1}"

    def slow_down(self, gigabits: float) -> None:
        """The nodes' cables, from now on."""
        for node in NODES:
            self._limit(node, "net0", gigabits)
            self._limit("switches", f"port{node}", gigabits)

    def inside(self, node: str, command: list) -> list[str]:
        return ["nsenter", "--target", str(self._holders[node].pid), "--net", "--mount", "--uts", *map(str, command)]

    def _hold(self, name: str) -> None:
        # /sys shows the devices of the namespace that mounted it; UCX looks there. mpirun tells hosts by their names.
        script = f"mount -t sysfs sysfs /sys && hostname {name} && ip link set lo up && echo held && exec sleep infinity"
        holder = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--uts", "sh", "-c",
                                   script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self._holders[name] = holder
        if holder.stdout.readline() != "held\n":
            raise BenchError("cannot make a network namespace; it wants root, and a kernel that lets root make them")

    def _cable(self, node: str) -> None:
        self._hold(node)
        self._set_up("switches", f"link add port{node} type veth peer name net0 netns {self._holders[node].pid}",
                     f"link set port{node} master leaf{node[0]} up")
        self._set_up(node, f"address add {self.address(node)}/24 dev net0", "link set net0 up")
        self._limit(node, "net0", self._rates.node)
        self._limit("switches", f"port{node}", self._rates.node)

    def _set_up(self, name: str, *commands: str) -> None:
        for command in commands:
            self._run(name, ["ip", *command.split()])

    def _limit(self, name: str, device: str, gigabits: float) -> None:
        burst = max(256, int(gigabits * 256))  # KB
        self._run(name, ["tc", "qdisc", "replace", "dev", device, "root", "tbf", "rate", f"{gigabits * 1000:.0f}mbit",
                         "burst", f"{burst}kb", "limit", f"{8 * burst}kb"])

    def _run(self, name: str, command: list[str]) -> None:
        done = subprocess.run(self.inside(name, command), text=True, capture_output=True, timeout=30, check=False)
        if done.returncode != 0:
            raise BenchError(f"{' '.join(command)}: {done.stderr.strip()}")

    def _release(self) -> None:
        for holder in self._holders.values():
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            holder.stdout.close()
        self._holders = {}
