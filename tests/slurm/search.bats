#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Offers in a real Slurm: searched, explained, booked by their id, over one segment and over several.
load lab
bats_require_minimum_version 1.5.0

setup_file() {
  lab_up --nodes 6 --stint policy.book=everyone
  chmod 755 "$STINT_LAB"
}
teardown_file() { lab_down; }
# A node that has just missed a ping of slurmctld is not offered.
setup() {
  cd "$STINT_LAB" || return 1
  wait_until 60 all_idle
}
all_idle() { [[ $(sinfo --noheader --Node --states=idle --responding --format=%N | sort -u | wc -l) == 6 ]]; }
teardown() {
  for plan in $(stint plan list --format json | jq -r '.[] | select(.state == "active" or .state == "scheduled").name'); do
    stint plan cancel "$plan" --force
  done
  scontrol delete ReservationName=block 2>/dev/null || true
}

offers() { stint plan search --format json "$@" | jq -r '.offers[].id'; }
reservation() { scontrol --oneliner show reservation "$1" 2>/dev/null; }

@test "a search says when, where, for how much and why; its first offer is booked by its id" {
  run -0 stint plan search --nodes 3 --spares 1 --duration 2h
  [[ ${lines[0]} == OFFER*FROM*UNTIL*NODES*SWITCHES*PRICE*WHY ]]
  [[ ${lines[1]} == *"15.00"*"ends first"* ]]
  [[ ${lines[-1]} == *"stint plan create --name NAME --offer "* ]]
  id=$(offers --nodes 3 --spares 1 --duration 2h | head -n1)
  run -0 stint plan create --name found --offer "$id"
  [[ $output == *15.00* ]]
  [[ $(scontrol show hostnames "$(reservation found.0 | grep -oP '(?<= Nodes=)\S+')" | wc -l) == 4 ]]
  job=$(submit --training-plan=found -N1 --wrap "sleep 60")
  wait_until 20 job_is "$job" RUNNING
  scancel "$job"
}

@test "running jobs, reservations and nodes that are down are seen" {
  scontrol create reservation ReservationName=block StartTime=now Duration=3:00:00 Nodes=node1,node2 Users=root
  job=$(submit -N1 --exclusive -w node3 -t 60 --wrap "sleep 600")
  wait_until 20 job_is "$job" RUNNING
  scontrol update NodeName=node4 State=DRAIN Reason=test
  run -0 stint plan search --nodes 2 --duration 30m --format json
  [[ $(jq -rc '.offers[0].segments[0].nodes' <<<"$output") == '["node5","node6"]' ]]
  from_job=$(stint plan search --nodes 3 --duration 30m --format json | jq '.offers[0].segments[0].start')
  end_of_job=$(date -d "$(scontrol --oneliner show job "$job" | grep -oP '(?<=EndTime=)\S+')" +%s)
  ((from_job >= end_of_job && from_job < end_of_job + 120))
  run -1 stint plan search --nodes 6 --duration 30m
  [[ $output == "stint: search: 6 nodes are wanted; partition main has 6 nodes, 1 of them is drained (node4): 5 are left; what would work: 5 nodes are free for the whole time from "* ]]
  run -1 stint plan create --name x --nodes 2 --duration 30m --features fast
  [[ $output == "stint: plan x: 2 nodes are wanted; no node of partition main has feature fast; what would work: without feature fast, so many are free from "* ]]
  scontrol update NodeName=node4 State=RESUME
  scancel "$job"
}

@test "what does not fit in one block is split, and every segment is a reservation" {
  start=$(date -d '+2 hours' +%Y-%m-%dT%H:%M:00)
  scontrol create reservation ReservationName=block StartTime="$start" Duration=10:00:00 Nodes=ALL Users=root
  run -1 stint plan search --nodes 4 --duration 3h --before now+14h
  [[ $output == *"4 nodes are free for 0"*"03:00:00 are wanted"* ]]
  run -0 stint plan search --nodes 4 --duration 3h --segments 2
  [[ ${lines[1]} == *"ends first in one block"* ]]
  [[ $output == *"in 2 segments, ends 0"*" before the first block"* ]]
  stint plan create --name split --offer "$(split_offer 2 --nodes 4 --duration 3h)"
  ends=$(date -d "$(reservation split.0 | grep -oP '(?<=EndTime=)\S+')" +%s)
  ((ends <= $(date -d "$start" +%s) && ends > $(date -d "$start" +%s) - 60))
  [[ -n $(reservation split.1) ]]
  [[ $(stint plan show split) == *"segment 1"* ]]
  job=$(submit --training-plan=split -N1 --wrap true)
  [[ $(scontrol --oneliner show job "$job") == *" Reservation=split.0"* ]]
}

