#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# PrivateData=nodes, or reservations: other people's plans are not there, on the command line, on the page and in files.
load lab
bats_require_minimum_version 1.5.0

setup_file() {
  lab_up --nodes 4 --slurm PrivateData=nodes,jobs --stint policy.book=everyone
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
  for verb in show history cancel; do
    run -1 as_nobody stint plan "$verb" secret
    [[ $output == "stint: plan secret: there is no such plan; see 'stint plan list'" ]]
    run -1 as_nobody stint plan "$verb" nonesuch
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
