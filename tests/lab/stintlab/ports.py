# SPDX-License-Identifier: Apache-2.0
"""Free TCP ports on 127.0.0.1, below the range from which the kernel hands out ports by itself."""

import random
import socket

from . import LabError

BLOCK = 64


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def pick_free(count: int) -> list[int]:
    """Neighbours out of a block without any other, so that no lab takes the port of another's daemon that was killed
    and shall come back. A random block: labs that start at the same time hardly meet; who still loses a race tries
    again."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as limits:
        below = int(limits.read().split()[0])
    candidates = range(10000, below) if below > 11000 else range(10000, 65536)
    block = max(BLOCK, count)
    starts = list(candidates[:-block:block])
    for start in random.sample(starts, len(starts)):
        if all(map(_is_free, range(start, start + block))):
            return list(range(start, start + count))
    raise LabError(f"no {block} neighbouring free TCP ports found")


def answers(port: int, address: str = "127.0.0.1") -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
        return True
    except OSError:
        return False
