// SPDX-License-Identifier: Apache-2.0
#include "trainer/comm/memory.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cassert>
#include <deque>
#include <map>
#include <mutex>
#include <tuple>
#include <vector>

namespace stint::comm {
namespace {

using Key = std::tuple<int, std::uint16_t, std::uint32_t, std::uint16_t>;  // sender and tag

Key key_of(int sender, Tag tag) {
  return {sender, tag.epoch, tag.operation, tag.slot};
}

// A message lies where its sender has it; `read` tells the sender that it may go on.
struct Message {
  std::span<const std::byte> bytes;
  bool read = false;
};

}  // namespace

struct MemoryNetwork::Shared {
  struct Rank {
    bool dead = false, stalled = false;
    int sends_left = -1;  // -1: no limit
    std::map<Key, std::deque<std::shared_ptr<Message>>> inbox;
  };
  std::mutex mutex;
  std::vector<Rank> ranks;
};

class MemoryNetwork::Endpoint final : public Transport {
 public:
  Endpoint(std::shared_ptr<Shared> shared, int rank) : shared_(std::move(shared)), rank_(rank) {}
  ~Endpoint() override { abort(); }

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(shared_->ranks.size()); }
  Request send(int peer, Tag tag, std::span<const std::byte> bytes) override;
  Request receive(int peer, Tag tag, std::span<std::byte> bytes) override;
  Outcome test(Request request) override;
  bool arrived(int peer, Tag tag) override;
  bool progress() override { return false; }
  void sleep(std::chrono::microseconds /*limit*/) override { sched_yield(); }
  void wake() override {}
  Status failure() const override { return failure_; }
  void abort() override;

 private:
  struct Posted {
    int peer;
    Key key;
    std::shared_ptr<Message> message;  // of a send
    std::span<std::byte> target;       // of a receive
  };
  Request post(Posted posted);
  Outcome fail(int peer, std::string detail);
  Outcome test_send(const Posted& posted);
  Outcome test_receive(const Posted& posted);

  std::shared_ptr<Shared> shared_;
  const int rank_;
  std::map<Request, Posted> posted_;
  Request next_ = 0;
  Status failure_;
};

Transport::Request MemoryNetwork::Endpoint::post(Posted posted) {
  posted_.emplace(next_, std::move(posted));
  return next_++;
}

Transport::Request MemoryNetwork::Endpoint::send(int peer, Tag tag, std::span<const std::byte> bytes) {
  auto message = std::make_shared<Message>(Message{bytes});
  const std::lock_guard lock(shared_->mutex);
  auto& self = shared_->ranks[static_cast<std::size_t>(rank_)];
  if (self.sends_left == 0) self.dead = true;
  if (self.sends_left > 0) --self.sends_left;
  if (!self.dead && !self.stalled)
    shared_->ranks[static_cast<std::size_t>(peer)].inbox[key_of(rank_, tag)].push_back(message);
  return post({peer, {}, std::move(message), {}});
}

Transport::Request MemoryNetwork::Endpoint::receive(int peer, Tag tag, std::span<std::byte> bytes) {
  return post({peer, key_of(peer, tag), nullptr, bytes});
}

Outcome MemoryNetwork::Endpoint::fail(int peer, std::string detail) {
  failure_ = {Code::kPeerFailed, peer, std::move(detail)};
  return Outcome::kFailed;
}

Outcome MemoryNetwork::Endpoint::test_send(const Posted& posted) {
  if (posted.message->read) return Outcome::kDone;
  if (!shared_->ranks[static_cast<std::size_t>(posted.peer)].dead) return Outcome::kPending;
  return fail(posted.peer, fmt::format("rank {} is dead", posted.peer));
}

Outcome MemoryNetwork::Endpoint::test_receive(const Posted& posted) {
  auto& inbox = shared_->ranks[static_cast<std::size_t>(rank_)].inbox;
  const auto found = inbox.find(posted.key);
  if (found == inbox.end()) {
    if (!shared_->ranks[static_cast<std::size_t>(posted.peer)].dead) return Outcome::kPending;
    return fail(posted.peer, fmt::format("rank {} is dead", posted.peer));
  }
  Message& message = *found->second.front();
  if (message.bytes.size() != posted.target.size())
    return fail(posted.peer, fmt::format("rank {} sent {} bytes where {} were awaited", posted.peer,
                                         message.bytes.size(), posted.target.size()));
  std::ranges::copy(message.bytes, posted.target.begin());
  message.read = true;
  found->second.pop_front();
  if (found->second.empty()) inbox.erase(found);
  return Outcome::kDone;
}

Outcome MemoryNetwork::Endpoint::test(Request request) {
  const std::lock_guard lock(shared_->mutex);
  if (shared_->ranks[static_cast<std::size_t>(rank_)].dead) return fail(rank_, "this rank is dead");
  const auto posted = posted_.find(request);
  assert(posted != posted_.end());
  const Outcome outcome = posted->second.message ? test_send(posted->second) : test_receive(posted->second);
  if (outcome == Outcome::kDone) posted_.erase(posted);
  return outcome;
}

bool MemoryNetwork::Endpoint::arrived(int peer, Tag tag) {
  const std::lock_guard lock(shared_->mutex);
  return shared_->ranks[static_cast<std::size_t>(rank_)].inbox.contains(key_of(peer, tag));
}

// What was sent and not read points into memory that the caller takes back, so it is taken out of the
// inboxes.
void MemoryNetwork::Endpoint::abort() {
  const std::lock_guard lock(shared_->mutex);
  shared_->ranks[static_cast<std::size_t>(rank_)].dead = true;
  for (auto& rank : shared_->ranks)
    std::erase_if(rank.inbox, [&](const auto& entry) { return std::get<0>(entry.first) == rank_; });
  posted_.clear();
}

MemoryNetwork::MemoryNetwork(int size) : shared_(std::make_shared<Shared>()) {
  shared_->ranks.resize(static_cast<std::size_t>(size));
}

MemoryNetwork::~MemoryNetwork() = default;

std::unique_ptr<Transport> MemoryNetwork::transport(int rank) {
  return std::make_unique<Endpoint>(shared_, rank);
}

void MemoryNetwork::kill(int rank) {
  kill_after(rank, 0);
}

void MemoryNetwork::kill_after(int rank, int sends) {
  const std::lock_guard lock(shared_->mutex);
  auto& self = shared_->ranks[static_cast<std::size_t>(rank)];
  self.sends_left = sends;
  self.dead = self.dead || sends == 0;
}

void MemoryNetwork::stall(int rank) {
  const std::lock_guard lock(shared_->mutex);
  shared_->ranks[static_cast<std::size_t>(rank)].stalled = true;
}

}  // namespace stint::comm
