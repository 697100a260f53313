// SPDX-License-Identifier: Apache-2.0
#include "trainer/comm/ucx_address.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <cstring>
#include <fstream>
#include <string_view>

#include "base/error.h"

namespace stint::comm {
namespace {

std::uint64_t hash_of(std::string_view bytes) {
  std::uint64_t hash = 14695981039346656037U;  // FNV-1a
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211U;
  return hash;
}

using Head = std::array<std::uint64_t, 3>;  // checksum of what follows it, machine, network

std::string bytes_of(const Head& head) {
  return {reinterpret_cast<const char*>(head.data()), sizeof head};
}

}  // namespace

std::string UcxAddress::text() const {
  const std::string rest = bytes_of({0, machine, network}).substr(sizeof(std::uint64_t)) + worker;
  return bytes_of({hash_of(rest), 0, 0}).substr(0, sizeof(std::uint64_t)) + rest;
}

UcxAddress UcxAddress::parse(const std::string& bytes, int rank) {
  Head head{};
  if (bytes.size() > sizeof head) std::memcpy(head.data(), bytes.data(), sizeof head);
  if (bytes.size() <= sizeof head || head[0] != hash_of(std::string_view(bytes).substr(sizeof head[0])))
    fail("ucx: the {} bytes given for rank {} are not a worker's address", bytes.size(), rank);
  return {bytes.substr(sizeof head), head[1], head[2]};
}

UcxAddress UcxAddress::here(std::string worker) {
  std::string boot;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
  struct stat network {};
  stat("/proc/thread-self/ns/net", &network);
  return {std::move(worker), hash_of(boot), network.st_ino};
}

std::string machines_of(std::span<const std::string> addresses) {
  std::string all;
  for (std::size_t rank = 0; rank < addresses.size(); ++rank)
    all += fmt::format("{:x} ", UcxAddress::parse(addresses[rank], static_cast<int>(rank)).machine);
  return fmt::format("{:016x}", hash_of(all));
}

bool deaf_to_each_other(const UcxAddress& one, const UcxAddress& other) {
  return one.machine == other.machine && one.network != other.network;
}

}  // namespace stint::comm
