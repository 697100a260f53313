# SPDX-License-Identifier: Apache-2.0
"""Processes as /proc shows them, and ways to end them so that none gets away.

A process is named by pid and start time, so that a pid that was given to another process is never hit."""

import os
import signal
import time
from typing import Callable, Iterable, NamedTuple


class Process(NamedTuple):
    pid: int
    start: int  # clock ticks since boot, field 22 of /proc/PID/stat


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the third on; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()
    except OSError:
        return None


def identify(pid: int) -> Process | None:
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":  # a zombie is dead, whenever its parent may reap it
        return None
    return Process(pid, int(fields[19]))


def alive(process: Process) -> bool:
    return identify(process.pid) == process


def is_stopped(pid: int) -> bool:
    fields = _stat(pid)
    return bool(fields) and fields[0] in "Tt"


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def snapshot() -> dict[Process, int]:
    """All processes, each with its parent's pid."""
    found = {}
    for name in os.listdir("/proc"):
        fields = _stat(int(name)) if name.isdigit() else None
        if fields and fields[0] not in "ZX":
            found[Process(int(name), int(fields[19]))] = int(fields[1])
    return found


def environment(pid: int) -> dict[str, str]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:
            pairs = environ.read().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def program(pid: int) -> str:
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return ""


def open_files(pid: int) -> set[str]:
    """Paths behind its descriptors and mappings; of deleted files too, with their mark "(deleted)"."""
    paths = set()
    for folder in ("fd", "map_files"):
        try:
            entries = os.listdir(f"/proc/{pid}/{folder}")
        except OSError:
            continue
        for entry in entries:
            try:
                paths.add(os.readlink(f"/proc/{pid}/{folder}/{entry}"))
            except OSError:
                pass
    return paths


def with_descendants(roots: Iterable[Process], processes: dict[Process, int]) -> set[Process]:
    children: dict[int, list[Process]] = {}
    for process, parent in processes.items():
        children.setdefault(parent, []).append(process)
    found, unvisited = set(), list(roots)
    while unvisited:
        process = unvisited.pop()
        if process not in found:
            found.add(process)
            unvisited += children.get(process.pid, [])
    return found


def self_and_ancestors() -> set[int]:
    pid, found = os.getpid(), set()
    while pid > 0 and pid not in found:
        found.add(pid)
        pid = _parent(pid)
    return found


def send(processes: Iterable[Process], number: signal.Signals) -> None:
    for process in processes:
        if alive(process):
            try:
                os.kill(process.pid, number)
            except ProcessLookupError:
                pass


def freeze(find: Callable[[], set[Process]]) -> set[Process]:
    """Stops all that `find` finds, and looks again until nothing new shows up: what is stopped cannot fork."""
    frozen: set[Process] = set()
    while fresh := find() - frozen:
        send(fresh, signal.SIGSTOP)
        frozen |= fresh
    return frozen


def wait_gone(processes: Iterable[Process], seconds: float) -> set[Process]:
    """Those that are still there after so many seconds."""
    deadline = time.monotonic() + seconds
    left = {process for process in processes if alive(process)}
    while left and time.monotonic() < deadline:
        time.sleep(0.01)
        left = {process for process in left if alive(process)}
    return left


class Killing(NamedTuple):
    began: float             # Unix seconds, when the first of them was stopped
    programs: list[str]
    survivors: set[Process]  # what would not die


def kill_all(find: Callable[[], set[Process]], seconds: float = 10) -> Killing:
    """SIGKILL for all that `find` finds, as near to one instant as it goes."""
    first = find()
    began = time.time()
    send(first, signal.SIGSTOP)
    victims = first | freeze(find)
    programs = sorted({program(process.pid) for process in victims})
    shared_memory = _shared_memory(victims)
    send(victims, signal.SIGKILL)
    survivors = wait_gone(victims, seconds) | find()
    _remove_unused(shared_memory)
    return Killing(began, programs, survivors)


def _shared_memory(processes: Iterable[Process]) -> set[str]:
    paths = set().union(*(open_files(process.pid) for process in processes))
    return {path for path in paths if path.startswith("/dev/shm/") and not path.endswith("(deleted)")}


def _remove_unused(paths: set[str]) -> None:
    """A dead machine leaves no shared memory behind; files that a living process has open stay."""
    if not paths:
        return
    used = set().union(*(open_files(process.pid) for process in snapshot()))
    for path in paths - used:
        try:
            os.unlink(path)
        except OSError:
            pass
