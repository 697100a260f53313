# SPDX-License-Identifier: Apache-2.0
"""The project's files, as the lint checks see them. Each check is a program: CHECK ROOT, silent and 0 when all
is well, else one line a finding, "path:line: what", and 1."""
import os
import subprocess
import sys

CPP = (".h", ".cc", ".c", ".cu")
SCRIPT_STARTS = (b"#!/usr/bin/env bash", b"#!/bin/bash", b"#!/bin/sh", b"#!/usr/bin/env sh")


def files(root):
    """Paths relative to root: what git knows or would add; without git, everything but build folders."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={os.path.abspath(root)}", "-C", root, "ls-files", "-z", "--cached",
         "--others", "--exclude-standard"],
        capture_output=True, check=False)
    if listed.returncode == 0:
        paths = [path for path in listed.stdout.decode().split("\0") if path]
    else:
        paths = [os.path.relpath(os.path.join(folder, name), root) for folder, _, names in os.walk(root)
                 for name in names]
        paths = [path for path in paths if not path.startswith(("build", ".git/", ".cache"))]
    return sorted(path for path in set(paths) if os.path.isfile(os.path.join(root, path)))


def is_script(root, path):
    """A shell script, by its first line or, for files that are sourced, by its name."""
    if path.endswith((".sh", ".bash")):
        return True
    with open(os.path.join(root, path), "rb") as file:
        return file.read(64).startswith(SCRIPT_STARTS)


def lines(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read().splitlines()


def need_files(paths, what):
    """A check that looks at nothing would pass always."""
    if not paths:
        sys.exit(f"lint: no {what} found; wrong folder?")
    return paths


def report(findings):
    for finding in findings:
        print(finding)
    sys.exit(1 if findings else 0)
