#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The ledger copied while stintd runs, and put back: afterwards Slurm and the ledger agree.
load lab
bats_require_minimum_version 1.5.0

setup_file() { lab_up --nodes 4; }
teardown_file() { lab_down; }
setup() { cd "$STINT_LAB" || return 1; }

state_of() { stint plan show "$1" --format json | jq -r .state; }
reserved() { scontrol --oneliner show reservation "$1.0" 2>/dev/null | grep -q "ReservationName=$1.0"; }

@test "a copy is made while stintd runs, and is nobody else's business" {
  stint plan create --name kept --nodes 1 --duration 1h
  run -0 stintd backup copy.db
  [[ $output == *"is copied to copy.db" ]]
  [[ $(stat -c %a copy.db) == 600 && ! -e copy.db-wal ]]
  run -1 stintd backup /nowhere/copy.db
  [[ $output == "stintd: /nowhere/copy.db: cannot be written: "* ]]
}

@test "what would do harm is refused, and the ledger stays as it is" {
  run -1 stintd restore copy.db
  [[ $output == *"another stintd (process "* ]]
  lab kill stintd
  echo "no ledger at all, and long enough to be read" >text
  run -1 stintd restore text
  [[ $output == "stintd: text: "*"is it a ledger of stintd?" ]]
  cp copy.db newer.db
  python3 -c 'import sqlite3; sqlite3.connect("newer.db").execute("PRAGMA user_version = 99")'
  run -1 stintd restore newer.db
  [[ $output == *"was made by a newer stintd (version 99"* ]]
  run -1 stintd restore absent.db
  [[ $output == "stintd: absent.db: there is no such file" ]]
  lab revive stintd
  wait_until 10 reserved kept
  [[ $(state_of kept) == active ]]
}

@test "after a restore the plans of the copy are in Slurm again, and what it does not know is named" {
  stint plan cancel kept
  stint plan create --name since --nodes 1 --duration 1h
  lab kill stintd
  run -0 stintd restore copy.db
  [[ $output == *"the one before is kept as "*".before-restore-"* ]]
  [[ $output == *"reservation since.0 is in no plan of this ledger"*"scontrol delete ReservationName=since.0"* ]]
  scontrol delete ReservationName=since.0
  lab revive stintd
  wait_until 10 reserved kept
  [[ $(state_of kept) == active ]]
  run -1 stint plan show since
  old=$(compgen -G "$STINT_LAB/stintd/*.before-restore-*")
  [[ $(python3 -c 'import sqlite3, sys; print(*(r[0] for r in sqlite3.connect(sys.argv[1]).execute("SELECT name FROM plans ORDER BY id")))' "$old") == "kept since" ]]
}
