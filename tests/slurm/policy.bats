#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Policy in a real Slurm: what is asked at a terminal before money is spent or comes back, how many plans one user may
# have, and a stint.conf that is read again at SIGHUP.
load lab
bats_require_minimum_version 1.5.0

setup_file() {
  lab_up --nodes 4 --stint policy.book=everyone --stint policy.max_plans=2
  chmod 755 "$STINT_LAB"
}
teardown_file() { lab_down; }
setup() { cd "$STINT_LAB" || return 1; }

# at_terminal ANSWER COMMAND: its input and output are a terminal, at which somebody has typed the answer.
at_terminal() { script --quiet --return --command "$2" /dev/null <<<"$1"; }
state_of() { stint plan show "$1" --format json | jq -r .state; }

@test "at a terminal a booking shows its price and asks; no books nothing" {
  command="stint plan create --name asked --nodes 2 --duration 1h --start now+2h"
  run -1 at_terminal n "$command"
  [[ $output == *"price"*"5.00 EUR"*"Book it? [y/N]"*"stint: plan asked: not booked"* ]]
  run -1 stint plan show asked
  run -0 at_terminal y "$command"
  [[ $output == *"Book it? [y/N]"* && $(state_of asked) == scheduled ]]
}

@test "at a terminal a cancel shows what comes back and asks; no cancels nothing" {
  run -1 at_terminal n "stint plan cancel asked"
  [[ $output == *"5.00 of 5.00 EUR given back (100 %: before its start)"*"End it? [y/N]"*"stint: plan asked: not cancelled"* ]]
  [[ $(state_of asked) == scheduled ]]
  run -0 at_terminal y "stint plan cancel asked"
  [[ $(state_of asked) == cancelled ]]
}

@test "a cancel that is refused is refused before anything is asked" {
  stint plan create --name busy --nodes 1 --duration 1h
  job=$(submit --training-plan=busy --output=/dev/null --wrap "sleep 100")
  run -1 at_terminal y "stint plan cancel busy"
  [[ $output == *"stint: plan busy: job $job is in it"* && $output != *"[y/N]"* ]]
  run -1 at_terminal n "stint plan cancel busy --force"
  [[ $output == *"0.00 of 2.50 EUR given back"*"End it and its jobs? [y/N]"* && $(state_of busy) == active ]]
}

@test "with --yes, and on a pipe, nothing is asked" {
  run -0 at_terminal "" "stint plan cancel busy --force --yes"
  [[ $output != *"[y/N]"* && $(state_of busy) == cancelled ]]
  run -0 at_terminal "" "stint plan create --name piped --nodes 1 --duration 1h --yes"
  [[ $output != *"[y/N]"* && $(state_of piped) == active ]]
  stint plan cancel piped
  [[ $(state_of piped) == cancelled ]]
}

flood() { as_nobody stint plan create --name "flood$1" --nodes 1 --duration 1h --start now+3h; }
flooded() { stint plan list --state scheduled --format json | jq '[.[] | select(.owner == "nobody")] | length'; }

@test "of bookings at the same time one user gets no more than [policy] max_plans" {
  pids=()
  for i in 1 2 3 4; do
    flood "$i" >/dev/null 2>&1 &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || true; done
  [[ $(flooded) == 2 ]]
  run -1 flood 5
  [[ $output == "stint: plan flood5: nobody has 2 plans, at most 2 are allowed at a time ([policy] max_plans); cancel one first" ]]
}

@test "a plan that is over makes room, and operators are not counted" {
  as_nobody stint plan cancel "$(stint plan list --state scheduled --format json | jq -r '.[0].name')"
  flood 6
  [[ $(flooded) == 2 ]]
  for i in 1 2 3; do stint plan create --name "own$i" --nodes 1 --duration 1h --start now+5h; done
}

pid_of_stintd() { cut -d' ' -f1 run/stintd.pid; }
# reload OLD NEW: a line of stint.conf becomes another, and stintd is told.
reload() {
  sed -i "s|^$1\$|$2|" "$STINT_CONF"
  kill -HUP "$(pid_of_stintd)"
}
logs() { grep -qF -- "$1" log/stintd.out; }

@test "a stint.conf that was changed holds from SIGHUP on, in the same process, and plans stay" {
  pid=$(pid_of_stintd)
  reload "max_plans = 2" "max_plans = 3"
  wait_until 10 logs "$STINT_CONF is read again"
  wait_until 10 flood 7
  run -1 flood 8
  [[ $output == *"at most 3 are allowed"* && $(flooded) == 3 ]]
  kill -0 "$pid"
}

@test "a wrong one is refused with its line, and the one before holds" {
  line=$(grep -n "^max_plans" "$STINT_CONF" | cut -d: -f1)
  reload "max_plans = 3" "max_plans = many"
  wait_until 10 logs "$STINT_CONF:$line: 'max_plans': "
  logs "; nothing is changed"
  run -1 flood 8
  [[ $output == *"at most 3 are allowed"* ]]
  sed -i "s/^max_plans = many$/max_plans = 3/" "$STINT_CONF"
}

@test "one that nobody can serve with is given up for the one before" {
  ledger=$(sed -n "s/^ledger = //p" "$STINT_CONF")
  reload "ledger = $ledger" "ledger = /nonexistent/ledger.db"
  wait_until 10 logs "; goes on as before"
  wait_until 10 state_of own1
  run -1 flood 8
  [[ $output == *"at most 3 are allowed"* ]]
}
