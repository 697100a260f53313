// SPDX-License-Identifier: Apache-2.0
#include "trainer/topology/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <string_view>

namespace stint::topology {
namespace {

using Path = std::vector<std::string>;

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('.', begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// The run of digits, or the single other character, at the front of the text.
std::string_view front_part(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size() && is_digit(text[length])) ++length;
  return text.substr(0, std::max<std::size_t>(length, 1));
}

std::string_view without_zeros(std::string_view digits) {
  return digits.substr(std::min(digits.find_first_not_of('0'), digits.size()));
}

int compare_parts(std::string_view a, std::string_view b) {
  if (!is_digit(a[0]) || !is_digit(b[0])) return a.compare(b);
  const auto x = without_zeros(a), y = without_zeros(b);
  if (x.size() != y.size()) return x.size() < y.size() ? -1 : 1;
  return x.compare(y);
}

bool path_less(const Path& a, const Path& b) {
  return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(), natural_less);
}

std::vector<std::optional<Path>> all_switches(std::span<const NodePlace> places) {
  std::vector<std::optional<Path>> paths;
  for (const NodePlace& place : places) paths.push_back(switches_of(place));
  return paths;
}

std::string some_names(std::vector<std::string> names) {
  constexpr std::size_t kShown = 3;
  std::ranges::sort(names, natural_less);
  const std::size_t more = names.size() > kShown ? names.size() - kShown : 0;
  names.resize(names.size() - more);
  const std::string shown = fmt::format("{}", fmt::join(names, ", "));
  return more == 0 ? shown : fmt::format("{} and {} more", shown, more);
}

bool nvlink_within_leaves(std::span<const NodePlace> places,
                          const std::vector<std::optional<Path>>& switches) {
  std::map<std::string, std::optional<Path>> leaf_of;
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (places[i].nvlink_domain.empty()) continue;
    const auto [known, first] = leaf_of.emplace(places[i].nvlink_domain, switches[i]);
    if (!first && known->second != switches[i]) return false;
  }
  return true;
}

std::string note_on(std::span<const NodePlace> places, const std::vector<std::optional<Path>>& paths) {
  std::vector<std::string> unknown;
  bool any_switch = false;
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (!paths[i])
      unknown.push_back(places[i].name);
    else
      any_switch = any_switch || !paths[i]->empty();
  }
  if (!unknown.empty())
    return fmt::format("place of {} not known: SLURM_TOPOLOGY_ADDR is missing or malformed; {} in name order",
                       some_names(unknown), any_switch ? "they come last," : "the ring is");
  if (!any_switch && places.size() > 1)
    return "Slurm names no switches (TopologyPlugin=topology/none?); the ring is in name order";
  return {};
}

}  // namespace

bool natural_less(const std::string& a, const std::string& b) {
  std::string_view x = a, y = b;
  while (!x.empty() && !y.empty()) {
    const auto p = front_part(x), q = front_part(y);
    if (const int order = compare_parts(p, q); order != 0) return order < 0;
    x.remove_prefix(p.size());
    y.remove_prefix(q.size());
  }
  if (x.empty() != y.empty()) return x.empty();
  return a < b;  // they differ in leading zeros, if at all
}

std::optional<Path> switches_of(const NodePlace& place) {
  if (place.address.empty()) return std::nullopt;
  const auto parts = split(place.address);
  // A node's name may have dots of its own: the pattern tells how many parts are switches.
  const std::size_t switches = (place.pattern.empty() ? parts : split(place.pattern)).size() - 1;
  if (!place.pattern.empty() && split(place.pattern).back() != "node") return std::nullopt;
  if (parts.size() < switches + 1) return std::nullopt;
  if (std::ranges::any_of(parts, [](std::string_view part) { return part.empty(); })) return std::nullopt;
  return Path(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(switches));
}

std::vector<std::optional<Path>> domains_of(std::span<const NodePlace> places) {
  auto paths = all_switches(places);
  const bool below = nvlink_within_leaves(places, paths);
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (places[i].nvlink_domain.empty()) continue;
    if (!paths[i]) paths[i].emplace();
    Path& path = *paths[i];
    path.insert(below || path.empty() ? path.end() : path.end() - 1, "nvlink " + places[i].nvlink_domain);
  }
  return paths;
}

Order order_nodes(std::span<const NodePlace> places) {
  const auto paths = domains_of(places);
  std::vector<std::size_t> nodes(places.size());
  std::iota(nodes.begin(), nodes.end(), std::size_t{0});
  std::ranges::stable_sort(nodes, [&](std::size_t a, std::size_t b) {
    if (paths[a].has_value() != paths[b].has_value()) return paths[a].has_value();
    if (paths[a] && *paths[a] != *paths[b]) return path_less(*paths[a], *paths[b]);
    return natural_less(places[a].name, places[b].name);
  });
  return {nodes, note_on(places, all_switches(places))};
}

std::size_t leaf_crossings(std::span<const NodePlace> places, std::span<const std::size_t> order) {
  std::size_t crossings = 0;
  for (std::size_t p = 0; p < order.size(); ++p)
    if (switches_of(places[order[p]]) != switches_of(places[order[(p + 1) % order.size()]])) ++crossings;
  return crossings;
}

}  // namespace stint::topology
