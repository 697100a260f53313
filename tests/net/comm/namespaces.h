// SPDX-License-Identifier: Apache-2.0
// Nodes with a network of their own on one machine: a namespace each, joined by a bridge in one more. Each
// namespace is held by a process that dies with us, so nothing is ever left behind, not even by SIGKILL.
// Needs root.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace stint::comm {

class Nodes {
 public:
  // Node n has the device `net0` with address 10.77.0.(n+1). Throws std::runtime_error.
  explicit Nodes(int count);
  Nodes(const Nodes&) = delete;
  Nodes& operator=(const Nodes&) = delete;
  ~Nodes();

  // The words before a command that make it run on the node.
  std::vector<std::string> prefix(int node) const;
  // Takes the cable away at the node's end, or at the switch's.
  void pull_at_node(int node) const;
  void pull_at_switch(int node) const;

 private:
  void cable(int node) const;

  pid_t switch_ = -1;
  std::vector<pid_t> nodes_;
};

}  // namespace stint::comm
