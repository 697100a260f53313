#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Money in a real Slurm: price rules and discounts, budgets, refunds, and the report of what was used.
load lab
bats_require_minimum_version 1.5.0

setup_file() {
  lab_up --nodes 5 --stint policy.book=everyone \
    --stint "price whole.partition=main" --stint "price whole.hours=00:00-24:00" --stint "price whole.node_hour=3" \
    --stint "discount long.min_duration=2h" --stint "discount long.percent=10" \
    --stint "refund.before=2h:100%,0:50%" --stint "refund.after_start=0%" \
    --stint "budget tight.amount=10" --stint "budget tight.period=year"
  chmod 755 "$STINT_LAB"
}
teardown_file() { lab_down; }
setup() { cd "$STINT_LAB" || return 1; }
teardown() {
  for plan in $(stint plan list --format json | jq -r '.[] | select(.state == "active" or .state == "scheduled").name'); do
    stint plan cancel "$plan" --force
  done
}

price() { jq -r '.price | "\(.amount) \(.currency) \(.rate)"'; }
of_account() { stint plan report --account "$1" --format json | jq -r ".lines[0].$2"; }
used() { [[ $(of_account lab used_hours) != 0.0 ]]; }

@test "offer, quote, booking and list say the same price, and why" {
  run -0 stint plan search --nodes 2 --duration 3h --format json
  [[ $(jq -c '.offers[0]' <<<"$output" | price) == "16.20 EUR 2.70" ]]
  id=$(jq -r '.offers[0].id' <<<"$output")
  [[ $(stint plan search --nodes 2 --duration 3h) == *": 3 h whole at 3.00 a node and hour, -10 % long"* ]]
  run -0 stint plan create --name ruled --offer "$id" --account lab
  [[ $output == *"16.20 EUR (3 h whole at 3.00 a node and hour, -10 % long; spares are free)"* ]]
  [[ $output == *"account"*"lab"* ]]
  [[ $(stint plan list --format json | jq -c '.[] | select(.name == "ruled")' | price) == "16.20 EUR 2.70" ]]
  [[ $(stint plan show ruled) == *"3 h whole at 3.00"* ]]
  run -0 stint plan create --name short --nodes 1 --duration 1h --format json
  [[ $(price <<<"$output") == "3.00 EUR 3.00" ]]
}

@test "a budget that would be overrun refuses the booking and says by how much" {
  run -0 stint plan search --nodes 4 --duration 1h --account tight
  [[ $output == *"warning: account tight has 10.00 of 10.00 EUR left in $(date +%Y); it cannot book o"*"(2.00 too much)"* ]]
  stint plan create --name fits --nodes 2 --duration 1h --account tight
  run -1 stint plan create --name much --nodes 2 --duration 1h --account tight
  [[ $output == "stint: plan much: costs 2.00 EUR too much: account tight has 4.00 of 10.00 EUR left in $(date +%Y);"* ]]
  [[ $(scontrol --oneliner show reservation) != *much.0* ]]
  run -1 as_nobody stint plan create --name other --nodes 1 --duration 1h --account tight
  [[ $output == "stint: plan other: account tight is not yours; you may charge nobody"* ]]
}

@test "of bookings at the same time only those get through that the budget holds" {
  pids=()
  for i in 1 2 3 4; do
    stint plan create --name "race$i" --nodes 1 --duration 1h --account tight >/dev/null 2>&1 &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || true; done
  # 10.00, less the 6.00 that 'fits' has cost and not given back: one plan of 3.00
  [[ $(stint plan list --format json | jq '[.[] | select((.name | startswith("race")) and .state == "active")] | length') == 1 ]]
}

@test "what is cancelled is given back by the rule, and the history says so" {
  stint plan create --name late --nodes 1 --duration 1h --start now+30m --account lab
  run -0 stint plan cancel late
  [[ $output == *"refund"*"1.50 EUR"* ]]
  [[ $(stint plan history late) == *"1.50 of 3.00 EUR given back (50 %: before its start)"* ]]
  stint plan create --name early --nodes 1 --duration 1h --start now+3h --account lab
  [[ $(stint plan cancel early --format json | jq -r .refund) == 3.00 ]]
  stint plan create --name begun --nodes 1 --duration 1h --account lab
  [[ $(stint plan cancel begun --format json | jq -r .refund) == 0.00 ]]
}

@test "the report tells what was booked, used and paid, also after stintd was killed" {
  stint plan create --name worked --nodes 2 --duration 1h --account lab
  submit --training-plan=worked -N2 --wrap "sleep 30"
  wait_until 30 used
  lab kill stintd
  lab revive stintd
  before=$(of_account lab used_hours)
  more() { [[ $(jq -n "$(of_account lab used_hours) > $before") == true ]]; }
  wait_until 20 more
  run -0 stint plan report --month "$(date +%Y-%m)"
  [[ ${lines[1]} == ACCOUNT*MONTH*BOOKED*USED*IDLE*LOST*PRICE*REFUND ]]
  [[ $output == *"lab  "* && $output == *"tight"* ]]
  run -0 stint plan report --format csv --account lab
  [[ ${lines[0]} == "account,month,plans,booked_hours,used_hours,idle_hours,lost_hours,price,refund,currency" ]]
  [[ ${lines[1]} == "lab,$(date +%Y-%m),5,"*",31.20,4.50,EUR" ]]
  [[ $(stint plan show worked) == *"node-hours"*"used"*"idle"*"lost"* ]]
  run -0 as_nobody stint plan report --format json
  [[ $(jq -c .lines <<<"$output") == "[]" ]]
  run -1 as_nobody stint plan report --account lab
  [[ $output == "stint: report: account lab is not yours; you may charge nobody"* ]]
}

@test "node-hours that were lost to a failure are shown apart from those that were idle" {
  stint plan create --name broken --nodes 5 --duration 1h
  scontrol update nodename=node5 state=drain reason=test
  shows_lost() { stint plan show broken | grep -E '^node-hours +0\.00 used, 0\.[0-9]+ idle, 0\.0[1-9] lost$'; }
  wait_until 60 shows_lost
  [[ $(stint plan show broken --format json | jq '.usage | .lost_hours <= .idle_hours / 4') == true ]]
  scontrol update nodename=node5 state=resume
}

@test "wrong months and days are refused by name" {
  run -1 stint plan report --month 2026-13
  [[ $output == "stint: report: --month: '2026-13' is no month; write 2026-11" ]]
  run -1 stint plan report --from someday
  [[ $output == "stint: report: --from: 'someday' is no time"* ]]
  run -1 stint plan report --from 2026-11-02 --to 2026-11-01
  [[ $output == "stint: report: its end must lie after its begin" ]]
}

@test "a month is the same one for a client in another zone" {
  here=$(stint plan report --month "$(date +%Y-%m)" --format json | jq -c '.from, .to')
  [[ $(TZ=Asia/Tokyo stint plan report --month "$(date +%Y-%m)" --format json | jq -c '.from, .to') == "$here" ]]
  [[ $(TZ=America/Los_Angeles stint plan report --month "$(date +%Y-%m)" --format json | jq -c '.from, .to') == "$here" ]]
}
