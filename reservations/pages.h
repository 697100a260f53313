// SPDX-License-Identifier: Apache-2.0
// What stintd shows to browsers, which sign nothing: where plans are private (PrivateData=reservations or
// nodes), when and how many nodes are booked, but not for whom. Safe from several threads; never waits for
// Slurm.
#pragma once

#include <functional>
#include <string>

#include "reservations/book.h"
#include "reservations/lookout.h"

namespace stint::reservations {

struct Page {
  int status = 200;
  std::string html;
};

class Pages {
 public:
  using Now = std::function<double()>;  // seconds since the epoch

  Pages(const Book& book, const Lookout& lookout, Now now);

  Page calendar(const std::string& span) const;
  Page plan(const std::string& name) const;

 private:
  std::chrono::sys_seconds now() const;

  const Book& book_;
  const Lookout& lookout_;
  Now now_;
};

}  // namespace stint::reservations
