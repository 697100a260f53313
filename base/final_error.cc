// SPDX-License-Identifier: Apache-2.0
#include "base/final_error.h"

#include <cerrno>

namespace stint {

void fail_write(const std::string& what, int number, const char* instead) {
  if (number == ENOSPC || number == EDQUOT)
    fail_finally("{}: {}; free space there or choose {}", what, errno_text(number), instead);
  if (number == EROFS)
    fail_finally("{}: {}; have it mounted writable or choose {}", what, errno_text(number), instead);
  fail("{}: {}", what, errno_text(number));
}

}  // namespace stint
