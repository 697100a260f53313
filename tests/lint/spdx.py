#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every source says its licence within its first three lines."""
import os
import sys

import sources

TAG = "SPDX-License-Identifier: Apache-2.0"
KINDS = sources.CPP + (".py", ".cmake", ".sh", ".bash", ".bats", ".ini", ".proto", ".map", ".conf", ".debian",
                       ".service", ".in", ".supp", "requirements.txt")


def needs_tag(root, path):
    name = os.path.basename(path)
    return path.endswith(KINDS) or name == "CMakeLists.txt" or starts_as_program(root, path)


def starts_as_program(root, path):
    with open(os.path.join(root, path), "rb") as file:
        return file.read(2) == b"#!"


def check(root):
    findings = []
    paths = [path for path in sources.files(root) if needs_tag(root, path)]
    for path in sources.need_files(paths, "sources"):
        if not any(TAG in line for line in sources.lines(root, path)[:3]):
            findings.append(f"{path}:1: lacks '{TAG}' within its first three lines")
    return findings


if __name__ == "__main__":
    sources.report(check(sys.argv[1]))
