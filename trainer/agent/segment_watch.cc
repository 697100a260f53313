// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/segment_watch.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <mutex>
#include <thread>

#include "base/config.h"
#include "base/error.h"
#include "base/http.h"
#include "base/log.h"
#include "base/process.h"
#include "base/text.h"

namespace stint::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kAskEvery{30};
constexpr seconds kAskAgain{3};  // after no answer, or an answer that the job does not run yet
constexpr milliseconds kTimeout{5000};

struct Answer {
  std::optional<JobWindow> window;
  bool from_service = false;
  std::string trouble;
};

JobWindow ask_service(const SegmentWatch::Job& job) {
  if (job.address.empty()) fail("no address of stintd");
  const Config config = load_config();
  const HttpClient client(job.address, Munge(config.munge_socket), config.server_uids, kTimeout);
  const HttpReply reply = client.call("GET", "/v1/jobs/" + job.id + "/window");
  if (reply.status >= 400) fail("{}", reply.body.value("error", "stintd refuses"));
  return parse_window(reply.body);
}

// stintd sets a job's end in Slurm to its segment's; what follows only stintd knows.
std::optional<JobWindow> ask_slurm(const SegmentWatch::Job& job) {
  const ProcessResult result = run_process({"squeue", "-h", "-o", "%e", "-j", job.id}, kTimeout);
  if (result.status != 0) return std::nullopt;
  JobWindow window;
  window.plan = job.plan;
  window.ends = parse_time(trim(result.output), std::chrono::floor<seconds>(SegmentWatch::Clock::now()));
  window.next_is_known = false;
  return window;
}

Answer ask_all(const SegmentWatch::Job& job) {
  Answer answer;
  try {
    answer.window = ask_service(job);
    answer.from_service = true;
    return answer;
  } catch (const std::exception& error) {
    answer.trouble = error.what();
  }
  try {
    answer.window = ask_slurm(job);
  } catch (const std::exception&) {
    // an unlimited job has no end
  }
  return answer;
}

}  // namespace

struct SegmentWatch::Shared {
  std::mutex mutex;
  std::optional<Answer> answer;
  int event = -1;
  ~Shared() {
    if (event >= 0) close(event);
  }
};

SegmentWatch::SegmentWatch(Job job, EndLead::Limits limits, const RunLog& log)
    : job_(std::move(job)), lead_(limits), shared_(std::make_shared<Shared>()) {
  shared_->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (shared_->event < 0) fail("segment watch: {}", errno_text(errno));
  for (const auto& event : log.events) lead_.note(event.value("event", ""), event);
}

SegmentWatch::~SegmentWatch() = default;

int SegmentWatch::descriptor() const {
  return shared_->event;
}

void SegmentWatch::ask(Clock::time_point now) {
  if (under_way_ || now < next_question_) return;
  under_way_ = true;
  std::thread([shared = shared_, job = job_] {
    Answer answer = ask_all(job);
    const std::lock_guard lock(shared->mutex);
    shared->answer = std::move(answer);
    const std::uint64_t one = 1;
    (void)!write(shared->event, &one, sizeof one);
  }).detach();
}

std::optional<JobWindow> SegmentWatch::turn(Clock::time_point now) {
  std::uint64_t count = 0;
  (void)!read(shared_->event, &count, sizeof count);
  {
    const std::lock_guard lock(shared_->mutex);
    if (auto answer = std::exchange(shared_->answer, std::nullopt)) {
      under_way_ = false;
      next_question_ = now + (answer->from_service ? kAskEvery : kAskAgain);
      // Slurm's word is worth less than an older one of stintd, which knows what follows.
      if (answer->window && (answer->from_service || !window_ || !window_->next_is_known))
        window_ = answer->window;
      if (!answer->from_service) spdlog::debug("job {}: {}", job_.id, answer->trouble);
    }
  }
  ask(now);
  if (!window_ || now + lead_.lead() < window_->ends) return std::nullopt;
  return window_;
}

}  // namespace stint::agent
