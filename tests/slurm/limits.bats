#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# [policy] exceed_max_time = no: a run whose partition lets it run for less than its segment is long saves and is
# requeued at each limit, until it is done. Paced by its log, as in segments.bats.
# shellcheck disable=SC2154  # start_training sets $job and $run
load lab
load training
bats_require_minimum_version 1.5.0

setup_file() {
  lab_up --nodes 2 --stint policy.exceed_max_time=no
  "$BATS_TEST_DIRNAME/../lab/setup" && mkdir -p "$STINT_LAB/work"
  stint plan create --name trial --nodes 2 --spares 0 --duration 1h
  start_training
  finish_training
  weights >"$STINT_LAB/work/undisturbed"
}
teardown_file() { lab_down; }

table_says() { grep -q "$1" "$STINT_LAB/state/stint_plans.ini"; }
log_events() { jq -cR --arg event "$1" 'fromjson? | select(.event == $event)' "$run/log.jsonl"; }

# Three steps a second: workers that are ahead of that are frozen for a moment.
pace() {
  exec >/dev/null 2>&1 3>&-
  local allowed=0 steps signal now last=${EPOCHREALTIME/./} worker
  while sleep 0.1; do
    now=${EPOCHREALTIME/./}
    allowed=$((allowed + (now - last) * 3 / 10000))  # hundredths of a step
    last=$now
    steps=$(grep -c '"event":"step"' "$run/log.jsonl") || steps=0
    ((allowed < 100 * (steps + 4))) || allowed=$((100 * (steps + 4)))
    signal=CONT
    ((100 * steps <= allowed)) || signal=STOP
    for worker in $(pgrep --full "stint-worker.*$run"); do kill "-$signal" "$worker" || true; done  # it may have ended
  done
}

@test "a run goes on over Slurm's own limit, as often as it takes: no step lost or done twice, the same weights" {
  scontrol update PartitionName=main MaxTime=1
  wait_until 10 table_says "max_time = 1$"
  start_training ,run.log_interval=1,checkpoint.end_lead_min=5s
  [[ $(scontrol --oneliner show job "$job") == *" TimeLimit=00:01:00 "* ]]
  pace &
  pacer=$!
  wait_until 300 job_is "$job" COMPLETED || {
    kill "$pacer"
    tail -n 40 "$STINT_LAB/work/slurm-$job.out" >&2
    return 1
  }
  kill "$pacer"
  restarts=$(restarts_of_job)
  echo "requeued $restarts times"
  ((restarts >= 2))
  [[ $(count_events start) == $((restarts + 1)) && $(count_events segment_end) == "$restarts" ]]
  [[ $(scontrol --oneliner show job "$job") == *" Reservation=trial.0 "*" TimeLimit=00:01:00 "* ||
    $(scontrol --oneliner show job "$job") == *" TimeLimit=00:01:00 "*" Reservation=trial.0 "* ]]
  [[ $(log_events step | jq .step | paste -sd' ') == $(seq 300 | paste -sd' ') ]]
  [[ $(weights) == "$(<"$STINT_LAB/work/undisturbed")" ]]
  grep -qE '^steps lost +0 ' "$run/report.txt"
}
