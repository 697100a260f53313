#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Nodes with GPUs in a real Slurm: searched by their number, priced, used by jobs, kept when a node is swapped.
load lab
bats_require_minimum_version 1.5.0

# In one partition: two nodes without, two with four, two with eight.
setup_file() { lab_up --nodes 6 --gpus 0,0,4,4,8,8 --stint price.node_hour=1 --stint price.gpu_hour=10; }
teardown_file() { lab_down; }
setup() { cd "$STINT_LAB" || return 1; }
teardown() {
  for plan in $(stint plan list --state active,scheduled --format json | jq -r '.[].name'); do
    stint plan cancel "$plan" --force
  done
}

nodes_of() { stint plan show "$1" --format json | jq -r '.segments[0].nodes | sort | join(" ")'; }
book_gpus() { stint plan create --name "$1" --offer "$(stint plan search --gpus "$2" --duration 1h --format json | jq -r '.offers[0].id')"; }

@test "GPUs are searched by their number, on few large nodes or on more small ones, and priced" {
  run -0 stint plan search --gpus 12 --duration 1h
  [[ ${lines[1]} == *"node[5-6]"*"16 (8 a node)"*"162.00 EUR"* ]]
  scontrol create reservation ReservationName=block StartTime=now Duration=60 Nodes=node6 Users=root
  run -0 stint plan search --gpus 12 --duration 1h
  scontrol delete ReservationName=block
  [[ ${lines[1]} == *"node[3-5]"*"123.00 EUR"* ]]
  run -1 stint plan search --gpus 30 --duration 1h
  [[ $output == "stint: search: 4 nodes are wanted; 2 nodes of partition main have 8 GPUs; what would work: 2 nodes are free for the whole time from "* ]]
}

@test "a job gets the GPUs that its plan has paid for, and no more" {
  book_gpus eight 8
  run -0 stint plan create --name plain --nodes 1 --duration 1h
  [[ $output == *"1.00 EUR"* ]]
  run -1 sbatch --training-plan=plain -N1 --gres=gpu:1 --wrap true
  [[ $output == *"plan plain: has 0 GPUs a node, the job wants 1"* ]]
  run -1 sbatch --training-plan=eight -N1 --gres=gpu:9 --wrap true
  [[ $output == *"plan eight: has 8 GPUs a node, the job wants 9"* ]]
  job=$(submit --training-plan=eight -N1 --gres=gpu:8 --wrap "sleep 60")
  wait_until 20 job_is "$job" RUNNING
}

@test "a lost node is swapped for one with as many GPUs, never for one with fewer" {
  book_gpus large 8
  first=$(nodes_of large)
  [[ $first == node[56] ]]
  lab kill "$first"
  scontrol update NodeName="$first" State=DOWN Reason="stint: test"
  other=$([[ $first == node5 ]] && echo node6 || echo node5)
  wait_until 20 on_nodes large "$other"
  lab kill "$other"
  scontrol update NodeName="$other" State=DOWN Reason="stint: test"
  sleep 6 # three rounds of stintd
  on_nodes large "$other"
}
on_nodes() { [[ $(nodes_of "$1") == "$2" ]]; }
