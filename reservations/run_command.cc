// SPDX-License-Identifier: Apache-2.0
#include "reservations/run_command.h"

#include <fmt/format.h>
#include <glob.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <thread>

#include "base/contract.h"
#include "base/error.h"
#include "base/ini.h"
#include "base/process.h"
#include "base/run_report.h"
#include "base/text.h"
#include "reservations/run_profile.h"
#include "reservations/run_watch.h"
#include "reservations/topology_drawing.h"

namespace stint::reservations {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kLookInterval{200};
constexpr seconds kLineInterval{5};
constexpr seconds kJobInterval{5};  // between two questions to Slurm whether the job is still there
constexpr seconds kSlurmTimeout{15};
constexpr seconds kDirectoryWait{60};  // of a job that runs
constexpr int kFirstLines = 1'000;
constexpr std::size_t kMaxTopologyBytes = 64 << 20;

struct Options {
  std::string run;
  std::string timeout;
  std::string format = "text";
  std::int64_t steps = 5;
  std::string output;
};

bool is_job_id(const std::string& text) {
  return !text.empty() && text.size() < 12 && text.find_first_not_of("0123456789") == std::string::npos;
}

// "Key=value" of scontrol's one-line form; empty: not there. WorkDir may hold blanks: it ends before the next
// key.
std::string field_of(const std::string& line, const std::string& key) {
  const std::size_t begin = line.find(" " + key + "=");
  if (begin == std::string::npos) return {};
  const std::size_t value = begin + key.size() + 2;
  const std::size_t next = line.find('=', value);
  std::size_t end = next == std::string::npos ? line.find('\n', value) : line.rfind(' ', next);
  if (end == std::string::npos || end < value) end = line.size();
  return std::string(trim(line.substr(value, end - value)));
}

std::string show_job(const std::string& job) {
  const ProcessResult result = run_process({"scontrol", "--oneliner", "show", "job", job}, kSlurmTimeout);
  if (result.status != 0) fail("job {}: {}", job, trim(result.output));
  return " " + result.output;
}

std::vector<std::string> matches(const std::string& pattern) {
  glob_t found{};
  std::vector<std::string> paths;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0)
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  return paths;
}

// What stint-train says of it at the beginning of the job's output; empty: nothing yet.
std::string directory_in_output(const std::string& path) {
  std::ifstream output(path);
  std::string line;
  for (int lines = 0; lines < kFirstLines && std::getline(output, line); ++lines) {
    if (line.starts_with(contract::kRunDirectoryLine)) return line.substr(contract::kRunDirectoryLine.size());
  }
  return {};
}

// By the default pattern of run.directory, "stint-runs/%n-%j" under the job's working directory, else as the
// job's output tells; empty: not there yet.
std::string directory_of_job(const std::string& job) {
  const std::string shown = show_job(job);
  const auto paths = matches((fs::path(field_of(shown, "WorkDir")) / "stint-runs" / ("*-" + job)).string());
  if (!paths.empty()) return paths.front();
  return directory_in_output(field_of(shown, "StdOut"));
}

// What the user named instead of a job. A run has its recipe from its first moment on.
RunDirectory named_directory(const std::string& name) {
  if (name.empty()) fail("run: the name is empty; give a job id or a run directory");
  const RunDirectory run{fs::absolute(name)};
  std::error_code error;
  if (fs::exists(run.recipe(), error) || fs::exists(run.log(), error)) return run;
  fail("{}: {}", run.root.string(), error ? error.message() : "holds no run (no recipe.ini, no log.jsonl)");
}

std::string job_state(const std::string& job) {
  return field_of(show_job(job), "JobState");
}

