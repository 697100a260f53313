// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/choose_ways.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <array>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/ini.h"

namespace stint::engine {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

// About: it took 0.40 to 0.47 s among four nodes at 1 Gb/s, 0.28 to 0.74 s at 10 Gb/s.
constexpr std::chrono::milliseconds kLimit{500};

std::string layout_of(const Connection& connection) {
  const int nodes = connection.network->size();
  return fmt::format("{}, {} by {}", connection.kind, nodes, connection.communicator->size() / nodes);
}

// What is kept of this layout. Throws Error where the file is damaged.
json entry_of(const Connection& connection, const RunDirectory& run) {
  std::ifstream file(run.communication());
  if (!file) return {};
  const json kept = json::parse(file, nullptr, false);
  if (!kept.is_object()) fail("{}: is damaged", run.communication().string());
  return kept.value(layout_of(connection), json());
}

// Empty, and `why`: there are none that these ranks can go.
std::string kept_ways(const Connection& connection, const RunDirectory& run, std::string& why) {
  try {
    const json entry = entry_of(connection, run);
    why = "for the first time";
    if (entry.is_null()) return {};
    why = "anew, for other machines or in another order";
    if (entry.at("members") != connection.members) return {};
    const auto ways = comm::WaysBySize::parse(entry.at("ways").get<std::string>());
    if (ways.fit(connection.network->size())) return ways.text();
    fail("{}: '{}' is not for {} nodes", run.communication().string(), ways.text(),
         connection.network->size());
  } catch (const json::exception& error) {
    why = fmt::format("anew: {}: is not as we write it: {}", run.communication().string(), error.what());
  } catch (const Error& error) {
    why = fmt::format("anew: {}", error.what());
  }
  return {};
}

void keep(const Connection& connection, const RunDirectory& run, const std::string& ways, double seconds) {
  try {
    json kept = json::parse(std::ifstream(run.communication()), nullptr, false);
    if (!kept.is_object()) kept = json::object();
    kept[layout_of(connection)] = {{"members", connection.members}, {"ways", ways}, {"seconds", seconds}};
    write_file_atomically(run.communication(), kept.dump(1) + "\n");
  } catch (const Error& error) {
    spdlog::warn("communication: what was measured is not kept, so the next start measures again: {}",
                 error.what());
  }
}

// Rank 0's words, on every rank.
comm::Status agree(comm::Communicator& communicator, std::string& words) {
  std::array<char, 1024> buffer{};
  words.copy(buffer.data(), buffer.size() - 1);
  comm::Status status = communicator.broadcast(std::as_writable_bytes(std::span(buffer)), 0);
  words = buffer.data();
  return status;
}

}  // namespace

comm::Status choose_ways(const Connection& connection, const RunDirectory& run) {
  if (connection.network == nullptr || connection.network->size() == 1) return {};
  comm::Communicator& all = *connection.communicator;
  const bool first = all.rank() == 0;
  std::string why;
  std::string ways = first ? kept_ways(connection, run, why) : std::string();
  if (auto status = agree(all, ways); !status) return status;
  const bool measures = ways.empty();
  const auto begin = Clock::now();
  if (measures) {
    if (auto status = connection.network->measure_ways(kLimit); !status) return status;
    ways = connection.network->ways().text();
    if (auto status = agree(all, ways); !status) return status;
  }
  connection.network->set_ways(comm::WaysBySize::parse(ways));
  if (!first) return {};
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  if (measures) keep(connection, run, ways, seconds);
  spdlog::info(
      "communication: {}: {}: {}", layout_of(connection), ways,
      measures ? fmt::format("measured in {:.2f} s, {}", seconds, why) : "as an earlier start measured");
  return {};
}

}  // namespace stint::engine
