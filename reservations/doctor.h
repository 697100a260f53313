// SPDX-License-Identifier: Apache-2.0
// The health check of the node it runs on: measures, and lets health.h judge. Each check runs in a thread of
// its own and has the same time; one that does not end by then (a file system that hangs, a driver that does
// not answer) is a finding. Whoever ran checks leaves by _exit(): a thread may hang for ever.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/config.h"
#include "reservations/health.h"

namespace stint::reservations {

struct Patient {
  std::string node;  // by Slurm's name
  Config config;
  HealthRules rules;
  bool alone = false;                // in a job that has the node for itself
  std::optional<NodeRecord> record;  // none: Slurm could not be asked
  std::string tmp_folder = "/tmp";   // Slurm's TmpFS
  Finding slurm;                     // what came of asking
};

// Asks Slurm what it expects of the node. Never throws.
Patient admit(const std::string& node, const Config& config);

struct Check {
  std::string name;
  std::function<Finding(const Patient&)> run;
};

// All checks of a node, in the order in which they are shown.
const std::vector<Check>& node_checks();

std::vector<Finding> examine(const Patient& patient, const std::vector<Check>& checks);

}  // namespace stint::reservations
