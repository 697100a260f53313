#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Slurm may answer with success and reserve fewer nodes than it was asked for.
load lab
bats_require_minimum_version 1.5.0

setup_file() { lab_up --nodes 4; }
teardown_file() { lab_down; }
setup() { cd "$STINT_LAB" || return 1; }

@test "a reservation with too few nodes is undone, and the booking refused with the reason" {
  lab kill stintd
  LD_PRELOAD="$STINT_BUILD/tests/libshortfall.so" lab revive stintd
  run -1 stint plan create --name short --nodes 3 --duration 10m
  [[ $output == *"plan short: Slurm refuses the reservation: "*"Slurm gave 2 of 3 nodes"* ]]
  [[ $(scontrol --oneliner show reservation) != *short* ]]
  run -1 stint plan show short
  [[ $output == *"there is no such plan"* ]]
}
