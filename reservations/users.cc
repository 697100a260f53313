// SPDX-License-Identifier: Apache-2.0
#include "reservations/users.h"

#include <pwd.h>

#include <vector>

namespace stint::reservations {
namespace {

constexpr std::size_t kBuffer = 16'384;

}  // namespace

std::optional<std::uint32_t> uid_of_user(const std::string& name) {
  if (name.find('\0') != std::string::npos) return std::nullopt;  // C would look for what stands before it
  passwd entry{};
  passwd* found = nullptr;
  std::vector<char> buffer(kBuffer);
  if (::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) {
    return std::nullopt;
  }
  return found->pw_uid;
}

std::string user_of_uid(std::uint32_t uid) {
  passwd entry{};
  passwd* found = nullptr;
  std::vector<char> buffer(kBuffer);
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) {
    return std::to_string(uid);
  }
  return found->pw_name;
}

}  // namespace stint::reservations
