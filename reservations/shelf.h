// SPDX-License-Identifier: Apache-2.0
// Remembers what was offered, under a short id, for the short time in which it can be taken. Offers are
// promises of nothing: who takes one finds out whether its nodes are still free. Safe from several threads.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <string_view>

#include "reservations/refusal.h"

namespace stint::reservations {

template <typename T>
class Shelf {
 public:
  static constexpr std::chrono::minutes kValid{15};

  // `search` is the command that brings new offers, for the message.
  explicit Shelf(std::string search) : search_(std::move(search)) {}

  // Where it is full for the user, or for all, the user's oldest one goes; another's only where there is
  // none.
  std::string put(T offer, std::chrono::sys_seconds now, std::uint32_t uid) {
    const std::lock_guard lock(mutex_);
    std::erase_if(offers_, [&](const auto& entry) { return entry.second.until < now; });
    make_room(uid);
    const std::string id = new_id();
    offers_.emplace(id, Entry{std::move(offer), now + kValid, uid, ++newest_});
    return id;
  }

  // Throws Refusal (410) when there is none of that id any more.
  T find(const std::string& id, std::chrono::sys_seconds now) const {
    const std::lock_guard lock(mutex_);
    const auto found = offers_.find(id);
    if (found == offers_.end() || found->second.until < now) {
      refuse(410, "offer {}: there is none of that id, or it is older than {} minutes; ask again with '{}'",
             id.substr(0, 40), kValid.count(), search_);
    }
    return found->second.offer;
  }

  static constexpr std::size_t kMost = 10'000;
  static constexpr std::size_t kMostOfOne = 1'000;  // user

 private:
  struct Entry {
    T offer;
    std::chrono::sys_seconds until{};
    std::uint32_t uid = 0;
    std::uint64_t order = 0;
  };

  void make_room(std::uint32_t uid) {
    auto own = offers_.end(), any = offers_.end();
    std::size_t owned = 0;
    for (auto entry = offers_.begin(); entry != offers_.end(); ++entry) {
      const auto older = [&](auto oldest) {
        return oldest == offers_.end() || entry->second.order < oldest->second.order;
      };
      if (older(any)) any = entry;
      if (entry->second.uid != uid) continue;
      ++owned;
      if (older(own)) own = entry;
    }
    if (owned >= kMostOfOne || (offers_.size() >= kMost && owned > 0)) {
      offers_.erase(own);
    } else if (offers_.size() >= kMost) {
      offers_.erase(any);
    }
  }

  // Six letters and digits without those that are read as others.
  std::string new_id() {
    constexpr std::string_view kLetters = "abcdefghjkmnpqrstuvwxyz23456789";
    std::string id;
    do {
      id.assign(1, 'o');
      while (id.size() < 6) id += kLetters[random_() % kLetters.size()];
    } while (offers_.contains(id));
    return id;
  }

  std::string search_;
  mutable std::mutex mutex_;
  std::map<std::string, Entry> offers_;
  std::uint64_t newest_ = 0;
  std::mt19937_64 random_{std::random_device{}()};
};

}  // namespace stint::reservations
