// SPDX-License-Identifier: Apache-2.0
#include "reservations/html.h"

#include <fmt/format.h>

#include <array>
#include <ctime>
#include <utility>

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

constexpr char kStyle[] = R"css(
:root { color-scheme: light dark; --paper: #fbfaf7; --card: #ffffff; --ink: #22262b; --soft: #69707a;
  --line: #e4e1da; --band: #f3f1ec; --active: #22735f; --scheduled: #4b72a6; --booking: #96700f;
  --over: #8b8f96; --failed: #b2452f; --lost: #c2492f; --now: #b4451f; --on: #ffffff; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15171a; --card: #1c1f23; --ink: #e7e4de; --soft: #9ba2ab; --line: #30343a; --band: #191c20;
    --active: #2c8a73; --scheduled: #466b9e; --booking: #8f7020; --over: #5b6068; --failed: #c05a44;
    --lost: #e2765c; --now: #f08a5d; --on: #ffffff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; }
main { max-width: 1160px; margin: 0 auto; padding: 28px 24px 48px; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 20px; margin-bottom: 20px; }
h1 { font-size: 26px; line-height: 1.2; font-weight: 650; letter-spacing: -.015em; margin: 0; }
h2 { font-size: 15px; font-weight: 650; margin: 32px 0 10px; }
a { color: inherit; text-decoration-color: var(--soft); text-underline-offset: 3px; }
a:hover { text-decoration-color: currentColor; }
nav { margin-left: auto; display: flex; gap: 2px; }
nav a { padding: 2px 10px; border-radius: 999px; text-decoration: none; color: var(--soft); font-size: 13px; }
nav a:hover { color: var(--ink); }
nav a[aria-current] { background: var(--line); color: var(--ink); }
.soft { color: var(--soft); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); margin-bottom: 20px; }
.tile { padding: 14px 18px; }
.tile b { display: block; font-size: 22px; font-weight: 600; line-height: 1.25; letter-spacing: -.01em; }
.tile span { color: var(--soft); font-size: 13px; }
.meter { height: 4px; margin-top: 8px; border-radius: 2px; background: var(--line); overflow: hidden; }
.meter i { display: block; height: 100%; background: var(--active); }
.scroll { overflow-x: auto; padding: 14px 16px; }
svg { display: block; width: 100%; min-width: 760px; height: auto; }
svg text { font-size: 11px; fill: var(--soft); }
svg a { text-decoration: none; }
.grid { stroke: var(--line); stroke-width: 1; }
.band { fill: var(--band); }
.bar { rx: 3px; stroke: var(--card); stroke-width: 1.5; }
a:hover .bar { filter: brightness(1.12); }
svg text.inbar { fill: var(--on); font-weight: 550; }
svg text.leaf { fill: var(--ink); font-weight: 600; }
svg text.lost { fill: var(--lost); font-weight: 600; }
.veil { fill: var(--card); opacity: .5; }
.hatch { stroke: var(--lost); stroke-width: 2; opacity: .8; }
.nowline { stroke: var(--now); stroke-width: 1.5; }
svg text.nowtext { fill: var(--now); font-weight: 600; }
.share { fill: var(--scheduled); opacity: .35; }
.share-edge { fill: none; stroke: var(--scheduled); stroke-width: 1.5; }
.bar.active { fill: var(--active); } .bar.scheduled { fill: var(--scheduled); }
.bar.booking { fill: var(--booking); } .bar.over { fill: var(--over); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; padding: 0 18px 14px; font-size: 13px; color: var(--soft); }
.legend i, .state::before { content: ""; display: inline-block; width: 9px; height: 9px; border-radius: 3px;
  margin-right: 7px; background: var(--over); }
