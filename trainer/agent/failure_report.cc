// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/failure_report.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <thread>

#include "base/config.h"
#include "base/error.h"
#include "base/http.h"
#include "base/text.h"

namespace stint::agent {
namespace {

// stintd looks for itself before it answers: two connection attempts.
constexpr std::chrono::milliseconds kTimeout{5000};

Verdict verdict_of(const std::string& word) {
  if (word == "down") return Verdict::kDown;
  if (word == "healthy") return Verdict::kHealthy;
  return Verdict::kUnknown;
}

std::string text_of(const nlohmann::json& body, const char* key) {
  const auto found = body.is_object() ? body.find(key) : body.end();
  return found != body.end() && found->is_string() ? found->get<std::string>() : std::string();
}

Answer ask_about(const HttpClient& client, const FailureReport& report, const std::string& node) {
  const std::int64_t job = parse_integer(report.job, 1, UINT32_MAX);
  const HttpReply reply =
      client.call("POST", "/v1/failures", {{"job", job}, {"node", node}, {"why", report.why}});
  if (reply.status >= 400) {
    return {Verdict::kUnknown,
            fmt::format("stintd refuses the report of {}: {}", node, text_of(reply.body, "error"))};
  }
  const std::string word = text_of(reply.body, "verdict");
  return {verdict_of(word), fmt::format("stintd: {} is {}; {}", node, word, text_of(reply.body, "action"))};
}

// All nodes are reported; one that is down decides, since then Slurm ends the job's step.
Answer ask(const FailureReport& report) {
  try {
    const Config config = load_config();
    const HttpClient client(report.address, Munge(config.munge_socket), config.server_uids, kTimeout);
    Answer answer;
    for (const std::string& node : report.nodes) {
      const Answer one = ask_about(client, report, node);
      if (answer.verdict != Verdict::kDown) answer = one;
    }
    return answer;
  } catch (const std::exception& error) {
    return {Verdict::kUnknown, fmt::format("stintd cannot be asked: {}", error.what())};
  }
}

}  // namespace

struct FailureReporter::Shared {
  std::mutex mutex;
  std::optional<Answer> answer;
  int event = -1;
  ~Shared() {
    if (event >= 0) close(event);
  }
};

FailureReporter::FailureReporter() : shared_(std::make_shared<Shared>()) {
  shared_->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (shared_->event < 0) fail("failure report: {}", errno_text(errno));
}

FailureReporter::~FailureReporter() = default;

int FailureReporter::descriptor() const {
  return shared_->event;
}

void FailureReporter::start(FailureReport report) {
  under_way_ = true;
  std::thread([shared = shared_, report = std::move(report)] {
    Answer answer = ask(report);
    const std::lock_guard lock(shared->mutex);
    shared->answer = std::move(answer);
    const std::uint64_t one = 1;
    (void)!write(shared->event, &one, sizeof one);
  }).detach();
}

std::optional<Answer> FailureReporter::take() {
  std::uint64_t count = 0;
  (void)!read(shared_->event, &count, sizeof count);
  const std::lock_guard lock(shared_->mutex);
  if (shared_->answer) under_way_ = false;
  return std::exchange(shared_->answer, std::nullopt);
}

}  // namespace stint::agent
