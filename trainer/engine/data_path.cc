// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/data_path.h"

namespace stint::engine {

DataPath::Ticket HostPath::post(Operation operation, std::function<void()> after) {
  if (!after) return queue_.post(std::move(operation));
  return queue_.post([operation = std::move(operation), after = std::move(after)] {
    auto status = operation();
    if (status) after();
    return status;
  });
}

}  // namespace stint::engine
