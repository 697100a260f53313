// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/rendezvous.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <system_error>

#include "base/final_error.h"
#include "base/ini.h"
#include "trainer/descriptor.h"

namespace stint::agent {
namespace {

constexpr std::size_t kMaxFileBytes = 4 << 20;

std::string key_of(const std::string& kind, const std::string& node) {
  return kind + "-" + node;
}

}  // namespace

Rendezvous::Rendezvous(std::filesystem::path folder, std::vector<std::string> nodes)
    : folder_(std::move(folder)), nodes_(std::move(nodes)) {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) fail_write("rendezvous " + folder_.string(), error.value(), kOtherRunDirectory);
}

void Rendezvous::publish(const std::string& kind, const std::string& node, const nlohmann::json& what) const {
  write_file_atomically(folder_ / (key_of(kind, node) + ".json"), what.dump());
}

void Rendezvous::withdraw(const std::string& kind, const std::string& node) const {
  ::unlink((folder_ / (key_of(kind, node) + ".json")).c_str());
}

bool Rendezvous::claim(const std::string& what) const {
  const Descriptor file(::open((folder_ / what).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  return file.get() >= 0 || errno != EEXIST;
}

void Rendezvous::look() {
  const std::set<std::string> known(nodes_.begin(), nodes_.end());
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder_, error), end; !error && at != end;
       at.increment(error)) {
    if (at->path().extension() != ".json") continue;
    const std::string key = at->path().stem();
    const auto dash = key.find('-');
    if (dash == std::string::npos || !known.contains(key.substr(dash + 1)) || seen_.contains(key)) continue;
    try {
      auto content = nlohmann::json::parse(read_file(at->path(), kMaxFileBytes), nullptr, false);
      if (content.is_object()) seen_.emplace(key, std::move(content));
    } catch (const Error&) {
      // It went away again, or this client sees it a moment later: the next look finds it.
    }
  }
}

const nlohmann::json* Rendezvous::find(const std::string& kind, const std::string& node) const {
  const auto found = seen_.find(key_of(kind, node));
  return found == seen_.end() ? nullptr : &found->second;
}

std::vector<std::string> Rendezvous::missing(const std::string& kind) const {
  std::vector<std::string> missing;
  std::copy_if(nodes_.begin(), nodes_.end(), std::back_inserter(missing),
               [&](const std::string& node) { return find(kind, node) == nullptr; });
  return missing;
}

}  // namespace stint::agent
