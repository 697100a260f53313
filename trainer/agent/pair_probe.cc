// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/pair_probe.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace stint::agent {
namespace {

using std::chrono::milliseconds;

constexpr int kRounds = 8;
constexpr milliseconds kAnswerWait{20};
constexpr milliseconds kAtMost{2000};  // for all questions of this node
constexpr std::uint32_t kMagic = 0x53505231;

}  // namespace

struct PairProbe::Message {
  std::uint32_t magic = kMagic;
  std::uint32_t is_answer = 0;
  std::uint64_t nonce = 0;  // of the one it is for
  std::uint64_t from = 0;
  std::uint64_t question = 0;
  std::int64_t asked_at = 0;  // by the asker's clock; comes back as it was
};

PairProbe::PairProbe() : descriptor_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  sockaddr_in any{};
  any.sin_family = AF_INET;
  socklen_t length = sizeof any;
  if (descriptor_ < 0 || bind(descriptor_, reinterpret_cast<sockaddr*>(&any), sizeof any) != 0 ||
      getsockname(descriptor_, reinterpret_cast<sockaddr*>(&any), &length) != 0) {
    const int number = errno;
    if (descriptor_ >= 0) close(descriptor_);
    fail("probe socket: {}", errno_text(number));
  }
  port_ = ntohs(any.sin_port);
}

PairProbe::~PairProbe() {
  close(descriptor_);
}

void PairProbe::begin(const std::vector<Identity>& all, std::size_t self,
                      const std::vector<std::size_t>& targets, Clock::time_point now) {
  self_ = self;
  for (const Identity& identity : all)
    peers_.push_back({identity.nonce, candidates_for(identity, all[self], identity.probe_port)});
  best_.assign(all.size(), 0);
  // Each begins behind itself, so that not all ask the same node at once.
  for (int round = 0; round < kRounds; ++round)
    for (std::size_t step = 1; step < all.size(); ++step) {
      const std::size_t node = (self + step) % all.size();
      for (const std::size_t target : targets)
        if (target == node) order_.push_back(node);
    }
  begun_ = true;
  deadline_ = now + kAtMost;
}

void PairProbe::put(const Message& message, const sockaddr_in& to) const {
  (void)!sendto(descriptor_, &message, sizeof message, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to);
}

void PairProbe::ask(Clock::time_point now) {
  if (done()) return;
  if (now >= deadline_) {
    question_ = order_.size();
    return;
  }
  const Peer& peer = peers_[order_[question_]];
  Message message;
  message.nonce = peer.nonce;
  message.from = self_;
  message.question = question_;
  message.asked_at = Clock::now().time_since_epoch().count();
  for (const sockaddr_in& candidate : peer.candidates) put(message, candidate);
  waiting_ = true;
  give_up_ = now + kAnswerWait;
}

void PairProbe::take(const Message& message, const sockaddr_in& from, Clock::time_point now) {
  if (message.nonce != peers_[self_].nonce || message.from >= peers_.size()) return;
  if (message.is_answer == 0) {
    Message answer = message;
    answer.is_answer = 1;
    answer.nonce = peers_[message.from].nonce;
    answer.from = self_;
    return put(answer, from);
  }
  if (!waiting_ || message.question != question_ || message.from != order_[question_]) return;
  peers_[message.from].candidates = {from};
  const auto took = now.time_since_epoch() - Clock::duration(message.asked_at);
  const double microseconds = std::chrono::duration<double, std::micro>(took).count();
  double& best = best_[message.from];
  if (microseconds > 0 && (best == 0 || microseconds < best)) best = microseconds;
  waiting_ = false;
  ++question_;
}

void PairProbe::turn(Clock::time_point now) {
  if (!begun_) return;  // the first questions wait in the socket
  Message message;
  sockaddr_in from{};
  socklen_t length = sizeof from;
  while (recvfrom(descriptor_, &message, sizeof message, MSG_TRUNC, reinterpret_cast<sockaddr*>(&from),
                  &length) >= 0 ||
         errno == EINTR) {
    if (message.magic == kMagic) take(message, from, Clock::now());
    if (!waiting_) ask(Clock::now());
    length = sizeof from;
    message.magic = 0;
  }
  if (waiting_ && now >= give_up_) {
    waiting_ = false;
    ++question_;
  }
  if (!waiting_) ask(now);
}

}  // namespace stint::agent
