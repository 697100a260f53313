#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Jobs across the segments of a plan, in compressed time. All plans run at once, from setup_file on; the tests look
# at how their jobs fare. A run is paced by its log, so that it takes its time without taking the machine.
# shellcheck disable=SC2154,SC2016,SC2030,SC2031  # bats and training.bash set variables; texts in single quotes are for a job
load lab
load training
bats_require_minimum_version 1.5.0

# Of some 50 ms: a run that is looked at each half second gets no more than a few ahead, and is not frozen for long.
export LARGE_STEPS=data.global_batch_size=64

setup_file() {
  lab_up --nodes 7 --stint policy.warn_before=20s --stint policy.keep_jobs=15s
  "$BATS_TEST_DIRNAME/../lab/setup" && mkdir -p "$STINT_LAB/work"
  stint plan create --name trial --nodes 2 --spares 0 --duration 1h
  start_training ",$LARGE_STEPS"
  finish_training
  weights >"$STINT_LAB/work/undisturbed"
  stint plan cancel trial
  book_plans
  start_jobs
  pace_runs &
  echo $! >"$STINT_LAB/work/pacer"
}
teardown_file() {
  kill "$(<"$STINT_LAB/work/pacer")" || true
  lab_down
}

# Three segments of "gaps" and two of "roll" and "turn", booked by offers around two reservations of an admin, who then moves
# everything closer together: stintd follows.
book_plans() {
  local start=$((EPOCHSECONDS + 3600)) offer name
  scontrol create reservation ReservationName=block1 StartTime="$(when $start)" Duration=30 Nodes=ALL Users=root
  scontrol create reservation ReservationName=block2 StartTime="$(when $((start + 5400)))" Duration=30 Nodes=ALL Users=root
  offer=$(split_offer 3 --nodes 3 --duration 2h50m --min-segment 10m --before now+4h)
  stint plan create --name gaps --offer "$offer"
  for name in roll turn; do
    offer=$(split_offer 2 --nodes 1 --duration 1h50m --min-segment 10m --before now+3h)
    stint plan create --name "$name" --offer "$offer"
  done
  scontrol delete ReservationName=block1
  scontrol delete ReservationName=block2
  local now=$EPOCHSECONDS
  shift_segment gaps.0 0 $((now + 75))
  shift_segment gaps.1 $((now + 90)) $((now + 165))
  shift_segment gaps.2 $((now + 180)) $((now + 1200))
  for name in roll turn; do
    shift_segment "$name.0" 0 $((now + 70))
    shift_segment "$name.1" $((now + 70)) $((now + 300))
  done
  wait_until 10 plan_ends gaps 2 $((now + 1200))
  wait_until 10 plan_ends roll 0 $((now + 70))
  wait_until 10 plan_ends turn 0 $((now + 70))
  stint plan create --name short --nodes 1 --spares 0 --duration 80s
  stint plan create --name later --nodes 1 --spares 0 --start now+40s --duration 5m
}

when() { date -d "@$1" +%Y-%m-%dT%H:%M:%S; }

# shift_segment RESERVATION START END; 0: it has begun already.
shift_segment() {
  local start=()
  (($2 == 0)) || start=(StartTime="$(when "$2")")
  scontrol update ReservationName="$1" "${start[@]}" EndTime="$(when "$3")"
}

plan_ends() { (($(segment "$1" "$2" end) == $3)); }
# segment PLAN K FIELD
segment() { stint plan show "$1" --format json | jq ".segments[$2].$3"; }

