// SPDX-License-Identifier: Apache-2.0
// Agents meet through files in one folder of the run directory: each publishes "<kind>-<node>.json" by atomic
// rename and lists the folder until all others' are there. No node is special and nothing listens; works on
// any shared file system (each look opens the folder anew, which is what makes NFS clients look again).
// Kinds: "agent" (who and where I am), "pairs" (how far the others are), "workers" (my workers' addresses),
// "outcome" (how I ended).
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace stint::agent {

class Rendezvous {
 public:
  // Creates the folder. Throws Error that names it.
  Rendezvous(std::filesystem::path folder, std::vector<std::string> nodes);

  void publish(const std::string& kind, const std::string& node, const nlohmann::json& what) const;
  // Takes it back, which makes room on a full disk.
  void withdraw(const std::string& kind, const std::string& node) const;
  // True for one agent alone; for several where the folder cannot be written to.
  bool claim(const std::string& what) const;
  // Looks once and reads what is new. Damaged files and those of unknown nodes are passed over.
  void look();

  // What `node` published; nullptr: nothing seen yet.
  const nlohmann::json* find(const std::string& kind, const std::string& node) const;
  // Nodes that have not published `kind` yet, in the step's order.
  std::vector<std::string> missing(const std::string& kind) const;
  bool complete(const std::string& kind) const { return missing(kind).empty(); }

 private:
  std::filesystem::path folder_;
  std::vector<std::string> nodes_;
  std::map<std::string, nlohmann::json> seen_;  // by file name without ".json"
};

}  // namespace stint::agent
