// SPDX-License-Identifier: Apache-2.0
#include "reservations/users.h"

#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <vector>

namespace stint::reservations {
namespace {

constexpr std::size_t kBuffer = 16'384;
constexpr std::size_t kGroupBuffer = 1'048'576;  // with all its members

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

std::vector<std::string> groups_of_user(const std::string& name) {
  std::vector<std::string> names;
  passwd entry{};
  passwd* found = nullptr;
  std::vector<char> buffer(kBuffer);
  if (::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) {
    return names;
  }
  std::array<gid_t, 256> ids{};
  int count = static_cast<int>(ids.size());
  if (::getgrouplist(name.c_str(), found->pw_gid, ids.data(), &count) < 0)
    count = static_cast<int>(ids.size());  // as many as there is room for
  for (int i = 0; i < count; ++i) {
    group row{};
    group* known = nullptr;
    std::vector<char> text(kBuffer);
    const gid_t id = ids.at(static_cast<std::size_t>(i));
    if (::getgrgid_r(id, &row, text.data(), text.size(), &known) == 0 && known != nullptr)
      names.emplace_back(known->gr_name);
  }
  return names;
}

std::optional<std::vector<std::string>> users_of_group(const std::string& name) {
  if (name.find('\0') != std::string::npos) return std::nullopt;
  group row{};
  group* known = nullptr;
  std::vector<char> buffer(kGroupBuffer);
  if (::getgrnam_r(name.c_str(), &row, buffer.data(), buffer.size(), &known) != 0 || known == nullptr)
    return std::nullopt;
  std::vector<std::string> users;
  for (char** member = known->gr_mem; *member != nullptr; ++member) users.emplace_back(*member);
  static std::mutex listing;  // the machine has one list of users, and one place in it
  const std::lock_guard lock(listing);
  ::setpwent();
  while (const passwd* entry = ::getpwent()) {  // NOLINT(concurrency-mt-unsafe)
    if (entry->pw_gid != known->gr_gid) continue;
    if (std::find(users.begin(), users.end(), entry->pw_name) == users.end())
      users.emplace_back(entry->pw_name);
  }
  ::endpwent();
  return users;
}

}  // namespace stint::reservations
