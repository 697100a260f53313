// SPDX-License-Identifier: Apache-2.0
#include "reservations/topology_drawing.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/one_line.h"

namespace stint::reservations {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxText = 200;
constexpr std::size_t kMaxRing = 16;  // nodes that are named before the rest is counted

std::string text_of(const json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (!object.is_object() || found == object.end()) return {};
  return found->is_string() ? as_one_line(found->get<std::string>(), kMaxText) : std::string();
}

std::int64_t number_of(const json& object, const char* key, std::int64_t fallback = 0) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() && found->is_number() ? found->get<std::int64_t>()
                                                                           : fallback;
}

bool is_true(const json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() && found->is_boolean() && found->get<bool>();
}

const json& list_of(const json& object, const char* key) {
  static const json none = json::array();
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() && found->is_array() ? *found : none;
}

std::vector<std::string> texts_of(const json& object, const char* key) {
  std::vector<std::string> texts;
  for (const json& text : list_of(object, key))
    if (text.is_string()) texts.push_back(as_one_line(text.get<std::string>(), kMaxText));
  return texts;
}

std::string count(std::int64_t number, const char* noun) {
  return fmt::format("{} {}{}", number, noun, number == 1 ? "" : "s");
}

std::string source_line(const json& record) {
  const std::string source = text_of(record, "source");
  if (source == "slurm") return "the switches that Slurm names (topology.conf)";
  if (source == "measured")
    return "how long messages took between the nodes at the start; groups stand for switches";
  return "the nodes' names: nothing is known of the switches";
}

std::string ring_line(const json& record) {
  const json& ring = record.contains("ring") ? record["ring"] : json();
  auto names = texts_of(ring, "order");
  const std::size_t more = names.size() - std::min(names.size(), kMaxRing);
  names.resize(names.size() - more);
  std::string line = fmt::format("ring: {}", fmt::join(names, " > "));
  if (more > 0) line += fmt::format(" > {} more", more);
  if (names.size() > 1) line += " > back";
  return line;
}

std::string crossings_line(const json& record) {
  const json& ring = record.contains("ring") ? record["ring"] : json();
  const auto crossings = number_of(ring, "crossings"), fewest = number_of(ring, "fewest_crossings");
  const auto by_name = number_of(ring, "crossings_by_name");
  if (text_of(record, "source") == "names") return {};
  const char* what = text_of(record, "source") == "measured" ? "group" : "leaf switch";
  std::string line = fmt::format("      {} from one {} to another", count(crossings, "step"), what);
  line += crossings <= fewest ? ", the fewest possible" : fmt::format(", {} would be possible", fewest);
  if (by_name != crossings) line += fmt::format("; in the order of names it would be {}", by_name);
  return line + "\n";
}

std::string nic_text(const json& nic) {
  std::string text = text_of(nic, "device");
  if (const auto interface = text_of(nic, "interface"); !interface.empty() && interface != text)
    text += fmt::format(" ({})", interface);
  if (const auto meeting = text_of(nic, "meets_gpu_at"); !meeting.empty())
    text += fmt::format(", {}", meeting);
  if (nic.contains("beside_cores"))
    text += is_true(nic, "beside_cores") ? ", same NUMA node" : ", another NUMA node";
  return text;
}

// All of a worker but its rank.
std::string worker_text(const json& worker) {
  std::string text = fmt::format("processors {}", text_of(worker, "cpus"));
  text +=
      worker.contains("numa") ? fmt::format("  NUMA {}", number_of(worker, "numa")) : "  several NUMA nodes";
  if (worker.contains("gpu")) {
    const json& gpu = worker["gpu"];
    text += fmt::format("  GPU {} {} {}", number_of(gpu, "index"), text_of(gpu, "model"),
                        text_of(gpu, "address"));
  }
  for (const json& nic : list_of(worker, "nics")) text += "  " + nic_text(nic);
  return text;
}

