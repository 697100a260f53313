// SPDX-License-Identifier: Apache-2.0
#include "reservations/peers.h"

#include <algorithm>
#include <utility>

namespace stint::reservations {
namespace {

constexpr std::size_t kMostAddresses = 4'096;

// A quarter, at least two; never all of them.
std::size_t share_of(int threads) {
  return static_cast<std::size_t>(std::max(1, std::min(std::max(2, threads / 4), threads - 1)));
}

}  // namespace

PeerQuota::PeerQuota(int threads) : share_(share_of(threads)) {}

PeerQuota::Place::Place(PeerQuota& quota, std::string address) : quota_(quota), address_(std::move(address)) {
  const std::lock_guard lock(quota_.mutex_);
  within_ = ++quota_.served_[address_] <= quota_.share_;
}

PeerQuota::Place::~Place() {
  const std::lock_guard lock(quota_.mutex_);
  const auto found = quota_.served_.find(address_);
  if (--found->second == 0) quota_.served_.erase(found);
}

LogQuota::Verdict LogQuota::ask(const std::string& address, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (entries_.size() >= kMostAddresses)
    std::erase_if(entries_, [&](const auto& entry) { return entry.second.since + kWhile <= now; });
  if (entries_.size() >= kMostAddresses) entries_.clear();
  Entry& entry = entries_[address];
  if (entry.lines == 0 || entry.since + kWhile <= now) {
    entry.since = now;
    entry.lines = 0;
  }
  if (entry.lines == kLines) {
    ++entry.counted;
    return {};
  }
  ++entry.lines;
  return {true, entry.lines == kLines, std::exchange(entry.counted, 0)};
}

}  // namespace stint::reservations
