// SPDX-License-Identifier: Apache-2.0
// What every translation of a libslurm call needs: owners of its messages, its errors, its lists.
#pragma once

#include <slurm/slurm.h>

#include <memory>
#include <string>

#include "reservations/cluster.h"

namespace stint::reservations {

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* message) const {
    Free(message);
  }
};
template <typename T, auto Free>
using Owned = std::unique_ptr<T, Freer<Free>>;

// The one translation of Slurm's errors. `what` comes first: "node node3: …".
[[noreturn]] void fail_slurm(const std::string& what, int number);
void check(int result, const std::string& what);

inline std::string text_of(const char* text) {
  return text == nullptr ? std::string{} : std::string{text};
}

template <typename Record, typename Visit>
void for_each(List list, Visit visit) {
  if (list == nullptr) return;
  ListIterator each = slurm_list_iterator_create(list);
  while (auto* record = static_cast<Record*>(slurm_list_next(each))) visit(*record);
  slurm_list_iterator_destroy(each);
}

}  // namespace stint::reservations
