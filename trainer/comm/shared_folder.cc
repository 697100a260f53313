// SPDX-License-Identifier: Apache-2.0
#include "trainer/comm/shared_folder.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cstdlib>

#include "base/final_error.h"

namespace stint::comm {
namespace {

constexpr char kFolder[] = "/dev/shm";
constexpr std::size_t kOfOne = 4400 << 10;  // measured with UCX 1.13: 4,292,720 + 8,447 bytes, in whole pages

std::size_t in_mebibytes(std::size_t bytes) {
  return (bytes + (1 << 20) - 1) >> 20;
}

}  // namespace

bool selects_transport(const std::string& transports, const std::string& name) {
  const bool all_but = transports.starts_with('^');
  const std::string list = "," + transports.substr(all_but ? 1 : 0) + ",";
  const auto lists = [&](const std::string& word) {
    return list.find("," + word + ",") != std::string::npos;
  };
  const bool listed = lists(name) || lists("sm") || lists("shm") || lists("all");
  return listed != all_but;
}

std::string shared_folder_problem(int processes, std::size_t bytes_left, const std::string& transports) {
  const std::size_t need = static_cast<std::size_t>(processes) * kOfOne;
  if (need <= bytes_left || !selects_transport(transports, "posix")) return {};
  const std::size_t wanted = std::max<std::size_t>(64, 2 * in_mebibytes(need));
  return fmt::format(
      "shared memory: {} has {:.1f} MiB left, UCX takes {} MiB of it for the {} worker{} of a node; let root "
      "enlarge it (mount -o remount,size={}m {}; a container: --shm-size={}m), or let UCX use other memory: "
      "UCX_TLS=^posix,cma",
      kFolder, static_cast<double>(bytes_left) / (1 << 20), in_mebibytes(need), processes,
      processes == 1 ? "" : "s", wanted, kFolder, wanted);
}

void require_shared_folder(int processes) {
  struct statvfs system {};
  if (statvfs(kFolder, &system) != 0) return;  // UCX says so itself
  const char* transports = std::getenv("UCX_TLS");
  const std::string problem = shared_folder_problem(processes, system.f_bavail * system.f_frsize,
                                                    transports == nullptr ? "all" : transports);
  if (!problem.empty()) throw FinalError(problem);
}

}  // namespace stint::comm
