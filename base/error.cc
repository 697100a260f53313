// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

#include <system_error>

namespace stint {

std::string errno_text(int number) {
  return std::generic_category().message(number);
}

}  // namespace stint
