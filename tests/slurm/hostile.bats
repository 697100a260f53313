#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Requests that no honest client sends, with real munge: refused, logged in one line, and nothing is changed.
load lab
bats_require_minimum_version 1.5.0

setup_file() {
  lab_up --nodes 4
  chmod 755 "$STINT_LAB"
  stint plan create --name victim --nodes 1 --duration 1h
  ADDRESS=$(stintd_address)
  SOCKET=$(awk '/^socket/ { print $3 }' "$STINT_CONF")
  export ADDRESS SOCKET
}
teardown_file() { lab_down; }
setup() {
  cd "$STINT_LAB" || return 1
  logged=$(wc -l <log/stintd.out)
}
# Whatever was tried: the service answers, and the plan stands.
teardown() { wait_until 10 victim_stands; }
victim_stands() { [[ $(stint plan show victim --format json | jq -r .state) == active ]]; }

# credential METHOD PATH BODY: what the caller's munge says of a request.
credential() {
  printf 'stint request %s %s\n%s' "$1" "$2" "$(printf %s "$3" | sha256sum | cut -d' ' -f1)" |
    munge --socket="${4:-$SOCKET}"
}
# send CREDENTIAL METHOD PATH OPTION…: the status; the reply is in the file reply.
send() {
  curl --silent --output "$BATS_TEST_TMPDIR/reply" --write-out '%{http_code}' --header "Stint-Credential: $1" \
    --request "$2" "${@:4}" "http://$ADDRESS$3"
}
# said TEXT…: exactly one line of stintd's log since the test began holds all the texts.
said() {
  local lines text
  lines=$(tail -n "+$((logged + 1))" log/stintd.out)
  for text in "$@"; do lines=$(grep -F -- "$text" <<<"$lines"); done
  [[ -n $lines && $(wc -l <<<"$lines") == 1 ]] || { tail -n "+$((logged + 1))" log/stintd.out; return 1; }
}

@test "a request that is replayed is refused, and its owner named" {
  proof=$(credential GET /v1/plans "")
  [[ $(send "$proof" GET /v1/plans) == 200 ]]
  [[ $(send "$proof" GET /v1/plans) == 401 ]]
  said "refused with 401: GET /v1/plans" "credential refused of uid $(id -u): Replayed credential"
}

@test "a credential for another request is refused" {
  body='{"force":true}'
  [[ $(send "$(credential GET /v1/plans/victim "")" DELETE /v1/plans/victim) == 401 ]]
  [[ $(send "$(credential DELETE /v1/plans/other "")" DELETE /v1/plans/victim) == 401 ]]
  [[ $(send "$(credential DELETE /v1/plans/victim "")" DELETE /v1/plans/victim --data "$body") == 401 ]]
  [[ $(send "" DELETE /v1/plans/victim) == 401 ]]
  said "refused with 401: DELETE /v1/plans/victim of an unknown user" "carries no munge credential"
  (($(tail -n "+$((logged + 1))" log/stintd.out | grep -c "of uid $(id -u) at 127.0.0.1: the request is not what") == 3))
}

@test "a forged credential is refused: another's key, or a changed one" {
  proof=$(credential DELETE /v1/plans/victim "")
  [[ $(send "${proof:0:40}A${proof:41}" DELETE /v1/plans/victim) == 401 ]]
  own=$BATS_TEST_TMPDIR/munge
  mkdir "$own" && chmod 755 "$own"
  head -c 128 /dev/urandom >"$own/key" && chmod 600 "$own/key"
  files=(--key-file="$own/key" --socket="$own/socket" --pid-file="$own/pid" --log-file="$own/log" --seed-file="$own/seed")
  munged --force "${files[@]}" 3>&-
  forged=$(credential DELETE /v1/plans/victim "" "$own/socket")
  munged --stop --socket="$own/socket"
  [[ $(send "$forged" DELETE /v1/plans/victim) == 401 ]]
  (($(tail -n "+$((logged + 1))" log/stintd.out | grep -c "refused with 401: DELETE /v1/plans/victim of an unknown user") == 2))
}