std::string node_text(const json& node) {
  std::string text = text_of(node, "name");
  if (const auto cpu = text_of(node, "cpu"); !cpu.empty()) text += fmt::format("  {}", cpu);
  const std::string buddy = text_of(node, "buddy");
  if (!buddy.empty() && buddy != text_of(node, "name"))
    text += fmt::format("  buddy {}{}", buddy, is_true(node, "buddy_apart") ? "" : " (same failure domain)");
  return text;
}

class Tree {
 public:
  void add(const json& node) {
    const auto domains = texts_of(node, "domains");
    const auto apart = std::ranges::mismatch(domains, open_);
    for (auto name = apart.in1; name != domains.end(); ++name)
      text_ += indent(static_cast<std::size_t>(name - domains.begin())) + *name + "\n";
    if (apart.in1 != domains.end() || domains.size() != open_.size()) workers_.clear();
    open_ = domains;
    text_ += indent(domains.size()) + node_text(node) + "\n";
    add_workers(node);
    for (const std::string& note : texts_of(node, "notes"))
      text_ += indent(domains.size() + 1) + "note: " + note + "\n";
  }
  std::string text() const { return text_; }

 private:
  static std::string indent(std::size_t depth) { return std::string(2 * depth, ' '); }

  // Equal nodes, of which a cluster has many, are drawn once a switch.
  void add_workers(const json& node) {
    const json& workers = list_of(node, "workers");
    std::vector<std::string> texts;
    for (const json& worker : workers) texts.push_back(worker_text(worker));
    const std::size_t depth = open_.size() + 1;
    if (!texts.empty() && texts == workers_) {
      text_ += fmt::format("{}ranks {} to {}: as {}\n", indent(depth), number_of(workers.front(), "rank"),
                           number_of(workers.back(), "rank"), drawn_);
      return;
    }
    for (std::size_t i = 0; i < texts.size(); ++i)
      text_ += fmt::format("{}rank {}  {}\n", indent(depth), number_of(workers[i], "rank"), texts[i]);
    workers_ = std::move(texts);
    drawn_ = text_of(node, "name");
  }

  std::string text_;
  std::vector<std::string> open_;     // the domains that the last node stands in
  std::vector<std::string> workers_;  // of the node drawn last
  std::string drawn_;
};

std::string buddies_line(const json& record) {
  const auto exposed = number_of(record, "exposed_buddies"),
             nodes = static_cast<std::int64_t>(list_of(record, "nodes").size());
  if (nodes < 2) return {};
  if (exposed == 0)
    return fmt::format("buddies: each node's stands in another {}\n",
                       text_of(record, "source") == "measured" ? "group" : "failure domain");
  return fmt::format("buddies: of {} nodes {} have theirs in their own failure domain, as few as possible\n",
                     nodes, exposed);
}

}  // namespace

std::string draw_topology(const json& record) {
  if (!record.is_object() || list_of(record, "nodes").empty())
    fail("topology.json: is no record of a topology");
  std::string text =
      fmt::format("{}, job {}, start {}: {}, {}\n", text_of(record, "recipe"), text_of(record, "job"),
                  number_of(record, "restart") + number_of(record, "attempt") + 1,
                  count(static_cast<std::int64_t>(list_of(record, "nodes").size()), "node"),
                  count(number_of(record, "world"), "worker"));
  text +=
      fmt::format("order from: {}\n{}\n{}", source_line(record), ring_line(record), crossings_line(record));
  if (record.contains("shards")) {
    const json& shards = record["shards"];
    text += fmt::format("shards: {} of {} neighbouring ranks\n", count(number_of(shards, "groups"), "group"),
                        number_of(shards, "degree"));
  }
  text += buddies_line(record) + "\n";
  Tree tree;
  for (const json& node : list_of(record, "nodes")) tree.add(node);
  text += tree.text();
  const auto notes = texts_of(record, "notes");
  if (!notes.empty()) text += "\n";
  for (const std::string& note : notes) text += fmt::format("note: {}\n", note);
  return text;
}

}  // namespace stint::reservations
