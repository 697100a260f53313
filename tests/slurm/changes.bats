#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Plans that change after they are booked, in a real Slurm, with a job running in them; and plans that wait for
# approval.
load lab
bats_require_minimum_version 1.5.0

setup_file() {
  lab_up --nodes 6 --stint policy.book=everyone --stint policy.approve_above_nodes=4
  chmod 755 "$STINT_LAB"
}
teardown_file() { lab_down; }
setup() { cd "$STINT_LAB" || return 1; }
teardown() {
  for plan in $(stint plan list --state pending,active,scheduled --format json | jq -r '.[].name'); do
    stint plan cancel "$plan" --force
  done
}

# reservation PLAN: what Slurm says of its first segment, in one line.
reservation() { scontrol --oneliner show reservation "$1.0"; }
nodes() { reservation "$1" | grep -oP '(?<=NodeCnt=)\d+'; }
on_node() { [[ $(reservation "$1") == *" Nodes=$2 "* ]]; }
end() { date --date "$(reservation "$1" | grep -oP '(?<=EndTime=)\S+')" +%s; }

@test "extend offers first, then gives more time and nodes to a plan whose job runs on" {
  stint plan create --name grow --nodes 2 --spares 1 --duration 10m
  job=$(submit --training-plan=grow --nodes 2 --wrap 'srun sleep 300')
  wait_until 20 job_is "$job" RUNNING
  before=$(end grow)
  run -0 stint plan extend grow --by 10m
  [[ $output == *"the same nodes; running jobs go on"*"take one: stint plan extend grow --offer "* ]]
  [[ $(end grow) == "$before" ]]
  run -0 stint plan extend grow --offer "$(awk '/the same nodes/ { print $1 }' <<<"$output")"
  [[ $(end grow) == $((before + 600)) ]]
  run -0 stint plan extend grow --nodes 3 --yes
  [[ $output == *"capacity    3+1"* && $(nodes grow) == 4 ]]
  run -1 stint plan extend grow --nodes 20 --yes
  [[ $output == *"more would be needed"*"what would work: take 2 nodes more"* ]]
  job_is "$job" RUNNING
  [[ $(stint plan history grow | grep -c extended) == 2 ]]
}

@test "shrink gives back what no job uses" {
  stint plan create --name less --nodes 3 --spares 1 --duration 20m
  job=$(submit --training-plan=less --nodes 2 --wrap 'srun sleep 300')
  wait_until 20 job_is "$job" RUNNING
  run -1 stint plan shrink less --nodes 1 --spares 0
  [[ $output == "stint: plan less: its jobs run on 2 nodes (node["*"end some first, or keep so many" ]]
  run -0 stint plan shrink less --nodes 2 --spares 0
  [[ $(nodes less) == 2 ]]
  before=$(end less)
  run -0 stint plan shrink less --until now+10m
  (($(end less) < before))
  job_is "$job" RUNNING
}

@test "shared with a user, his job runs; transferred, the plan is his to cancel" {
  stint plan create --name ours --nodes 1 --duration 10m
  run -1 as_nobody sbatch --training-plan=ours --chdir / --output /dev/null --wrap true
  stint plan share ours --add nobody
  wait_until 10 as_nobody sbatch --training-plan=ours --chdir / --output /dev/null --wrap true
  run -1 as_nobody stint plan cancel ours
  [[ $output == *"belongs to root; only its owner or an operator may cancel it"* ]]
  stint plan transfer ours nobody
  run -0 as_nobody stint plan list --mine --format ini
  [[ $output == *"[plan ours]"*"owner = nobody"* ]]
  run -0 as_nobody stint plan cancel ours --force
}

comment_of() { scontrol --oneliner show job "$1" | grep -oP '(?<=AdminComment=).*'; }
comment_says() { [[ $(comment_of "$1") == *"$2"* ]]; }
waits_freely() { [[ $(comment_of "$1") == "stint plan=ours"* ]] && ! comment_says "$1" " -- "; }

@test "a waiting job of a user who is taken off the plan says so, and goes on when he is back" {
  stint plan create --name ours --nodes 1 --start now+20m --duration 10m --users root,nobody
  job=$(as_nobody sbatch --parsable --training-plan=ours --chdir / --output /dev/null --wrap true)
  run -0 stint plan share ours --remove nobody
  wait_until 10 comment_says "$job" " -- its user may not use plan ours; this job is cancelled at "
  stint plan share ours --add nobody
  wait_until 10 waits_freely "$job"
  job_is "$job" PENDING
}

@test "a large plan waits for approval and takes no job until it has it" {
  run -0 as_nobody stint plan search --nodes 5 --duration 10m
  [[ $output == *"approval: o"*" need it from an operator ("* ]]
  run -1 as_nobody script -qec "stint plan create --name large --nodes 5 --start now+10m --duration 10m" /dev/null <<<n
  [[ $output == *"state       quote"*"approval    needed from an operator ("*"Book it? [y/N]"*"not booked"* ]]
  run -0 as_nobody stint plan create --name large --nodes 5 --start now+10m --duration 10m
  [[ $output == *"state       pending"*"approval    needed from an operator ("* && $(nodes large) == 5 ]]
  run -1 as_nobody sbatch --training-plan=large --chdir / --output /dev/null --wrap true
  [[ $output == *"plan large: waits for approval"* ]]
  [[ $(stint plan show large --format json | jq -c '[.needs_approval, .approvers]') == '[true,"an operator"]' ]]
  run -1 as_nobody stint plan approve large
  [[ $output == *"may not approve plans; ask an operator"* ]]
  run -0 stint plan approve large
  [[ $output != *"approval "* ]]
  [[ $output == *"state       scheduled"* ]]
  as_nobody sbatch --training-plan=large --chdir / --output /dev/null --wrap true
}

@test "a plan keeps its kind of node: a swap never brings in another" {
  scontrol update nodename=node1,node2 activefeatures=fast availablefeatures=fast
  stint plan create --name kind --nodes 1 --duration 10m --features fast
  mine=$(reservation kind | grep -oP '(?<= Nodes=)\S+')
  lab kill "$mine"
  scontrol update nodename="$mine" state=down reason="test"
  other=$([[ $mine == node1 ]] && echo node2 || echo node1)
  wait_until 20 on_node kind "$other"
  lab kill "$other"
  scontrol update nodename="$other" state=down reason="test"
  sleep 6 # three rounds of stintd
  on_node kind "$other"
}
