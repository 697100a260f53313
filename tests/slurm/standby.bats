#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Two controllers, a stintd beside each: the one works whose slurmctld is in control.
load lab
bats_require_minimum_version 1.5.0

setup_file() {
  lab_up --backup --nodes 3 --slurm MessageTimeout=5
  FIRST=127.0.0.1:$(awk -F: '/^address/ { print $NF }' "$STINT_CONF")
  export FIRST SECOND=127.0.0.2:${FIRST#*:}
}
teardown_file() { lab_down; }
setup() { cd "$STINT_LAB" || return 1; }

listens() { (exec 3<>"/dev/tcp/${1/://}") 2>/dev/null; }
listens_only() { listens "$1" && ! listens "$2"; }
state_of() { stint plan show "$1" --format json | jq -r .state; }

@test "beside the primary stintd works, beside the backup it stands by" {
  wait_until 20 listens_only "$FIRST" "$SECOND"
  wait_until 10 grep -q "stands by: the slurmctld of head1 is in control" log/stintd2.out
  stint plan create --name kept --nodes 1 --duration 1h
  [[ $(state_of kept) == active ]]
}

@test "when the backup takes control its stintd has every plan, and plans go on" {
  lab kill slurmctld
  wait_until 60 listens_only "$SECOND" "$FIRST"
  [[ $(state_of kept) == active ]]
  wait_until 30 stint plan create --name since --nodes 1 --duration 1h
  job=$(submit --training-plan=since --output=/dev/null --wrap true)
  wait_until 30 job_is "$job" COMPLETED
}

@test "when the primary is back its stintd goes on" {
  lab revive slurmctld
  wait_until 60 listens_only "$FIRST" "$SECOND"
  [[ $(state_of since) == active ]]
  stint plan cancel kept
  run ! scontrol show reservation kept.0
}