@test "another user's plan is not cancelled, and who tried is logged" {
  run -1 as_nobody stint plan cancel victim --force
  [[ $output == *"belongs to root"* ]]
  said "refused with 403: DELETE /v1/plans/victim of uid $(id -u nobody) at 127.0.0.1: plan victim: belongs to root"
}

@test "bodies that are too large, compressed, of unknown length or no JSON are refused" {
  head -c 2000000 /dev/zero >"$BATS_TEST_TMPDIR/large"
  post() { send "$(credential POST /v1/plans "${1:-}")" POST /v1/plans "${@:2}"; }
  [[ $(post "" --header Expect: --data-binary "@$BATS_TEST_TMPDIR/large") == 413 ]]
  said "refused with 413: POST /v1/plans of uid $(id -u)" "larger than 1048576 bytes"
  [[ $(post "" --header "Transfer-Encoding: chunked" --data "{}") == 411 ]]
  said "refused with 411: POST /v1/plans of uid $(id -u)"
  [[ $(post "" --header "Content-Encoding: gzip" --data "{}") == 415 ]]
  said "refused with 415: POST /v1/plans of uid $(id -u)"
  [[ $(post "{" --data "{") == 400 ]]
  said "refused with 400: POST /v1/plans of uid $(id -u)" "is no JSON object"
  [[ $(send "" GET / --header "Range: bytes=0-0,0-0,0-0,0-0") == 416 ]]
}

@test "what is no HTTP, endless headers and dead connections do not keep others out" {
  host=${ADDRESS%:*} port=${ADDRESS#*:}
  head -c 100000 /dev/urandom | timeout 5 bash -c "cat >/dev/tcp/$host/$port" || true
  { printf 'GET / HTTP/1.1\r\nX: '; head -c 200000 /dev/zero | tr '\0' a; } | timeout 5 bash -c "cat >/dev/tcp/$host/$port" || true
  [[ $(send "" GET "/v1/$(head -c 9000 /dev/zero | tr '\0' a)") == 4* ]]
  for _ in {1..20}; do sleep 30 <>"/dev/tcp/$host/$port" & idle+=($!); done
  SECONDS=0
  stint plan list >/dev/null
  ((SECONDS < 10))
  kill "${idle[@]}"
}

@test "a log line cannot be forged through a path" {
  [[ $(send "" GET "/v1/x%0d%0a2026-11-23T00:00:00%20stintd%20info:%20all%20is%20well") == 404 ]]
  said "refused with 404: GET /v1/x%0d%0a2026"
}

@test "a log line cannot be forged through a name in a body" {
  body='{"name":"x\n2026-11-23T00:00:00 stintd info: all is well\u001b[2J","nodes":1,"duration":60}'
  [[ $(send "$(credential POST /v1/plans "$body")" POST /v1/plans --data "$body") == 400 ]]
  said "refused with 400: POST /v1/plans of uid $(id -u) at 127.0.0.1" "all is well"
  ! grep -q $'\e' log/stintd.out || return 1
}

@test "a crowd of half-open requests shuts nobody out, and does not fill the log" {
  cat >"$BATS_TEST_TMPDIR/crowd.py" <<'E'
import socket, sys, time
crowd = [socket.create_connection((sys.argv[1], int(sys.argv[2]))) for _ in range(600)]
for one in crowd: one.send(b"GET /v1/plans HTTP/1.1\r\nX-Half: ")
time.sleep(20)
E
  python3 "$BATS_TEST_TMPDIR/crowd.py" "${ADDRESS%:*}" "${ADDRESS#*:}" 3>&- &
  crowd=$!
  sleep 1
  SECONDS=0
  stint plan list >/dev/null
  ((SECONDS < 10))
  kill "$crowd"
  (($(tail -n "+$((logged + 1))" log/stintd.out | grep -c "refused with 400") < 100))
  ! tail -n "+$((logged + 1))" log/stintd.out | grep -q "at :" || return 1
}