bool may_go_on(const std::string& state) {
  for (const char* live : {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED", "SUSPENDED"}) {
    if (state == live) return true;
  }
  return false;
}

std::size_t terminal_width() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

// One line that is rewritten on a terminal, a line now and then elsewhere; other lines stand above it.
class Screen {
 public:
  void line(const std::string& text) {
    std::fputs(fmt::format("{}{}\n", terminal_ ? "\r\x1b[K" : "", text).c_str(), stdout);
    std::fflush(stdout);
  }
  void progress(const Progress& progress) {
    if (terminal_) {
      std::fputs(fmt::format("\r{}\x1b[K", progress_bar(progress, terminal_width() - 1)).c_str(), stdout);
    } else if (progress.step != shown_step_ && Clock::now() - shown_ >= kLineInterval) {
      shown_ = Clock::now();
      shown_step_ = progress.step;
      std::puts(progress_line(progress).c_str());
    }
    std::fflush(stdout);
  }
  // Where the run ended, told once.
  void last(const Progress& progress) {
    if (terminal_) {
      line(progress_bar(progress, terminal_width() - 1));
    } else if (progress.step != shown_step_) {
      line(progress_line(progress));
    }
  }

 private:
  bool terminal_ = isatty(STDOUT_FILENO) == 1;
  Clock::time_point shown_{};
  std::int64_t shown_step_ = -1;
};

class Deadline {
 public:
  explicit Deadline(const std::string& text) {
    if (!text.empty()) end_ = Clock::now() + parse_duration(text);
  }
  bool over() const { return end_ && Clock::now() > *end_; }

 private:
  std::optional<Clock::time_point> end_;
};

// The run directory of what the user named, which may not exist yet while its job waits.
RunDirectory wait_for_directory(const Options& options, const Deadline& deadline, Screen& screen) {
  if (!is_job_id(options.run)) return named_directory(options.run);
  Clock::time_point running_since = Clock::now();
  for (bool said = false;; said = true) {
    if (const std::string found = directory_of_job(options.run); !found.empty()) return {found};
    const std::string state = job_state(options.run);
    if (state != "RUNNING") running_since = Clock::now();
    if (!may_go_on(state) || Clock::now() - running_since > kDirectoryWait) {
      fail(
          "job {}: is {} and neither its output nor its working directory's stint-runs tells of a run; name "
          "the "
          "run directory",
          options.run, state);
    }
    if (!said) screen.line(fmt::format("waits for the run directory of job {} ({})", options.run, state));
    if (deadline.over()) fail("job {}: no run directory within {}", options.run, options.timeout);
    std::this_thread::sleep_for(seconds(1));
  }
}

class Watcher {
 public:
  explicit Watcher(const Options& options)
      : options_(options),
        deadline_(options.timeout),
        run_(wait_for_directory(options, deadline_, screen_)),
        follower_(run_) {}

  void run() {
    while (!look()) {
      if (deadline_.over()) fail("{}: not finished within {}", run_.root.string(), options_.timeout);
      if (job_is_over() && !look()) {
        fail("{}: its job is over, the run stands at step {}; see the job's output", run_.root.string(),
             state_.progress().step);
      }
      std::this_thread::sleep_for(kLookInterval);
    }
    screen_.last(state_.progress());
  }

 private:
  // True: finished. Throws Error when the run will not go on.
  bool look() {
    for (const auto& event : follower_.next()) {
      if (const auto line = state_.note(event)) screen_.line(*line);
    }
    if (state_.ended() == 0) return true;
    if (state_.ended()) fail("{}: the run ended with an error; see above", run_.root.string());
    if (state_.started()) screen_.progress(state_.progress());
    return false;
  }

  bool job_is_over() {
    const std::string& job = is_job_id(options_.run) ? options_.run : state_.job();
    if (!is_job_id(job) || Clock::now() < next_question_) return false;
    next_question_ = Clock::now() + kJobInterval;
    try {
      return !may_go_on(job_state(job));
    } catch (const Error& error) {
      // Slurm forgets a job some minutes after its end; a controller that is away knows nothing either.
      return std::string(error.what()).find("Invalid job id") != std::string::npos;
    }
  }

  const Options& options_;
  Deadline deadline_;
  Screen screen_;
  RunDirectory run_;
  LogFollower follower_;
  RunWatch state_;
  Clock::time_point next_question_ = Clock::now() + kJobInterval;
};

RunDirectory directory_of_known_job(const std::string& job) {
  const std::string directory = directory_of_job(job);
  if (directory.empty())
    fail(
        "job {}: neither its output nor its working directory's stint-runs tells of a run; name the run "
        "directory",
        job);
  return {fs::absolute(directory)};
}

void report(const Options& options) {
  const RunDirectory run =
      is_job_id(options.run) ? directory_of_known_job(options.run) : named_directory(options.run);
  const RunLog log = read_log(run);
  const char* address = std::getenv(contract::kAddressEnv);
  const RunReport found = make_report(run, log, ask_service(log, address == nullptr ? "" : address));
  if (options.format == "json") {
    std::puts(report_json(found).dump().c_str());
  } else {
    std::fputs(format_report(found).c_str(), stdout);
    if (log.damaged > 0)
      std::puts(fmt::format("{} damaged lines of the log were passed over", log.damaged).c_str());
  }
}

void show_topology(const Options& options) {
  const RunDirectory run =
      is_job_id(options.run) ? directory_of_known_job(options.run) : named_directory(options.run);
  std::error_code error;
  if (!fs::exists(run.topology(), error))
    fail("{}: no topology.json; it is written when all workers of the run have started", run.root.string());
  const auto record = nlohmann::json::parse(read_file(run.topology(), kMaxTopologyBytes), nullptr, false);
  if (record.is_discarded())
    fail("{}: is damaged; the run's next start writes it anew", run.topology().string());
  if (options.format == "json")
    std::puts(record.dump().c_str());
  else
    std::fputs(draw_topology(record).c_str(), stdout);
}

// A job that Slurm does not know, and a run without Slurm, must speak for themselves.
bool is_over(const std::string& job) {
  if (!is_job_id(job)) return false;
  try {
    const std::string state = job_state(job);
    return state != "RUNNING" && state != "SUSPENDED";
  } catch (const Error&) {
    return false;
  }
}

void profile(const Options& options) {
  const RunDirectory run =
      is_job_id(options.run) ? directory_of_known_job(options.run) : named_directory(options.run);
  ProfileOptions wish;
  wish.steps = options.steps;
  wish.output = options.output.empty() ? run.root / "trace.json" : fs::path(options.output);
  if (!options.timeout.empty()) wish.answer = parse_duration(options.timeout);
  const ProfileSummary summary = profile_run(run, wish, is_over, [&](std::int64_t ranks) {
    std::puts(fmt::format("records {} steps of {} ranks", options.steps, ranks).c_str());
    std::fflush(stdout);
  });
  std::puts(fmt::format("{}: {} steps from step {} of {} ranks, clocks aligned within {:.0f} us; open it in "
                        "https://ui.perfetto.dev or chrome://tracing",
                        wish.output.string(), summary.steps, summary.first_step, summary.ranks,
                        summary.clock_error_us)
                .c_str());
}

}  // namespace

