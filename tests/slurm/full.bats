#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The ledger's file system is full: what cannot be written down is not done, and it is said.
load lab
bats_require_minimum_version 1.5.0

setup_file() {
  SMALL=$(mktemp -d "${TMPDIR:-/tmp}/stint-test.XXXXXX")
  export SMALL
  mount -t tmpfs -o size=1m,mode=755 stint-test "$SMALL"
  lab_up --nodes 3 --stint "stintd.ledger=$SMALL/ledger.db"
  stint plan create --name before --nodes 1 --duration 1h
}
teardown_file() {
  lab_down
  umount "$SMALL"
  rmdir "$SMALL"
}

reservations() { scontrol --oneliner show reservation | grep -oP '(?<=ReservationName=)\S+' | paste -sd' '; }
end_of() { scontrol --oneliner show reservation "$1" | grep -oP '(?<=EndTime=)\S+'; }

@test "on a full disk nothing is booked, changed or cancelled, and the reason is said; what is only read goes on" {
  end=$(end_of before.0)
  dd if=/dev/zero of="$SMALL/fill" bs=1k 2>/dev/null || true
  for command in "create --name more --nodes 1 --duration 1h" "extend before --by 10m --yes" "cancel before"; do
    # shellcheck disable=SC2086  # words are wanted
    run -1 stint plan $command
    [[ $output == "stint: ledger $SMALL/ledger.db: database or disk is full; make room on its file system" ]]
  done
  [[ $(reservations) == before.0 && $(end_of before.0) == "$end" ]]
  [[ $(stint plan list) == *before*active* ]]
  [[ $(curl --silent "http://$(stintd_address)/") == *before* ]]
}

@test "when there is room again stintd goes on by itself" {
  rm "$SMALL/fill"
  stint plan create --name more --nodes 1 --duration 1h
  stint plan cancel before
  sleep 3
  [[ $(reservations) == more.0 ]]
}
