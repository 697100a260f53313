// SPDX-License-Identifier: Apache-2.0
#include "reservations/doctor.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/http.h"
#include "base/ini.h"
#include "base/process.h"
#include "base/text.h"

namespace stint::reservations {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr seconds kAskSlurm{10};
constexpr seconds kAskService{5};
constexpr std::size_t kMeminfoBytes = 1 << 16;
constexpr std::size_t kLongestOutput = 160;

// The last line that a program wrote, of bearable length.
std::string last_line(const std::string& output) {
  std::string last;
  for (const auto& line : split(output, '\n')) {
    if (!line.empty()) last = line;
  }
  return last.substr(0, kLongestOutput);
}

std::string tmp_folder(const std::string& node) {
  try {
    const auto shown = run_process({"scontrol", "show", "config"}, kAskSlurm);
    for (const auto& line : split(shown.output, '\n')) {
      if (!line.starts_with("TmpFS")) continue;
      std::string folder(trim(std::string_view(line).substr(line.find('=') + 1)));
      if (const auto mark = folder.find("%n"); mark != std::string::npos) folder.replace(mark, 2, node);
      if (folder.starts_with("/") && folder.find('%') == std::string::npos) return folder;
    }
  } catch (const Error&) {
    // Slurm's default will do.
  }
  return "/tmp";
}

struct Space {
  std::int64_t size = 0;
  std::int64_t free = 0;
};

// Of the file system, in which a file has been written: a disk may be mounted and still take nothing.
Space writable_space(const std::string& folder) {
  std::string name = folder + "/stint-doctor.XXXXXX";
  const int file = ::mkstemp(name.data());
  if (file < 0) fail("{}: no file can be made: {}", folder, errno_text(errno));
  ::unlink(name.c_str());  // at once: whoever ends a check that hangs must leave nothing behind
  const std::array<char, 4096> page{};
  const bool written =
      ::write(file, page.data(), page.size()) == static_cast<ssize_t>(page.size()) && ::fsync(file) == 0;
  const int cause = errno;
  ::close(file);
  if (!written) fail("{}: a file cannot be written: {}", folder, errno_text(cause));
  struct statvfs found {};
  if (::statvfs(folder.c_str(), &found) != 0) fail("{}: {}", folder, errno_text(errno));
  const auto block = static_cast<std::int64_t>(found.f_frsize);
  return {static_cast<std::int64_t>(found.f_blocks) * block,
          static_cast<std::int64_t>(found.f_bavail) * block};
}

// Of a program that a check starts: it is ended before the check itself is given up.
milliseconds in_time(const Patient& patient) {
  return patient.rules.timeout - milliseconds{500};
}

Finding without_record(const char* check) {
  return {check, Health::kSkipped, "what Slurm expects is not known", {}};
}

Finding check_memory(const Patient& patient) {
  if (!patient.record) return without_record("memory");
  return judge_memory(*patient.record, parse_meminfo(read_file("/proc/meminfo", kMeminfoBytes)),
                      patient.rules.free_memory, patient.alone || !patient.record->in_use);
}

Finding check_cpus(const Patient& patient) {
  if (!patient.record) return without_record("cpus");
  return judge_cpus(*patient.record, static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)));
}

Finding check_disk(const Patient& patient) {
  const auto space = writable_space(patient.tmp_folder);
  return judge_disk(patient.record.value_or(NodeRecord{}), patient.tmp_folder, space.size, space.free,
                    patient.rules.free_disk);
}

Finding check_shared_memory(const Patient& patient) {
  return judge_shared_memory(writable_space("/dev/shm").free, patient.rules.shared_memory);
}

// A stintd that is being restarted says nothing about this node.
Finding check_clock(const Patient& patient) {
  const HttpClient client(patient.config.address, Munge(patient.config.munge_socket),
                          patient.config.server_uids, kAskService);
  const auto now = [] {
    return std::chrono::floor<milliseconds>(std::chrono::system_clock::now()).time_since_epoch();
  };
  try {
    const auto before = now();
    const auto reply = client.call("GET", "/v1/health");
    const auto after = now();
    const milliseconds there{static_cast<std::int64_t>(reply.body.at("time").get<double>() * 1000)};
    return judge_clock((before + after) / 2 - there, (after - before) / 2, patient.rules.clock);
  } catch (const std::exception& error) {
    return {"clock", Health::kSkipped, fmt::format("stintd cannot be asked: {}", error.what()), {}};
  }
}

Finding check_munge(const Patient& patient) {
  const Munge munge(patient.config.munge_socket);
  try {
    const auto opened = munge.decode(munge.encode("stint doctor"));
    if (opened.uid == ::geteuid()) return {"munge", Health::kOk, "signs and believes itself", {}};
    return {"munge", Health::kBad, fmt::format("takes this user for uid {}", opened.uid), "restart munged"};
  } catch (const Error& error) {
    return {"munge", Health::kBad, error.what(), "start munged, with the key that the controller has"};
  }
}

Finding check_programs(const Patient& patient) {
  const auto folder = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  for (const char* name : {"stint-train", "stint-worker"}) {
    const auto program = (folder / name).string();
    const auto result = run_process({program, "--version"}, in_time(patient));
    const auto version = last_line(result.output);
    if (result.status == 0 && version == STINT_VERSION) continue;
    return {"programs", Health::kBad,
            fmt::format("{} answers '{}', wants version {}", program, version, STINT_VERSION),
            "install the same Stint on every machine (INSTALL.md, step 2)"};
  }
  return {"programs",
          Health::kOk,
          fmt::format("stint-train and stint-worker of version {} in {}", STINT_VERSION, folder.string()),
          {}};
}

