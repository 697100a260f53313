#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""shellcheck has nothing to say about any shell script or bats file."""
import subprocess
import sys

import sources


def check(root):
    paths = [path for path in sources.files(root) if sources.is_script(root, path) or path.endswith(".bats")]
    sources.need_files(paths, "shell scripts")
    done = subprocess.run(["shellcheck", "--format=gcc", "--external-sources", *paths], cwd=root,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout.splitlines() if done.returncode != 0 else []


if __name__ == "__main__":
    sources.report(check(sys.argv[1]))
