// SPDX-License-Identifier: Apache-2.0
#include "reservations/supply.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "reservations/counted.h"

namespace stint::reservations {
namespace {

constexpr std::size_t kLongestHostList = 60;  // longer ones are left out

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Why the node is not sound.
const char* state_of(const ClusterNode& node) {
  if (node.down) return "down";
  if (node.drained) return "drained";
  return node.silent ? "silent" : "out of service";
}

const char* are(std::size_t count) {
  return count == 1 ? "is" : "are";
}

std::string list_text(const std::vector<std::string>& names) {
  const auto list = format_host_list(names);
  return list.size() > kLongestHostList ? std::string{} : " (" + list + ")";
}

}  // namespace

bool qualifies(const ClusterNode& node, const NodeKind& kind) {
  return contains(node.partitions, kind.partition) && node.gpus >= kind.gpus &&
         std::all_of(kind.features.begin(), kind.features.end(),
                     [&](const std::string& feature) { return contains(node.features, feature); });
}

Supply::Supply(NodeKind kind, const std::vector<ClusterNode>& bookable,
               const std::vector<ClusterNode>& kept_out)
    : kind_(std::move(kind)) {
  const auto fits = [&](const ClusterNode& node) { return qualifies(node, kind_); };
  kept_out_ = static_cast<std::size_t>(std::count_if(kept_out.begin(), kept_out.end(), fits));
  qualify_ = kept_out_;
  for (const auto& node : bookable) {
    if (!fits(node)) continue;
    ++qualify_;
    if (node.sound()) {
      ++left_;
    } else {
      lost_[state_of(node)].push_back(node.name);
    }
  }
}

std::string Supply::holders() const {
  std::vector<std::string> marks;
  if (!kind_.features.empty())
    marks.push_back(
        fmt::format("feature{} {}", kind_.features.size() == 1 ? "" : "s", fmt::join(kind_.features, ",")));
  if (kind_.gpus > 0) marks.push_back(counted(kind_.gpus, "GPU"));
  const std::string nodes = qualify_ == 0 ? "no node" : counted(qualify_, "node");
  if (marks.empty()) return fmt::format("partition {} has {}", kind_.partition, nodes);
  return fmt::format("{} of partition {} {} {}", nodes, kind_.partition, qualify_ > 1 ? "have" : "has",
                     fmt::join(marks, " and "));
}

std::string Supply::text() const {
  if (whole()) return holders();
  std::vector<std::string> losses;
  const auto lose = [&](std::size_t count, const std::string& what) {
    losses.push_back(fmt::format("{}{} {} {}", count, losses.empty() ? " of them" : "", are(count), what));
  };
  if (kept_out_ > 0) lose(kept_out_, "not for plans ([policy] allowed_features)");
  for (const auto& [state, names] : lost_) lose(names.size(), state + list_text(names));
  return fmt::format("{}, {}: {} {} left", holders(), fmt::join(losses, ", "),
                     left_ == 0 ? "none" : std::to_string(left_), left_ > 1 ? "are" : "is");
}

}  // namespace stint::reservations
