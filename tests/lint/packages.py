#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""packages.py INSTALL.md FILE…: the packages of the libraries that programs and plugins need are named in INSTALL.md,
except those that stand on every Debian machine."""
import re
import subprocess
import sys

import libraries
import sources

EVERYWHERE = {"libc6", "libgcc-s1", "libstdc++6"}


def packages_of(library):
    """More than one where a library for another architecture is installed too."""
    found = subprocess.run(["dpkg", "--search", f"*/{library}"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return {line.split(":")[0] for line in found.splitlines()}


def check(document, paths):
    with open(document, encoding="utf-8") as file:
        named = set(re.findall(r"[a-z0-9][a-z0-9.+-]*[a-z0-9+]", file.read())) | EVERYWHERE
    needed = {library for path in sources.need_files(paths, "programs") for library in libraries.needed(path)}
    return [f"{document}:1: does not name the package {' or '.join(sorted(packages))} of {library}"
            for library, packages in sorted((library, packages_of(library)) for library in needed)
            if not packages & named]


if __name__ == "__main__":
    sources.report(check(sys.argv[1], sys.argv[2:]))
