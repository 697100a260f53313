#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tidy.py ROOT BUILD [FILE…]: clang-tidy on the files, by default on the two that parse what others wrote:
a file takes half a minute of one core."""
import concurrent.futures
import os
import subprocess
import sys

import sources

PARSERS = ["base/ini.cc", "base/text.cc"]


def tidy(root, build, path):
    done = subprocess.run(["clang-tidy", "--quiet", "-p", build, path], cwd=root, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)
    findings = [line.replace(os.path.abspath(root) + "/", "") for line in done.stdout.splitlines()
                if ": error: " in line or ": warning: " in line]
    return findings or ([f"{path}:1: clang-tidy failed: {done.stderr.strip()}"] if done.returncode != 0 else [])


def check(root, build, paths):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda path: tidy(root, os.path.abspath(build), path), paths)
    return [finding for findings in results for finding in findings]


if __name__ == "__main__":
    sources.report(check(sys.argv[1], sys.argv[2], sys.argv[3:] or PARSERS))
