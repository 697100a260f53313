// SPDX-License-Identifier: Apache-2.0
#include "trainer/comm/ring.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"

namespace stint::comm {
namespace {

// Above the numbers of collectives, below that of notices.
constexpr std::uint32_t kBetweenTwo = 1U << 31;

constexpr auto kSpin = std::chrono::microseconds(20);
// At the longest: connections want to be looked after, and so do the ranks of our node.
constexpr auto kSleep = std::chrono::milliseconds(20);
constexpr auto kSleepWatching = std::chrono::milliseconds(1);
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
      whole_(std::move(whole)),
      ways_(WaysBySize::guess(size())) {}

RingCommunicator::RingCommunicator(std::unique_ptr<Transport> transport, std::uint32_t epoch,
                                   std::chrono::milliseconds timeout)
    : RingCommunicator(*transport, epoch, timeout) {
  owned_ = std::move(transport);
}

Tag RingCommunicator::tag(const Operation& operation, int sender) const {
  return {static_cast<std::uint16_t>(epoch()), operation.number, static_cast<std::uint16_t>(sender)};
}

Status RingCommunicator::perform(const char* name, const Body& body) {
  return attempt(next_part({name, 0, Clock::now() + timeout()}), body);
}

Status RingCommunicator::perform_between(const char* name, std::uint32_t& before, const Body& body) {
  return attempt({name, kBetweenTwo + before++, Clock::now() + timeout()}, body);
}

RingCommunicator::Operation RingCommunicator::next_part(Operation operation) {
  operation.number = operations_++ % kBetweenTwo;  // those of long ago are over
  return operation;
}

Status RingCommunicator::attempt(const Operation& operation, const Body& body) {
  if (!broken_) return broken_;
  flows_.clear();
  Status status;
  if (!revoked_.load(std::memory_order_acquire)) status = body(operation);
  // Also where the others have heard of it, and failed, before us.
  if (revoked_.load(std::memory_order_acquire)) status = {Code::kRevoked, -1, "revoked"};
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

// Sleeps before it moves anything, not after: the caller has looked at its requests since the last move, and
// that one may have ended some of them though it said that it moved nothing.
Status RingCommunicator::turn(const Operation& operation, int peer) {
  idle(operation);
  if (transport_.progress()) {
    idle_since_.reset();
  } else {
    if (!idle_since_) idle_since_ = Clock::now();
    if (Status status = hear_neighbours(); !status) return status;
    if (Status status = whole_.watch ? whole_.watch() : Status{}; !status) return status;
  }
  if (revoked_.load(std::memory_order_acquire)) return {Code::kRevoked, -1, "revoked"};
  if (Clock::now() < operation.deadline) return {};
  return {Code::kTimeout, peer,
          fmt::format("still waiting for rank {} after {} ms", peer, timeout().count())};
}

// Spins for as long as it takes to fall asleep and be woken up, then sleeps: a core belongs to who computes.
void RingCommunicator::idle(const Operation& operation) {
  if (!idle_since_) return;
  const auto now = Clock::now();
  if (now - *idle_since_ < kSpin) return;
  const auto longest = whole_.watch ? kSleepWatching : kSleep;
  const auto left = std::chrono::ceil<std::chrono::microseconds>(operation.deadline - now);
  transport_.sleep(std::clamp<std::chrono::microseconds>(left, std::chrono::microseconds(0), longest));
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
        idle_since_.reset();
        return {};
      case Outcome::kFailed:
        return why_failed();
      case Outcome::kPending:
        if (Status status = turn(operation, peer); !status) return status;
    }
  }
}

Status RingCommunicator::exchange(const Operation& operation, int peer, std::span<const std::byte> out,
                                  std::span<std::byte> in) {
  const auto received = post_receive(operation, peer, in);
  const auto sent = post_send(operation, peer, out);
  if (Status status = wait(operation, received, named(peer)); !status) return status;
  return wait(operation, sent, named(peer));
}

RingCommunicator::Flow& RingCommunicator::add_flow(const Operation& operation) {
  flows_.emplace_back().operation = next_part(operation);
  if (scratch_.size() < flows_.size()) scratch_.resize(flows_.size());
  return flows_.back();
}

void RingCommunicator::post(Flow& flow) {
  while (flow.received.posted() < flow.receives && !flow.received.full()) {
    const std::size_t q = flow.received.posted();
    if (flow.may_receive && !flow.may_receive(q)) break;
    const auto bytes = flow.target(q);
    flow.received.push(bytes.empty() ? std::nullopt
                                     : std::optional(post_receive(flow.operation, flow.from(q), bytes)));
  }
  while (flow.sent.posted() < flow.sends && !flow.sent.full()) {
    const std::size_t q = flow.sent.posted();
    if (flow.may_send && !flow.may_send(q)) break;
    const auto bytes = flow.source(q);
    flow.sent.push(bytes.empty() ? std::nullopt
                                 : std::optional(post_send(flow.operation, flow.to(q), bytes)));
  }
}

// Done: something is.
Outcome RingCommunicator::advance(Flow& flow) {
  post(flow);
  const bool takes = !flow.received.empty() && (!flow.may_take || flow.may_take(flow.received.done()));
  const Outcome received = takes ? flow.received.test_oldest(transport_) : Outcome::kPending;
  if (received == Outcome::kDone) {
    if (flow.take_in) flow.take_in(flow.received.done());
    flow.received.pop();
  }
  const Outcome sent = flow.sent.empty() ? Outcome::kPending : flow.sent.test_oldest(transport_);
  if (sent == Outcome::kDone) flow.sent.pop();
  if (received == Outcome::kFailed || sent == Outcome::kFailed) return Outcome::kFailed;
  return received == Outcome::kDone || sent == Outcome::kDone ? Outcome::kDone : Outcome::kPending;
}

Status RingCommunicator::run(const Operation& operation) {
  for (;;) {
    bool moved = false;
    const Flow* unfinished = nullptr;
    for (Flow& flow : flows_) {
      if (flow.over()) continue;
      const Outcome outcome = advance(flow);
      if (outcome == Outcome::kFailed) return why_failed();
      moved = moved || outcome == Outcome::kDone;
      if (unfinished == nullptr && !flow.over()) unfinished = &flow;
    }
    if (unfinished == nullptr) return {};
    if (moved) {
      idle_since_.reset();
      continue;
    }
    const bool hears = unfinished->received.done() < unfinished->receives;
    const int awaited =
        hears ? unfinished->from(unfinished->received.done()) : unfinished->to(unfinished->sent.done());
    if (Status status = turn(operation, named(awaited)); !status) return status;
  }
}

void RingCommunicator::set_ways(WaysBySize ways) {
  if (!ways.fit(size())) fail("communication: {} ranks cannot go the ways '{}'", size(), ways.text());
  ways_ = std::move(ways);
}

Ways RingCommunicator::ways_for(std::size_t bytes, Type type) const {
  Ways ways = ways_(bytes);
  if (type == Type::kBf16) ways.reduce = Reduce::kStraight;  // the terms: sums on their way would be fp32
  if (bytes > WaysBySize::kMostWhole) ways.all_reduce = AllReduce::kParts;
  return ways;
}

}  // namespace stint::comm
