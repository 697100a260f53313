#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# stintd ends as by kill -9 at each named point (reservations/kill_point.h) of each operation; the next one brings the
# ledger, Slurm and the plan table together, with the plan as it was or as it was wanted.
# shellcheck disable=SC2154  # bats sets $status
load lab
bats_require_minimum_version 1.5.0

setup_file() {
  lab_up --nodes 6 --stint policy.book=everyone --stint policy.approve_above_nodes=3
  chmod 755 "$STINT_LAB"
  lab kill stintd
}
teardown_file() { lab_down; }
# Each test begins without stintd, also after one that failed half-way.
setup() {
  cd "$STINT_LAB" || return 1
  stintd_is_dead || lab kill stintd
}

stintd_is_dead() { [[ $(lab status) =~ stintd\ +dead ]]; }

# starts_armed POINT: stintd, which kills itself there.
starts_armed() { STINT_KILL_AT=$1 lab revive stintd; }

# killed_at POINT COMMAND…: the command is cut off by the end of stintd. Then another stintd, until all agree.
killed_at() {
  starts_armed "$1"
  run "${@:2}"
  wait_until 20 stintd_is_dead || { what_stands "never came to $1: $output"; return 1; }
  lab revive stintd
  wait_until 20 agree || { disagreement >&2; return 1; }
}

# what_stands MESSAGE: the message, and what a reader of a failure asks for next.
what_stands() {
  {
    echo "$1"
    tail -n 20 "$STINT_LAB"/log/stintd.*
    scontrol --oneliner show reservation
    sinfo --Node --long
  } >&2
}

epoch() { date -d "$1" +%s; }
# One line for each reservation that does not end before some time, as plans have it and as Slurm has it, which forgets
# those that are over.
of_plans() {
  stint plan list --format json | jq -r --argjson since "$1" '.[] |
    select(.state == "active" or .state == "scheduled" or .state == "pending") as $p | $p.segments[] | select(.end > $since) |
    [.reservation, .end, (.nodes | sort | join(",")), ($p.users | sort | join(","))] | @tsv' | sort
}
of_slurm() {
  local reservation end
  scontrol --oneliner show reservation 2>/dev/null | grep ReservationName | while read -r reservation; do
    end=$(epoch "$(of "$reservation" EndTime)")
    ((end > $1)) || continue
    printf '%s\t%s\t%s\t%s\n' "$(of "$reservation" ReservationName)" "$end" \
      "$(scontrol show hostnames "$(of "$reservation" Nodes)" | sort | paste -sd,)" \
      "$(of "$reservation" Users | tr , '\n' | sort | paste -sd,)"
  done | sort
}
of() { grep -oP "(?<=\b$2=)\S+" <<<"$1"; }
of_table() { grep -oP '(?<=^\[segment ).*(?=\]$)' "$STINT_LAB/state/stint_plans.ini" | sort; }
nothing_open() { [[ $(stint plan list --format json | jq '[.[] | select(.state == "booking")] | length') == 0 ]]; }
# What ends in the moment of the comparison may stand in one and not in the other: it is left out.
agree() {
  local since=$((EPOCHSECONDS + 5)) plans
  nothing_open || return 1
  plans=$(of_plans "$since")
  [[ $plans == "$(of_slurm "$since")" && -z $(comm -13 <(of_table) <(cut -f1 <<<"$plans")) ]]
}
disagreement() { diff <(of_plans "$EPOCHSECONDS") <(of_slurm "$EPOCHSECONDS"); }
# each_point OPERATION POINT…: OPERATION prepares the plan p1, p2, … with a stintd that nobody kills, and names in
# $change the command that is then killed at the point. What the plan has become is in $is.
each_point() {
  local operation=$1 point
  for point in "${@:2}"; do
    plan=p$((++plans))
    lab revive stintd
    "$operation" "$plan"
    lab kill stintd
    killed_at "$point" "${change[@]}"
    is=$(stint plan show "$plan" --format json 2>/dev/null |
      jq -r '.state, .segments[0].end - .segments[0].start, (.users | length), .owner, (.tags | tojson)' | paste -sd' ') || true
    echo "$operation, killed at $point: $is"
    "expect_$operation" "$point" || { echo "$operation, killed at $point: $is" >&2; return 1; }
    stint plan cancel "$plan" --force >/dev/null 2>&1 || true
    lab kill stintd
  done
}
plans=0
setup_plan() { stint plan create --name "$1" --nodes 1 --spares 0 --duration 1h >/dev/null; }

