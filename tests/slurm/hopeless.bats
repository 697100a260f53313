#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Runs that no further attempt would help: each ends at once with exit code 93 and one line that names the thing and
# the remedy.
# shellcheck disable=SC2154  # bats sets $output
load lab
load training
bats_require_minimum_version 1.5.0

setup_file() {
  lab_up --nodes 4
  "$BATS_TEST_DIRNAME/../lab/setup"
  mkdir -p "$STINT_LAB/work"
  head -c 5000000 /dev/zero | tr '\0' x >"$STINT_LAB/work/long.txt"
  TINY="tiny-llama,data.path=$STINT_LAB/work/long.txt,run.steps=300"
  TINY+=",model.num_hidden_layers=2,model.hidden_size=64,resources.threads_per_worker=1"
  export TINY SHORT="$TINY,data.sequence_length=64"
}
teardown_file() {
  ! mountpoint -q "$STINT_LAB/work/small" || umount "$STINT_LAB/work/small"
  lab_down
}

setup() { cd "$STINT_LAB/work" || return 1; }

# ends_once OPTION… : submits and waits; exit code 93 without a restart, and of the lines with "stint: " one.
ends_once() {
  rm -f run.out
  run -93 timeout 120 sbatch --wait --output=run.out "$@"
  cat run.out
  [[ $(grep -c 'stint: ' run.out) == 1 ]]
  ! grep -q 'starts the step again' run.out
}

@test "reference BLAS on four nodes is told once" {
  export LD_LIBRARY_PATH=$STINT_BUILD/tests/reference-blas
  ends_once --recipe="$TINY,resources.nodes=4,run.directory=$PWD/blas" --wrap stint-train
  grep -q 'stint: BLAS: .* install the package libopenblas0-openmp' run.out
  ends_once --nodes=4 --recipe="$TINY,resources.nodes=4,run.directory=$PWD/blas2" --wrap 'srun stint-train'
  grep -q 'stint: BLAS: .* install the package libopenblas0-openmp' run.out
}

@test "a run that needs more memory than there can be" {
  ends_once --recipe="$TINY,resources.nodes=2,data.sequence_length=4194304,run.directory=$PWD/memory" --wrap stint-train
  grep -qE 'stint: memory: this host has [0-9]+ MiB, the 1 worker of a node needs some [0-9]+ MiB; .*lower data.micro_batch_size' run.out
}

@test "a last checkpoint that the disk has no room for leaves nothing half done" {
  mkdir -p small
  mount -t tmpfs -o size=1m,mode=1777 tmpfs small
  ends_once --recipe="$SHORT,checkpoint.interval=0,resources.nodes=2,run.directory=$PWD/small/run" \
    --wrap stint-train
  grep -qE "stint: checkpoint of step 300 \([0-9]+ bytes\): cannot write $PWD/small/run/.*: No space left on device; free space there or choose another run.directory" run.out
  [[ -z $(find small/run/checkpoints -mindepth 1) ]]
  umount small
}

@test "a run goes on without checkpoints while the disk has no room, and saves again when it has" {
  mkdir -p small
  mount -t tmpfs -o size=16m,mode=1777 tmpfs small
  fallocate -l 15500K small/filler
  job=$(submit --output=run.out --recipe="$SHORT,checkpoint.interval=10,resources.nodes=2,run.directory=$PWD/small/run" \
    --wrap stint-train)
  wait_until 60 grep -q '"event":"checkpoint_failed".*"step":20' small/run/log.jsonl
  [[ -z $(find small/run/checkpoints -mindepth 1 -name 'step-*') ]]
  rm small/filler
  wait_until 60 job_is "$job" COMPLETED
  grep -qE "^checkpoint of step 10 .*: No space left on device; .*; training goes on" run.out
  [[ -s small/run/checkpoints/step-00000300/manifest.json && -s small/run/checkpoints/step-00000290/manifest.json ]]
  [[ $(grep -c 'starts the step again' run.out) == 0 ]]
  umount small
}

@test "a log that the disk has no room for" {
  mkdir -p small
  mount -t tmpfs -o size=48k,mode=1777 tmpfs small
  ends_once --recipe="$SHORT,resources.nodes=1,checkpoint.interval=0,run.tensorboard=no,run.directory=$PWD/small/run" \
    --wrap stint-train
  grep -qE 'stint: .*/small/run/log.jsonl: cannot be written: No space left on device; free space there' run.out
  umount small
}

@test "a run directory whose path takes two lines" {
  mkdir -p $'two\nlines'
  cd $'two\nlines' || return 1
  ends_once --output=run.out --recipe="$TINY,resources.nodes=1,run.directory=run" --wrap stint-train
  grep -q 'stint: run directory .*: a control character or line break in its path' run.out
  [[ ! -e run ]]
}
