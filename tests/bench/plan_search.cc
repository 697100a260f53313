// SPDX-License-Identifier: Apache-2.0
// plan_search [SEED]: how long one search for offers takes, at several sizes of the cluster. Prints one JSON
// object a line: {"nodes":…,"reservations":…,"jobs":…,"busy_spans":…,"load_ms":…,"search_ms":…,"offers":…};
// the times are medians.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "reservations/offers.h"
#include "reservations/tariff.h"

namespace {

using namespace stint::reservations;
using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::sys_seconds;

constexpr sys_seconds kNow{std::chrono::seconds{1'800'000'000}};
constexpr int kNodesOfLeaf = 32;
constexpr int kLeavesOfSpine = 16;
constexpr auto kHorizon = std::chrono::weeks{8};
constexpr int kRounds = 9;

struct Span {
  std::vector<std::string> nodes;
  Window window;
};

struct Load {
  std::vector<PlannerNode> nodes;
  std::vector<Span> spans;
};

class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {}

  // Half-busy for the first days, less and less later: runs of neighbouring nodes, as schedulers hand them
  // out.
  Load load(int nodes, int reservations, int jobs) {
    Load load;
    for (int i = 0; i < nodes; ++i) {
      const int leaf = i / kNodesOfLeaf;
      load.nodes.push_back(
          {name(i),
           {"core", "spine" + std::to_string(leaf / kLeavesOfSpine), "leaf" + std::to_string(leaf)}});
    }
    for (int r = 0; r < reservations; ++r) {
      const auto start = kNow + minutes{below(8 * 7 * 24 * 60)};
      load.spans.push_back({neighbours(nodes, 1 + below(32)), {start, start + hours{1 + below(48)}}});
    }
    for (int j = 0; j < jobs; ++j) {
      load.spans.push_back(
          {neighbours(nodes, 1 + below(4)), {kNow - hours{1}, kNow + minutes{1 + below(4 * 24 * 60)}}});
    }
    return load;
  }

 private:
  static std::string name(int i) { return "node" + std::to_string(i); }
  int below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }

  std::vector<std::string> neighbours(int nodes, int count) {
    std::vector<std::string> names;
    const int first = below(nodes);
    for (int i = 0; i < count; ++i) names.push_back(name((first + i) % nodes));
    return names;
  }

  std::mt19937 random_;
};

Planner planner_of(const Load& load) {
  Planner planner(load.nodes);
  for (const auto& span : load.spans) planner.add_span(span.nodes, span.window);
  return planner;
}

template <typename Work>
double median_ms(Work work) {
  std::vector<double> times;
  for (int round = 0; round < kRounds; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    times.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  }
  std::nth_element(times.begin(), times.begin() + kRounds / 2, times.end());
  return times[kRounds / 2];
}

void measure(unsigned seed, int nodes) {
  const int reservations = nodes / 2;
  const int jobs = nodes * 2;
  const Load load = Generator(seed).load(nodes, reservations, jobs);
  std::size_t busy = 0;
  for (const auto& span : load.spans) busy += span.nodes.size();
  const Planner planner = planner_of(load);
  const double load_ms = median_ms([&] { planner_of(load); });
  PriceRules rules;
  rules.node_hour = Rate::parse("2.5");
  PriceRule night;
  night.name = "night";
  night.hours = DayHours{hours{20}, hours{6}};
  night.percent = -30;
  rules.rules = {night};
  const Tariff tariff = [&rules](std::size_t count, const std::vector<Window>& windows) {
    return rules.price({{}, count, windows, kNow});
  };
  OfferQuery query;
  query.nodes = static_cast<std::size_t>(nodes) / 4;
  query.spares = 2;
  query.duration = hours{36};
  query.after = kNow;
  query.before = kNow + kHorizon;
  query.max_segments = 4;
  query.min_segment = hours{4};
  query.price_edges = rules.changes({}, {query.after, query.before});
  std::size_t offers = 0;
  const double search_ms = median_ms([&] { offers = find_offers(planner, tariff, query).offers.size(); });
  std::printf(
      "{\"nodes\":%d,\"reservations\":%d,\"jobs\":%d,\"busy_spans\":%zu,\"load_ms\":%.3f,\"search_ms\":%.3f,"
      "\"offers\":%zu}\n",
      nodes, reservations, jobs, busy, load_ms, search_ms, offers);
}

}  // namespace

int main(int argc, char** argv) {
  const auto seed = argc > 1 ? static_cast<unsigned>(std::strtoul(argv[1], nullptr, 10)) : 1U;
  for (const int nodes : {1'250, 2'500, 5'000, 10'000}) measure(seed, nodes);
}
