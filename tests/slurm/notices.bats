#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What people are told of their plans, by a site's command and by mail, and plans that nobody uses. All plans begin in
# setup_file, in seconds instead of hours; stintd is killed again and again while they live.
# shellcheck disable=SC2154,SC2016  # bats sets $status; a reason in single quotes is for Slurm
load lab
bats_require_minimum_version 1.5.0

setup_file() {
  TOOLS=$(mktemp -d "${TMPDIR:-/tmp}/stint-tools.XXXXXX")
  export TOOLS
  make_programs
  lab_up --nodes 8 --stint "notices.command=$TOOLS/tell" --stint notices.soon=8s --stint notices.ending=10s \
    --stint notices.timeout=1s --stint policy.release_idle_after=24s --stint policy.release_notice=10s \
    --stint policy.book=everyone --stint policy.approvers=daemon --stint policy.approve_above_nodes=2 \
    --stint "price.node_hour=1" --stint "budget tight.amount=1" --stint "budget tight.contacts=bin"
  chmod 755 "$STINT_LAB"
  cd "$STINT_LAB" || return 1
  for plan in noshow late used; do
    stint plan create --name $plan --nodes 1 --spares 0 --duration 10m --users nobody >/dev/null
  done
  submit_to used >"$TOOLS/job.used"
  book_halves
  submit_late &
  stint plan create --name life --nodes 1 --spares 0 --start now+6s --duration 1m --users nobody >/dev/null
}
teardown_file() {
  lab_down
  rm -rf "$TOOLS"
}
setup() { cd "$STINT_LAB" || return 1; }

submit_to() { as_nobody sbatch --parsable --training-plan="$1" -N1 --chdir / --output /dev/null --wrap 'sleep 100'; }
submit_late() {
  exec >/dev/null 2>&1 3>&-
  wait_until 40 was_told late idle
  submit_to late >"$TOOLS/job.late"
}

# Two segments, one node: from now on, and from an hour on.
book_halves() {
  scontrol create reservation ReservationName=block StartTime="$(when $((EPOCHSECONDS + 3600)))" Duration=30 Nodes=ALL Users=root
  stint plan create --name halves --users nobody --offer "$(split_offer 2 --nodes 1 --duration 1h50m \
    --min-segment 10m --before now+3h)" >/dev/null
  scontrol delete ReservationName=block
}

