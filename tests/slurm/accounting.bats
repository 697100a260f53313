#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Where Slurm keeps accounts and operators in slurmdbd, stintd takes them from there: a real slurmdbd and MariaDB.
# shellcheck disable=SC2016,SC2030,SC2031  # texts in single quotes are for a job; bats runs each test in a shell of its own
load lab
bats_require_minimum_version 1.5.0

# nobody charges physics, or chem; games only chem, for jobs of two minutes; mail physics, and coordinates chem; bin
# nothing here; sys only theory, which is below physics; daemon is an operator. The QOS short is for jobs of one minute.
setup_file() {
  lab_up --accounting --nodes 4 --stint "policy.book=users:nobody,games,bin coordinators" \
    --stint policy.approvers=coordinators --stint policy.approve_above_price=8 --stint policy.exceed_max_time=no \
    --stint policy.warn_before=20s --stint policy.prepare_before=1m --stint health.free_memory=1 \
    --stint health.free_disk=0 --stint health.shared_memory=0 --stint "budget chem.amount=10" --stint "budget chem.period=year" \
    --slurm AccountingStorageEnforce=limits
  chmod 755 "$STINT_LAB"
  CLUSTER=$(awk -F= '/^ClusterName/ { print $2 }' "$SLURM_CONF")
  export CLUSTER
  {
    admin cluster elsewhere
    for account in physics chem; do admin account "$account" Cluster="$CLUSTER"; done
    admin account theory Cluster="$CLUSTER" parent=physics
    admin user sys Cluster="$CLUSTER" Account=theory
    admin account physics Cluster=elsewhere
    admin user nobody Cluster="$CLUSTER" Account=physics DefaultAccount=physics
    admin user nobody Cluster="$CLUSTER" Account=chem
    admin user games Cluster="$CLUSTER" Account=chem
    admin user bin Cluster=elsewhere Account=physics
    admin user daemon Cluster="$CLUSTER" Account=chem AdminLevel=Operator
    admin user mail Cluster="$CLUSTER" Account=physics
    admin coordinator Account=chem Names=mail
    admin qos short MaxWall=1 Flags=DenyOnLimit
    sacctmgr --immediate --quiet modify user nobody mail set QOS+=short
    sacctmgr --immediate --quiet modify user where Name=games Account=chem set MaxWall=2
  } >&2
  start_chain
}
teardown_file() { lab_down; }
setup() { cd "$STINT_LAB" || return 1; }
teardown() {
  for plan in $(stint plan list --format json | jq -r '.[] | select(.name != "chain" and (.state | IN("active", "scheduled", "pending"))).name'); do
    stint plan cancel "$plan" --force
  done
}

admin() { sacctmgr --immediate --quiet add "$@"; }
account_of() { stint plan show "$1" --format json | jq -r .account; }

# A job that Slurm lets run for one minute at a time. It goes on while the other tests run.
start_chain() {
  as_nobody stint plan create --name chain --nodes 1 --duration 30m
  wait_until 10 grep -q "name = short" "$STINT_LAB/state/stint_plans.ini"
  touch "$STINT_LAB/chain.out" && chmod 666 "$STINT_LAB/chain.out"
  as_nobody sbatch --parsable --training-plan=chain --qos=short --chdir=/tmp --output="$STINT_LAB/chain.out" \
    --wrap 'echo "start $(date +%s)"; srun sh -c "trap \"echo warned\" USR1; while :; do sleep 1; done"' >"$STINT_LAB/chain"
}
# in_plan USER PLAN OPTION…: submits a job; prints its id.
in_plan() { as_user "$1" sbatch --parsable --training-plan="$2" --output=/dev/null --chdir=/tmp --wrap true "${@:3}"; }
field() { scontrol --oneliner show job "$1" | grep -oP "(?<=\s$2=)[^ ]*"; }

@test "a plan is charged to its owner's default account in slurmdbd" {
  as_nobody stint plan create --name first --nodes 1 --duration 10m
  [[ $(account_of first) == physics ]]
  as_nobody stint plan create --name second --nodes 1 --duration 10m --account chem
  [[ $(account_of second) == chem ]]
}

@test "another's account is refused, and the answer says which are one's own" {
  run -1 as_user games stint plan create --name mine --nodes 1 --duration 10m --account physics
  [[ $output == "stint: plan mine: account physics is not yours; you may charge chem" ]]
  run -1 as_user games stint plan report --account physics
  [[ $output == "stint: report: account physics is not yours; you may charge chem" ]]
}

