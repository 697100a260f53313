// SPDX-License-Identifier: Apache-2.0
// Which of several controllers Slurm obeys. A site with backup controllers runs a stintd beside each of them;
// the one on the host whose slurmctld is in control works, the others stand by.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace stint::reservations {

struct Controllers {
  std::vector<std::string> hosts;            // as slurm.conf names them: the primary first
  std::function<bool(std::size_t)> answers;  // whether the slurmctld of hosts[i] does
  std::function<bool()> in_control;          // whether some slurmctld is
};

// Empty: this host's slurmctld is in control, or there is no choice: a single controller, or a host that is
// none. Else why this host must wait. The first that answers is in control: a primary that comes back takes
// over.
std::string why_stand_by(const Controllers& controllers, const std::string& own_host);

}  // namespace stint::reservations
