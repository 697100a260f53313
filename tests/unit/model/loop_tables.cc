// SPDX-License-Identifier: Apache-2.0
#include "operands.h"

namespace stint::model {

std::vector<Table> all_tables() {
  return loop_tables();
}

}  // namespace stint::model