make_programs() {
  cat >"$TOOLS/tell" <<S
#!/bin/sh
[ ! -e $TOOLS/hang ] || sleep 600
[ ! -e $TOOLS/refuse ] || { echo "no
 route"; exit 5; }
cat >>$TOOLS/told
S
  cat >"$TOOLS/mail" <<S
#!/bin/sh
for word; do printf '[%s]' "\$word"; done >>$TOOLS/mailed
echo >>$TOOLS/mailed
cat >>$TOOLS/mailed
S
  chmod +x "$TOOLS/tell" "$TOOLS/mail"
}

# told PLAN: the kinds of its notices, in order, each once.
told() { jq -r --arg plan "$1" 'select(.plan == $plan) | "\(.id) \(.kind)"' "$TOOLS/told" | uniq | cut -d' ' -f2 | paste -sd' '; }
was_told() { [[ " $(told "$1") " == *" $2 "* ]]; }
text_of() { jq -r --arg plan "$1" --arg kind "$2" 'select(.plan == $plan and .kind == $kind).text' "$TOOLS/told"; }
stintd_is_dead() { [[ $(lab status) =~ stintd\ +dead ]]; }
state_of() { stint plan show "$1" --format json | jq -r .state; }
metric() { curl --silent "http://$(stintd_address)/metrics" | grep -oP "(?<=stint_notices_total\{result=\"$1\"\} )\d+"; }

# armed_in_turn POINT…: each stintd kills itself at its point, and the next one is there at once.
armed_in_turn() {
  local point
  for point in "$@"; do
    STINT_KILL_AT=$point lab revive stintd 2>/dev/null || stintd_is_dead
    wait_until 30 stintd_is_dead || { echo "it never came to $point" >&2; return 1; }
  done
  lab revive stintd
}

when() { date -d "@$1" +%Y-%m-%dT%H:%M:%S; }

@test "the life of a plan is told in order, by six stintds" {
  wait_until 10 was_told life soon
  start=$(stint plan show life --format json | jq '.segments[0].start')
  scontrol update ReservationName=life.0 EndTime="$(when $((start + 22)))"
  wait_until 10 was_told life changed
  lab kill stintd
  armed_in_turn ledger.add_notices notice.delivered ledger.close_notice ledger.add_notices
  wait_until 30 was_told life ended
  told life
  [[ $(told life) == "booked soon changed started ending ended" ]]
  # Only what was delivered in the moment of a kill came twice, and it bears the same id.
  (($(jq -r 'select(.plan == "life").id' "$TOOLS/told" | wc -l) <= 7))
  [[ $(text_of life soon) == "Plan life begins at $(when "$start")."* ]]
  [[ $(jq -c 'select(.plan == "life").users' "$TOOLS/told" | sort -u) == '["nobody"]' ]]
}

@test "a plan that nobody uses is told, then released; its history and sbatch say so" {
  wait_until 40 was_told noshow released
  [[ $(told noshow) == "booked started idle released" ]]
  [[ $(text_of noshow idle) == *"no job is in noshow.0 since"*"sbatch --training-plan=noshow"* ]]
  [[ $(state_of noshow) == expired && $(scontrol show reservation) != *noshow.0* ]]
  run -0 stint plan history noshow
  [[ $output == *"stintd  idle "*"stintd  released "*"no job was in noshow.0 since"* ]]
  [[ $(stint plan show noshow) == *"(released: no job was in it)"* ]]
  run -1 as_nobody sbatch --training-plan=noshow --chdir / --output /dev/null --wrap true
  [[ $output == *"plan noshow: was released 20"*"for no job was in it"*"book another with 'stint plan create'"* ]]
}

@test "a job submitted in the notice period keeps the plan, and one that is used is not even told" {
  wait_until 15 job_is "$(<"$TOOLS/job.late")" RUNNING
  (($(jq 'select(.plan == "late" and .kind == "idle").time' "$TOOLS/told") + 12 < EPOCHSECONDS)) || sleep 12
  [[ $(state_of late) == active && $(told late) == "booked started idle" ]]
  [[ $(state_of used) == active && $(told used) == "booked started" ]]
  job_is "$(<"$TOOLS/job.used")" RUNNING
}

@test "a node that is lost and replaced is told, and what the admin wrote breaks nothing" {
  dead=$(stint plan show used --format json | jq -r '.segments[0].nodes[0]')
  scancel "$(<"$TOOLS/job.used")"
  scontrol update nodename="$dead" state=drain reason='~!touch it; $(id)'
  wait_until 15 was_told used node_replaced
  [[ $(text_of used node_replaced) == *"$dead is replaced by node"* ]]
  scontrol update nodename="$dead" state=resume
}

@test "of a plan of two segments the one that nobody uses is released, and a job waits for the other" {
  wait_until 40 was_told halves released
  [[ $(told halves) == "booked started idle released" && $(state_of halves) == scheduled ]]
  [[ $(scontrol show reservation) != *halves.0* && $(scontrol show reservation) == *halves.1* ]]
  run -0 as_nobody sbatch --training-plan=halves --chdir / --output /dev/null --wrap true
  [[ $output == *"plan halves: was released 20"*"until 20"*"the job waits"* ]]
  [[ $(squeue --noheader --user nobody --states PD --format %v) == *halves.1* ]]
}

@test "a node that is lost and cannot be replaced is told, and again when it is back" {
  scontrol update nodename=node8 availablefeatures=rare activefeatures=rare
  stint plan create --name rare --nodes 1 --spares 0 --duration 10m --features rare --users nobody
  scontrol update nodename=node8 state=drain reason=test
  wait_until 25 was_told rare node_lost
  [[ $(text_of rare node_lost) == *"node8: test; no node of its kind is free"* ]]
  scontrol update nodename=node8 state=resume
  wait_until 10 was_told rare node_replaced
  [[ $(text_of rare node_replaced) == *"has a node back"* ]]
}

@test "approvers are asked, and who asked hears of the answer" {
  as_nobody stint plan create --name large --nodes 3 --start now+10m --duration 10m
  wait_until 5 was_told large approval
  [[ $(jq -c 'select(.plan == "large").users' "$TOOLS/told") == '["daemon"]' ]]
  stint plan approve large
  wait_until 5 was_told large approved
  stint plan cancel large
  wait_until 5 was_told large cancelled
  [[ $(text_of large cancelled) == *"by root"* ]]
}

@test "a budget that runs out is told to the owner and the budget's contacts; so is a refusal" {
  stint plan create --name dear --nodes 1 --spares 0 --start now+1h --duration 55m --account tight
  wait_until 5 was_told dear budget
  [[ $(text_of dear budget) == "Account tight has spent 0.92 of 1.00 EUR for plans in "* ]]
  [[ $(jq -c 'select(.plan == "dear").users' "$TOOLS/told") == '["bin","root"]' ]]
  run -1 stint plan create --name dearer --nodes 1 --spares 0 --start now+3h --duration 55m --account tight
  wait_until 5 was_told dearer budget
  [[ $(text_of dearer budget) == "plan dearer: costs 0.84 EUR too much"* ]]
}

@test "a command that fails or hangs holds nothing up, and is tried again" {
  touch "$TOOLS/hang"
  before=$(metric failed)
  stint plan create --name slow --nodes 1 --spares 0 --start now+1h --duration 10m --users nobody
  failed() { (($(metric failed) > before)); }
  wait_until 10 failed
  timeout 2 stint plan list >/dev/null
  grep -q "notice .* of plan slow: $TOOLS/tell: did not end within 1 s; tries again in 00:00:05" "$STINT_LAB"/log/stintd.*
  mv "$TOOLS/hang" "$TOOLS/refuse"
  said() { grep -q "of plan slow: $TOOLS/tell: ended with 5: no route; tries again" "$STINT_LAB"/log/stintd.*; }
  wait_until 15 said
  rm "$TOOLS/refuse"
  wait_until 20 was_told slow booked
}

@test "mail goes to USER@mail_domain, with a subject of one line" {
  lab kill stintd
  sed -i "s|^command = .*|mail = $TOOLS/mail\nmail_domain = example.org|" "$STINT_CONF"
  lab revive stintd
  stint plan create --name mailed --nodes 1 --spares 0 --start now+1h --duration 10m --users nobody
  wait_until 10 grep -q 'plan mailed is booked' "$TOOLS/mailed"
  run -0 cat "$TOOLS/mailed"
  [[ ${lines[0]} == "[-s][stint: plan mailed is booked][nobody@example.org]" ]]
  [[ ${lines[1]} == "Plan mailed is booked; by root, "* ]]
}

@test "without a program nobody is told, and a wrong one is named" {
  lab kill stintd
  sed -i '/^mail = /d' "$STINT_CONF"
  lab revive stintd
  stint plan create --name quiet --nodes 1 --spares 0 --start now+1h --duration 10m --users nobody
  sleep 3
  [[ $(<"$TOOLS/mailed") != *quiet* ]]
  echo "mail = $TOOLS/nothing" >"$TOOLS/line"
  sed "/^mail_domain/r $TOOLS/line" "$STINT_CONF" >"$TOOLS/stint.conf"
  run -1 stintd --config "$TOOLS/stint.conf" --check
  [[ $output == "stintd: $TOOLS/stint.conf:"*": 'mail': '$TOOLS/nothing' cannot be run: No such file or directory" ]]
}
