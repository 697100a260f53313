#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# stintd's web pages in a real browser (Chromium without a window), its metrics in a real Prometheus.
load lab
bats_require_minimum_version 1.5.0

setup_file() {
  lab_up --nodes 6
  stint plan create --name open --nodes 3 --spares 1 --duration 2h
  stint plan create --name later --nodes 2 --duration 3h --start now+4h
  scontrol update NodeName=node6 State=DRAIN Reason=test
  ADDRESS=$(stintd_address)
  export ADDRESS
}
teardown_file() { lab_down; }
setup() { cd "$BATS_TEST_TMPDIR" || return 1; }

# browse PATH OPTION…: Chromium on one page; what its console says goes to the file console.
browse() {
  local path=$1
  shift
  timeout 120 chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$PWD/profile" \
    --enable-logging=stderr "$@" "http://$ADDRESS$path" 2>console
}
quiet_console() { run ! grep CONSOLE console; }
page_has() { curl --silent --fail "http://$ADDRESS$1" | grep -q -- "$2"; }

@test "the calendar draws each plan where its reservation is in time, and the browser complains of nothing" {
  wait_until 10 page_has / 'data-node="node6"'
  browse / --dump-dom >dom.html
  quiet_console
  begin() { date -d "$(scontrol --oneliner show reservation "$1" | grep -oP "(?<=$2=)\S+")" +%s; }
  python3 "$BATS_TEST_DIRNAME/bars.py" dom.html \
    open "$(begin open.0 StartTime)" "$(begin open.0 EndTime)" active \
    later "$(begin later.0 StartTime)" "$(begin later.0 EndTime)" scheduled
  grep -q '<table id="plans">' dom.html
}

@test "a plan's page tells its segments and history" {
  browse /plans/open --dump-dom >dom.html
  quiet_console
  grep -q 'open.0' dom.html
  grep -q '<table id="history">' dom.html
  grep -q '3+1 nodes of partition main' dom.html
  [[ $(curl --silent --output /dev/null --write-out '%{http_code}' "http://$ADDRESS/plans/none-such") == 404 ]]
}

@test "what of the booked nodes is in use is on the page" {
  job=$(submit --training-plan=open -N3 --output=/dev/null --wrap "sleep 600")
  wait_until 20 job_is "$job" RUNNING
  wait_until 10 page_has / '<b>3 of 4</b><span>booked nodes run jobs'
  browse / --dump-dom >dom.html
  quiet_console
  grep -q '<b>3 of 4</b><span>booked nodes run jobs</span><div class="meter"><i style="width:75.0%">' dom.html
  grep -q '<b>4 of 6</b><span>nodes are booked now</span><div class="meter"><i style="width:66.7%">' dom.html
  [[ $(curl --silent "http://$ADDRESS/metrics") == *'stint_nodes{kind="used"} 3'* ]]
  scancel "$job"
  wait_until 20 page_has / '<b>0 of 4</b><span>booked nodes run jobs'
}

@test "the page can be painted, and asks no other host for anything" {
  browse / --window-size=1240,900 --screenshot="$PWD/page.png" >/dev/null
  (($(stat -c %s page.png) > 20000))
  run ! grep -E "(src|href)=['\"](https?:)?//" <<<"$(curl --silent "http://$ADDRESS/")"
  curl --silent --dump-header - --output /dev/null "http://$ADDRESS/" | grep -q "Content-Security-Policy: default-src 'none'"
}

@test "the metrics are in Prometheus's form, and a Prometheus reads them" {
  wait_until 10 page_has /metrics 'stint_plans{state="scheduled"} 1'
  curl --silent "http://$ADDRESS/metrics" | promtool check metrics
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  cat >prometheus.yml <<END
global: {scrape_interval: 1s}
scrape_configs: [{job_name: stint, static_configs: [{targets: ["$ADDRESS"]}]}]
END
  prometheus --config.file=prometheus.yml --storage.tsdb.path="$PWD/data" --web.listen-address="127.0.0.1:$port" \
    >prometheus.log 2>&1 3>&- &
  pid=$!
  value() { curl --silent "http://127.0.0.1:$port/api/v1/query" --data-urlencode "query=$1" | jq -r '.data.result[0].value[1]'; }
  is() { [[ $(value "$1") == "$2" ]]; }
  status=0
  wait_until 30 is 'stint_plans{state="active"}' 1 || status=1
  is 'stint_nodes{kind="booked"}' 4 || status=1
  is 'stint_nodes{kind="cluster"}' 6 || status=1
  (($(value 'stint_http_requests_total{status="200"}') > 0)) || status=1
  kill "$pid"
  wait "$pid" || true
  [[ $status == 0 ]] || { tail -n 5 prometheus.log; return 1; }
  run ! grep -E 'open|later' <<<"$(curl --silent "http://$ADDRESS/metrics" | grep -v '^#')"
}