CLI::App& add_run_command(CLI::App& app) {
  CLI::App& group =
      *app.add_subcommand("run", "Watch a run, print its report, draw where it runs, profile it");
  group.require_subcommand(1);
  const auto options = std::make_shared<Options>();

  CLI::App& watching = *group.add_subcommand("watch", "Show a run's progress until it ends");
  watching.add_option("run", options->run, "job id or run directory")->required();
  watching.add_option("--timeout", options->timeout, "give up after this time, e.g. 10m");
  watching.callback([options] { Watcher(*options).run(); });

  CLI::App& reporting = *group.add_subcommand("report", "Print what became of a run");
  reporting.add_option("run", options->run, "job id or run directory")->required();
  reporting.add_option("--format", options->format, "text, or json: one line for programs")
      ->check(CLI::IsMember({"text", "json"}));
  reporting.callback([options] { report(*options); });

  CLI::App& drawing = *group.add_subcommand(
      "topology", "Draw which node and device each worker has, and why, as of the last start");
  drawing.add_option("run", options->run, "job id or run directory")->required();
  drawing.add_option("--format", options->format, "text, or json: one line for programs")
      ->check(CLI::IsMember({"text", "json"}));
  drawing.callback([options] { show_topology(*options); });

  CLI::App& profiling = *group.add_subcommand(
      "profile", "Record what each rank computes and communicates in the next steps, as a Chrome trace");
  profiling.add_option("run", options->run, "job id or run directory")->required();
  profiling.add_option("--steps", options->steps, "so many steps, 1 to 1000")->capture_default_str();
  profiling.add_option("-o,--output", options->output, "the file; default: trace.json in the run directory");
  profiling.add_option("--timeout", options->timeout, "give up after this time; default 10m");
  profiling.callback([options] { profile(*options); });
  return group;
}

}  // namespace stint::reservations
