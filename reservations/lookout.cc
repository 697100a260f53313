// SPDX-License-Identifier: Apache-2.0
#include "reservations/lookout.h"

#include <algorithm>
#include <map>
#include <utility>

namespace stint::reservations {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// The digits at the front, without leading zeros; taken off the text.
std::string_view take_number(std::string_view& text) {
  std::size_t length = 0;
  while (length < text.size() && is_digit(text[length])) ++length;
  auto number = text.substr(0, length);
  text.remove_prefix(length);
  while (number.size() > 1 && number.front() == '0') number.remove_prefix(1);
  return number;
}

std::vector<SeenNode> nodes_of(Cluster& cluster) {
  std::map<std::string, std::string> leaf_of;
  for (const auto& place : cluster.topology().places) {
    if (!place.switches.empty()) leaf_of[place.node] = place.switches.back();
  }
  std::vector<SeenNode> nodes;
  for (const auto& node : cluster.nodes()) nodes.push_back({node.name, leaf_of[node.name], !node.usable()});
  std::sort(nodes.begin(), nodes.end(), [](const SeenNode& a, const SeenNode& b) {
    if (a.leaf_switch != b.leaf_switch) return counts_before(a.leaf_switch, b.leaf_switch);
    return counts_before(a.name, b.name);
  });
  return nodes;
}

}  // namespace

bool counts_before(std::string_view a, std::string_view b) {
  const std::pair whole{a, b};
  while (!a.empty() && !b.empty()) {
    if (is_digit(a.front()) && is_digit(b.front())) {
      const auto x = take_number(a);
      const auto y = take_number(b);
      if (x.size() != y.size()) return x.size() < y.size();
      if (x != y) return x < y;
      continue;
    }
    if (a.front() != b.front()) return a.front() < b.front();
    a.remove_prefix(1);
    b.remove_prefix(1);
  }
  if (a.empty() != b.empty()) return a.empty();
  return whole.first < whole.second;  // node01 and node1 are two nodes
}

std::string_view to_string(JobState state) {
  switch (state) {
    case JobState::kPending:
      return "pending";
    case JobState::kRunning:
      return "running";
    case JobState::kCompleting:
      return "completing";
    case JobState::kFinished:
      return "finished";
  }
  return "?";
}

Lookout::Lookout(Cluster& cluster) : cluster_(cluster) {}

void Lookout::look() {
  const auto facts = cluster_.facts();
  Sight seen;
  seen.known = true;
  seen.private_plans = facts.private_reservations;
  seen.private_jobs = facts.private_jobs;
  seen.nodes = nodes_of(cluster_);
  for (auto& job : cluster_.jobs()) {
    if (job.reservation.empty()) continue;
    seen.jobs.push_back(
        {job.id, job.uid, std::move(job.name), std::move(job.reservation), job.state, std::move(job.nodes)});
  }
  const std::lock_guard lock(mutex_);
  sight_ = std::make_shared<const Sight>(std::move(seen));
}

std::shared_ptr<const Sight> Lookout::sight() const {
  const std::lock_guard lock(mutex_);
  return sight_;
}

}  // namespace stint::reservations
