// SPDX-License-Identifier: Apache-2.0
#include "reservations/run_profile.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <system_error>
#include <thread>

#include "base/contract.h"
#include "base/error.h"
#include "base/ini.h"
#include "base/run_profile.h"

namespace stint::reservations {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxPart = 512 << 20;
constexpr std::chrono::seconds kJobInterval{5};  // between two questions whether the job is over
constexpr std::size_t kNamed = 8;                // ranks that are named before the rest is counted

std::string user_name(uid_t uid) {
  const passwd* entry = getpwuid(uid);
  return entry == nullptr ? fmt::format("uid {}", uid) : entry->pw_name;
}

void require_owner(const RunDirectory& run) {
  struct stat status {};
  if (stat(run.root.c_str(), &status) != 0) fail("{}: {}", run.root.string(), errno_text(errno));
  if (status.st_uid != geteuid())
    fail("{}: is the run of {}, who alone may profile it", run.root.string(), user_name(status.st_uid));
}

void require_steps(std::int64_t steps) {
  if (steps < 1 || steps > kMostProfileSteps)
    fail("--steps {}: is not between 1 and {}, the steps that can be recorded", steps, kMostProfileSteps);
}

void require_place(const fs::path& output) {
  const fs::path folder = fs::absolute(output).parent_path();
  std::error_code error;
  if (fs::is_directory(output, error)) fail("{}: is a folder; name a file with -o", output.string());
  if (access(folder.c_str(), W_OK | X_OK) != 0)
    fail("{}: {}; name another place with -o", folder.string(), errno_text(errno));
}

bool is(const Json& event, const char* name) {
  return event.value("event", "") == name;
}

Json last_start(const RunLog& log) {
  Json start;
  for (const Json& event : log.events)
    if (is(event, "start")) start = event;
  return start;
}

// As far as its log knows.
void require_training(const RunDirectory& run, const RunLog& log) {
  for (const Json& event : log.events)
    if (is(event, "finish")) fail("{}: is finished; there is no step left to profile", run.root.string());
  const Json last = log.events.empty() ? Json::object() : log.events.back();
  if (is(last, "error") && last.value("exit", Json()) == contract::kExitDoNotRequeue)
    fail("{}: has ended with an error: {}", run.root.string(), last.value("what", ""));
  if (last_start(log).is_null())
    fail("{}: does not train yet; ask again when its log has a step ('stint run watch' shows it)",
         run.root.string());
}

// The log's end since the profile was asked for.
struct Course {
  bool taken = false;
  Json start;                        // of those who took it
  std::optional<std::string> ended;  // why no more parts will come
};

Course course_of(const RunDirectory& run, std::int64_t id) {
  Course course;
  for (const Json& event : read_log(run).events) {
    if (is(event, "profile") && event.value("id", Json()) == id) {
      course.taken = true;
    } else if (!course.taken) {
      if (is(event, "start")) course.start = event;
    } else if (is(event, "start")) {
      course.ended = "the run has begun anew meanwhile";
    } else if (is(event, "finish")) {
      course.ended = "the run has ended meanwhile";
    } else if (is(event, "error")) {
      course.ended = "the run has ended meanwhile: " + event.value("what", "");
    }
  }
  return course;
}

std::optional<Json> read_part(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return std::nullopt;
  Json part = Json::parse(read_file(path.string(), kMaxPart), nullptr, false);
  const bool whole = part.is_object() && part.contains("events") && part["events"].is_array() &&
                     part.value("rank", Json()).is_number_integer();
  return whole ? std::optional(std::move(part)) : std::nullopt;
}

class Collector {
 public:
  Collector(const RunDirectory& run, std::int64_t id, std::vector<std::string> nodes)
      : run_(run), id_(id), nodes_(std::move(nodes)), parts_(nodes_.size()) {}
  ~Collector() {
    std::error_code ignored;
    fs::remove_all(profile_parts(run_, id_), ignored);
  }
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

  bool complete() {
    for (std::size_t rank = 0; rank < parts_.size(); ++rank)
      if (!parts_[rank]) parts_[rank] = read_part(profile_part(run_, id_, static_cast<std::int64_t>(rank)));
    return std::ranges::all_of(parts_, [](const auto& part) { return part.has_value(); });
  }

  // "ranks 1 (n2), 3 (n4)"
  std::string missing() const {
    std::vector<std::string> names;
    for (std::size_t rank = 0; rank < parts_.size(); ++rank)
      if (!parts_[rank]) names.push_back(fmt::format("{} ({})", rank, nodes_[rank]));
    const std::size_t more = names.size() - std::min(names.size(), kNamed);
    names.resize(names.size() - more);
    return fmt::format("{} {}{}", names.size() + more == 1 ? "rank" : "ranks", fmt::join(names, ", "),
                       more == 0 ? "" : fmt::format(" and {} more", more));
  }

  std::vector<Json> parts() const {
    std::vector<Json> all;
    for (const auto& part : parts_) all.push_back(*part);
    return all;
  }
  const std::vector<std::string>& nodes() const { return nodes_; }

