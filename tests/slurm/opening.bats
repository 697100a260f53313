#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Before a plan begins its nodes are woken and checked, and bad ones are replaced. All plans of this file are booked
# in setup_file, to begin a minute later; several stintds open them, each of which kills itself on the way. The tests
# look at what became of them.
load lab
bats_require_minimum_version 1.5.0

setup_file() {
  SITE=$(mktemp -d "${TMPDIR:-/tmp}/stint-site.XXXXXX")
  export SITE
  chmod 755 "$SITE"
  site_check >"$SITE/check" && chmod +x "$SITE/check"
  lab_up --nodes 8 --asleep 1 --stint price.node_hour=12 --stint health.timeout=8s \
    --stint health.free_memory=1 --stint health.free_disk=0 --stint health.shared_memory=0 --stint "health.command=$SITE/check"
  scontrol update nodename=node[1-6] availablefeatures=plain activefeatures=plain
  scontrol update nodename=node7 availablefeatures=busy activefeatures=busy
  scontrol update nodename=node8 availablefeatures=sleepy activefeatures=sleepy
  touch "$SITE/fails.node2" "$SITE/hangs.node3"
  sbatch -w node7 -t1 -o /dev/null --wrap "sleep 57"
  wait_until 10 node_runs node7
  stint plan create --name sound --nodes 2 --spares 1 --features plain --start now+75s --duration 5m
  stint plan create --name busy --nodes 1 --features busy --start now+62s --duration 5m
  stint plan create --name sleepy --nodes 1 --features sleepy --start now+75s --duration 5m
  # Nothing is opened before the first of the stintds that are killed.
  lab kill stintd
  sed -i 's/^prepare_before = .*/prepare_before = 5m/' "$STINT_CONF"
  armed_in_turn ledger.begin_opening slurm.create_reservation slurm.submit_node_job ledger.set_check_job \
    ledger.set_check slurm.drain_node
}
teardown_file() {
  rm -r "$SITE"
  lab_down
}

# The site's own health check: a broken fan, and one that stops the whole check (its parent is a shell).
site_check() {
  cat <<S
#!/bin/sh
[ ! -e "$SITE/fails.\$SLURMD_NODENAME" ] || { echo "fan 3 stands still"; exit 1; }
[ ! -e "$SITE/hangs.\$SLURMD_NODENAME" ] || { read -r _ _ _ doctor _ </proc/\$PPID/stat; kill -STOP \$doctor; }
S
}

# armed_in_turn POINT…: each stintd kills itself at its point, and the next one is there at once.
armed_in_turn() {
  local point
  for point in "$@"; do
    STINT_KILL_AT=$point lab revive stintd 2>/dev/null || stintd_is_dead
    wait_until 40 stintd_is_dead || { echo "it never came to $point" >&2; return 1; }
  done
  lab revive stintd
}

stintd_is_dead() { [[ $(lab status) =~ stintd\ +dead ]]; }
node_runs() { [[ $(squeue --noheader -w "$1" --states R --format %i) ]]; }
reservation() { scontrol --oneliner show reservation "$1"; }
nodes_of() { stint plan show "$1" --format json | jq -r '.segments[0].nodes | sort | join(",")'; }
start_of() { stint plan show "$1" --format json | jq '.segments[0].start'; }
history_of() { stint plan history "$1" --format json | jq -r --arg action "$2" '.[] | select(.action == $action) | .detail'; }
reason_of() { sinfo --noheader -N -n "$1" --format %E; }
opening_says() { [[ $(stint plan show "$1" | grep '^opening') == *"$2"* ]]; }
field() { scontrol --oneliner show job "$1" | grep -oP "(?<=\s$2=)[^ ]*"; }

@test "the reservation of an opening ends where the plan's begins" {
  wait_until 10 reservation sound.0.prep
  [[ $(reservation sound.0.prep) == *" EndTime=$(date -d "@$(start_of sound)" +%Y-%m-%dT%H:%M:%S) "* ]]
  [[ $(reservation sound.0.prep) == *" Users=root "* ]]
}

@test "a node whose health check fails is drained with its reason, and replaced" {
  wait_until 10 is_not_in node2 sound
  [[ $(reason_of node2) == "stint: health check: site: fan 3 stands still (status 1); verify" ]]
}

@test "a node whose health check hangs is drained and replaced" {
  wait_until 50 reason_is node3 "did not end within"
  wait_until 5 is_not_in node3 sound
  wait_until 10 no_check_runs
}
reason_is() { [[ $(reason_of "$1") == "stint: health check: "*"$2"* ]]; }
is_not_in() { [[ $(nodes_of "$2") != *"$1"* ]]; }
no_check_runs() { [[ $(squeue --noheader --format %j) != *stint-check* ]]; }

@test "substitutes are checked too, and the spare stays" {
  wait_until 10 opening_says sound "node[1,4-5] checked: good"
  [[ $(nodes_of sound) == node1,node4,node5 ]]
}

@test "a sleeping node is woken and checked" {
  wait_until 20 opening_says sleepy "node8 checked: good"
}

@test "when the plans begin nothing of their openings is left, though stintd dies as it clears away" {
  job=$(submit --training-plan=sound -N2 -o /dev/null --wrap "sleep 1")
  echo "$job" >"$SITE/job"
  lab kill stintd
  armed_in_turn slurm.delete_reservation
  while ((EPOCHSECONDS < $(start_of sleepy))); do sleep 0.2; done
  [[ $(scontrol --oneliner show reservation) != *prep* ]]
  no_check_runs
}

@test "the first job begins with the plan, on good nodes" {
  job=$(<"$SITE/job")
  wait_until 20 job_is "$job" COMPLETED
  (($(date -d "$(field "$job" StartTime)" +%s) - $(start_of sound) <= 10))
  [[ " $(scontrol show hostnames "$(field "$job" NodeList)" | paste -sd' ') " != *" node"[23]" "* ]]
}

@test "an opening is not billed: hours count from the plan's start, at the price of its own nodes" {
  wait_until 20 counted sound
  passed=$((EPOCHSECONDS - $(start_of sound)))
  echo "counted $node_seconds node-seconds, $passed s passed"
  ((node_seconds <= 2 * passed))
  [[ $(jq -r .price.amount <<<"$measured") == 2.00 ]]
}
# The plan as it is shown, once there is usage to show.
counted() {
  measured=$(stint plan show "$1" --format json)
  node_seconds=$(jq '.usage | (.used_hours + .idle_hours + .lost_hours) * 3600 | round' <<<"$measured")
  ((node_seconds > 0))
}

@test "history says how the openings went, and names what was not checked and why" {

  [[ $(history_of sound opened) == "segment 0: node[1,4-5] checked: good; node2 is bad (site: fan 3 stands still (status 1)) and was replaced; node3 is bad (its health check did not end within "*" s) and was replaced" ]]
  [[ $(history_of busy "opening skipped") == "segment 0: node7 not checked: in use until then" ]]
  [[ $(history_of sleepy opened) == "segment 0: node8 checked: good" ]]
  opening_says sound "node2 is bad"
}

@test "stint doctor node is for people too: a table, and an exit status" {
  run -0 as_nobody stint doctor node --node node1
  [[ $output == *"node node1: good" ]]
  run -1 env SLURMD_NODENAME=node2 stint doctor node --format json
  [[ $(jq -r '.verdict, (.checks[] | select(.verdict == "bad") | .name)' <<<"$output" | paste -sd' ') == "bad site" ]]
}
