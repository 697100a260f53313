// SPDX-License-Identifier: Apache-2.0
// One rank as a process of its own, over UCX, or over UCX and shared memory where COMM_RANK_PLACES says how
// many ranks share a node; the tests start as many as they need.
//   comm_rank SCENARIO FOLDER RANK SIZE TIMEOUT_MS
// The ranks find each other by files in FOLDER. What happened is printed, one line each:
//   running | hash HEX | ended CODE PEER MS | closed MS | all_reduce BYTES MICROSECONDS | wrong …
#include <fmt/format.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "base/process.h"
#include "tests/unit/comm/reference.h"
#include "trainer/comm/hierarchical.h"
#include "trainer/comm/ring.h"
#include "trainer/comm/ucx.h"

namespace stint::comm {
namespace {

using Clock = std::chrono::steady_clock;

struct Arguments {
  std::string scenario;
  std::filesystem::path folder;
  int rank, size;
  std::chrono::milliseconds timeout;
};

void say(const std::string& line) {
  std::cout << line << std::endl;
}

long long milliseconds_since(Clock::time_point begin) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin).count();
}

const char* name_of(Code code) {
  switch (code) {
    case Code::kOk:
      return "ok";
    case Code::kPeerFailed:
      return "peer_failed";
    case Code::kTimeout:
      return "timeout";
    case Code::kRevoked:
      return "revoked";
  }
  return "?";
}

void write_own(const Arguments& arguments, const std::string& bytes) {
  const auto name = arguments.folder / fmt::format("address.{}", arguments.rank);
  const auto temporary = name.string() + ".new";
  std::ofstream(temporary, std::ios::binary) << bytes;
  std::filesystem::rename(temporary, name);
}

void await(const std::filesystem::path& name) {
  for (const auto begin = Clock::now(); !std::filesystem::exists(name);) {
    if (milliseconds_since(begin) > 20'000) fail("{} did not come", name.string());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

std::string read_of(const Arguments& arguments, int rank) {
  const auto name = arguments.folder / fmt::format("address.{}", rank);
  await(name);
  std::ostringstream bytes;
  bytes << std::ifstream(name, std::ios::binary).rdbuf();
  return bytes.str();
}

std::unique_ptr<UcxTransport> meet(const Arguments& arguments, std::uint32_t epoch) {
  auto transport = std::make_unique<UcxTransport>();
  write_own(arguments, transport->address());
  std::vector<std::string> addresses;
  for (int rank = 0; rank < arguments.size; ++rank) addresses.push_back(read_of(arguments, rank));
  transport->connect(arguments.rank, addresses, epoch);
  return transport;
}

// The first rank of a node makes its segment, the others find it.
ShmSegment segment_of(const Arguments& arguments, int places) {
  const auto name = arguments.folder / fmt::format("segment.{}", arguments.rank / places);
  const auto temporary = std::filesystem::path(name.string() + ".new");
  if (arguments.rank % places == 0) {
    auto segment = ShmSegment::create({places, 1, 16 << 20}, temporary);
    std::filesystem::rename(temporary, name);
    return segment;
  }
  await(name);
  return ShmSegment::open(name);
}

std::unique_ptr<Communicator> join(const Arguments& arguments) {
  const char* told = std::getenv("COMM_RANK_PLACES");
  if (told == nullptr) return std::make_unique<RingCommunicator>(meet(arguments, 1), 1, arguments.timeout);
  const int places = std::stoi(told);
  std::vector<int> nodes;
  for (int rank = 0; rank < arguments.size; ++rank) nodes.push_back(rank / places);
  return std::make_unique<HierarchicalCommunicator>(meet(arguments, 1), segment_of(arguments, places), nodes,
                                                    1, arguments.timeout);
}

int run_exercise(const Arguments& arguments) {
  const auto communicator = join(arguments);
  const Exercise result = exercise(*communicator, all_counts(), communicator->memory());
  say(result.complaint.empty() ? fmt::format("hash {:016x}", result.hash) : "wrong " + result.complaint);
  return result.complaint.empty() ? 0 : 1;
}

// Whoever reaches into another process's memory ends by SIGSYS. UCX tries it on its own.
void stay_out_of_others() {
  const auto own = static_cast<std::uint32_t>(getpid());
  std::array<sock_filter, 7> code{{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                                   BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 1, 0),
                                   BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_writev, 0, 2),
                                   BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
                                   BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, own, 0, 1),
                                   BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                                   BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)}};
  const sock_fprog program{code.size(), code.data()};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
    fail("cannot filter system calls: {}", errno_text(errno));
}

int run_apart(const Arguments& arguments) {
  stay_out_of_others();
  return run_exercise(arguments);
}