@test "an account on another cluster of the same slurmdbd is not one here" {
  run -1 as_user bin stint plan create --name far --nodes 1 --duration 10m --account physics
  [[ $output == "stint: plan far: account physics is not yours; you may charge bin" ]]
}

@test "an operator of slurmdbd may charge any account and cancel any plan, others may not" {
  as_user daemon stint plan create --name theirs --nodes 1 --duration 10m --account physics
  [[ $(account_of theirs) == physics ]]
  as_nobody stint plan create --name victim --nodes 1 --duration 10m
  run -1 as_user games stint plan cancel victim
  [[ $output == "stint: plan victim: "* ]]
  as_user daemon stint plan cancel victim
}

@test "a coordinator books for the accounts that he coordinates, not for others" {
  run -1 as_user mail stint plan create --name own --nodes 1 --duration 10m
  [[ $output == "stint: plan own: user mail may not book plans for account physics; name another --account"* ]]
  as_user mail stint plan create --name own --nodes 1 --duration 10m --start now+2h --account chem
  [[ $(account_of own) == chem ]]
}

@test "a coordinator approves plans of the accounts that he coordinates, not of others" {
  as_user games stint plan create --name chemical --nodes 1 --duration 3h30m --start now+2h
  as_nobody stint plan create --name physical --nodes 1 --duration 4h --start now+2h
  [[ $(stint plan show chemical --format json | jq -r .state) == pending ]]
  run -1 as_nobody stint plan approve chemical
  as_user mail stint plan approve chemical
  [[ $(stint plan show chemical --format json | jq -r .state) == scheduled ]]
  run -1 as_user mail stint plan approve physical
  [[ $output == "stint: plan physical: user mail may not approve plans of account physics"* ]]
}

@test "members of a plan's account use it, others do not; who is added later gets in, who leaves is out again" {
  as_nobody stint plan create --name group --nodes 1 --duration 30m --accounts physics
  run -0 as_user mail stint plan list --mine
  [[ $output == *group* ]]
  scontrol show reservation group.0 | grep -qx " *Users=nobody,mail,sys Groups=.*"
  in_plan sys group --account=theory
  in_plan mail group
  run -1 in_plan games group
  [[ $output == *"plan group: is not one of your plans"* ]]
  admin user games Cluster="$CLUSTER" Account=physics
  wait_until 20 games_get_in
  wait_until 20 job_is "$job" COMPLETED
  sacctmgr --immediate --quiet delete user where Name=games Account=physics
  wait_until 20 is_out games
  stint plan history group | grep -q "stintd *members changed *+games"
  stint plan history group | grep -q "stintd *members changed *-games"
}
games_get_in() { job=$(in_plan games group --account=physics); }
is_out() { ! stint plan show group --format json | jq -e --arg user "$1" '.members | index($user)'; }

@test "an account that is not there, or is others', is refused by its name" {
  run -1 as_nobody stint plan create --name bad --nodes 1 --duration 10m --accounts physics,alchemy
  [[ $output == "stint: plan bad: there is no account 'alchemy' on this cluster" ]]
  run -1 as_user games stint plan create --name bad --nodes 1 --duration 10m --accounts physics
  [[ $output == "stint: plan bad: account physics is not yours; "*"yours are chem" ]]
  as_nobody stint plan create --name good --nodes 1 --duration 10m
  run -1 as_nobody stint plan share good --add-accounts alchemy
  as_nobody stint plan share good --add-accounts chem
  run -0 stint plan show good
  [[ $output == *"members     of chem: 2 besides"* ]]
}

@test "MaxWall of a QOS and of an association cut a plan's job at submit, where Slurm would refuse it" {
  as_nobody stint plan create --name limited --nodes 1 --duration 30m --accounts chem
  run -1 as_nobody sbatch --qos=short --time=10 --output=/dev/null --chdir=/tmp --wrap true
  [[ $output == *QOSMaxWallDurationPerJobLimit* ]]
  run -0 in_plan nobody limited --qos=short --time=10 --hold
  [[ $output == *"plan limited: time limit cut to 00:01:00; QOS short allows no more"* ]]
  [[ $(field "${lines[-1]}" TimeLimit) == 00:01:00 ]]
  run -0 in_plan games limited --time=10 --hold
  [[ $output == *"plan limited: time limit cut to 00:02:00; account chem allows no more"* ]]
  run -0 in_plan nobody limited --hold
  [[ $(field "$output" TimeLimit) =~ 00:(29|30):00 ]]
}

