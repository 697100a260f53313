// SPDX-License-Identifier: Apache-2.0
#include "base/run_report.h"
#include "base/one_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <system_error>

#include "base/config.h"
#include "base/error.h"
#include "base/http.h"
#include "base/ini.h"
#include "base/progress.h"

namespace stint {
namespace {

using Json = nlohmann::json;

constexpr std::chrono::milliseconds kServiceTimeout{3000};
constexpr std::size_t kLongestLine = 4096;
// Checkpoints of an undisturbed stretch are told as its first and last.
constexpr std::size_t kCheckpointsToldInFull = 4;

std::string text_of(const Json& event, const char* key) {
  const auto found = event.find(key);
  if (found == event.end() || found->is_null()) return {};
  return found->is_string() ? found->get<std::string>() : found->dump();
}

std::string name_of(const Json& event) {
  return text_of(event, "event");
}

std::optional<double> number_of(const Json& event, const char* key) {
  const auto found = event.find(key);
  if (found == event.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

std::int64_t integer_of(const Json& event, const char* key, std::int64_t fallback) {
  const auto value = number_of(event, key);
  return value ? std::llround(*value) : fallback;
}

double time_of(const Json& event) {
  return number_of(event, "t").value_or(0);
}

std::vector<std::string> jobs_of(const RunLog& log) {
  std::vector<std::string> jobs;
  for (const Json& event : log.events) {
    const std::string job = text_of(event, "job");
    if (!job.empty() && std::find(jobs.begin(), jobs.end(), job) == jobs.end()) jobs.push_back(job);
  }
  return jobs;
}

std::string last_text(const RunLog& log, const char* event_name, const char* key) {
  for (auto event = log.events.rbegin(); event != log.events.rend(); ++event) {
    if (name_of(*event) == event_name && !text_of(*event, key).empty()) return text_of(*event, key);
  }
  return {};
}

// Only Slurm's jobs are known to stintd, not those of a run on one host.
bool is_slurm_job(const std::string& job) {
  return !job.empty() && job.find_first_not_of("0123456789") == std::string::npos;
}

HttpClient service_client(const std::string& address) {
  const Config config = load_config();
  const std::string& target = address.empty() ? config.address : address;
  if (target.empty()) fail("no address of stintd; set it in stint.conf, [stintd] address");
  return {target, Munge(config.munge_socket), config.server_uids, kServiceTimeout};
}

std::string hosts_text(const Json& list) {
  std::vector<std::string> hosts;
  if (list.is_array()) {
    for (const Json& host : list) hosts.push_back(host.is_string() ? host.get<std::string>() : host.dump());
  }
  return fmt::format("{}", fmt::join(hosts, " "));
}

std::string describe_start(const Json& event) {
  const auto step = integer_of(event, "resume_step", 0);
  const std::string from = step == 0 ? "from the beginning" : fmt::format("resumes from step {}", step);
  return fmt::format("job {}, {}, {} workers on {}", text_of(event, "job"), from,
                     integer_of(event, "world", 0), hosts_text(event.value("order", Json::array())));
}

std::string describe(const Json& event) {
  const std::string name = name_of(event);
  if (name == "start") return describe_start(event);
  if (name == "checkpoint") return fmt::format("step {}", integer_of(event, "step", 0));
  if (name == "finish") return fmt::format("step {}", integer_of(event, "step", 0));
  if (name == "error") return text_of(event, "what");
  if (name == "segment_end")
    return fmt::format("step {}: {}", integer_of(event, "step", 0), text_of(event, "why"));
  std::vector<std::string> parts;
  for (const char* key : {"node", "why", "detail"}) {
    if (const std::string part = text_of(event, key); !part.empty()) parts.push_back(part);
  }
  return fmt::format("{}", fmt::join(parts, ": "));
}

// A long row of checkpoints hides what matters: keep the first and the last between two other events.
std::vector<TimelineEntry> thin_checkpoints(std::vector<TimelineEntry> entries) {
  std::vector<TimelineEntry> kept;
  for (std::size_t i = 0; i < entries.size();) {
    std::size_t end = i;
    while (end < entries.size() && entries[end].event == "checkpoint") ++end;
    if (end - i > kCheckpointsToldInFull) {
      kept.push_back(entries[i]);
      entries[end - 1].text += fmt::format(" ({} more before it)", end - i - 2);
      kept.push_back(entries[end - 1]);
      i = end;
    } else {
      kept.push_back(std::move(entries[i++]));
    }
  }
  return kept;
}

std::vector<TimelineEntry> make_timeline(const RunLog& log, const ServiceFacts& facts) {
  std::vector<TimelineEntry> entries;
  for (const Json& event : log.events) {
    if (name_of(event) != "step") entries.push_back({time_of(event), "run", name_of(event), describe(event)});
  }
  for (const Json& event : facts.job_events) {
    if (!event.is_object()) continue;
    entries.push_back({time_of(event), "stintd", name_of(event), describe(event)});
  }
  std::stable_sort(entries.begin(), entries.end(),
                   [](const TimelineEntry& a, const TimelineEntry& b) { return a.t < b.t; });
  return thin_checkpoints(std::move(entries));
}

std::string price_text(const ServiceFacts& facts, const std::string& plan) {
  if (plan.empty()) return "none: the run used no plan";
  const Json price = facts.plan.is_object() ? facts.plan.value("price", Json()) : Json();
  if (!price.is_object()) {
    return "not known: " + (facts.trouble.empty() ? "stintd names no price" : facts.trouble);
  }
  return fmt::format("{} {}", text_of(price, "amount"), text_of(price, "currency"));
}

// Follows the log once: what was trained, and what each restart cost.
class Accounts {
 public:
  void note(const Json& event) {
    const std::string name = name_of(event);
    if (name == "start") note_start(event);
    if (name == "step") note_step(event);
    if (name == "segment_end") note_segment_end(event);
    if (name == "finish") finished_ = true;
  }

  void fill(RunReport& report) const {
    report.finished = finished_;
    report.step = last_step_;
    report.first_loss = first_loss_;
    report.last_loss = last_loss_;
    report.tokens_per_second = median(rates_);
    report.step_seconds = median(step_seconds_);
    const auto median_of = [](const std::vector<double>& values) {
      return values.empty() ? std::nullopt : std::optional(median(values));
    };
    report.mfu = median_of(mfu_);
    report.communication_share = median_of(communication_);
    report.data_share = median_of(data_);
    report.peak_memory_bytes = peak_memory_;
    report.restarts = std::max(starts_ - 1, 0);
    report.steps_lost = steps_lost_;
    double lost = 0;
    for (const double gap : gaps_) lost += std::max(gap - report.step_seconds, 0.0);
    report.seconds_lost = lost;
  }

 private:
  void note_start(const Json& event) {
    if (++starts_ > 1 && any_step_) {
      steps_lost_ += std::max<std::int64_t>(last_step_ - integer_of(event, "resume_step", 0), 0);
      interrupted_ = true;
    }
  }

  // The time between two segments is not the plan's, and not lost.
  void note_segment_end(const Json& event) {
    const auto ends = number_of(event, "ends");
    const auto next = number_of(event, "next_start");
    if (ends && next) pause_ = std::max(*next - *ends, 0.0);
  }

  void note_step(const Json& event) {
    last_step_ = integer_of(event, "step", last_step_);
    if (interrupted_) {
      gaps_.push_back(time_of(event) - last_step_time_ - pause_);
      pause_ = 0;
    }
    interrupted_ = false;
    any_step_ = true;
    last_step_time_ = time_of(event);
    last_loss_ = number_of(event, "loss");
    if (!first_loss_) first_loss_ = last_loss_;
    if (const auto rate = number_of(event, "tokens_per_second")) rates_.push_back(*rate);
    if (const auto seconds = number_of(event, "step_seconds")) step_seconds_.push_back(*seconds);
    if (const auto share = number_of(event, "mfu")) mfu_.push_back(*share);
    if (const auto share = number_of(event, "communication_share")) communication_.push_back(*share);
    if (const auto share = number_of(event, "data_share")) data_.push_back(*share);
    peak_memory_ = std::max(peak_memory_, number_of(event, "peak_memory_bytes").value_or(0));
  }

  int starts_ = 0;
  bool finished_ = false;
  std::int64_t last_step_ = 0;
  double last_step_time_ = 0;
  bool any_step_ = false;
  bool interrupted_ = false;  // a start came since the last step
  double pause_ = 0;          // between the segment that ended since the last step and the next
  std::int64_t steps_lost_ = 0;
  std::vector<double> gaps_, rates_, step_seconds_, mfu_, communication_, data_;
  double peak_memory_ = 0;
  std::optional<double> first_loss_, last_loss_;
};

// `part`: a file that an entry must hold to count (a checkpoint without its manifest is none).
std::string newest(const std::filesystem::path& folder, const std::string& prefix, const char* part = "") {
  std::vector<std::string> found;
  std::error_code error, ignored;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (!at->path().filename().string().starts_with(prefix)) continue;
    if (*part == '\0' || std::filesystem::exists(at->path() / part, ignored))
      found.push_back(at->path().string());
  }
  return found.empty() ? std::string() : *std::max_element(found.begin(), found.end());
}

double first_time(const RunLog& log) {
  return log.events.empty() ? 0 : time_of(log.events.front());
}

std::string loss_text(const RunReport& report) {
  if (!report.first_loss || !report.last_loss) return "none logged";
  return fmt::format("{:.4f} at the first logged step, {:.4f} at the last", *report.first_loss,
                     *report.last_loss);
}

// "MFU 41%, communication 12%, waiting for data 0%, 412 MiB at most a worker"; what is not known is left out.
std::string use_text(const RunReport& report) {
  std::vector<std::string> parts;
  const auto add = [&](const char* name, const std::optional<double>& share) {
    if (share) parts.push_back(fmt::format("{} {:.0f}%", name, 100 * *share));
  };
  add("MFU", report.mfu);
  add("communication", report.communication_share);
  add("waiting for data", report.data_share);
  if (report.peak_memory_bytes > 0)
    parts.push_back(fmt::format("{:.0f} MiB at most a worker", report.peak_memory_bytes / (1 << 20)));
  return parts.empty() ? "not logged" : fmt::format("{}", fmt::join(parts, ", "));
}

std::string or_none(const std::string& text) {
  return text.empty() ? "none" : text;
}

// The log and the service tell what others wrote.
std::string plain(const std::string& text) {
  return as_one_line(text, kLongestLine);
}

std::string format_timeline(const RunReport& report) {
  std::string text = "\ntimeline (seconds since the first event)\n";
  const double zero = report.timeline.empty() ? 0 : report.timeline.front().t;
  for (const TimelineEntry& entry : report.timeline) {
    text += fmt::format("  {:>9.2f}  {:<6}  {:<14} {}\n", entry.t - zero, plain(entry.source),
                        plain(entry.event), plain(entry.text));
  }
  return text;
}

}  // namespace

ServiceFacts ask_service(const RunLog& log, const std::string& address) {
  ServiceFacts facts;
  const std::string plan = last_text(log, "start", "plan");
  std::vector<std::string> jobs = jobs_of(log);
  std::erase_if(jobs, [](const std::string& job) { return !is_slurm_job(job); });
  if (plan.empty() && (jobs.empty() || address.empty())) return facts;
  try {
    const HttpClient client = service_client(address);
    for (const std::string& job : jobs) {
      const HttpReply reply = client.call("GET", "/v1/jobs/" + job + "/events");
      if (reply.status >= 400 || !reply.body.is_array()) continue;
      facts.job_events.insert(facts.job_events.end(), reply.body.begin(), reply.body.end());
    }
    if (plan.empty()) return facts;
    const HttpReply reply = client.call("GET", "/v1/plans/" + plan);
    if (reply.status < 400) facts.plan = reply.body;
    if (reply.status >= 400) facts.trouble = text_of(reply.body, "error");
  } catch (const Error& error) {
    facts.trouble = fmt::format("stintd does not answer ({})", error.what());
  }
  return facts;
}

RunReport make_report(const RunDirectory& run, const RunLog& log, const ServiceFacts& facts) {
  RunReport report;
  report.recipe = last_text(log, "start", "recipe");
  report.plan = last_text(log, "start", "plan");
  report.jobs = jobs_of(log);
  for (const Json& event : log.events) {
    if (name_of(event) == "start") report.steps = integer_of(event, "steps", report.steps);
  }
  Accounts accounts;
  for (const Json& event : log.events) accounts.note(event);
  accounts.fill(report);
  if (!log.events.empty()) report.seconds = time_of(log.events.back()) - first_time(log);
  report.price = price_text(facts, report.plan);
  report.checkpoint = newest(run.checkpoints(), "step-", "manifest.json");
  report.tensorboard = newest(run.root, "events.out.tfevents.");
  report.timeline = make_timeline(log, facts);
  return report;
}

std::string format_report(const RunReport& report) {
  std::string text;
  const auto line = [&text](const char* name, const std::string& value) {
    text += fmt::format("{:<14} {}\n", name, plain(value));
  };
  line("run", fmt::format("{}: {}", or_none(report.recipe), report.finished ? "finished" : "not finished"));
  line(report.jobs.size() == 1 ? "job" : "jobs", fmt::format("{}", fmt::join(report.jobs, ", ")));
  line("steps", fmt::format("{} of {}", report.step, report.steps));
  line("loss", loss_text(report));
  line("tokens/s", fmt::format("{} (median)", format_rate(report.tokens_per_second)));
  line("use", use_text(report));
  line("restarts", fmt::format("{}", report.restarts));
  line("steps lost", fmt::format("{} (trained again)", report.steps_lost));
  line("seconds lost", fmt::format("{:.1f} of {:.1f}", report.seconds_lost, report.seconds));
  line("plan", or_none(report.plan));
  line("price", report.price);
  line("checkpoint", or_none(report.checkpoint));
  line("tensorboard", or_none(report.tensorboard));
  return text + format_timeline(report);
}

nlohmann::json report_json(const RunReport& report) {
  Json timeline = Json::array();
  for (const TimelineEntry& entry : report.timeline) {
    timeline.push_back(
        {{"t", entry.t}, {"source", entry.source}, {"event", entry.event}, {"text", entry.text}});
  }
  const auto or_null = [](const std::optional<double>& value) { return value ? Json(*value) : Json(); };
  return {{"recipe", report.recipe},
          {"plan", report.plan},
          {"jobs", report.jobs},
          {"finished", report.finished},
          {"step", report.step},
          {"steps", report.steps},
          {"first_loss", or_null(report.first_loss)},
          {"last_loss", or_null(report.last_loss)},
          {"tokens_per_second", report.tokens_per_second},
          {"step_seconds", report.step_seconds},
          {"mfu", or_null(report.mfu)},
          {"communication_share", or_null(report.communication_share)},
          {"data_share", or_null(report.data_share)},
          {"peak_memory_bytes", report.peak_memory_bytes},
          {"restarts", report.restarts},
          {"steps_lost", report.steps_lost},
          {"seconds_lost", report.seconds_lost},
          {"seconds", report.seconds},
          {"price", report.price},
          {"checkpoint", report.checkpoint},
          {"tensorboard", report.tensorboard},
          {"timeline", timeline}};
}

RunReport write_report(const RunDirectory& run, const std::string& service_address) {
  const RunLog log = read_log(run);
  RunReport report = make_report(run, log, ask_service(log, service_address));
  write_file_atomically(run.report(), format_report(report));
  return report;
}

}  // namespace stint
