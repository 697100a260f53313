// SPDX-License-Identifier: Apache-2.0
#include "base/run_profile.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

#include "base/error.h"
#include "base/ini.h"

namespace stint {
namespace {

namespace fs = std::filesystem;

fs::path folder_of(const RunDirectory& run) {
  return run.root / "profile";
}

fs::path request_of(const RunDirectory& run) {
  return folder_of(run) / "request.json";
}

// Of a file that belongs to this process's user; empty: none, or somebody else's.
std::string own_text(const fs::path& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) return {};
  struct stat status {};
  std::array<char, 4096> text{};
  ssize_t size = 0;
  if (fstat(file, &status) == 0 && status.st_uid == geteuid() && S_ISREG(status.st_mode))
    size = read(file, text.data(), text.size());
  close(file);
  return size > 0 ? std::string(text.data(), static_cast<std::size_t>(size)) : std::string();
}

}  // namespace

void ask_for_profile(const RunDirectory& run, const ProfileRequest& request) {
  std::error_code error;
  fs::create_directories(folder_of(run), error);
  if (error) fail("{}: {}", folder_of(run).string(), error.message());
  if (fs::exists(request_of(run), error))
    fail("{}: another profile has been asked for and not begun; try again in a moment, or remove that file",
         request_of(run).string());
  write_file_atomically(request_of(run),
                        nlohmann::json{{"id", request.id}, {"steps", request.steps}}.dump() + "\n");
}

bool withdraw_profile(const RunDirectory& run) {
  std::error_code error;
  return fs::remove(request_of(run), error);
}

std::optional<ProfileRequest> take_profile_request(const RunDirectory& run) {
  struct stat status {};
  if (lstat(request_of(run).c_str(), &status) != 0) return std::nullopt;
  const std::string text = own_text(request_of(run));
  std::error_code error;
  fs::remove(request_of(run), error);
  const auto json = nlohmann::json::parse(text, nullptr, false);
  const auto number = [&](const char* key) -> std::int64_t {
    const auto found = json.is_object() ? json.find(key) : json.end();
    return json.is_object() && found != json.end() && found->is_number_integer() ? found->get<std::int64_t>()
                                                                                 : 0;
  };
  const ProfileRequest request{number("id"), number("steps")};
  if (request.id <= 0 || request.id >= std::int64_t{1} << 53) return std::nullopt;
  if (request.steps <= 0 || request.steps > kMostProfileSteps) return std::nullopt;
  return request;
}

fs::path profile_parts(const RunDirectory& run, std::int64_t id) {
  return folder_of(run) / std::to_string(id);
}

fs::path profile_part(const RunDirectory& run, std::int64_t id, std::int64_t rank) {
  return profile_parts(run, id) / fmt::format("rank-{:05}.json", rank);
}

}  // namespace stint
