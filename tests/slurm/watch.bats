#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# `stint run watch` beside a real Slurm. The job here writes the log of a run without training.
load lab
bats_require_minimum_version 1.5.0

setup_file() {
  lab_up --plain --nodes 2
  mkdir "$STINT_LAB/work"
}
teardown_file() { lab_down; }

@test "watch waits for the run directory of a job that has just started" {
  cat >"$STINT_LAB/work/script" <<'SCRIPT'
#!/bin/bash
sleep 3
mkdir -p stint-runs/tiny-llama-"$SLURM_JOB_ID" && cd stint-runs/tiny-llama-"$SLURM_JOB_ID"
cat >log.jsonl <<LOG
{"t": 1, "event": "start", "job": "$SLURM_JOB_ID", "restart": 0, "attempt": 0, "world": 1, "steps": 2, "resume_step": 0}
{"t": 2, "event": "step", "step": 2, "loss": 1.5, "tokens_per_second": 100, "step_seconds": 0.5}
{"t": 3, "event": "finish", "step": 2, "loss": 1.5, "seconds": 2}
LOG
SCRIPT
  cd "$STINT_LAB/work"
  job=$(submit script)
  wait_until 10 job_is "$job" RUNNING
  run -0 timeout 30 stint run watch "$job"
  [[ $output == *"waits for the run directory of job $job (RUNNING)"*"finished at step 2"* ]]
}

@test "a run directory that the recipe names elsewhere is found in the job's output" {
  cd "$STINT_LAB/work"
  mkdir elsewhere
  echo '{"t": 1, "event": "finish", "step": 7, "loss": 1.5, "seconds": 2}' >elsewhere/log.jsonl
  job=$(submit --wrap "echo 'stint-train: run directory $PWD/elsewhere'; sleep 60")
  wait_until 10 job_is "$job" RUNNING
  run -0 timeout 30 stint run watch "$job"
  [[ $output == *"finished at step 7"* ]]
  scancel "$job"
}

@test "what holds no run is refused, not waited for" {
  for verb in watch report; do
    run -1 timeout 30 stint run $verb "$STINT_LAB/work"
    [[ $output == "stint: $STINT_LAB/work: holds no run"* ]]
  done
}

@test "watch of a job that ended without a run says so" {
  cd "$STINT_LAB/work"
  job=$(submit --wrap true)
  wait_until 10 job_is "$job" COMPLETED
  run -1 timeout 30 stint run watch "$job"
  [[ $output == "stint: job $job: is COMPLETED and neither its output nor "* ]]
}
