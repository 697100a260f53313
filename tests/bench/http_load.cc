// SPDX-License-Identifier: Apache-2.0
// http_load ours|peer SECONDS RATE CLIENTS: asks stintd, or slurmctld, RATE times a second from CLIENTS
// threads, each request a connection of its own, as the programs do. Requests are due at fixed times, whether
// or not earlier ones are answered, and a request's time counts from when it was due: a server that falls
// behind cannot hide it.
//
// ours: signed requests to the stintd of stint.conf, seven of ten read plans, two the whole list, one
// searches. peer: slurm_load_reservations, what `scontrol show reservation` asks; munge-signed as well.
//
// One line of JSON: {"requests", "errors", "first_error", "seconds", "p50_ms", "p99_ms"}.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/config.h"
#include "base/error.h"
#include "base/http.h"
#include "base/text.h"
#include "reservations/slurm_cluster.h"

namespace stint {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr std::chrono::seconds kTimeout{30};

struct Load {
  std::size_t requests = 0;
  double rate = 0;
  int clients = 0;
};

class Result {
 public:
  void add(double ms) {
    const std::lock_guard lock(mutex_);
    times_.push_back(ms);
  }
  void add_error(const std::string& text) {
    const std::lock_guard lock(mutex_);
    if (errors_++ == 0) first_error_ = text;
  }
  nlohmann::json summary(double seconds) {
    std::sort(times_.begin(), times_.end());
    return {{"requests", times_.size() + errors_},
            {"errors", errors_},
            {"first_error", first_error_},
            {"seconds", seconds},
            {"p50_ms", quantile(0.50)},
            {"p99_ms", quantile(0.99)}};
  }

 private:
  double quantile(double part) const {
    if (times_.empty()) return 0;
    return times_[std::min(times_.size() - 1,
                           static_cast<std::size_t>(part * static_cast<double>(times_.size())))];
  }

  std::mutex mutex_;
  std::vector<double> times_;
  std::size_t errors_ = 0;
  std::string first_error_;
};

void ask_when_due(const Load& load, Clock::time_point start, std::atomic<std::size_t>& next, Result& result,
                  const std::function<void(std::size_t)>& ask) {
  for (std::size_t i = next++; i < load.requests; i = next++) {
    const auto due = start + std::chrono::duration_cast<Clock::duration>(
                                 std::chrono::duration<double>(static_cast<double>(i) / load.rate));
    std::this_thread::sleep_until(due);
    try {
      ask(i);
      result.add(Milliseconds(Clock::now() - due).count());
    } catch (const std::exception& error) {
      result.add_error(error.what());
    }
  }
}

nlohmann::json run(const Load& load, const std::function<void(std::size_t)>& ask) {
  Result result;
  std::atomic<std::size_t> next = 0;
  const auto start = Clock::now();
  std::vector<std::thread> clients;
  for (int c = 0; c < load.clients; ++c)
    clients.emplace_back([&] { ask_when_due(load, start, next, result, ask); });
  for (auto& client : clients) client.join();
  return result.summary(std::chrono::duration<double>(Clock::now() - start).count());
}

void ask_stintd(const HttpClient& client, std::size_t i) {
  HttpReply reply;
  if (i % 10 == 9) {
    reply = client.call("POST", "/v1/offers", {{"nodes", 2}, {"duration", 3'600}});
  } else {
    reply = client.call("GET", i % 10 >= 7 ? "/v1/plans" : "/v1/plans/bench");
  }
  if (reply.status != 200) fail("status {}: {}", reply.status, reply.body.dump());
}

nlohmann::json measure(const std::string& whom, const Load& load) {
  if (whom == "peer") {
    const auto cluster = reservations::connect_slurm();
    return run(load, [&](std::size_t) { cluster->reservations(); });
  }
  if (whom != "ours") fail("'{}' is neither ours nor peer", whom);
  const Config config = load_config();
  const HttpClient client(config.address, Munge(config.munge_socket), config.server_uids, kTimeout);
  return run(load, [&](std::size_t i) { ask_stintd(client, i); });
}

}  // namespace
}  // namespace stint

int main(int argc, char** argv) {
  try {
    if (argc != 5) stint::fail("usage: http_load ours|peer SECONDS RATE CLIENTS");
    const auto seconds = stint::parse_integer(argv[2], 1, 3'600);
    const auto rate = stint::parse_integer(argv[3], 1, 100'000);
    const stint::Load load{static_cast<std::size_t>(seconds * rate), static_cast<double>(rate),
                           static_cast<int>(stint::parse_integer(argv[4], 1, 1'000))};
    std::cout << stint::measure(argv[1], load).dump() << "\n";
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "http_load: " << error.what() << "\n";
    return 1;
  }
}
