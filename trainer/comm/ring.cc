// SPDX-License-Identifier: Apache-2.0
#include "trainer/comm/ring.h"

#include <fmt/format.h>
#include <sched.h>

#include <array>
#include <optional>

namespace stint::comm {
namespace {

// Above the numbers of collectives, below that of notices.
constexpr std::uint32_t kBetweenTwo = 1U << 31;

// Requests under way, oldest first.
template <std::size_t kWindow>
class Window {
 public:
  bool full() const { return end_ - begin_ == kWindow; }
  bool empty() const { return end_ == begin_; }
  void push(std::optional<Transport::Request> request) { requests_[end_++ % kWindow] = request; }
  // An empty segment was never posted and is done.
  Outcome test_oldest(Transport& transport) const {
    const auto& request = requests_[begin_ % kWindow];
    return request ? transport.test(*request) : Outcome::kDone;
  }
  void pop() { ++begin_; }
  std::size_t done() const { return begin_; }
  std::size_t posted() const { return end_; }

 private:
  std::array<std::optional<Transport::Request>, kWindow> requests_;
  std::size_t begin_ = 0, end_ = 0;
};

}  // namespace

RingCommunicator::RingCommunicator(Transport& transport, std::uint32_t epoch,
                                   std::chrono::milliseconds timeout)
    : RingCommunicator(transport, whole_view(epoch, transport.rank(), transport.size()), timeout, {}) {}

RingCommunicator::RingCommunicator(Transport& transport, Group group, std::chrono::milliseconds timeout,
                                   Whole whole)
    : Communicator(std::move(group), timeout),
      transport_(transport),
      sent_(static_cast<std::size_t>(transport.size())),
      received_(sent_.size()),
      whole_(std::move(whole)) {}

RingCommunicator::RingCommunicator(std::unique_ptr<Transport> transport, std::uint32_t epoch,
                                   std::chrono::milliseconds timeout)
    : RingCommunicator(*transport, epoch, timeout) {
  owned_ = std::move(transport);
}

Tag RingCommunicator::tag(const Operation& operation, int sender) const {
  return {static_cast<std::uint16_t>(epoch()), operation.number, static_cast<std::uint16_t>(sender)};
}

Status RingCommunicator::perform(const char* name, const Body& body) {
  return attempt({name, operations_++, Clock::now() + timeout()}, body);
}

Status RingCommunicator::perform_between(const char* name, std::uint32_t& before, const Body& body) {
  return attempt({name, kBetweenTwo + before++, Clock::now() + timeout()}, body);
}

RingCommunicator::Operation RingCommunicator::next_part(Operation operation) {
  operation.number = operations_++;
  return operation;
}

Status RingCommunicator::attempt(const Operation& operation, const Body& body) {
  if (!broken_) return broken_;
  Status status =
      revoked_.load(std::memory_order_acquire) ? Status{Code::kRevoked, -1, "revoked"} : body(operation);
  if (status) return status;
  status.detail = fmt::format("{} {} in view {}: {}", operation.name, operation.number % kBetweenTwo, epoch(),
                              status.detail);
  give_up(status);
  return status;
}

void RingCommunicator::give_up(const Status& why) {
  if (!broken_) return;
  broken_ = why;
  if (whole_.failing) whole_.failing(why);
  tell_neighbours(why);
  transport_.abort();
}

Status RingCommunicator::turn(const Operation& operation, int peer) {
  if (!transport_.progress()) {
    if (Status status = hear_neighbours(); !status) return status;
    if (Status status = whole_.watch ? whole_.watch() : Status{}; !status) return status;
    sched_yield();
  }
  if (revoked_.load(std::memory_order_acquire)) return {Code::kRevoked, -1, "revoked"};
  if (Clock::now() < operation.deadline) return {};
  return {Code::kTimeout, peer,
          fmt::format("still waiting for rank {} after {} ms", peer, timeout().count())};
}

// A neighbour that closed its connection may have said why.
Status RingCommunicator::why_failed() {
  Status status = transport_.failure();
  if (Status heard = hear_neighbours(); !heard) return heard;
  return status;
}

Status RingCommunicator::wait(const Operation& operation, Transport::Request request, int peer) {
  for (;;) {
    switch (transport_.test(request)) {
      case Outcome::kDone:
        return {};
      case Outcome::kFailed:
        return why_failed();
      case Outcome::kPending:
        if (Status status = turn(operation, peer); !status) return status;
    }
  }
}

Status RingCommunicator::run(const Operation& operation, const Flow& flow) {
  Window<kWindow> receives, sends;
  const auto may_send = [&](std::size_t q) { return q < flow.lag || q - flow.lag < receives.done(); };
  while (receives.done() < flow.receives || sends.done() < flow.sends) {
    while (receives.posted() < flow.receives && !receives.full()) {
      const std::size_t q = receives.posted();
      const auto bytes = flow.target(q);
      receives.push(bytes.empty() ? std::nullopt
                                  : std::optional(post_receive(operation, flow.from(q), bytes)));
    }
    while (sends.posted() < flow.sends && !sends.full() && may_send(sends.posted())) {
      const std::size_t q = sends.posted();
      const auto bytes = flow.source(q);
      sends.push(bytes.empty() ? std::nullopt : std::optional(post_send(operation, flow.to(q), bytes)));
    }
    const Outcome received = receives.empty() ? Outcome::kPending : receives.test_oldest(transport_);
    if (received == Outcome::kDone) {
      if (flow.take_in) flow.take_in(receives.done());
      receives.pop();
    }
    const Outcome sent = sends.empty() ? Outcome::kPending : sends.test_oldest(transport_);
    if (sent == Outcome::kDone) sends.pop();
    if (received == Outcome::kFailed || sent == Outcome::kFailed) return why_failed();
    if (received == Outcome::kDone || sent == Outcome::kDone) continue;
    const int awaited = receives.done() < flow.receives ? flow.from(receives.done()) : flow.to(sends.done());
    if (Status status = turn(operation, named(awaited)); !status) return status;
  }
  return {};
}

}  // namespace stint::comm
