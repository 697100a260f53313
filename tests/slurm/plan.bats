#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Plans in a real Slurm: booked, shown, cancelled, refused; and still true after stintd was killed.
load lab
bats_require_minimum_version 1.5.0

setup_file() { lab_up --nodes 6; }
teardown_file() { lab_down; }
setup() { cd "$STINT_LAB" || return 1; }


# refused TEXT COMMAND…: exits 1 with one line "stint: …TEXT…".
refused() {
  local text=$1
  shift
  run -1 "$@"
  [[ ${#lines[@]} == 1 && $output == "stint: "*"$text"* ]] || { echo "said: $output" >&2; return 1; }
}

reservation_nodes() { scontrol --oneliner show reservation "$1" 2>/dev/null | grep -oP '(?<= Nodes=)\S+'; }
plans_now() { stint plan list --format json | jq -r '.[] | select(.state == "active" or .state == "scheduled").name' | sort; }
reservations_now() { scontrol --oneliner show reservation 2>/dev/null | grep -oP '(?<=ReservationName=)[^.]+' | sort; }
table_now() { grep -oP '(?<=^\[plan ).*(?=\]$)' "$STINT_LAB/state/stint_plans.ini" | sort; }
agree() { [[ $(plans_now) == "$(reservations_now)" ]]; }

@test "a plan is one reservation with its nodes and spares, at a price known before" {
  stint plan create --name first --nodes 3 --spares 1 --duration 2h
  [[ $(scontrol show hostnames "$(reservation_nodes first.0)" | wc -l) == 4 ]]
  [[ $(stint plan show first --format json | jq -r '.state, .nodes, .spares, .price.amount' | paste -sd' ') == "active 3 1 15.00" ]]
  [[ $(stint plan list) == *first*active* ]]
  table_now | grep -qx first
  [[ $(stint plan history first) == *root*booked*"3+1 nodes of partition main"* ]]
}

@test "what is not free is refused with the reason, and nothing stays behind" {
  refused "plan second: " stint plan create --name second --nodes 3 --duration 1h
  refused "plan first: " stint plan create --name first --nodes 1 --duration 1h
  [[ $(reservations_now) == first ]]
}

@test "bad values are refused by name" {
  refused "12parsecs" stint plan create --name bad --nodes 1 --duration 12parsecs
  refused "yesterday" stint plan create --name bad --nodes 1 --duration 1h --start yesterday
  refused "no/name" stint plan create --name no/name --nodes 1 --duration 1h
  refused "nowhere" stint plan create --name bad --nodes 1 --duration 1h --partition nowhere
  refused "nosuchuser" stint plan create --name bad --nodes 1 --duration 1h --users nosuchuser
  refused "means no plan" stint plan create --name none --nodes 1 --duration 1h
  refused "plan none-such" stint plan show none-such
  run -2 stint plan create --users= --name bad --nodes 1 --duration 1h
  [[ $output == "stint: --users: its value is empty"* ]]
  agree
}

@test "only operators book, and only its owner or an operator cancels" {
  refused "operator" as_nobody stint plan create --name mine --nodes 1 --duration 1h
  refused "plan first: " as_nobody stint plan cancel first
  agree
}

@test "a plan with jobs is cancelled with --force only" {
  job=$(submit --training-plan=first -N1 --wrap "sleep 100")
  wait_until 20 job_is "$job" RUNNING
  refused "$job" stint plan cancel first
  stint plan cancel first --force
  [[ $(reservations_now) == "" ]]
  [[ $(stint plan show first --format json | jq -r .state) == cancelled ]]
  run -1 sbatch --training-plan=first -N1 --wrap "sleep 100"
  [[ $output == *"plan first"* ]]
}

@test "killed at any moment, stintd brings ledger and reservations together within 5 s" {
  for moment in 0.005 0.02 0.04 0.08; do
    stint plan create --name "k${moment#0.}" --nodes 1 --duration 1h >/dev/null 2>&1 &
    sleep "$moment"
    lab kill stintd
    wait
    lab revive stintd
    wait_until 5 agree
  done
}

@test "a reservation that went away comes back; a stranger's is left alone" {
  for plan in $(plans_now); do stint plan cancel "$plan"; done
  stint plan create --name kept --nodes 1 --duration 1h
  scontrol create reservation ReservationName=stranger.0 Users=root Nodes=node6 StartTime=now Duration=60
  lab kill stintd
  scontrol delete reservation=kept.0
  lab revive stintd
  wait_until 5 reservation_nodes kept.0
  [[ $(reservation_nodes stranger.0) == node6 ]]
  scontrol delete reservation=stranger.0
}

@test "tags find a plan, change and stay, and group the report" {
  stint plan create --name tagged --nodes 1 --duration 1h --tag project=llm --tag team=a
  run -0 stint plan list --tag project
  [[ ${lines[0]} == *TAGS && ${lines[1]} == tagged*"project=llm,team=a" && ${#lines[@]} == 2 ]]
  [[ $(stint plan list --tag project=llm --tag team=b --format json) == "[]" ]]
  stint plan tag tagged team=b cost-center=4711 --remove project
  [[ $(stint plan show tagged) == *"tags "*"cost-center=4711,team=b"* ]]
  [[ $(stint plan history tagged) == *root*tagged*"cost-center=4711,team=b; without project"* ]]
  refused "only its owner or an operator may tag it" as_nobody stint plan tag tagged team=c
  refused "tag 'team' is given twice" stint plan tag tagged team=c team=d
  lab kill stintd
  lab revive stintd
  [[ $(stint plan report --by-tag team --format csv | grep ^b,) == "b,$(date +%Y-%m),1,"* ]]
}
