#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clang-format has nothing to change in any C or C++ source."""
import subprocess
import sys

import sources


def check(root):
    paths = [path for path in sources.files(root) if path.endswith(sources.CPP)]
    sources.need_files(paths, "C++ sources")
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", "--ferror-limit=1", *paths], cwd=root,
                          stderr=subprocess.PIPE, text=True, check=False)
    findings = [line for line in done.stderr.splitlines() if ": error: " in line]
    if done.returncode != 0 and not findings:
        findings = [done.stderr]
    return findings


if __name__ == "__main__":
    sources.report(check(sys.argv[1]))
