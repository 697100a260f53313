// SPDX-License-Identifier: Apache-2.0
#include "trainer/comm/communicator.h"

#include <algorithm>

namespace stint::comm {

Range chunk_of(std::size_t count, int size, int rank) {
  const auto parts = static_cast<std::size_t>(size), part = static_cast<std::size_t>(rank);
  const std::size_t share = count / parts, longer = count % parts;
  const std::size_t begin = part * share + std::min(part, longer);
  return {begin, begin + share + (part < longer ? 1 : 0)};
}

}  // namespace stint::comm