.legend i.active, .state.active::before { background: var(--active); }
.legend i.scheduled, .state.scheduled::before { background: var(--scheduled); }
.legend i.booking, .state.booking::before, .state.pending::before { background: var(--booking); }
.state.failed::before { background: var(--failed); }
.legend i.lost { background: repeating-linear-gradient(45deg, var(--lost) 0 2px, transparent 2px 4px); }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; font-weight: 500; font-size: 13px; color: var(--soft); white-space: nowrap; }
th, td { padding: 7px 14px 7px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
td.number, th.number { text-align: right; }
td.long { overflow-wrap: anywhere; }
.nowrap { white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 24px; margin: 0; padding: 14px 18px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.warn { color: var(--lost); }
.empty { padding: 36px 18px; text-align: center; color: var(--soft); }
footer { margin-top: 28px; font-size: 13px; color: var(--soft); }
code { font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
@media print {
  :root { --paper: #ffffff; --band: #f6f6f6; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; } nav { display: none; } body { font-size: 12px; }
  .card, tr { break-inside: avoid; } .scroll { overflow: visible; } svg { min-width: 0; } }
)css";

// A calendar leaf; given here so that no browser asks stintd for one.
constexpr char kIcon[] =
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' "
    "height='16' rx='4' fill='%2322735f'/%3E%3Cpath d='M3 5h7M6 8h7M4 11h5' stroke='white' stroke-width='2' "
    "stroke-linecap='round'/%3E%3C/svg%3E";

std::tm local(sys_seconds time) {
  const std::time_t raw = time.time_since_epoch().count();
  std::tm fields{};
  ::localtime_r(&raw, &fields);
  return fields;
}

std::string clock_text(sys_seconds time, const char* format) {
  const std::tm fields = local(time);
  std::array<char, 64> text{};
  std::strftime(text.data(), text.size(), format, &fields);
  return text.data();
}

const char* entity(char c) {
  switch (c) {
    case '&':
      return "&amp;";
    case '<':
      return "&lt;";
    case '>':
      return "&gt;";
    case '"':
      return "&quot;";
    case '\'':
      return "&#39;";
    default:
      return nullptr;
  }
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string html;
  for (const char c : text) {
    if (const char* name = entity(c)) {
      html += name;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      html += byte < 0x20 || byte == 0x7f ? '?' : c;
    }
  }
  return html;
}

std::string framed(std::string_view title, std::string_view body, sys_seconds now) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta http-equiv=\"refresh\" content=\"60\">\n"
      "<title>{}</title>\n<link rel=\"icon\" href=\"{}\">\n<style>{}</style>\n</head>\n<body>\n<main>\n{}"
      "<footer>As of {}. Read-only: <code>stint plan search</code> finds and books.</footer>\n"
      "</main>\n</body>\n</html>\n",
      escaped(title), kIcon, kStyle, body, escaped(clock_text(now, "%a %d %b %Y %H:%M:%S %Z")));
}

std::string people_time(sys_seconds time, sys_seconds now) {
  return clock_text(time, local(time).tm_year == local(now).tm_year ? "%a %d %b %H:%M" : "%d %b %Y %H:%M");
}

std::string people_span(seconds span) {
  constexpr std::array<std::pair<std::int64_t, const char*>, 4> kUnits{
      {{86'400, "d"}, {3'600, "h"}, {60, "min"}, {1, "s"}}};
  std::int64_t rest = span.count() < 0 ? 0 : span.count();
  for (std::size_t i = 0; i < kUnits.size(); ++i) {
    const auto [size, unit] = kUnits[i];
    if (rest < size && i + 1 < kUnits.size()) continue;
    const auto minor = i + 1 < kUnits.size() ? rest % size / kUnits[i + 1].first : 0;
    if (minor == 0 || size == 60) return fmt::format("{} {}", rest / size, unit);
    return fmt::format("{} {} {} {}", rest / size, unit, minor, kUnits[i + 1].second);
  }
  return {};
}

std::string shortened(std::string_view text, std::size_t longest) {
  if (text.size() <= longest) return std::string(text);
  return std::string(text.substr(0, longest - 1)) + "…";
}

}  // namespace stint::reservations