book() { change=(stint plan create --name "$1" --nodes 1 --spares 0 --duration 1h); }
expect_book() { if [[ $1 == ledger.add_plan ]]; then [[ $is == failed* ]]; else [[ $is == "active 3600 1 root "* ]]; fi; }

extend() { setup_plan "$1" && change=(stint plan extend "$1" --by 10m --yes); }
expect_extend() { [[ $is == "active 4200 1 "* ]]; }

shrink() { setup_plan "$1" && change=(stint plan shrink "$1" --until now+30m --yes); }
expect_shrink() { [[ $is == "active 1"[78]* ]]; }

share() { setup_plan "$1" && change=(stint plan share "$1" --add nobody); }
expect_share() { [[ $is == "active 3600 2 root "* ]]; }

transfer() { setup_plan "$1" && change=(stint plan transfer "$1" nobody); }
expect_transfer() { [[ $is == "active 3600 2 nobody "* ]]; }

tag() { setup_plan "$1" && change=(stint plan tag "$1" project=llm); }
expect_tag() { [[ $is == 'active 3600 1 root {"project":"llm"}' ]]; }

decline() {
  as_nobody stint plan create --name "$1" --nodes 4 --spares 0 --start now+10m --duration 1h >/dev/null
  change=(stint plan cancel "$1")
}
expect_decline() { [[ $is == cancelled* ]]; }

approve() {
  as_nobody stint plan create --name "$1" --nodes 4 --spares 0 --start now+10m --duration 1h >/dev/null
  change=(stint plan approve "$1")
}
expect_approve() { [[ $is == "scheduled 3600 1 "* ]]; }

cancel() {
  setup_plan "$1"
  job=$(submit --training-plan="$1" -N1 --wrap "sleep 100")
  wait_until 10 job_is "$job" RUNNING
  change=(stint plan cancel "$1" --force)
}
expect_cancel() { [[ $is == cancelled* ]] && wait_until 5 job_is "$job" CANCELLED; }

swap() {
  setup_plan "$1"
  dead=$(stint plan show "$1" --format json | jq -r '.segments[0].nodes[0]')
  # Not down: its slurmd runs, and would take it back within seconds.
  change=(scontrol update "nodename=$dead" state=drain "reason=stint: test")
}
expect_swap() {
  scontrol update "nodename=$dead" state=resume
  [[ $is == active* && $(stint plan show "$plan" --format json | jq -r '.segments[0].nodes[0]') != "$dead" ]]
}

@test "a booking is completed, or nothing is reserved" {
  each_point book ledger.add_plan slurm.create_reservation ledger.set_phase
}

@test "a change that was begun is completed" {
  each_point extend ledger.begin_change slurm.update_reservation ledger.finish_change
  each_point shrink ledger.begin_change slurm.update_reservation ledger.finish_change
  each_point share ledger.begin_change slurm.update_reservation ledger.finish_change
  each_point transfer ledger.begin_change slurm.update_reservation ledger.finish_change
}

@test "tags that were written are there" {
  each_point tag ledger.set_tags
}

@test "an approval counts" {
  each_point approve ledger.set_phase
}

@test "a plan is cancelled, with its job" {
  each_point cancel ledger.set_phase slurm.cancel_job slurm.delete_reservation ledger.set_phase:2
  each_point decline ledger.set_phase slurm.delete_reservation ledger.set_phase:2
}

@test "a dead node is swapped once" {
  each_point swap slurm.update_reservation ledger.set_segment
}

# armed_in_turn POINT…: each stintd kills itself at its point, and the next one is there at once.
armed_in_turn() {
  local point
  for point in "$@"; do
    wait_until 20 stintd_is_dead || { echo "it never came to the point before $point" >&2; return 1; }
    starts_armed "$point" 2>/dev/null || stintd_is_dead  # some come to their point before they are seen to run
  done
  wait_until 20 stintd_is_dead || { echo "it never came to $point" >&2; return 1; }
  lab revive stintd
}

