// SPDX-License-Identifier: Apache-2.0
#include "base/run_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/final_error.h"

namespace stint {
namespace {

// Whether the file ends within a line: its last writer died there.
bool ends_torn(int descriptor) {
  struct stat status {};
  if (::fstat(descriptor, &status) != 0 || status.st_size == 0) return false;
  char last = '\n';
  return ::pread(descriptor, &last, 1, status.st_size - 1) == 1 && last != '\n';
}

void append_line(const std::string& path, std::string line) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor < 0) fail_write(path + ": cannot be opened", errno, kOtherRunDirectory);
  if (ends_torn(descriptor)) line.insert(line.begin(), '\n');
  ssize_t put = 0;
  do {
    put = ::write(descriptor, line.data(), line.size());
  } while (put < 0 && errno == EINTR);
  const int number = errno;
  ::close(descriptor);
  if (put < 0) fail_write(path + ": cannot be written", number, kOtherRunDirectory);
  // The kernel writes a part only where the rest has no room.
  if (static_cast<std::size_t>(put) != line.size())
    fail_write(path + ": cannot be written", ENOSPC, kOtherRunDirectory);
}

}  // namespace

double unix_seconds() {
  using namespace std::chrono;
  return duration<double>(system_clock::now().time_since_epoch()).count();
}

void append_event(const RunDirectory& run, const std::string& event, nlohmann::json fields) {
  nlohmann::ordered_json line = {{"t", unix_seconds()}, {"event", event}};
  for (const auto& [key, value] : fields.items()) line[key] = value;
  append_line(run.log().string(), line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

std::ifstream open_log(const RunDirectory& run) {
  const std::string path = run.log().string();
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return {};
    fail("{}: cannot be read: {}", path, errno_text(errno));
  }
  if (!S_ISREG(status.st_mode)) fail("{}: is no regular file", path);
  std::ifstream stream(path, std::ios::binary);
  if (!stream) fail("{}: cannot be read: {}", path, errno_text(errno));
  return stream;
}

RunLog read_log(const RunDirectory& run) {
  RunLog log;
  std::ifstream stream = open_log(run);
  if (!stream.is_open()) return log;
  for (std::string line; std::getline(stream, line);) {
    if (line.empty()) continue;
    nlohmann::json event = stream.eof() ? nlohmann::json() : nlohmann::json::parse(line, nullptr, false);
    const bool whole = event.is_object() && event.contains("event") && event["event"].is_string() &&
                       event.contains("t") && event["t"].is_number();
    if (whole) {
      log.events.push_back(std::move(event));
    } else {
      ++log.damaged;
    }
  }
  return log;
}

}  // namespace stint
