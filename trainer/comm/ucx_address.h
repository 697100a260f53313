// SPDX-License-Identifier: Apache-2.0
// What a UcxTransport tells of itself to its peers: UCX's own address, and where it is. UCX believes whatever
// bytes it is given as an address, so ours carry a checksum.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace stint::comm {

struct UcxAddress {
  std::string worker;         // UCX's
  std::uint64_t machine = 0;  // since it was booted
  std::uint64_t network = 0;  // its network namespace, a number of that machine's

  std::string text() const;
  // Throws Error, which names the rank, on bytes that are no text().
  static UcxAddress parse(const std::string& bytes, int rank);
  // Of the calling thread.
  static UcxAddress here(std::string worker);
};

// Other for other machines, or the same in another order. Throws Error as parse() does.
std::string machines_of(std::span<const std::string> addresses);

// Whether two that share memory cannot wake each other up: UCX does that by a socket with a name, and those
// end at the network namespace.
bool deaf_to_each_other(const UcxAddress& one, const UcxAddress& other);

}  // namespace stint::comm
