#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# An admin lays maintenance over plans: nodes are swapped where others are free; else jobs end before it and go on
# after it.
load lab
bats_require_minimum_version 1.5.0

setup_file() {
  lab_up --nodes 4 --stint policy.book=everyone --stint policy.warn_before=15s
}
teardown_file() { lab_down; }
setup() { cd "$STINT_LAB" || return 1; }
teardown() {
  scontrol delete ReservationName=maint 2>/dev/null || true
  stint plan cancel over --force
}

nodes_of() { scontrol --oneliner show reservation "$1.0" | grep -oP '(?<= Nodes=)\S+'; }
# maintain START MINUTES NODES
maintain() {
  scontrol create reservation ReservationName=maint Flags=MAINT,IGNORE_JOBS StartTime="$1" Duration="$2" Nodes="$3" \
    Users=root
}

@test "nodes of a plan are swapped while others are free, else its history says who takes them" {
  stint plan create --name over --nodes 2 --start now+5m --duration 10m
  before=$(nodes_of over)
  maintain now+8minutes 60 "$before"
  apart() { ! scontrol show hostnames "$(nodes_of over)" | grep -qxFf <(scontrol show hostnames "$before"); }
  wait_until 10 apart
  [[ $(scontrol show hostnames "$(nodes_of over)" | wc -l) == 2 ]]
  scontrol delete ReservationName=maint
  maintain now+8minutes 60 ALL
  told() { [[ $(stint plan history over) == *"nodes claimed"*"reservation maint takes it from"* ]]; }
  wait_until 10 told
  [[ $(scontrol show hostnames "$(nodes_of over)" | wc -l) == 2 ]]
}

@test "a job ends before maintenance of all nodes, and goes on in its plan when it is over" {
  stint plan create --name over --nodes 4 --duration 10m
  job=$(submit --training-plan=over --nodes 4 --output /dev/null --wrap 'date +%s >>starts; trap "" USR1; sleep 600')
  wait_until 20 test -s starts
  begins=$(($(date +%s) + 40))
  maintain "$(date --date "@$begins" +%FT%T)" 1 ALL
  ends_there() { [[ $(date --date "$(scontrol --oneliner show job "$job" | grep -oP '(?<=EndTime=)\S+')" +%s) == "$begins" ]]; }
  wait_until 10 ends_there
  wait_until 40 job_is "$job" PENDING
  (($(date +%s) <= begins + 5))
  twice() { [[ $(wc -l <starts) == 2 ]]; }
  wait_until 100 twice
  again=$(tail -n1 starts)
  ((again >= begins + 60 && again <= begins + 75))
  job_is "$job" RUNNING
}
