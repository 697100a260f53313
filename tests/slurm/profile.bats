#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A profile of a run that goes on in a real Slurm, asked for from outside of its job.
# shellcheck disable=SC2154  # start_training sets $job and $run
load lab
load training
bats_require_minimum_version 1.5.0

setup_file() {
  lab_up --nodes 4
  book_trial_plan
}
teardown_file() { lab_down; }
teardown() { [[ -z ${job:-} ]] || scancel "$job"; }

@test "stint run profile writes a Chrome trace of the next steps of every rank" {
  start_training ",resources.workers_per_node=2" 1000000
  wait_until 60 in_mid_run
  run -0 timeout 60 stint run profile "$job" --steps 12 -o "$STINT_LAB/work/trace.json"
  [[ $output == *"records 12 steps of 4 ranks"*"trace.json: 12 steps from step "*" of 4 ranks, clocks aligned within "* ]]
  jq -e '[.traceEvents[] | select(.ph == "X")] as $spans
    | ($spans | length) > 0
    and all($spans[]; .ts >= -1e6 and .dur >= 0 and (.pid | IN(0, 1, 2, 3)) and (.tid | IN(0, 1)))
    and all(range(4); . as $rank | [$spans[] | select(.pid == $rank)] as $own
      | ([$own[] | select(.name == "step")] | length) == 12
      and all("data", "forward layer 0", "forward layer 1", "backward layer 0", "optimiser", "checkpoint";
        . as $name | any($own[]; .name == $name)))
    and all([$spans[] | select(.args.sequence)] | group_by(.args.sequence)[];
      (map(.name) | unique | length) == 1 and all(.[]; .args.bytes > 0))
    and (.otherData.clocks | length) == 4' "$STINT_LAB/work/trace.json"
  [[ $(jq -r '[.traceEvents[] | select(.name == "process_name").args.name] | join(" ")' "$STINT_LAB/work/trace.json") == \
    "rank 0 on "*" rank 1 on "*" rank 2 on "*" rank 3 on "* ]]
  # Another one, by the run directory, into it; the run goes on all the while.
  run -0 timeout 60 stint run profile "$run" --steps 1
  [[ -s $run/trace.json && $(ls "$run/profile") == "" ]]
  [[ $(job_state "$job") == RUNNING ]] && (($(count_events start) == 1))
}

@test "who does not own the run, or asks of a run that does not train, is told so" {
  start_training "" 1000000
  wait_until 60 in_mid_run
  chmod -R go+rX "$STINT_LAB/work"
  run -1 as_nobody stint run profile "$run" --steps 2 -o /tmp/nobody.json
  [[ $output == *"is the run of $(id -un), who alone may profile it"* ]]
  run -1 stint run profile "$job" --steps 0
  [[ $output == *"--steps 0: is not between 1 and 1000"* ]]
  run -1 stint run profile 99999
  [[ $output == *"job 99999: "* ]]
  run -1 stint run profile "$STINT_LAB/work/none"
  [[ $output == *"holds no run"* ]]
  scancel "$job"
  wait_until 30 job_is "$job" CANCELLED
  run -1 stint run profile "$run"
  [[ $output == *"its job $job does not run"* ]]
}

@test "ranks that do not answer are named with their nodes" {
  start_training "" 1000000
  wait_until 60 in_mid_run
  stopped=$(some_worker)
  kill -STOP "$stopped"
  run -1 timeout 60 stint run profile "$run" --steps 2 --timeout 2s
  kill -CONT "$stopped"
  [[ $output == *"no profile of ranks 0 ("*"), 1 ("*"): within 2 s"* ]]
}
