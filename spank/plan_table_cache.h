// SPDX-License-Identifier: Apache-2.0
// The plan table as slurmctld sees it: read again when the file changes, shared between threads. A copy that
// was handed out stays whole while others read a newer one.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <mutex>
#include <string>

#include "base/plan_table.h"

namespace stint::spank {

class PlanTableCache {
 public:
  // The file's present content. Throws Error that names stintd when it is missing or damaged.
  std::shared_ptr<const PlanTable> read(const std::string& path);

  // The same for judging changes to jobs that exist already, where a table that is gone for the moment must
  // not open the door: the last good content, else nullptr when there never was a file. Throws Error when the
  // file is damaged and was never good.
  std::shared_ptr<const PlanTable> last_known(const std::string& path);

 private:
  bool is_current(const std::string& path, const struct stat& status) const;

  std::mutex mutex_;
  std::string path_;
  struct stat status_ {};
  std::shared_ptr<const PlanTable> table_;
};

}  // namespace stint::spank