// 16 MiB round and round, until it fails. `revoke`: rank 0 revokes after a while. `child`: every rank starts
// a program once all are connected, which outlives it.
int run_loop(const Arguments& arguments) {
  auto communicator = join(arguments);
  std::jthread revoker;
  if (arguments.scenario == "revoke" && arguments.rank == 0)
    revoker = std::jthread([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
      communicator->revoke();
    });
  Status status;
  auto begin = Clock::now();
  for (bool first = true; status; first = false) {
    std::vector<float> data(4 << 20, 1);
    begin = Clock::now();
    status = communicator->all_reduce(data);
    if (first && status && arguments.scenario == "child")
      run_process({"sh", "-c", "sleep 30 &"}, std::chrono::minutes(1));
    if (first && status) say("running");
  }
  say(fmt::format("ended {} {} {}", name_of(status.code), status.peer, milliseconds_since(begin)));
  std::cerr << arguments.rank << ": " << status.detail << '\n';
  begin = Clock::now();
  if (revoker.joinable()) revoker.join();
  communicator.reset();
  say(fmt::format("closed {}", milliseconds_since(begin)));
  return 0;
}

// A rank that lives in view 7 still sends small and large messages to all; those of view 8 must not take
// them.
int run_stale(const Arguments& arguments) {
  constexpr std::uint32_t kOld = 7, kNew = 8;
  auto transport = meet(arguments, kNew);
  const std::vector<float> wrong(1'000'000, 1e9F);
  std::vector<Transport::Request> stale;
  for (std::uint32_t operation = 0; operation < 4; ++operation)
    for (std::uint16_t slot = 0; slot < 4; ++slot)
      for (const std::size_t count : {wrong.size(), std::size_t{1}})
        stale.push_back(transport->send((arguments.rank + 1) % arguments.size,
                                        {static_cast<std::uint16_t>(kOld), operation, slot},
                                        std::as_bytes(std::span(wrong).first(count))));
  RingCommunicator communicator(*transport, kNew, arguments.timeout);
  const Exercise result = exercise(communicator, some_counts());
  if (!result.complaint.empty()) {
    say("wrong " + result.complaint);
    return 1;
  }
  // Dropped, not merely left: even the large ones, whose bytes the sender still holds, come to their end.
  const auto begin = Clock::now();
  std::size_t done = 0;
  while (done < stale.size() && Clock::now() - begin < arguments.timeout)
    if (transport->test(stale[done]) == Outcome::kDone)
      ++done;
    else if (!transport->progress())
      std::this_thread::yield();
  say(done == stale.size()
          ? fmt::format("hash {:016x}", result.hash)
          : fmt::format("wrong {} of {} old messages were not dropped", stale.size() - done, stale.size()));
  return communicator.barrier() && done == stale.size() ? 0 : 1;
}

// Leaves right after a barrier: the others must still get through it.
int run_leave(const Arguments& arguments) {
  const auto communicator = join(arguments);
  std::vector<float> data(1000, 1);
  Status status = communicator->all_reduce(data);
  if (status) status = communicator->barrier();
  say(fmt::format("ended {} {} 0", name_of(status.code), status.peer));
  return status ? 0 : 1;
}

int run_mismatch(const Arguments& arguments) {
  RingCommunicator communicator(meet(arguments, 1), 1, arguments.timeout);
  std::vector<float> data(arguments.rank == 0 ? 1'000'000 : 1'000'002, 1);
  const auto begin = Clock::now();
  const Status status = communicator.all_reduce(data);
  say(fmt::format("ended {} {} {}", name_of(status.code), status.peer, milliseconds_since(begin)));
  return status ? 1 : 0;
}

int run_bench(const Arguments& arguments) {
  const auto joined = join(arguments);
  Communicator& communicator = *joined;
  for (const std::size_t bytes : {std::size_t{4} << 10, std::size_t{1} << 20, std::size_t{64} << 20}) {
    std::vector<float> data(bytes / sizeof(float), 0);
    const int rounds = bytes > (1 << 20) ? 11 : 201;
    std::vector<double> times;
    for (int round = 0; round < rounds; ++round) {
      if (!communicator.barrier()) return 1;
      const auto begin = Clock::now();
      if (!communicator.all_reduce(data)) return 1;
      times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
    }
    std::ranges::sort(times);
    say(fmt::format("all_reduce {} {:.1f}", bytes, times[times.size() / 2]));
  }
  return communicator.barrier() ? 0 : 1;
}

int run(const Arguments& arguments) {
  const std::map<std::string, int (*)(const Arguments&)> scenarios{
      {"exercise", run_exercise}, {"apart", run_apart},       {"loop", run_loop},
      {"revoke", run_loop},       {"child", run_loop},        {"stale", run_stale},
      {"leave", run_leave},       {"mismatch", run_mismatch}, {"bench", run_bench}};
  const auto found = scenarios.find(arguments.scenario);
  if (found == scenarios.end()) fail("unknown scenario '{}'", arguments.scenario);
  return found->second(arguments);
}

}  // namespace
}  // namespace stint::comm

int main(int count, char** words) {
  if (count != 6) {
    std::cerr << "usage: comm_rank SCENARIO FOLDER RANK SIZE TIMEOUT_MS\n";
    return 2;
  }
  try {
    return stint::comm::run({words[1], words[2], std::stoi(words[3]), std::stoi(words[4]),
                             std::chrono::milliseconds(std::stoi(words[5]))});
  } catch (const std::exception& error) {
    std::cerr << "comm_rank: " << error.what() << '\n';
    return 3;
  }
}
