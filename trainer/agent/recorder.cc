// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/recorder.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

namespace stint::agent {
namespace {

constexpr std::chrono::milliseconds kLineInterval{2000};
constexpr std::chrono::milliseconds kBarInterval{100};
constexpr std::chrono::seconds kCheckpointInterval{10};  // between two that are told; all are logged

std::size_t terminal_width() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

std::int64_t step_of(const nlohmann::json& message, const char* key) {
  const auto found = message.find(key);
  return found != message.end() && found->is_number() ? found->get<std::int64_t>() : 0;
}

// What MFU is a share of.
std::string peak_line(const nlohmann::json& message) {
  const auto peak = message.find("peak");
  if (peak == message.end() || !peak->is_object()) return {};
  return fmt::format(
      "peak of all workers: {:.3g} TFLOP/s ({})", peak->value("tflops", 0.0),
      peak->value("source", "") == "recipe" ? "resources.worker_tflops" : "their matrix products, measured");
}

}  // namespace

Recorder::Recorder(RunDirectory run, nlohmann::json start)
    : run_(std::move(run)),
      start_(std::move(start)),
      terminal_(isatty(STDOUT_FILENO) == 1),
      began_(Clock::now()) {}

void Recorder::note(const nlohmann::json& message) {
  const std::string type = message.value("type", "");
  nlohmann::json fields = message;
  fields.erase("type");
  if (type == "ready") {
    start_["resume_step"] = step_of(message, "resume_step");
    for (const char* key : {"parameters", "communication", "peak"}) {
      if (message.contains(key)) start_[key] = message[key];
    }
    record("start", start_);
    say(fmt::format("training from step {}", step_of(message, "resume_step")));
    if (message.contains("communication"))
      say(fmt::format("communication: {}", message.value("communication", "")));
    if (const auto line = peak_line(message); !line.empty()) say(line);
  } else if (type == "step") {
    record("step", fields);
    show(false);
  } else if (type == "overflow") {
    record("overflow", fields);
  } else if (type == "checkpoint") {
    record("checkpoint", fields);
    if (Clock::now() - checkpoint_told_ < kCheckpointInterval) return;
    checkpoint_told_ = Clock::now();
    say(fmt::format("checkpoint at step {}", step_of(message, "step")));
  } else if (type == "checkpoint_failed") {
    record("checkpoint_failed", fields);
    say(fmt::format("{}; training goes on, the next one is tried in its turn", message.value("why", "")));
  } else if (type == "finish") {
    finished_ = true;
    fields["seconds"] = std::chrono::duration<double>(Clock::now() - began_).count();
    record("finish", fields);
    show(true);
    say(fmt::format("finished at step {}", step_of(message, "step")));
  }
}

void Recorder::record(const std::string& event, const nlohmann::json& fields) {
  append_event(run_, event, fields);
  nlohmann::json noted = fields;
  noted["event"] = event;
  meter_.note(noted);
}

void Recorder::show(bool at_once) {
  const auto now = Clock::now();
  if (!at_once && now - shown_ < (terminal_ ? kBarInterval : kLineInterval)) return;
  shown_ = now;
  if (terminal_) {
    bar_shown_ = true;
    std::fputs(fmt::format("\r{}\x1b[K", progress_bar(meter_.progress(), terminal_width() - 1)).c_str(),
               stdout);
  } else {
    std::puts(progress_line(meter_.progress()).c_str());
  }
  std::fflush(stdout);
}

void Recorder::say(const std::string& text) {
  if (bar_shown_) std::fputs("\r\x1b[K", stdout);
  bar_shown_ = false;
  std::puts(text.c_str());
  std::fflush(stdout);
}

}  // namespace stint::agent
