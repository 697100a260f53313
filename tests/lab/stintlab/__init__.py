# SPDX-License-Identifier: Apache-2.0
"""A private Slurm of many nodes on one machine; see tests/lab/lab."""


class LabError(Exception):
    """Anything that a user of the lab can be told in a few lines."""
