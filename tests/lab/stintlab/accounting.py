# SPDX-License-Identifier: Apache-2.0
"""What Slurm's accounting wants beside its daemons' files (`lab up --accounting`): an empty database with one
user, and the cluster's name in it."""

import subprocess

from . import LabError, daemons
from .layout import Lab, write_atomically


def prepare_database(lab: Lab) -> None:
    """Before mariadbd starts."""
    folder = lab.path("mariadb")
    folder.mkdir(exist_ok=True, mode=0o700)
    write_atomically(folder / "init.sql",
                     f"CREATE OR REPLACE USER slurm@127.0.0.1 IDENTIFIED BY '{lab.database_password}';\n"
                     "GRANT ALL ON slurm.* TO slurm@127.0.0.1;\n", mode=0o600)
    if folder.joinpath("data", "mysql").exists():
        return
    made = subprocess.run([daemons.find("mariadb-install-db", "mariadb-server-core"), "--no-defaults", "--user=root",
                           f"--datadir={folder}/data", "--auth-root-authentication-method=normal", "--skip-test-db"],
                          capture_output=True, text=True, check=False)
    if made.returncode:
        raise LabError(f"mariadb-install-db failed:\n{(made.stdout + made.stderr)[-2000:]}")


def register_cluster(lab: Lab) -> None:
    """After slurmdbd, before slurmctld."""
    done = daemons.run(lab, "sacctmgr", "--immediate", "add", "cluster", lab.cluster, seconds=20)
    said = done.stdout + done.stderr
    if done.returncode and "already exists" not in said:
        raise LabError(f"sacctmgr add cluster {lab.cluster} failed: {said.strip()}")
