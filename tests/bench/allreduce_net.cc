// SPDX-License-Identifier: Apache-2.0
// allreduce_net stint|plain RANKS FOLDER RANK ADDRESS: times of an all-reduce between nodes, one rank of it.
// The ranks meet in the empty FOLDER. `stint`: ours over UCX. `plain`: the least that a ring can be,
// blocking-free sockets and a loop (Patarasuk and Yuan, 2009), as the measure of what the links carry.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "base/text.h"
#include "tests/bench/allreduce.h"
#include "trainer/comm/ring.h"
#include "trainer/comm/ucx.h"

namespace stint::bench {
namespace {

using namespace std::chrono_literals;

struct Place {
  int ranks;
  std::filesystem::path folder;
  int rank;
  std::string address;

  void tell(const std::string& bytes) const {
    const auto name = folder / fmt::format("rank.{}", rank);
    std::ofstream(name.string() + ".new", std::ios::binary) << bytes;
    std::filesystem::rename(name.string() + ".new", name);
  }
  std::string told_by(int other) const {
    const auto name = folder / fmt::format("rank.{}", other);
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (!std::filesystem::exists(name)) {
      if (std::chrono::steady_clock::now() > end) fail("rank {} did not come", other);
      std::this_thread::sleep_for(5ms);
    }
    std::ostringstream bytes;
    bytes << std::ifstream(name, std::ios::binary).rdbuf();
    return bytes.str();
  }
};

// As long as a worker takes at the start of a run.
constexpr auto kProbe = 1000ms;

class Ours {
 public:
  explicit Ours(const Place& place) : communicator_(connected(place), 1, std::chrono::seconds(60)) {
    must(communicator_.measure_ways(kProbe));
    if (place.rank == 0) std::cerr << "ways: " << communicator_.ways().text() << '\n';
  }
  void all_reduce(std::vector<float>& data) { must(communicator_.all_reduce(data)); }
  void barrier() { must(communicator_.barrier()); }

 private:
  static std::unique_ptr<comm::Transport> connected(const Place& place) {
    auto transport = std::make_unique<comm::UcxTransport>();
    place.tell(transport->address());
    std::vector<std::string> addresses;
    for (int rank = 0; rank < place.ranks; ++rank) addresses.push_back(place.told_by(rank));
    transport->connect(place.rank, addresses, 1);
    return transport;
  }
  static void must(const comm::Status& status) {
    if (!status) fail("{}", status.detail);
  }

  comm::RingCommunicator communicator_;
};

class PlainRing {
 public:
  explicit PlainRing(const Place& place) : rank_(place.rank), ranks_(place.ranks) {
    sockaddr_in own{};
    own.sin_family = AF_INET;
    inet_pton(AF_INET, place.address.c_str(), &own.sin_addr);
    socklen_t length = sizeof own;
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    check(bind(listener, reinterpret_cast<sockaddr*>(&own), sizeof own), "bind");
    check(listen(listener, 1), "listen");
    check(getsockname(listener, reinterpret_cast<sockaddr*>(&own), &length), "name");
    place.tell({reinterpret_cast<const char*>(&own), sizeof own});
    const std::string bytes = place.told_by((rank_ + 1) % ranks_);
    sockaddr_in next{};
    std::memcpy(&next, bytes.data(), std::min(bytes.size(), sizeof next));
    right_ = socket(AF_INET, SOCK_STREAM, 0);
    check(connect(right_, reinterpret_cast<sockaddr*>(&next), sizeof next), "connect");
    left_ = accept(listener, nullptr, nullptr);
    check(left_, "accept");
    close(listener);
    const int yes = 1;
    for (const int end : {left_, right_}) {
      setsockopt(end, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
      fcntl(end, F_SETFL, O_NONBLOCK);
    }
  }

  void all_reduce(std::vector<float>& data) {
    const auto chunk = [&](int of) {
      const comm::Range range = comm::chunk_of(data.size(), ranks_, (of + 2 * ranks_) % ranks_);
      return std::span(data).subspan(range.begin, range.size());
    };
    incoming_.resize(chunk(0).size());
    for (int step = 0; step + 1 < ranks_; ++step) {
      const auto into = chunk(rank_ - step - 1);
      const auto terms = std::span(incoming_).first(into.size());
      exchange(std::as_bytes(chunk(rank_ - step)), std::as_writable_bytes(terms));
      for (std::size_t i = 0; i < into.size(); ++i) into[i] += terms[i];
    }
    for (int step = 0; step + 1 < ranks_; ++step)
      exchange(std::as_bytes(chunk(rank_ + 1 - step)), std::as_writable_bytes(chunk(rank_ - step)));
  }
  void barrier() {
    std::vector<float> nothing(static_cast<std::size_t>(ranks_));
    all_reduce(nothing);
  }

 private:
  static void check(int result, const char* doing) {
    if (result < 0) fail("cannot {}: {}", doing, errno_text(errno));
  }
  static std::size_t moved(ssize_t result) {
    if (result > 0) return static_cast<std::size_t>(result);
    if (result == 0 || (errno != EAGAIN && errno != EINTR)) fail("a neighbour has closed its socket");
    return 0;
  }
  // To the right and from the left at the same time.
  void exchange(std::span<const std::byte> out, std::span<std::byte> in) const {
    while (!out.empty() || !in.empty()) {
      pollfd both[]{{out.empty() ? -1 : right_, POLLOUT, 0}, {in.empty() ? -1 : left_, POLLIN, 0}};
      if (poll(both, 2, 60'000) == 0) fail("nothing moves for a minute");
      if (both[0].revents != 0)
        out = out.subspan(moved(::send(right_, out.data(), out.size(), MSG_NOSIGNAL)));
      if (both[1].revents != 0) in = in.subspan(moved(recv(left_, in.data(), in.size(), 0)));
    }
  }

  int rank_, ranks_, left_ = -1, right_ = -1;
  std::vector<float> incoming_;
};

template <typename Way>
void measure(const Place& place) {
  bind_to_core(place.rank);
  Way way(place);
  for (const std::size_t bytes : kOverNetwork.sizes) {
    std::vector<float> data(bytes / sizeof(float));
    fill(data, place.rank);
    way.all_reduce(data);
    if (!is_sum(data, place.ranks)) fail("all_reduce of {} bytes gave a wrong sum", bytes);
    std::ranges::fill(data, 0.0F);
    const double us = time_of(
        kOverNetwork, bytes, [&] { way.all_reduce(data); }, [&] { way.barrier(); });
    if (place.rank == 0) report("arbitrary", "fp32", data.size(), us);
  }
  way.barrier();
}

void run(std::span<char*> words) {
  if (words.size() != 6) fail("usage: allreduce_net stint|plain RANKS FOLDER RANK ADDRESS");
  const int ranks = static_cast<int>(parse_integer(words[2], 2, 64));
  const Place place{ranks, words[3], static_cast<int>(parse_integer(words[4], 0, ranks - 1)), words[5]};
  const std::string way = words[1];
  if (way == "stint") return measure<Ours>(place);
  if (way == "plain") return measure<PlainRing>(place);
  fail("'{}' is neither stint nor plain", way);
}

}  // namespace
}  // namespace stint::bench

int main(int argc, char** argv) {
  try {
    stint::bench::run({argv, static_cast<std::size_t>(argc)});
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "allreduce_net: " << error.what() << '\n';
    return 1;
  }
}
