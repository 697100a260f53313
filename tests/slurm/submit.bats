#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The plugins in real sbatch, salloc, srun and slurmctld: what a plan job becomes, and what is refused.
# shellcheck disable=SC2016,SC2154  # texts in single quotes are for the job's shell; bats sets $stderr
load lab
bats_require_minimum_version 1.5.0

setup_file() {
  lab_up --nodes 6 --slurm "PartitionName=other Nodes=ALL MaxTime=INFINITE State=UP" --slurm EnforcePartLimits=ALL
  mkdir -m 777 "$STINT_LAB/work"
  chmod 755 "$STINT_LAB"
  echo "once upon a time" >"$STINT_LAB/work/book.txt"
  export TINY="tiny-llama,data.path=$STINT_LAB/work/book.txt"  # 4 nodes
  export RECIPE="$TINY,resources.nodes=2"
  stint plan create --name demo --nodes 3 --spares 1 --duration 1h --users root,nobody
  stint plan create --name theirs --nodes 1 --spares 0 --duration 1h --users daemon
}
teardown_file() { lab_down; }

setup() { cd "$STINT_LAB/work" || return 1; }
teardown() {
  scancel --user=root
  scancel --user=nobody
  wait_until 20 nothing_queued
}

nothing_queued() { [[ -z $(squeue --noheader) ]]; }

# field JOB NAME: one field of the job as slurmctld has it.
field() { scontrol --oneliner show job "$1" | grep -oP "(?<=\s$2=)[^ ]*"; }
admin_comment() { scontrol --oneliner show job "$1" | grep -oP '(?<=AdminComment=)stint( \w+=\S+)*'; }

# refused TEXT COMMAND…: exits 1, says "stint: …TEXT…" before anything else, and leaves nothing in the queue.
refused() {
  local text=$1
  shift
  run -1 "$@"
  [[ ${lines[0]} == *"error: stint: "*"$text"* ]] || { echo "said: $output" >&2; return 1; }
  nothing_queued
}

@test "the options stand in the help of sbatch, salloc and srun" {
  for client in sbatch salloc srun; do
    run -0 "$client" --help
    [[ $output == *--training-plan=NAME* && $output == *--recipe=NAME* ]]
  done
}

@test "sbatch with #SBATCH lines: reservation, partition, nodes, time, requeue, exclusive and tag" {
  printf '#!/bin/sh\n#SBATCH --training-plan=demo\n#SBATCH --recipe=%s\nsleep 60\n' "$RECIPE" >job.sh
  job=$(submit job.sh)
  [[ $(field "$job" Reservation) == demo.0 ]]
  [[ $(field "$job" Partition) == main ]]
  [[ $(field "$job" NumNodes) == 2* ]]
  [[ $(field "$job" Requeue) == 1 ]]
  [[ $(field "$job" OverSubscribe) == NO ]]
  [[ $(field "$job" TimeLimit) == 0[01]:[05]?:00 ]]  # what is left of the plan's hour
  [[ $(admin_comment "$job") =~ ^"stint plan=demo recipe=tiny-llama@"[0-9a-f]{8}$ ]]
}

@test "the command line goes before the script, the user's -N before the recipe's" {
  printf '#!/bin/sh\n#SBATCH --training-plan=nonsense\n#SBATCH --recipe=\nsleep 60\n' >job.sh
  job=$(submit --training-plan=demo --recipe="$RECIPE" -N1 -t5 job.sh)
  [[ $(field "$job" NumNodes) == 1* && $(field "$job" TimeLimit) == 00:05:00 ]]
}

@test "the frozen recipe reaches the script and its steps in every export mode" {
  for export in ALL NONE HOME; do
    run -0 sbatch --wait --training-plan=demo --recipe="$RECIPE" --export=$export -o "out.$export" \
      --wrap 'echo "${SLURM_STINT_RECIPE}" | sha1sum; srun -N1 -n1 sh -c "echo \"\$SLURM_STINT_RECIPE\" | sha1sum"; echo $SLURM_STINT_PLAN $SLURM_STINT_ADDRESS'
    [[ $(sort -u "out.$export" | grep -c -- ' -$') == 1 ]]
    grep -qE '^demo 127.0.0.1:[0-9]+$' "out.$export"
  done
  [[ $(sort -u out.* | grep -c -- ' -$') == 1 ]]
}

