// SPDX-License-Identifier: Apache-2.0
#include "reservations/control.h"

#include <fmt/format.h>

#include <algorithm>

namespace stint::reservations {
namespace {

std::string short_name(const std::string& host) {
  return host.substr(0, host.find('.'));
}

}  // namespace

std::string why_stand_by(const Controllers& controllers, const std::string& own_host) {
  const auto& hosts = controllers.hosts;
  const auto own = std::find_if(hosts.begin(), hosts.end(), [&](const std::string& host) {
    return short_name(host) == short_name(own_host);
  });
  if (hosts.size() < 2 || own == hosts.end()) return {};
  const auto own_index = static_cast<std::size_t>(own - hosts.begin());
  for (std::size_t i = 0; i < own_index; ++i) {
    if (controllers.answers(i)) return fmt::format("the slurmctld of {} is in control", hosts[i]);
  }
  if (!controllers.answers(own_index)) return "the slurmctld of this host does not answer";
  if (!controllers.in_control()) return "no slurmctld is in control yet";
  return {};
}

}  // namespace stint::reservations
