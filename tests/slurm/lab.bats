#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The lab itself, with Slurm alone in it.
load lab

bats_require_minimum_version 1.5.0

setup_file() { lab_up --plain --nodes 4; }
teardown_file() { lab_down; }
setup() { other=$STINT_LAB-other; }
teardown() {
  local dir
  for dir in "$other" "$other-a" "$other-b"; do
    [[ ! -e $dir/lab.json ]] || lab down --dir "$dir" # of a test that failed
    rm -rf "$dir"
  done
}

node_state() { sinfo --noheader --nodes "$1" --format %T; }
node_is() { [[ $(node_state "$1") == "$2" ]]; }

# A job that leaves a child in a session of its own on each node; $1: how long they sleep, which names them.
start_sleepers() {
  submit -N2 -o "$BATS_TEST_TMPDIR/out" --wrap "srun --ntasks-per-node=1 bash -c 'setsid sleep $1 & sleep $1'"
}
sleepers() { pgrep --count --full "^sleep $1\$"; }
sleepers_are() { [[ $(sleepers "$1") == "$2" ]]; }

@test "all nodes are idle below two leaf switches" {
  [[ $(sinfo --noheader --format '%D %T') == "4 idle" ]]
  run -0 scontrol show topology
  [[ $output == *"SwitchName=leaf1 Level=0"*"Nodes=node1,node2"* ]]
  [[ $output == *"SwitchName=leaf2 Level=0"*"Nodes=node3,node4"* ]]
}

@test "a job sees its place in the tree" {
  run -0 srun -N1 -w node3 printenv SLURM_TOPOLOGY_ADDR
  [[ $output == spine.leaf2.node3 ]]
}

@test "kill ends everything on the node, detached children too, and nothing elsewhere" {
  job=$(start_sleepers 4711)
  wait_until 10 sleepers_are 4711 4
  batch_host=$(scontrol --oneliner show job "$job" | grep -oP '(?<=BatchHost=)\S+')
  victim=$([[ $batch_host == node1 ]] && echo node2 || echo node1)
  lab kill "$victim"
  [[ $(sleepers 4711) == 2 ]]
  run -0 lab status
  [[ $output == *"$victim"*dead* ]]
  scancel "$job"
  lab revive "$victim"
  wait_until 20 node_is "$victim" idle
}

@test "a killed node is DOWN after SlurmdTimeout, and idle once revived" {
  lab kill node4
  wait_until 40 node_is node4 "down*"
  lab revive node4
  node_is node4 idle
}

@test "stop freezes a node and cont thaws it" {
  job=$(start_sleepers 4712)
  wait_until 10 sleepers_are 4712 4
  lab stop node1
  run -0 bash -c "ps -o state= -p \$(pgrep --full '^sleep 4712\$' | paste -sd,) | sort | uniq -c | tr -s ' '"
  [[ $output == *"2 S"*"2 T"* ]]
  lab cont node1
  run -0 bash -c "ps -o state= -p \$(pgrep --full '^sleep 4712\$' | paste -sd,) | sort -u"
  [[ $output == S ]]
  scancel "$job"
  wait_until 20 sleepers_are 4712 0
}

@test "slurmctld can be killed and revived; the queue survives" {
  job=$(submit --hold --wrap true)
  touch "$BATS_TEST_TMPDIR/submitted"
  wait_until 20 test "$STINT_LAB/state/job_state" -nt "$BATS_TEST_TMPDIR/submitted"
  lab kill slurmctld
  run ! timeout 1 scontrol ping
  lab revive slurmctld
  job_is "$job" PENDING
  scancel "$job"
}

@test "two more labs start side by side and leave nothing behind" {
  lab up --plain --nodes 2 --dir "$other-a" &
  lab up --plain --nodes 2 --dir "$other-b"
  wait $!
  for one in a b; do
    (eval "$(lab env --dir "$other-$one")" && srun -N2 true)
    lab down --dir "$other-$one"
    [[ ! -e $other-$one ]]
  done
  run ! pgrep --full "$other"
}

@test "a failed start says why and leaves nothing behind" {
  run -1 lab up --plain --dir "$other" --slurm Nonsense=3
  [[ $output == *"slurmctld ended"*"unrecognized key: Nonsense"* ]]
  [[ ! -e $other ]]
  run ! pgrep --full "$other"
}

@test "an interrupted start leaves nothing behind" {
  local signal
  ln -s "$(type -P false)" "$BATS_TEST_TMPDIR/sinfo" # its nodes never come up, so it cannot be through before the signal
  for signal in INT TERM; do                          # INT is ignored by what a script started in the background
    run -124 env --default-signal="$signal" PATH="$BATS_TEST_TMPDIR:$PATH" timeout --signal "$signal" 1 \
      lab up --plain --nodes 16 --dir "$other"
    [[ ! -e $other ]]
    run ! pgrep --full "$other"
  done
}

@test "wrong use is refused in one line" {
  run -1 lab up --plain
  [[ $output == *"a lab is in"*"already"* ]]
  run -1 lab down --dir /nowhere
  [[ $output == "lab: no lab in /nowhere;"* ]]
  run -1 lab kill node9
  [[ $output == "lab: no node or daemon 'node9'"* ]]
  STINT_BUILD=/nowhere run -1 lab up --dir "$other"
  [[ $output == *"/nowhere/bin/stintd is missing; build first"* ]]
  mkdir "$other" && touch "$other/letter"
  run -1 lab up --plain --dir "$other"
  [[ $output == *"is not an empty folder of yours"* && -e $other/letter ]]
}