runs_again() { [[ $(scontrol --oneliner show job "$1") == *JobState=RUNNING*" Restarts=1 "* ]]; }

@test "a job whose node dies is requeued once, by eight stintds" {
  lab revive stintd
  stint plan create --name heal --nodes 1 --spares 1 --duration 1h
  job=$(submit --training-plan=heal -N1 --wrap "sleep 100")
  wait_until 10 job_is "$job" RUNNING
  lab kill stintd
  node=$(squeue --noheader -j "$job" --format %N)
  lab kill "$node"
  armed_in_turn ledger.add_recovery slurm.set_node_down slurm.set_node_down:2 ledger.set_step \
    slurm.set_job_excluded_nodes slurm.set_job_begin ledger.set_step
  wait_until 20 runs_again "$job"
  wait_until 20 agree
  [[ $(squeue --noheader -j "$job" --format %N) != "$node" ]]
  lab revive "$node"
  stint plan cancel heal --force
  lab kill stintd
}

when() { date -d "@$1" +%Y-%m-%dT%H:%M:%S; }

# two_segments PLAN: of one node and 80 s, then, 10 s later, of more.
two_segments() {
  local start=$((EPOCHSECONDS + 3600)) offer now
  scontrol create reservation ReservationName=block StartTime="$(when $start)" Duration=30 Nodes=ALL Users=root
  offer=$(split_offer 2 --nodes 1 --duration 1h50m --min-segment 10m --before now+3h)
  stint plan create --name "$1" --offer "$offer"
  scontrol delete ReservationName=block
  now=$EPOCHSECONDS
  scontrol update ReservationName="$1.0" EndTime="$(when $((now + 80)))"
  scontrol update ReservationName="$1.1" StartTime="$(when $((now + 90)))" EndTime="$(when $((now + 600)))"
  wait_until 20 agree
}

@test "a job is led into the next segment once, by three stintds" {
  lab revive stintd
  local now
  two_segments two
  job=$(submit --training-plan=two -N1 --wrap "srun sh -c 'trap : USR1; while :; do sleep 1; done'")
  wait_until 10 job_is "$job" RUNNING
  now=$EPOCHSECONDS
  scontrol update ReservationName=two.0 EndTime="$(when $((now + 25)))"
  wait_until 8 scontrol update ReservationName=two.1 StartTime="$(when $((now + 30)))"
  lab kill stintd
  armed_in_turn slurm.set_job_reservation slurm.requeue_job
  wait_until 20 agree
  wait_until 40 runs_again "$job"
  [[ $(scontrol --oneliner show job "$job") == *" Reservation=two.1 "* ]]
  stint plan cancel two --force
  lab kill stintd
}

@test "a job that Slurm ended with its segment while no stintd ran goes on in the next one" {
  lab revive stintd
  two_segments late
  job=$(submit --training-plan=late -N1 --wrap "sleep 500")
  wait_until 10 job_is "$job" RUNNING
  scontrol update ReservationName=late.0 EndTime="$(when $((EPOCHSECONDS + 30)))"
  wait_until 10 agree
  lab kill stintd
  wait_until 90 job_is "$job" TIMEOUT
  lab revive stintd
  wait_until 120 runs_again "$job"
  [[ $(scontrol --oneliner show job "$job") == *" Reservation=late.1 "* ]]
  stint plan cancel late --force
  lab kill stintd
}

@test "a job whose step dies of the warning goes on in the next segment, whatever its script makes of that" {
  lab revive stintd
  two_segments dies
  job=$(submit --training-plan=dies -N1 --wrap "srun sleep 500 | cat; echo after")
  wait_until 10 job_is "$job" RUNNING
  scontrol update ReservationName=dies.0 EndTime="$(when $((EPOCHSECONDS + 40)))"
  wait_until 60 waits_for "$job" dies.1
  [[ $(scontrol --oneliner show job "$job") == *" Restarts=1 "* ]]
  stint plan cancel dies --force
  lab kill stintd
}
waits_for() { [[ $(scontrol --oneliner show job "$1") == *" JobState=PENDING "*" Reservation=$2 "* ]]; }