@test "a job that waits is fitted when its limits change" {
  as_nobody stint plan create --name fits --nodes 1 --duration 30m --start now+20m
  job=$(in_plan nobody fits --time=25)
  sacctmgr --immediate --quiet modify user where Name=nobody Account=physics set MaxWall=20
  wait_until 20 limit_is 00:20:00
  sacctmgr --immediate --quiet modify user where Name=nobody Account=physics set MaxWall=-1
}
limit_is() { [[ $(field "$job" TimeLimit) == "$1" ]]; }

@test "the budget of an account holds for all who charge it" {
  as_nobody stint plan create --name most --nodes 3 --duration 1h --account chem
  run -1 as_user games stint plan create --name more --nodes 1 --duration 2h --start now+2h --account chem
  [[ $output == "stint: plan more: costs "*" EUR too much: account chem has "*" of 10.00 EUR left in"* ]]
}

@test "a job in the plan needs an association as any job of that site" {
  as_nobody stint plan create --name open --nodes 1 --duration 30m --users nobody,games
  run -0 as_nobody sbatch --parsable --training-plan=open --output=/dev/null --chdir=/tmp --wrap true
  wait_until 30 job_is "$output" COMPLETED
  run -1 as_user games sbatch --training-plan=open --account=physics --output=/dev/null --chdir=/tmp --wrap true
  [[ $output == *"Invalid account"* ]]
  run -1 as_nobody stint plan create --name shut --nodes 1 --duration 30m --users nobody,bin
  [[ $output == *", for bin, who has no account in Slurm's accounting (sacctmgr add user bin account=ACCOUNT)"* ]]
}

@test "an opening's health checks run where jobs need an account" {
  as_nobody stint plan create --name opened --nodes 1 --duration 10m --start now+50s
  wait_until 30 opening_says opened "checked: good"
  [[ $(scontrol --oneliner show reservation opened.0.prep) == *" Users=root "* ]]
}
opening_says() { [[ $(stint plan show "$1" | grep '^opening') == *"$2"* ]]; }

@test "in a federation a plan job stays on its plan's cluster, others go where they went" {
  admin federation union Clusters="$CLUSTER",elsewhere
  wait_until 20 federated
  stint plan create --name local --nodes 1 --duration 30m
  job=$(submit --training-plan=local --output=/dev/null --chdir=/tmp --wrap true)
  viable=$(scontrol --oneliner show job "$job" | grep -oP '(?<=FedViableSiblings=)\S+')
  wait_until 30 job_is "$job" COMPLETED
  other=$(submit --output=/dev/null --chdir=/tmp --hold --wrap true)
  elsewhere=$(scontrol --oneliner show job "$other" | grep -oP '(?<=FedViableSiblings=)\S+')
  scancel "$other"
  sacctmgr --immediate --quiet delete federation union
  [[ $viable == "$CLUSTER" && $elsewhere == *elsewhere* ]]
}
federated() { scontrol show federation | grep -q "Federation: *union"; }

@test "while slurmdbd is frozen or dead, bookings go on, charged to whom slurmctld remembers" {
  lab stop slurmdbd
  as_nobody timeout 20 stint plan create --name frozen --nodes 1 --duration 10m
  [[ $(account_of frozen) == physics ]]
  lab kill slurmdbd
  as_user games timeout 20 stint plan create --name dead --nodes 1 --duration 10m
  [[ $(account_of dead) == chem ]]
  lab revive slurmdbd
  admin user bin Cluster="$CLUSTER" Account=physics
  wait_until 20 as_user bin stint plan create --name later --nodes 1 --duration 10m --account physics
}

@test "without exceed_max_time a job is warned and requeued at Slurm's own limit, within its segment" {
  job=$(<"$STINT_LAB/chain")
  wait_until 60 started_twice
  [[ $(field "$job" Restarts) == 1 && $(field "$job" Reservation) == chain.0 ]]
  grep -q warned "$STINT_LAB/chain.out"
  read -r first second < <(awk '/^start/ { print $2 }' "$STINT_LAB/chain.out" | paste -sd' ')
  echo "started again after $((second - first)) s"
  ((second - first >= 45 && second - first <= 70))
  [[ $(field "$job" TimeLimit) == 00:01:00 ]]
}
started_twice() { (($(grep -c ^start "$STINT_LAB/chain.out") == 2)); }

@test "with exceed_max_time a running job has all of its segment" {
  sed -i 's/^exceed_max_time = .*/exceed_max_time = yes/' "$STINT_CONF"
  lab kill stintd
  lab revive stintd
  job=$(<"$STINT_LAB/chain")
  end=$(stint plan show chain --format json | jq '.segments[0].end')
  wait_until 20 ends_at "$end"
  scancel "$job"
}
ends_at() { (($(date -d "$(field "$job" EndTime)" +%s) == $1)); }