 private:
  const RunDirectory& run_;
  std::int64_t id_;
  std::vector<std::string> nodes_;
  std::vector<std::optional<Json>> parts_;
};

void wait_until_taken(const RunDirectory& run, const ProfileOptions& options, std::int64_t id) {
  const auto deadline = Clock::now() + options.take;
  while (!course_of(run, id).taken) {
    if (Clock::now() > deadline && withdraw_profile(run))
      fail("{}: no agent took the request within {} s: the run does not train now; see its job's output",
           run.root.string(), std::chrono::duration<double>(options.take).count());
    // Taken and not logged: its agent's disk is full, or the agent is gone.
    if (Clock::now() > deadline + options.last_words)
      fail("{}: the request was taken and nothing came of it; see the job's output", run.root.string());
    std::this_thread::sleep_for(options.look);
  }
}

void wait_for_parts(const RunDirectory& run, const ProfileOptions& options, std::int64_t id,
                    const std::function<bool()>& job_is_over, Collector& collector) {
  auto deadline = Clock::now() + options.answer;
  auto next_question = Clock::now() + kJobInterval;
  std::string why = fmt::format("within {} s", std::chrono::duration<double>(options.answer).count());
  for (bool last_words = false; !collector.complete();) {
    auto ended = course_of(run, id).ended;
    if (!ended && Clock::now() > next_question) {
      next_question = Clock::now() + kJobInterval;
      if (job_is_over()) ended = "its job is over";
    }
    if (ended && !last_words) {
      last_words = true;
      why = *ended;
      deadline = std::min(deadline, Clock::now() + options.last_words);
    }
    if (Clock::now() > deadline)
      fail("{}: no profile of {}: {}", run.root.string(), collector.missing(), why);
    std::this_thread::sleep_for(options.look);
  }
}

Json metadata(const char* name, std::int64_t pid, std::int64_t tid, Json arguments) {
  return {{"name", name}, {"ph", "M"}, {"pid", pid}, {"tid", tid}, {"args", std::move(arguments)}};
}

}  // namespace

std::vector<std::string> nodes_by_rank(const Json& start) {
  const auto order = start.value("order", Json::array());
  const auto world = start.value("world", std::int64_t{0});
  if (world < 1 || !order.is_array() || order.empty() || world % static_cast<std::int64_t>(order.size()) != 0)
    fail("log.jsonl: its start event does not say who trains");
  std::vector<std::string> nodes;
  const auto workers = static_cast<std::size_t>(world) / order.size();
  for (const Json& node : order)
    nodes.insert(nodes.end(), workers, node.is_string() ? node.get<std::string>() : node.dump());
  return nodes;
}

Json chrome_trace(const std::vector<Json>& parts, const std::vector<std::string>& nodes) {
  Json events = Json::array(), clocks = Json::array();
  for (const Json& part : parts) {
    const auto rank = part.at("rank").get<std::int64_t>();
    const std::string& node = nodes.at(static_cast<std::size_t>(rank));
    events.push_back(metadata("process_name", rank, 0, {{"name", fmt::format("rank {} on {}", rank, node)}}));
    events.push_back(metadata("process_sort_index", rank, 0, {{"sort_index", rank}}));
    events.push_back(metadata("thread_name", rank, 0, {{"name", "computes"}}));
    events.push_back(metadata("thread_name", rank, 1, {{"name", "communicates"}}));
    for (const Json& event : part.at("events")) events.push_back(event);
    clocks.push_back({{"rank", rank},
                      {"node", node},
                      {"offset_us", part.value("clock_offset_us", 0.0)},
                      {"error_us", part.value("clock_error_us", 0.0)}});
  }
  return {{"displayTimeUnit", "ms"},
          {"otherData",
           {{"time", "of rank 0's clock; each rank's offset from it has been taken away"},
            {"clocks", std::move(clocks)}}},
          {"traceEvents", std::move(events)}};
}

ProfileSummary profile_run(const RunDirectory& run, const ProfileOptions& options,
                           const std::function<bool(const std::string&)>& job_is_over,
                           const std::function<void(std::int64_t)>& taken) {
  require_steps(options.steps);
  require_owner(run);
  require_place(options.output);
  const RunLog log = read_log(run);
  require_training(run, log);
  const std::string job = last_start(log).value("job", "");
  if (job_is_over(job)) fail("{}: its job {} does not run", run.root.string(), job);
  const auto id = static_cast<std::int64_t>(1e3 * unix_seconds());
  ask_for_profile(run, {id, options.steps});
  wait_until_taken(run, options, id);
  Collector collector(run, id, nodes_by_rank(course_of(run, id).start));
  taken(static_cast<std::int64_t>(collector.nodes().size()));
  wait_for_parts(
      run, options, id, [&] { return job_is_over(job); }, collector);
  const auto parts = collector.parts();
  write_file_atomically(options.output.string(), chrome_trace(parts, collector.nodes()).dump() + "\n");
  ProfileSummary summary{parts.front().value("first_step", std::int64_t{0}),
                         parts.front().value("steps", std::int64_t{0}),
                         static_cast<std::int64_t>(parts.size())};
  for (const Json& part : parts)
    summary.clock_error_us = std::max(summary.clock_error_us, part.value("clock_error_us", 0.0));
  return summary;
}

}  // namespace stint::reservations
