#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What a run knows of the switches below it, in a real Slurm of two leaf switches.
# shellcheck disable=SC2154  # start_training sets $job and $run
load lab
load training
bats_require_minimum_version 1.5.0

setup_file() {
  lab_up --nodes 4
  book_trial_plan
}
teardown_file() { lab_down; }

@test "stint run topology draws the switches, the nodes and what each worker has" {
  start_training
  finish_training
  run -0 stint run topology "$job"
  [[ $output == *"order from: the switches that Slurm names"* ]]
  for node in $(nodes_of_job); do
    leaf=$(scontrol show topology "$node" | grep -oP 'SwitchName=\K\S+(?= Level=0)')
    [[ -n $leaf && $output == *"$leaf"* && $output == *"$node  "* ]]
  done
  [[ $output == *"rank 0  processors "* && $output == *"rank 1  processors "* ]]
  run -0 stint run topology "$run" --format json
  jq -e '.source == "slurm" and .world == 2 and .ring.crossings == .ring.fewest_crossings
    and (.nodes | length) == 2 and all(.nodes[]; .buddy != .name)' <<<"$output"
}

@test "stint run topology says when there is nothing to draw yet" {
  mkdir -p "$STINT_LAB/work/empty" && touch "$STINT_LAB/work/empty/recipe.ini"
  run -1 stint run topology "$STINT_LAB/work/empty"
  [[ $output == *"no topology.json; it is written when all workers of the run have started"* ]]
}
