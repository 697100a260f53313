// SPDX-License-Identifier: Apache-2.0
// User names and uids, as this machine knows them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace stint::reservations {

std::optional<std::uint32_t> uid_of_user(const std::string& name);
std::string user_of_uid(std::uint32_t uid);  // the number as text when it has no name

// The names of the user's Unix groups, the primary one first; none where there is no such user.
std::vector<std::string> groups_of_user(const std::string& name);
// Who is in the Unix group, also by primary group where the machine lists its users; nothing where there is
// no such group.
std::optional<std::vector<std::string>> users_of_group(const std::string& name);

}  // namespace stint::reservations
