#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Where Slurm keeps accounts and operators in slurmdbd, stintd takes them from there: a real slurmdbd and MariaDB.
load lab
bats_require_minimum_version 1.5.0

# nobody charges physics, or chem; games only chem; bin nothing here; daemon is an operator.
setup_file() {
  lab_up --accounting --nodes 3 --stint policy.book=everyone --stint "budget chem.amount=10" \
    --stint "budget chem.period=year" --slurm AccountingStorageEnforce=associations
  chmod 755 "$STINT_LAB"
  CLUSTER=$(awk -F= '/^ClusterName/ { print $2 }' "$SLURM_CONF")
  export CLUSTER
  {
    admin cluster elsewhere
    for account in physics chem; do admin account "$account" Cluster="$CLUSTER"; done
    admin account physics Cluster=elsewhere
    admin user nobody Cluster="$CLUSTER" Account=physics DefaultAccount=physics
    admin user nobody Cluster="$CLUSTER" Account=chem
    admin user games Cluster="$CLUSTER" Account=chem
    admin user bin Cluster=elsewhere Account=physics
    admin user daemon Cluster="$CLUSTER" Account=chem AdminLevel=Operator
  } >&2
}
teardown_file() { lab_down; }
setup() { cd "$STINT_LAB" || return 1; }
teardown() {
  for plan in $(stint plan list --format json | jq -r '.[] | select(.state == "active" or .state == "scheduled").name'); do
    stint plan cancel "$plan" --force
  done
}

admin() { sacctmgr --immediate --quiet add "$@"; }
account_of() { stint plan show "$1" --format json | jq -r .account; }

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
  [[ $output == *"has no account in Slurm's accounting (users nobody,bin)"* ]]
}

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