@test "two users who book the same offer: one gets it, the other sees what is left" {
  mine=$(offers --nodes 4 --duration 1h | head -n1)
  run -0 as_nobody stint plan search --nodes 4 --duration 1h --format json
  theirs=$(jq -r '.offers[0].id' <<<"$output")
  stint plan create --name mine --offer "$mine" >mine.out 2>&1 &
  first=$!
  as_nobody stint plan create --name theirs --offer "$theirs" >"$BATS_TEST_TMPDIR/theirs.out" 2>&1 &
  second=$!
  won=0
  wait "$first" && won=$((won + 1))
  wait "$second" && won=$((won + 1))
  ((won == 1))
  grep -h "no longer free; nothing is booked" mine.out "$BATS_TEST_TMPDIR/theirs.out"
  grep -h "stint plan create --name NAME --offer o" mine.out "$BATS_TEST_TMPDIR/theirs.out"
  [[ $(scontrol --oneliner show reservation | grep -c ReservationName=) == 1 ]]
}

@test "what the partition's own limits would keep from running is warned of" {
  scontrol update PartitionName=main MaxNodes=2 State=DOWN AllowGroups=daemon
  run -0 as_nobody stint plan search --nodes 3 --duration 1h
  [[ $output == *"partition main is not up"*"may have 2 nodes of partition main at most"*"AllowGroups=daemon"* ]]
  run -0 stint plan create --name narrow --nodes 3 --duration 1h
  [[ $output == *"warning "*"may have 2 nodes"* ]]
  scontrol update PartitionName=main MaxNodes=UNLIMITED State=UP AllowGroups=ALL
  run -0 as_nobody stint plan search --nodes 3 --duration 1h
  [[ $output != *warning* ]]
}

@test "an offer that nobody made, and values that make no sense, are refused by name" {
  run -1 stint plan create --name x --offer onever
  [[ $output == "stint: offer onever: "*"stint plan search"* ]]
  run -1 stint plan search --nodes 2 --duration 1h --before yesterday
  [[ $output == "stint: search: --before: 'yesterday' is no time"* ]]
  run -1 env TZ=Europe/Berlin stint plan search --nodes 2 --duration 1h --after "2027-03-28 02:30"
  [[ $output == "stint: search: --after: 2027-03-28T02:30 does not exist: the clocks are put forward over it; 2027-03-28T03:30 does" ]]
  run -1 stint plan search --nodes 2 --duration 1h --max-price 1.005
  [[ $output == "stint: search: --max-price: '1.005' has more than two decimals" ]]
  run -1 stint plan search --nodes 2 --duration 1h --partition nowhere
  [[ $output == *"no partition 'nowhere'"* ]]
  run -1 stint plan search --gpus 8 --duration 1h
  [[ $output == *"has GPUs"* ]]
  run -1 stint plan search --nodes 2 --gpus 8 --duration 1h
  [[ $output == *"either --nodes or --gpus"* ]]
}

@test "a recipe says how many nodes, and how long: its time limit, else its estimate on nodes of known speed" {
  run -1 stint plan search --recipe tiny-llama
  [[ $output == "stint: search: give --duration; recipe tiny-llama has no resources.time_limit, and without [recipes] node_tflops"* ]]
  run -0 stint plan search --recipe tiny-llama,resources.time_limit=90m --format json
  [[ $(jq '.offers[0].segments[0] | (.nodes | length), (.end - .start)' <<<"$output" | paste -sd' ') == "4 5400" ]]
  { cat "$STINT_CONF"; printf '[recipes]\nnode_tflops = 0.00002\n'; } >known.conf
  run -0 stint plan search --config known.conf --recipe tiny-llama --format json
  length=$(jq '.offers[0].segments[0] | .end - .start' <<<"$output")
  [[ $(STINT_CONF=known.conf stint recipe estimate tiny-llama) == *"time "*"$(printf '%02d:%02d:00' $((length / 3600)) $((length / 60 % 60))) on 4 nodes"* ]]
  run -1 stint plan search --recipe tiny-lama --duration 1h
  [[ $output == *"did you mean 'tiny-llama'"* ]]
}

@test "availability is drawn, and told as JSON" {
  scontrol create reservation ReservationName=block StartTime=now Duration=1:00:00 Nodes=node1 Users=root
  run -0 stint plan availability --weeks 1
  [[ ${lines[0]} == "partition main: 6 nodes"* ]]
  ((${#lines[@]} >= 8))
  [[ $(stint plan availability --format json | jq -c '[.nodes, .steps[0].free, .steps[1].free]') == "[6,5,6]" ]]
}