@test "salloc gives its steps plan and recipe; a step takes no other plan" {
  run -0 --separate-stderr salloc --training-plan=demo --recipe="$RECIPE" \
    srun --ntasks-per-node=1 sh -c 'echo $SLURM_STINT_PLAN $SLURM_JOB_NUM_NODES $(echo "$SLURM_STINT_RECIPE" | grep -c "^nodes = 2")'
  [[ ${lines[0]} == "demo 2 1" && ${lines[1]} == "demo 2 1" ]]
  run -1 salloc --training-plan=demo srun --training-plan=theirs true
  [[ $output == *"has its nodes already"* ]]
}

@test "srun outside a job" {
  run -0 --separate-stderr srun --training-plan=demo --recipe="$RECIPE" \
    sh -c 'echo $SLURM_STINT_PLAN $SLURM_JOB_NUM_NODES'
  [[ ${lines[0]} == "demo 2" ]]
}

# Slurm 22.05.8 dies of a step with fewer tasks than nodes, which srun prevents only for its own -N.
@test "srun with fewer tasks than the recipe's nodes is refused, and slurmctld lives" {
  refused "wants 2 nodes, the job has 1 task" srun --training-plan=demo --recipe="$RECIPE" -n1 true
  refused "wants 2 nodes, the job has 1 task" srun --recipe="$RECIPE" --ntasks-per-node=1 true
  run -0 srun --training-plan=demo --recipe="$RECIPE" -n2 --ntasks-per-node=1 true
  run -0 srun --training-plan=demo -n2 true
  run -0 srun --training-plan=demo -n3 -N1-3 true
  run -0 srun --training-plan=demo --recipe="$RECIPE" -N1 -n1 true
  scontrol ping | grep -q "is UP"
}

@test "a plan that is unknown, another user's or cancelled is refused" {
  refused "plan demoo: is not one of your plans; did you mean 'demo'?" sbatch --training-plan=demoo --wrap true
  refused "plan theirs: is not one of your plans" as_nobody sbatch --training-plan=theirs --wrap true
  refused "plan theirs: is not one of your plans" salloc --training-plan=theirs true
  refused "plan theirs: is not one of your plans" srun --training-plan=theirs true
  stint plan create --name gone --nodes 1 --spares 0 --start now+3h --duration 10m --users root
  stint plan cancel gone
  refused "plan gone: " sbatch --training-plan=gone --wrap true
}

@test "more nodes than the plan has, spares not counted, are refused" {
  refused "plan demo: has 3 nodes, the recipe wants 4" sbatch --training-plan=demo --recipe="$TINY,resources.nodes=4" --wrap true
  refused "plan demo: has 3 nodes, the job wants 4" sbatch --training-plan=demo -N4 --wrap true
}

@test "a plan's reservation that is named by itself is the plan" {
  job=$(as_nobody sbatch --parsable --reservation=demo.0 -N1 --chdir / --output /dev/null --wrap 'sleep 60')
  [[ $(admin_comment "$job") == "stint plan=demo" ]]
  run -1 as_nobody sbatch --reservation=demo.0 -N4 --chdir / --output /dev/null --wrap true
  [[ $output == *"stint: plan demo: has 3 nodes, the job wants 4"* ]]
  run -1 as_nobody sbatch --reservation=theirs.0 --chdir / --output /dev/null --wrap true
  [[ $output == *"is not one of your plans"* ]]
}

@test "jobs of a plan have its nodes together, and leave its spares free" {
  for k in 1 2 3 4; do
    jobs[k]=$(as_nobody sbatch --parsable --training-plan=demo -N1 --chdir / --output /dev/null --wrap 'sleep 60')
  done
  wait_until 20 has_to_wait "${jobs[4]}"
  for k in 1 2 3; do wait_until 20 job_is "${jobs[k]}" RUNNING; done
  wait_until 20 has_to_wait "${jobs[4]}"
  as_nobody scancel "${jobs[2]}"
  wait_until 20 job_is "${jobs[4]}" RUNNING
}

