# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# For *.bats files that want a lab:
#
#   load lab
#   setup_file() { lab_up --nodes 5; }
#   teardown_file() { lab_down; }

PATH="$BATS_TEST_DIRNAME/../lab:$PATH"

# Starts a lab and makes this shell use it. Takes the options of `lab up`. Its folder is not one of bats' own:
# those are closed to other users, whom munge and jobs must let in.
lab_up() {
  STINT_LAB=$(mktemp -d "${TMPDIR:-/tmp}/stint-test.XXXXXX")
  export STINT_LAB
  lab up "$@" || {
    rmdir --ignore-fail-on-non-empty "$STINT_LAB"
    return 1
  }
  eval "$(lab env)"
}

lab_down() {
  [[ ! -e $STINT_LAB/lab.json ]] || lab down
}

# wait_until SECONDS COMMAND…: runs the command each 0.1 s until it succeeds; fails, with the end of stintd's log, when
# it never did.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS > deadline)); then
      echo "waited in vain for: $*" >&2
      tail -n 40 "$STINT_LAB"/log/stintd.* >&2 || true
      return 1
    fi
    sleep 0.1
  done
}

# job_state JOB: PENDING, RUNNING, COMPLETED…
job_state() { scontrol --oneliner show job "$1" | grep -oP '(?<=JobState=)\S+'; }

job_is() { [[ $(job_state "$1") == "$2" ]]; }

# submit OPTION…: sbatch; prints the job id alone.
submit() { sbatch --parsable "$@"; }

# split_offer SEGMENTS OPTION…: the first offer of a search that has so many segments.
split_offer() {
  stint plan search --segments "$@" --format json | jq -r --argjson count "$1" 'first(.offers[] | select((.segments | length) == $count)).id'
}

# stintd_address: host:port of the lab's stintd.
stintd_address() { awk '/^address/ { print $3 }' "$STINT_CONF"; }

# as_user NAME COMMAND…, as_nobody COMMAND…: as another user of this machine.
as_user() { setpriv --reuid="$(id -u "$1")" --regid="$(id -g "$1")" --clear-groups "${@:2}"; }
as_nobody() { as_user nobody "$@"; }