int count_devices() {
  DIR* folder = ::opendir("/dev");
  if (folder == nullptr) return 0;
  int count = 0;
  while (const dirent* entry = ::readdir(folder)) {
    const std::string_view name = entry->d_name;
    constexpr std::string_view kPrefix = "nvidia";
    if (name.starts_with(kPrefix) && name.size() > kPrefix.size() &&
        name.find_first_not_of("0123456789", kPrefix.size()) == std::string_view::npos)
      ++count;
  }
  ::closedir(folder);
  return count;
}

// None: there is no nvidia-smi.
std::optional<int> listed_gpus(milliseconds timeout) {
  ProcessResult result;
  try {
    result = run_process({"nvidia-smi", "--list-gpus"}, timeout);
  } catch (const Error& error) {
    if (std::string_view(error.what()).find(errno_text(ENOENT)) != std::string_view::npos)
      return std::nullopt;
    throw;
  }
  const auto lines = split(result.output, '\n');
  return static_cast<int>(std::count_if(lines.begin(), lines.end(),
                                        [](const std::string& line) { return line.starts_with("GPU "); }));
}

Finding check_gpus(const Patient& patient) {
  if (!patient.record) return without_record("gpus");
  if (patient.record->gpus == 0) return judge_gpus(*patient.record, 0, {});
  return judge_gpus(*patient.record, count_devices(), listed_gpus(in_time(patient)));
}

Finding check_site(const Patient& patient) {
  const auto& command = patient.rules.command;
  if (command.empty()) return {"site", Health::kSkipped, "stint.conf names no [health] command", {}};
  const std::string remedy = fmt::format("see what '{}' says there ([health] command)", command);
  try {
    const auto result = run_process({"/bin/sh", "-c", command}, in_time(patient));
    const auto said = last_line(result.output);
    if (result.status == 0) return {"site", Health::kOk, said.empty() ? command : said, {}};
    return {"site", Health::kBad, fmt::format("{} (status {})", said.empty() ? command : said, result.status),
            remedy};
  } catch (const Error&) {
    return {"site", Health::kBad, fmt::format("hangs: {} does not end", command), remedy};
  }
}

// A check's thread and whoever waits for it.
struct Result {
  std::mutex mutex;
  std::condition_variable ended;
  std::optional<Finding> finding;
};

Finding run_check(const Check& check, const Patient& patient) {
  try {
    return check.run(patient);
  } catch (const std::exception& error) {
    return {check.name, Health::kBad, error.what(), "see whether it can be done by hand there"};
  }
}

std::shared_ptr<Result> begin(const Check& check, const std::shared_ptr<const Patient>& patient) {
  auto result = std::make_shared<Result>();
  std::thread([check, patient, result] {
    auto finding = run_check(check, *patient);
    const std::lock_guard lock(result->mutex);
    result->finding = std::move(finding);
    result->ended.notify_one();
  }).detach();
  return result;
}

}  // namespace

Patient admit(const std::string& node, const Config& config) {
  Patient patient;
  patient.node = node;
  patient.config = config;
  patient.rules = read_health_rules(config.file);
  patient.alone = std::getenv("SLURM_JOB_ID") != nullptr;
  try {
    const auto shown = run_process({"scontrol", "--oneliner", "show", "node", node}, kAskSlurm);
    if (shown.output.find("not found") != std::string::npos) {
      patient.slurm = {"slurm", Health::kBad, fmt::format("there is no node {}", node),
                       "give its name in Slurm: --node NAME"};
      return patient;
    }
    if (shown.status != 0) fail("{}", last_line(shown.output));
    patient.record = parse_node_record(shown.output);
    patient.tmp_folder = tmp_folder(node);
    patient.slurm = {"slurm", Health::kOk, "answers, and knows the node", {}};
  } catch (const Error& error) {
    patient.slurm = {"slurm", Health::kSkipped, fmt::format("cannot be asked: {}", error.what()), {}};
  }
  return patient;
}

const std::vector<Check>& node_checks() {
  static const std::vector<Check> kChecks{
      {"slurm", [](const Patient& patient) { return patient.slurm; }},
      {"memory", check_memory},
      {"cpus", check_cpus},
      {"disk", check_disk},
      {"shared memory", check_shared_memory},
      {"clock", check_clock},
      {"munge", check_munge},
      {"programs", check_programs},
      {"gpus", check_gpus},
      {"site", check_site},
  };
  return kChecks;
}

std::vector<Finding> examine(const Patient& patient, const std::vector<Check>& checks) {
  const auto shared = std::make_shared<const Patient>(patient);
  const auto deadline = Clock::now() + patient.rules.timeout;
  std::vector<std::shared_ptr<Result>> results;
  for (const auto& check : checks) results.push_back(begin(check, shared));
  std::vector<Finding> findings;
  for (std::size_t i = 0; i < checks.size(); ++i) {
    std::unique_lock lock(results[i]->mutex);
    if (results[i]->ended.wait_until(lock, deadline, [&] { return results[i]->finding.has_value(); })) {
      findings.push_back(*results[i]->finding);
    } else {
      findings.push_back({checks[i].name, Health::kBad,
                          fmt::format("hangs: it did not end within {} s", patient.rules.timeout.count()),
                          "see what it waits for there; see [health] timeout"});
    }
  }
  return findings;
}

}  // namespace stint::reservations