@test "what begins on a spare is sent back once and waits, or is told why it ends; what had a node comes first" {
  for k in 1 2 3; do
    jobs[k]=$(as_nobody sbatch --parsable --training-plan=demo -N1 --chdir / --output /dev/null --wrap 'sleep 60')
  done
  for k in 1 2 3; do wait_until 20 job_is "${jobs[k]}" RUNNING; done
  late=$(as_nobody sbatch --parsable --training-plan=demo -N1 --chdir / --output /dev/null --wrap 'sleep 60')
  wait_until 20 has_to_wait "$late"
  run ! as_nobody srun --training-plan=demo -N1 --chdir / sleep 60
  [[ $output == *"no node of plan demo is left, and its spares stay free for failures; it is cancelled"* ]]
  as_nobody scontrol requeue "${jobs[1]}"
  wait_until 20 runs_again "${jobs[1]}"
  has_to_wait "$late"
  (($(field "$late" Restarts) <= 1))
}
runs_again() { job_is "$1" RUNNING && (($(field "$1" Restarts) == 1)); }
has_to_wait() {
  job_is "$1" PENDING && [[ $(scontrol show job "$1") == *"its spares stay free for failures"* && $(field "$1" Priority) == 0 ]]
}

@test "a contradicting reservation, partition or form of job is refused" {
  refused "drop --reservation" sbatch --training-plan=demo --reservation=theirs.0 --wrap true
  refused "drop --partition" sbatch --training-plan=demo -p other --wrap true
  refused "lower --time-min" sbatch --training-plan=demo --time-min=2:00:00 -t 3:00:00 --wrap true
  printf 'A=b\0' >environment
  refused "--export-file" sbatch --recipe="$RECIPE" --export-file=environment --wrap true
  run -1 sbatch --recipe="$RECIPE" -N1 : -N1 --wrap true
  [[ $output == *"stint: recipe tiny-llama: heterogeneous"* ]]
  nothing_queued
}

@test "a job for another cluster is refused, wherever it is asked for" {
  refused "not for 'far'" sbatch --training-plan=demo -M far --wrap true
  SBATCH_CLUSTERS=far refused "not for 'far'" sbatch --recipe="$RECIPE" --wrap true
  printf '#!/bin/sh\n#SBATCH --training-plan=demo\n#SBATCH --clusters=far\n' >far.sh
  refused "not for 'far'" sbatch far.sh
  refused "not for 'far'" salloc --training-plan=demo --clusters=far true
  refused "not for 'far'" srun --training-plan=demo -M far true
}

@test "a bad recipe or value is refused before slurmctld hears of it" {
  refused "did you mean 'nodes'?" sbatch --training-plan=demo --recipe="$RECIPE,resources.ndes=3" --wrap true
  refused "did you mean 'tiny-llama'?" salloc --recipe=tiny-lama true
  refused "no plan name" srun --training-plan=../demo true
  refused "is empty" sbatch --training-plan= --wrap true
  printf '\001\377' >binary.ini
  refused "binary.ini" sbatch --recipe=./binary.ini --wrap true
}

@test "a time limit beyond the plan's end is cut, and its user told" {
  run -0 --separate-stderr sbatch --parsable --training-plan=demo -t 5:00:00 --wrap 'sleep 60'
  [[ $stderr == *"stint: plan demo: time limit cut to 00:5"* ]]
  [[ $(field "$output" TimeLimit) == 00:5?:00 ]]
}

@test "a job for a plan that has not begun waits in its reservation with the whole time" {
  stint plan create --name later --nodes 2 --spares 0 --start now+4h --duration 30m --users root
  job=$(submit --training-plan=later --wrap true)
  [[ $(field "$job" Reservation) == later.0 && $(field "$job" TimeLimit) == 00:30:00 ]]
  job_is "$job" PENDING
  scancel "$job"
  wait_until 10 nothing_queued
  stint plan cancel later
}

@test "a recipe without a plan makes an ordinary job of its size" {
  job=$(submit --recipe="$TINY,resources.nodes=1" -p other --wrap 'sleep 60')
  [[ $(field "$job" Reservation) == "" && $(field "$job" NumNodes) == 1* && $(field "$job" Partition) == other ]]
  [[ $(admin_comment "$job") =~ ^"stint recipe=tiny-llama@" ]]
}

