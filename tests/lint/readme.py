#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What README.md and the other documents name exists: links, and `words` that are paths of this project."""
import os
import re
import sys

import sources

LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
CODE = re.compile(r"`([^`\s]+)[^`]*`")
FOREIGN = ("http://", "https://", "mailto:")


def is_path(word, top):
    if any(mark in word for mark in "*<>$…{}|=%~"):
        return False
    return word.startswith("./") or ("/" in word and word.split("/")[0] in top)


def named_paths(line, top):
    links = [word for word in LINK.findall(line) if not word.startswith(FOREIGN)]
    return links + [word for word in CODE.findall(line) if is_path(word, top)]


def check(root):
    known = sources.files(root)
    top = {path.split("/")[0] for path in known}
    documents = [path for path in known if path.endswith(".md") and "/" not in path]
    findings = []
    for path in sources.need_files(documents, "documents"):
        for number, line in enumerate(sources.lines(root, path), 1):
            for word in named_paths(line, top):
                if not os.path.exists(os.path.join(root, word)):
                    findings.append(f"{path}:{number}: '{word}' does not exist")
    return findings


if __name__ == "__main__":
    sources.report(check(sys.argv[1]))