start_jobs() {
  local tiny
  tiny="tiny-llama,data.path=$(realpath "$BATS_TEST_DIRNAME/../../build/data/book.txt"),run.directory=$STINT_LAB/work/%j"
  tiny+=",model.num_hidden_layers=2,model.hidden_size=64,data.sequence_length=64,resources.threads_per_worker=1,$LARGE_STEPS"
  tiny+=",run.log_interval=1,checkpoint.interval=10,checkpoint.end_lead_min=5s"
  cd "$STINT_LAB/work" || return 1
  echo "$tiny,run.steps=5000,resources.nodes=1" >recipe.short
  cat >steps.sh <<'S'
#!/bin/sh
echo "start $(date +%s)"
srun -n1 sh -c 'trap "echo warned \$(date +%s)" USR1; while :; do sleep 1; done'
S
  submit --training-plan=gaps --recipe="$tiny,run.steps=300,resources.nodes=2" --wrap stint-train >job.gaps
  submit --training-plan=gaps -t50 -N1 -o out.steps steps.sh >job.steps  # more time than its segments have
  submit --training-plan=roll -N1 -o out.roll --wrap 'sleep 90; echo slept' >job.roll
  submit --training-plan=turn --recipe="$tiny,run.steps=160,resources.nodes=1" --wrap stint-train >job.turn
  submit --training-plan=short --recipe="$(<recipe.short)" --wrap stint-train >job.short
  submit --training-plan=short -N1 -o out.waits --wrap 'echo ran' >job.waits
  submit --training-plan=later -N1 -o out.later --wrap 'sleep 2' >job.later
}

# Two steps a second: a worker that is ahead of that is frozen for a moment.
pace_runs() {
  exec >/dev/null 2>&1 3>&-
  local -A allowed
  local name log steps signal now last=${EPOCHREALTIME/./} ahead
  while sleep 0.1; do
    now=${EPOCHREALTIME/./}
    ahead=$(((now - last) / 5000))  # hundredths of a step
    last=$now
    for name in gaps short turn; do
      log=$STINT_LAB/work/$(<"$STINT_LAB/work/job.$name")/log.jsonl
      steps=$(grep -c '"event":"step"' "$log") || steps=0
      allowed[$name]=$((${allowed[$name]:-0} + ahead))
      ((allowed[$name] < 100 * (steps + 4))) || allowed[$name]=$((100 * (steps + 4)))
      signal=CONT
      ((100 * steps <= allowed[$name])) || signal=STOP
      for worker in $(pgrep --full "stint-worker.*$(dirname "$log")"); do kill "-$signal" "$worker" || true; done
    done
  done
}

job_named() { cat "$STINT_LAB/work/job.$1"; }
field() { scontrol --oneliner show job "$1" | grep -oP "(?<=\s$2=)[^ ]*"; }
started_at() { date -d "$(field "$1" StartTime)" +%s; }
log_events() { jq -cR --arg event "$1" 'fromjson? | select(.event == $event)' "$run/log.jsonl"; }
use_run() {
  job=$(job_named "$1")
  run=$STINT_LAB/work/$job
}

@test "a job queued before its segment runs within 10 s of its start" {
  job=$(job_named later)
  wait_until 90 job_is "$job" COMPLETED
  (($(started_at "$job") - $(segment later 0 start) <= 10))
}

@test "--test-only inside an active segment is answered" {
  run -0 sbatch --test-only --training-plan=later -N1 -t2 --wrap true
  [[ $output == *"to start at"* ]]
}

@test "at the last end a run saves, says how to go on, and is not requeued" {
  use_run short
  wait_until 120 job_is "$job" FAILED
  [[ $(field "$job" ExitCode) == 76:0 && $(restarts_of_job) == 0 ]]
  (($(log_events segment_end | jq .ends) == $(segment short 0 end)))
  step=$(log_events step | jq .step | tail -n1)
  (($(log_events checkpoint | jq .step | tail -n1) == step))
  grep -qE "^stint-train: plan short is over at step $step of 5000; saved $run/checkpoints/step-0*$step; .*stint plan extend short" \
    "$STINT_LAB/work/slurm-$job.out"
  grep -q "segment 0 of plan short ends" "$run/report.txt"
}

