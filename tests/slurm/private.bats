#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# PrivateData=nodes, or reservations: other people's plans are not there, on the command line, on the page and in files.
load lab
bats_require_minimum_version 1.5.0

setup_file() {
  lab_up --nodes 4 --slurm PrivateData=nodes,jobs --stint policy.book=everyone \
    --stint policy.approve_above_nodes=1 --stint policy.approvers=daemon
  chmod 755 "$STINT_LAB"
  stint plan create --name secret --nodes 1 --duration 1h
  as_nobody stint plan create --name mine --nodes 1 --duration 1h
  ADDRESS=$(stintd_address)
  export ADDRESS
}
teardown_file() { lab_down; }
setup() { cd "$STINT_LAB" || return 1; }

names() { stint plan list --format json | jq -r '.[].name' | sort | paste -sd' '; }
page_has() { curl --silent "http://$ADDRESS/" | grep -q -- "$1"; }

@test "a user sees the own plans, an operator all" {
  [[ $(as_nobody stint plan list --format json | jq -r '.[].name') == mine ]]
  [[ $(names) == "mine secret" ]]
  [[ $(as_nobody stint plan show mine) == *active* ]]
}

@test "another's plan is answered like one that is not there" {
  for verb in show history cancel "tag --remove project"; do
    # shellcheck disable=SC2086  # words are wanted
    run -1 as_nobody stint plan $verb secret
    [[ $output == "stint: plan secret: there is no such plan; see 'stint plan list'" ]]
    # shellcheck disable=SC2086
    run -1 as_nobody stint plan $verb nonesuch
    [[ $output == "stint: plan nonesuch: there is no such plan; see 'stint plan list'" ]]
  done
  run -1 as_nobody stint plan create --name secret --nodes 1 --duration 1h
  [[ $output == "stint: plan secret: the name is taken; take another" ]]
  run -1 as_nobody stint plan search --nodes 4 --duration 1h --before now+30m
  [[ $output != *secret* && $output != *mine* ]]
  [[ $(names) == "mine secret" ]]
}

@test "the page shows bars without names, metrics name nobody" {
  wait_until 10 page_has 'class="bar active"'
  for path in / /metrics /plans/secret /plans/mine; do
    run ! grep -E 'secret|mine|nobody|node[0-9]' <<<"$(curl --silent "http://$ADDRESS$path")"
  done
  [[ $(curl --silent --output /dev/null --write-out '%{http_code}' "http://$ADDRESS/plans/secret") == 404 ]]
}

@test "the plan table is SlurmUser's alone, and slurmctld still reads it" {
  [[ $(stat -c '%a %U' state/stint_plans.ini) == "600 root" ]]
  job=$(cd /tmp && as_nobody sbatch --parsable --training-plan=mine --output=/dev/null --wrap "sleep 20")
  wait_until 20 job_is "$job" RUNNING
  run -1 as_nobody sbatch --training-plan=secret --output=/dev/null --wrap true
  scancel "$job"
}

@test "who may approve a plan sees it while it waits, and only then" {
  as_nobody stint plan create --name asks --nodes 2 --start now+2h --duration 1h --tag project=llm
  [[ $(as_user daemon stint plan list --format json | jq -r '.[] | "\(.name) \(.state)"') == "asks pending" ]]
  [[ $(as_user daemon stint plan history asks) == *"asked for"* ]]
  run -1 as_user daemon stint plan tag asks project=own
  [[ $output == "stint: plan asks: belongs to nobody; only its owner or an operator may tag it" ]]
  as_user daemon stint plan approve asks
  [[ $(as_user daemon stint plan list --tag project --format json) == "[]" ]]
  run -1 as_user daemon stint plan show asks
  [[ $output == "stint: plan asks: there is no such plan; see 'stint plan list'" ]]
  [[ $(as_nobody stint plan list --tag project=llm --format json | jq -r '.[].state') == scheduled ]]
}
