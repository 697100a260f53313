#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Whatever dies or stops in mid-run, the run ends with the weights of one that nothing happened to, bit for bit.
# shellcheck disable=SC2154  # start_training sets $job and $run
load lab
load training
bats_require_minimum_version 1.5.0

setup_file() {
  lab_up --nodes 4 --stint stintd.restart_grace=0s
  book_trial_plan
  start_training
  finish_training
  weights >"$STINT_LAB/work/undisturbed"
}
teardown_file() { lab_down; }

setup() {
  start_training
  wait_until 60 in_mid_run
}

ends_undisturbed() {
  finish_training
  [[ $(weights) == "$(<"$STINT_LAB/work/undisturbed")" ]]
}

@test "a worker is killed: the step starts again in the same allocation" {
  kill -KILL "$(some_worker)"
  ends_undisturbed
  [[ $(restarts_of_job) == 0 && $(count_events start) == 2 ]]
}

@test "an agent is killed: the step starts again, and its node stays in service" {
  kill -KILL "$(some_agent)"
  ends_undisturbed
  [[ $(restarts_of_job) == 0 && $(count_events start) == 2 ]]
  [[ $(sinfo --noheader --states down,drain --format %D) == "" ]]
}

@test "a node dies: the job is requeued without it" {
  victim=$(nodes_of_job | grep -v "^$(batch_host)\$")
  lab kill "$victim"
  ends_undisturbed
  [[ $(restarts_of_job) == 1 && $(nodes_of_job) != *"$victim"* ]]
  lab revive "$victim"
}

@test "slurmd alone dies: the job is requeued without its node" {
  victim=$(nodes_of_job | grep -v "^$(batch_host)\$")
  kill -KILL "$(cut -d' ' -f1 "$STINT_LAB/run/$victim.pid")"
  ends_undisturbed
  [[ $(restarts_of_job) == 1 && $(nodes_of_job) != *"$victim"* ]]
  lab kill "$victim"
  lab revive "$victim"
}

@test "the batch host dies: the job is requeued without it" {
  victim=$(batch_host)
  lab kill "$victim"
  ends_undisturbed
  [[ $(restarts_of_job) == 1 && $(nodes_of_job) != *"$victim"* ]]
  lab revive "$victim"
}

@test "stintd dies and comes back: the run does not notice" {
  lab kill stintd
  ends_undisturbed
  [[ $(count_events start) == 1 ]]
  lab revive stintd
}

@test "a node dies while stintd is away: the job is requeued all the same" {
  victim=$(nodes_of_job | tail -n1)
  lab kill stintd
  lab kill "$victim"
  sleep 3
  lab revive stintd
  ends_undisturbed
  echo "restarts: $(restarts_of_job), nodes: $(nodes_of_job), without $victim"
  [[ $(restarts_of_job) == 1 && $(nodes_of_job) != *"$victim"* ]]
  lab revive "$victim"
}

@test "a run that is told to stop saves, is requeued, and loses no step" {
  scancel --signal=USR1 "$job"
  ends_undisturbed
  [[ $(restarts_of_job) == 1 && $(count_events start) == 2 ]]
  grep -qE '^steps lost +0 ' "$run/report.txt"
}

# slurmctld writes its jobs down every few seconds; one younger than that is lost with it, whoever submitted it.
slurmctld_has_saved_the_job() { [[ $STINT_LAB/state/job_state -nt $run/recipe.ini ]]; }

@test "slurmctld dies and comes back: the run does not notice" {
  wait_until 20 slurmctld_has_saved_the_job
  lab kill slurmctld
  sleep 2
  lab revive slurmctld
  ends_undisturbed
  [[ $(restarts_of_job) == 0 && $(count_events start) == 1 ]]
}
