#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""libraries.py FILE…: the plugins, which live inside Slurm's programs, need no library beyond a short list."""
import re
import subprocess
import sys

import sources

ALLOWED = re.compile(r"(libc|libm|libdl|libpthread|libgcc_s|libstdc\+\+|libinih|ld-linux-x86-64|ld-linux-aarch64)\.so\.\d+$")
NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")


def needed(path):
    dump = subprocess.run(["readelf", "--dynamic", path], stdout=subprocess.PIPE, text=True, check=True).stdout
    return NEEDED.findall(dump)


def check(paths):
    return [f"{path}:1: needs {library}, which has no place inside Slurm's programs"
            for path in sources.need_files(paths, "plugins") for library in needed(path) if not ALLOWED.match(library)]


if __name__ == "__main__":
    sources.report(check(sys.argv[1:]))
