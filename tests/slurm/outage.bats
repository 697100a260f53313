#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# slurmctld is away, or comes back from a crash without its last seconds: stintd says so, and loses nothing.
load lab
bats_require_minimum_version 1.5.0

setup_file() {
  lab_up --nodes 4 --stint policy.book=everyone
  chmod 755 "$STINT_LAB"
  stint plan create --name kept --nodes 1 --duration 1h
}
teardown_file() { lab_down; }
setup() { cd "$STINT_LAB" || return 1; }

end_of() { date -d "$(scontrol --oneliner show reservation "$1" | grep -oP '(?<=EndTime=)\S+')" +%s; }
users_of() { scontrol --oneliner show reservation "$1" | grep -oP '(?<= Users=)\S+'; }
until_of() { stint plan show "$1" --format json | jq '.segments[0].end'; }
stands() { [[ $(end_of "$1.0") == "$2" && $(until_of "$1") == "$2" ]]; }

@test "while slurmctld is away nothing is half done, it is said, and what needs no Slurm goes on" {
  sleep 6 # slurmctld has written what it knows
  before=$(until_of kept)
  lab kill slurmctld
  for command in "create --name new --nodes 1 --duration 10m" "extend kept --by 10m --yes" "cancel kept"; do
    # shellcheck disable=SC2086  # words are wanted
    run -1 stint plan $command
    [[ $output == *"Unable to contact slurm controller"*"; nothing is changed, try again later" ]]
  done
  [[ $(stint plan list) == *kept*active* ]]
  [[ $(as_nobody timeout 5 stint plan report) == *"no plans" ]]
  run -1 as_nobody stint plan search --nodes 1 --duration 10m
  [[ $output == *"Unable to contact slurm controller"* ]]
  [[ $(curl --silent "http://$(stintd_address)/") == *kept* ]]
  lab revive slurmctld
  wait_until 20 stands kept "$before"
  run -1 stint plan show new
  wait_until 30 stint plan extend kept --by 10m --yes # its nodes are seen again
  stands kept $((before + 600))
}

@test "a stint.conf that is read again while slurmctld is away keeps nobody waiting" {
  lab kill slurmctld
  kill -HUP "$(cut -d' ' -f1 run/stintd.pid)"
  for _ in $(seq 20); do wait_until 1 stint plan show kept; done
  wait_until 30 reads_again
  lab revive slurmctld
  wait_until 30 stint plan extend kept --by 10m --yes
}
reads_again() { grep -A100 "is read again" log/stintd.out | grep -q "listens on"; }

@test "what slurmctld forgot in a crash it is told again" {
  wait_until 30 stint plan create --name fresh --nodes 1 --duration 10m
  sleep 8 # slurmctld has written it
  before=$(until_of fresh)
  stint plan extend fresh --by 10m --yes
  stint plan share fresh --add nobody
  lab kill slurmctld
  lab revive slurmctld
  wait_until 20 stands fresh $((before + 600))
  wait_until 20 users_are fresh.0 root,nobody
  [[ $(stint plan history fresh) != *"reservation changed"* ]]
}
users_are() { [[ $(users_of "$1") == "$2" ]]; }
