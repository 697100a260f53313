// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/heartbeat.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace stint::agent {
namespace {

constexpr std::uint64_t kMagic = 0x314248544e495453;  // "STINTHB1"
constexpr std::size_t kMaxAddresses = 4;

// Little-endian fields one after the other, whatever the host's byte order.
class Writer {
 public:
  explicit Writer(std::span<std::byte> out) : out_(out) {}
  void put(std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out_[at_++] = static_cast<std::byte>(value >> (8 * i));
  }

 private:
  std::span<std::byte> out_;
  std::size_t at_ = 0;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> in) : in_(in) {}
  template <typename T>
  T take() {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i)
      value |= std::to_integer<std::uint64_t>(in_[at_++]) << (8 * i);
    return static_cast<T>(value);
  }

 private:
  std::span<const std::byte> in_;
  std::size_t at_ = 0;
};

bool is_reachable_ipv4(const ifaddrs& entry) {
  if (entry.ifa_addr == nullptr || entry.ifa_addr->sa_family != AF_INET) return false;
  return (entry.ifa_flags & IFF_UP) != 0 && (entry.ifa_flags & IFF_LOOPBACK) == 0;
}

}  // namespace

std::array<std::byte, kBeatBytes> encode(const Beat& beat) {
  std::array<std::byte, kBeatBytes> out{};
  Writer writer(out);
  writer.put(kMagic, 8);
  writer.put(beat.nonce, 8);
  writer.put(beat.epoch, 4);
  writer.put(beat.from, 4);
  writer.put(beat.to, 4);
  writer.put(beat.sequence, 8);
  writer.put(static_cast<std::uint64_t>(beat.state), 1);
  writer.put(beat.exit_code, 1);
  return out;
}

std::optional<Beat> decode(std::span<const std::byte> datagram) {
  if (datagram.size() != kBeatBytes) return std::nullopt;
  Reader reader(datagram);
  if (reader.take<std::uint64_t>() != kMagic) return std::nullopt;
  Beat beat;
  beat.nonce = reader.take<std::uint64_t>();
  beat.epoch = reader.take<std::uint32_t>();
  beat.from = reader.take<std::uint32_t>();
  beat.to = reader.take<std::uint32_t>();
  beat.sequence = reader.take<std::uint64_t>();
  const auto state = reader.take<std::uint8_t>();
  if (state > static_cast<std::uint8_t>(BeatState::kLeaving)) return std::nullopt;
  beat.state = static_cast<BeatState>(state);
  beat.exit_code = reader.take<std::uint8_t>();
  return beat;
}

BeatSocket::BeatSocket() {
  descriptor_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor_ < 0) fail("heartbeat socket: {}", errno_text(errno));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  socklen_t length = sizeof address;
  if (bind(descriptor_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      getsockname(descriptor_, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    const int cause = errno;
    close(descriptor_);
    fail("heartbeat socket: {}", errno_text(cause));
  }
  port_ = ntohs(address.sin_port);
}

BeatSocket::~BeatSocket() {
  close(descriptor_);
}

void BeatSocket::send(const Beat& beat, const sockaddr_in& to) {
  const auto datagram = encode(beat);
  (void)sendto(descriptor_, datagram.data(), datagram.size(), MSG_NOSIGNAL,
               reinterpret_cast<const sockaddr*>(&to), sizeof to);
}

std::optional<std::pair<Beat, sockaddr_in>> BeatSocket::receive() {
  std::array<std::byte, kBeatBytes + 1> buffer;
  while (true) {
    sockaddr_in from{};
    socklen_t length = sizeof from;
    const ssize_t n =
        recvfrom(descriptor_, buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&from), &length);
    if (n < 0 && (errno == EINTR || errno == ECONNREFUSED)) continue;
    if (n < 0) return std::nullopt;
    const auto beat = decode(std::span(buffer).first(static_cast<std::size_t>(n)));
    if (beat) return std::pair{*beat, from};
  }
}

std::vector<std::string> local_addresses() {
  std::vector<std::string> addresses;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return addresses;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (!is_reachable_ipv4(*entry)) continue;
    char text[INET_ADDRSTRLEN];
    const auto* address = reinterpret_cast<const sockaddr_in*>(entry->ifa_addr);
    if (inet_ntop(AF_INET, &address->sin_addr, text, sizeof text) != nullptr) addresses.emplace_back(text);
  }
  freeifaddrs(list);
  if (addresses.size() > kMaxAddresses) addresses.resize(kMaxAddresses);
  return addresses;
}

}  // namespace stint::agent