@test "a job that still waits when its plan is over says so, and is cancelled after a while" {
  job=$(job_named waits)
  wait_until 60 comment_says_over
  wait_until 60 job_is "$job" CANCELLED
  [[ ! -e $STINT_LAB/work/out.waits ]]
}
comment_says_over() { scontrol show job "$job" | grep "AdminComment=stint plan=short -- plan short is over; this job is cancelled at"; }

@test "a run goes on in another plan with its old directory" {
  use_run short
  step=$(log_events step | jq .step | tail -n1)
  cd "$STINT_LAB/work"
  recipe=$(sed "s|run.directory=[^,]*|run.directory=$run|" recipe.short)
  job=$(submit --training-plan=later --recipe="$recipe" --wrap stint-train)
  wait_until 40 grep -q "\"job\":\"$job\"" "$run/log.jsonl"
  (($(log_events start | jq .resume_step | tail -n1) == step))
  scancel "$job"
}

@test "where segments follow on the same nodes a job rolls over, running" {
  job=$(job_named roll)
  wait_until 120 job_is "$job" COMPLETED
  [[ $(restarts_of_job) == 0 && $(field "$job" Reservation) == roll.1 ]]
  grep -qx slept "$STINT_LAB/work/out.roll"
}

@test "where segments follow on the same nodes a run trains on: it does not stop, save or start again" {
  use_run turn
  wait_until 150 job_is "$job" COMPLETED || { tail -n 40 "$STINT_LAB/work/slurm-$job.out" >&2; return 1; }
  [[ $(restarts_of_job) == 0 && $(field "$job" Reservation) == turn.1 ]]
  [[ $(count_events start) == 1 && $(count_events segment_end) == 0 ]]
  [[ $(log_events step | jq .step | paste -sd' ') == $(seq 160 | paste -sd' ') ]]
  [[ $(log_events finish | jq --argjson edge "$(segment turn 0 end)" '.t > $edge') == true ]]
}

@test "a run trains through three segments with gaps: no step lost or done twice, little idle, the same weights" {
  use_run gaps
  wait_until 300 job_is "$job" COMPLETED || { tail -n 40 "$STINT_LAB/work/slurm-$job.out" >&2; return 1; }
  [[ $(restarts_of_job) == 2 && $(count_events start) == 3 && $(count_events segment_end) == 2 ]]
  [[ $(log_events step | jq .step | paste -sd' ') == $(seq 300 | paste -sd' ') ]]
  [[ $(weights) == "$(<"$STINT_LAB/work/undisturbed")" ]]
  while read -r end start; do
    echo "idle: $end s at the end, $start s at the next start"
    [[ $(jq -n "$end + $start <= 30") == true ]]
  done < <(idle_at_ends)
  grep -qE '^steps lost +0 ' "$run/report.txt"
  grep -q "segment 1 of plan gaps ends" "$run/report.txt"
}

# Of each segment's end: from the last step to the end, and from the next segment's start to the next step.
idle_at_ends() {
  jq -rRn '[inputs | fromjson? | select(.event == "step" or .event == "segment_end")] | . as $all
    | range(length) | select($all[.].event == "segment_end") as $i
    | $all[$i] as $closing
    | ([$all[] | select(.event == "step" and .t < $closing.next_start and .t < $closing.ends + 30)] | last) as $before
    | ([$all[] | select(.event == "step" and .t >= $closing.next_start)] | first) as $first
    | "\($closing.ends - $before.t) \($first.t - $closing.next_start)"' "$run/log.jsonl"
}

@test "a job without a recipe is warned, requeued into the next segment, and starts there at once" {
  out=$STINT_LAB/work/out.steps
  for k in 0 1; do
    end=$(segment gaps $k end)
    warned=$(awk '/^warned/ {print $2}' "$out" | sed -n "$((k + 1))p")
    ((warned >= end - 22 && warned <= end - 12))
    started=$(awk '/^start/ {print $2}' "$out" | sed -n "$((k + 2))p")
    next=$(segment gaps $((k + 1)) start)
    ((started >= next && started <= next + 10))
  done
  scancel "$(job_named steps)"
}