@test "a job array runs in the plan" {
  job=$(submit --training-plan=demo --array=1-2 --wrap 'sleep 60')
  [[ $(squeue --noheader --array --format %v | sort -u) == demo.0 ]]
}

@test "a nested sbatch inherits plan and very recipe, replaces them, or leaves them" {
  cat >inner.sh <<'E'
#!/bin/sh
echo "$1 plan=$SLURM_STINT_PLAN nodes=$(echo "$SLURM_STINT_RECIPE" | sed -n 's/^nodes = //p') $(echo "$SLURM_STINT_RECIPE" | sha1sum)"
E
  cat >outer.sh <<'E'
#!/bin/sh
./inner.sh outer
export SBATCH_WAIT=1
sbatch -o nested.inherit inner.sh inherit
sbatch -o nested.replace --recipe="$TINY,resources.nodes=1" inner.sh replace
sbatch -o nested.leave --training-plan=none inner.sh leave
E
  chmod +x inner.sh outer.sh
  run -0 sbatch --wait -o nested.outer --training-plan=demo --recipe="$RECIPE" -N1 outer.sh
  grep -q 'outer plan=demo nodes=2' nested.outer
  grep -q 'plan demo: inherited from job' nested.outer
  [[ $(cut -d' ' -f2- nested.inherit) == $(grep '^outer' nested.outer | cut -d' ' -f2-) ]]
  [[ $(cat nested.replace) == "replace plan=demo nodes=1 "* ]]
  [[ $(cat nested.leave) == "leave plan= nodes= "* ]]
}

@test "its owner cannot take a job out of its plan, an operator can" {
  job=$(as_nobody sbatch --parsable -o /dev/null --training-plan=demo --recipe="$RECIPE" --wrap 'sleep 60')
  wait_until 20 job_is "$job" RUNNING
  for reservation in "" theirs.0 nonsense; do
    run -1 as_nobody scontrol update jobid="$job" reservationname="$reservation"
    [[ $output == *"Access denied to requested reservation"* ]]
  done
  [[ $(field "$job" Reservation) == demo.0 ]]
  as_nobody scontrol update jobid="$job" reservationname=demo.0
  as_nobody scontrol update jobid="$job" timelimit=5
  scontrol update jobid="$job" reservationname=
  [[ $(field "$job" Reservation) == "" ]]
}

@test "a user of a plan moves jobs that are in no plan as Slurm allows" {
  job=$(as_nobody sbatch --parsable --hold -o /dev/null --wrap true)
  as_nobody scontrol update jobid="$job" reservationname=
  as_nobody scontrol update jobid="$job" reservationname=demo.0
  as_nobody scontrol update jobid="$job" reservationname=
  [[ $(field "$job" Reservation) == "" ]]
  scancel "$job"
}

@test "a waiting job does not run elsewhere by another partition or node list" {
  outside=$(comm -13 <(scontrol show hostnames "$(scontrol --oneliner show reservation demo.0 | grep -oP '(?<= Nodes=)\S+')") \
    <(sinfo --noheader --Node --format %N | sort -u) | head -n1)
  job=$(as_nobody sbatch --parsable -o /dev/null --training-plan=demo --begin=now+60 -t1 --wrap 'sleep 60')
  as_nobody scontrol update jobid="$job" partition=other
  as_nobody scontrol update jobid="$job" nodelist="$outside" || true
  as_nobody scontrol update jobid="$job" starttime=now
  sleep 5
  job_is "$job" PENDING
  [[ $(field "$job" Reservation) == demo.0 ]]
}

table_says() { grep -q "$1" "$STINT_LAB/state/stint_plans.ini"; }

@test "the partition's longest time is the job's, and a longer wish is cut with a word" {
  scontrol update PartitionName=main MaxTime=20
  wait_until 10 table_says "max_time = 20"
  job=$(submit --training-plan=demo --wrap 'sleep 30')
  [[ $(field "$job" TimeLimit) == 00:20:00 ]]
  run --separate-stderr -0 submit --training-plan=demo --time=50 --wrap 'sleep 30'
  [[ $stderr == *"plan demo: time limit cut to 00:20:00; partition main allows no more"* ]]
  scontrol update PartitionName=main MaxTime=UNLIMITED
}
