#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which room may include which, and where a foreign library's headers may stand."""
import os
import re
import sys

import sources

ROOMS = {
    "base": {"base"},
    "recipes": {"base", "recipes"},
    "reservations": {"base", "recipes", "reservations"},
    "spank": {"base", "recipes", "spank"},
    "trainer": {"base", "recipes", "trainer"},
}
# The agent starts fast and never dies with a worker: nothing of torch comes near it.
LIGHT = ("trainer/agent/", "trainer/comm/", "trainer/topology/")
HEAVY = ("trainer/engine/", "trainer/model/")
# Foreign headers, by their beginning, and the paths that may include them. Tests may include what they test.
FOREIGN = [
    (("slurm/",), ("spank/", "reservations/slurm_")),
    (("torch/", "ATen/", "c10/"), HEAVY),
    (("ucp/", "uct/", "ucs/"), ("trainer/comm/",)),
    (("nccl", "cuda"), ("trainer/comm/gpu_kernels.cu",)),
    (("hwloc.h", "hwloc/"), ("trainer/topology/",)),
    (("munge.h",), ("base/http.cc",)),
    (("ini.h",), ("base/ini.cc",)),
    (("SQLiteCpp/", "sqlite3.h"), ("reservations/",)),
    (("prometheus/",), ("reservations/",)),
]
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')


def local_problem(path, header):
    room = path.split("/")[0]
    target = header.split("/")[0]
    if "/" not in header or room == "tests":
        return None  # a neighbour, or a generated file
    if target not in ROOMS:
        return None if target != "tests" else f"{room}/ may not include {header}"
    if target not in ROOMS.get(room, set()):
        return f"{room}/ may not include {header}"
    if path.startswith(LIGHT) and header.startswith(HEAVY):
        return f"{os.path.dirname(path)}/ may not include {header}"
    return None


def foreign_problem(path, header):
    for headers, owners in FOREIGN:
        if header.startswith(headers) and not path.startswith(owners + ("tests/",)):
            return f"<{header}> may be included in {', '.join(owners)} only"
    return None


def check(root):
    paths = [path for path in sources.files(root) if path.endswith(sources.CPP)]
    findings = []
    for path in sources.need_files(paths, "C++ sources"):
        for number, line in enumerate(sources.lines(root, path), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            header = match.group(2)
            problem = local_problem(path, header) or foreign_problem(path, header)
            if problem:
                findings.append(f"{path}:{number}: {problem}")
    return findings


if __name__ == "__main__":
    sources.report(check(sys.argv[1]))
