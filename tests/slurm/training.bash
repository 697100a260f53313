# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# For *.bats files that train: small runs in the plan "trial", which the file must have booked. Each run works in
# $STINT_LAB/work, where all "nodes" see it.

book_trial_plan() {
  "$BATS_TEST_DIRNAME/../lab/setup" && mkdir -p "$STINT_LAB/work"
  stint plan create --name trial --nodes 2 --spares 2 --duration 1h
}

# start_training [OVERRIDES [STEPS]]: submits a run of two nodes that takes some ten seconds, or has so many steps. Sets $job and $run.
start_training() {
  local book=$BATS_TEST_DIRNAME/../../build/data/book.txt recipe
  recipe="tiny-llama,data.path=$(realpath "$book"),run.directory=$STINT_LAB/work/%j,run.steps=${2:-300}"
  recipe+=",checkpoint.interval=10,model.num_hidden_layers=2,model.hidden_size=64,data.sequence_length=64"
  recipe+=",resources.nodes=2,resources.threads_per_worker=1${1:-}"
  job=$(cd "$STINT_LAB/work" && submit --training-plan=trial --recipe="$recipe" --wrap stint-train)
  run=$STINT_LAB/work/$job
}

# count_events NAME: lines of this kind in the run's log.
count_events() { jq -rRn --arg event "$1" '[inputs | fromjson? | select(.event == $event)] | length' "$run/log.jsonl"; }

in_mid_run() {
  [[ -s $run/log.jsonl ]] && (($(count_events checkpoint) >= 2 && $(count_events finish) == 0))
}

# Waits until the job has ended well.
finish_training() {
  wait_until 120 job_is "$job" COMPLETED || { tail -n 30 "$run/log.jsonl" "$STINT_LAB/work/slurm-$job.out" >&2; return 1; }
  (($(count_events finish) == 1))
}

restarts_of_job() { scontrol --oneliner show job "$job" | grep -oP '(?<=Restarts=)\d+'; }

# Of the final checkpoint.
weights() { sha256sum <"$(printf '%s\n' "$run"/checkpoints/step-*/model.safetensors | sort | tail -n1)"; }

# A worker of the run, and the agent above it.
some_worker() { pgrep --full "stint-worker.*$run" | shuf -n1; }
some_agent() { ps -o ppid= -p "$(some_worker)" | tr -d ' '; }

batch_host() { scontrol --oneliner show job "$job" | grep -oP '(?<=BatchHost=)\S+'; }
nodes_of_job() { scontrol show hostnames "$(scontrol --oneliner show job "$job" | grep -oP '(?<=\sNodeList=)\S+')"; }
