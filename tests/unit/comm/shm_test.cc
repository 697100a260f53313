// SPDX-License-Identifier: Apache-2.0
// The collectives through shared memory: bits with ranks as threads, failures with ranks as processes.
#include "trainer/comm/shm.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>
#include <thread>

#include "base/error.h"
#include "tests/unit/comm/reference.h"
#include "trainer/comm/locked_memory.h"
#include "trainer/comm/memory_room.h"

namespace stint::comm {
namespace {

using namespace std::chrono_literals;
using testing::AnyOf;
using testing::HasSubstr;
using testing::StartsWith;

constexpr auto kNever = 30s;
constexpr auto kSlack = 3000ms;  // a machine under load may be late by this much
constexpr std::size_t kData = 8 << 20;
constexpr std::uint32_t kEpoch = 7;

ShmCommunicator join(const ShmSegment& segment, int rank, std::chrono::milliseconds timeout) {
  return {ShmSegment::adopt(dup(segment.descriptor())), whole_view(kEpoch, rank, segment.shape().ranks),
          timeout};
}

template <typename Body>
void on_all_ranks(int size, std::chrono::milliseconds timeout, Body body) {
  const auto segment = ShmSegment::create({size, kEpoch, kData});
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank] {
      auto communicator = join(segment, rank, timeout);
      body(communicator);
    });
}

enum class Buffers { kAnywhere, kInPlace };

class SharedMemory : public testing::TestWithParam<Buffers> {
 protected:
  static std::span<std::byte> memory(const ShmCommunicator& communicator) {
    return GetParam() == Buffers::kInPlace ? communicator.memory() : std::span<std::byte>();
  }
};

INSTANTIATE_TEST_SUITE_P(Buffers, SharedMemory, testing::Values(Buffers::kAnywhere, Buffers::kInPlace),
                         [](const auto& info) {
                           return info.param == Buffers::kInPlace ? "InPlace" : "Anywhere";
                         });

TEST_P(SharedMemory, EqualsTheReferenceAndTheOtherBackEndsBitForBit) {
  for (int size = 1; size <= 6; ++size) {
    const std::string expected = hash_in_memory(size, all_counts());
    on_all_ranks(size, kNever, [&](ShmCommunicator& communicator) {
      const Exercise result = exercise(communicator, all_counts(), memory(communicator));
      EXPECT_EQ(result.complaint, "") << size << " ranks";
      EXPECT_EQ(fmt::format("{:016x}", result.hash), expected) << size << " ranks";
    });
  }
}

TEST_P(SharedMemory, EqualsTheReferenceForRandomSizesAndCounts) {
  std::mt19937 random(20240229);
  for (int round = 0; round < 8; ++round) {
    const int size = std::uniform_int_distribution(1, 7)(random);
    std::vector<std::size_t> counts;
    for (int i = 0; i < 2; ++i)
      counts.push_back(std::uniform_int_distribution<std::size_t>(0, 200'000)(random));
    on_all_ranks(size, kNever, [&](ShmCommunicator& communicator) {
      EXPECT_EQ(exercise(communicator, counts, memory(communicator)).complaint, "")
          << size << " ranks, " << testing::PrintToString(counts);
    });
  }
}

TEST(SharedMemoryMix, OneRankWithABufferElsewhereIsEnoughToPassAllThrough) {
  on_all_ranks(3, kNever, [&](ShmCommunicator& communicator) {
    const auto memory = communicator.rank() == 1 ? std::span<std::byte>() : communicator.memory();
    EXPECT_EQ(exercise(communicator, all_counts(), memory).complaint, "");
  });
}

// Ranks as processes; what becomes of each is in memory that they share with the test.
class Processes {
 public:
  struct End {
    std::atomic<bool> running;  // the first operation is over
    std::atomic<bool> over;
    Code code;
    int peer;
    std::array<char, 200> detail;
  };
  using Body = std::function<Status(ShmCommunicator&, int round)>;

  // Each calls the body until that fails, or `rounds` times.
  Processes(int size, std::chrono::milliseconds timeout, const Body& body, int rounds = 1 << 30)
      : segment_(ShmSegment::create({size, kEpoch, kData})) {
    void* memory = mmap(nullptr, sizeof(End) * 16, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ends_ = new (memory) End[16];
    for (int rank = 0; rank < size; ++rank) {
      ids_.push_back(fork());
      if (ids_.back() == 0) {
        live(rank, timeout, body, rounds);
        _exit(0);
      }
    }
  }
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;
  ~Processes() {
    for (std::size_t rank = 0; rank < ids_.size(); ++rank) end(static_cast<int>(rank));
    munmap(ends_, sizeof(End) * 16);
  }

  bool await_running() const {
    return until([&] {
      for (std::size_t rank = 0; rank < ids_.size(); ++rank)
        if (!ends_[rank].running) return false;
      return true;
    });
  }
  void signal(int rank, int number) const { kill(ids_[static_cast<std::size_t>(rank)], number); }
  // Kills and reaps it.
  void end(int rank) {
    pid_t& id = ids_[static_cast<std::size_t>(rank)];
    if (id < 0) return;
    kill(id, SIGKILL);
    waitpid(id, nullptr, 0);
    id = -1;
  }
  // Null if it did not come to its end in time.
  const End* await_end(int rank, std::chrono::milliseconds limit = kSlack) const {
    const End& end = ends_[rank];
    return until([&] { return end.over.load(); }, limit) ? &end : nullptr;
  }
  const ShmSegment& segment() const { return segment_; }

 private:
  static bool until(const std::function<bool()>& holds, std::chrono::milliseconds limit = kNever) {
    for (const auto end = std::chrono::steady_clock::now() + limit; !holds();) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(200us);
    }
    return true;
  }

  void live(int rank, std::chrono::milliseconds timeout, const Body& body, int rounds) const {
    auto communicator = join(segment_, rank, timeout);
    End& end = ends_[rank];
    Status status;
    for (int round = 0; status && round < rounds; ++round) {
      status = body(communicator, round);
      if (status) end.running = true;
    }
    end.code = status.code;
    end.peer = status.peer;
    status.detail.copy(end.detail.data(), end.detail.size() - 1);
    end.over = true;
  }

  ShmSegment segment_;
  std::vector<pid_t> ids_;
  End* ends_ = nullptr;
};

// All operations in turn, on buffers in place and elsewhere, some of them long enough to be killed in.
Status anything(ShmCommunicator& communicator, int round) {
  static std::vector<float> elsewhere(600'000, 1);
  const std::span<float> here(reinterpret_cast<float*>(communicator.memory().data()), 600'000);
  const auto data = (round / 6 % 2 == 0 ? here : std::span(elsewhere)).first(round % 5 == 0 ? 100 : 600'000);
  const int next = (communicator.rank() + 1) % communicator.size();
  const int last = (communicator.rank() + communicator.size() - 1) % communicator.size();
  switch (round % 6) {
    case 0:
      return communicator.all_reduce(data);
    case 1:
      return communicator.reduce_scatter(data);
    case 2:
      return communicator.all_gather(data);
    case 3:
      return communicator.broadcast(std::as_writable_bytes(data), round % communicator.size());
    case 4:
      return communicator.barrier();
    default:
      if (communicator.rank() % 2 == 0)
        if (Status status = communicator.send(std::as_bytes(data), next); !status) return status;
      if (Status status = communicator.receive(std::as_writable_bytes(data), last); !status) return status;
      return communicator.rank() % 2 == 1 ? communicator.send(std::as_bytes(data), next) : Status{};
  }
}

TEST(SharedMemoryFailure, KillOfAPeerAtAnyMomentIsNoticedByAllWhoNameIt) {
  std::mt19937 random(7);
  for (int round = 0; round < 40; ++round) {
    const int size = std::uniform_int_distribution(2, 4)(random);
    const int victim = std::uniform_int_distribution(0, size - 1)(random);
    Processes ranks(size, kNever, anything);
    ASSERT_TRUE(ranks.await_running());
    std::this_thread::sleep_for(std::chrono::microseconds(std::uniform_int_distribution(0, 8000)(random)));
    ranks.signal(victim, SIGKILL);
    for (int rank = 0; rank < size; ++rank) {
      if (rank == victim) continue;
      const auto* end = ranks.await_end(rank);
      ASSERT_NE(end, nullptr) << "rank " << rank << " hangs";
      EXPECT_EQ(end->code, Code::kPeerFailed) << end->detail.data();
      EXPECT_EQ(end->peer, victim) << end->detail.data();
      EXPECT_THAT(end->detail.data(), HasSubstr(fmt::format("rank {}", victim)));
    }
  }
}

TEST(SharedMemoryFailure, AKilledPeerIsNoticedBeforeAnybodyReapsIt) {
  Processes ranks(2, kNever, anything);
  ASSERT_TRUE(ranks.await_running());
  ranks.signal(1, SIGKILL);
  const auto* end = ranks.await_end(0);
  ASSERT_NE(end, nullptr);
  EXPECT_EQ(end->code, Code::kPeerFailed);
}

TEST(SharedMemoryFailure, AFrozenPeerIsATimeoutThatNamesItAndEndsTooWhenItWakesUp) {
  Processes ranks(3, 400ms, anything);
  ASSERT_TRUE(ranks.await_running());
  ranks.signal(1, SIGSTOP);
  for (const int survivor : {0, 2}) {
    const auto* end = ranks.await_end(survivor);
    ASSERT_NE(end, nullptr);
    EXPECT_EQ(end->code, Code::kTimeout);
    EXPECT_EQ(end->peer, 1) << end->detail.data();
  }
  ranks.signal(1, SIGCONT);
  const auto* end = ranks.await_end(1);
  ASSERT_NE(end, nullptr);
  EXPECT_EQ(end->code, Code::kTimeout);
}

TEST(SharedMemoryFailure, TheOwnersWordIsEnough) {
  const auto segment = ShmSegment::create({2, kEpoch, 0});
  auto communicator = join(segment, 0, kNever);
  std::jthread owner([&] {
    std::this_thread::sleep_for(50ms);
    segment.declare_dead(1);
  });
  const Status status = communicator.barrier();
  EXPECT_EQ(status.code, Code::kPeerFailed);
  EXPECT_EQ(status.peer, 1);
  EXPECT_EQ(status.detail, "barrier in view 7: rank 1 is dead");
}

TEST(SharedMemoryFailure, ARankThatNeverComesIsATimeoutAndTheFirstFailureStays) {
  const auto segment = ShmSegment::create({2, kEpoch, 0});
  auto communicator = join(segment, 0, 30ms);
  const Status first = communicator.barrier();
  EXPECT_EQ(first.code, Code::kTimeout);
  EXPECT_EQ(first.detail, "barrier in view 7: still waiting for rank 1 after 30 ms");
  communicator.revoke();
  EXPECT_EQ(communicator.barrier().detail, first.detail);
}

TEST(SharedMemoryFailure, RevokeFromAnotherThreadEndsTheOperationUnderWayAndIsToldToAll) {
  std::array<Status, 3> ends;
  on_all_ranks(3, kNever, [&](ShmCommunicator& communicator) {
    std::jthread revoker;
    if (communicator.rank() == 0)
      revoker = std::jthread([&] {
        std::this_thread::sleep_for(50ms);
        communicator.revoke();
        communicator.revoke();
      });
    Status status;
    for (int round = 0; status; ++round) status = anything(communicator, round % 5);
    EXPECT_FALSE(communicator.barrier());
    ends[static_cast<std::size_t>(communicator.rank())] = status;
  });
  EXPECT_EQ(ends[0].code, Code::kRevoked);
  for (const int rank : {1, 2}) {
    EXPECT_EQ(ends[static_cast<std::size_t>(rank)].code, Code::kPeerFailed);
    EXPECT_EQ(ends[static_cast<std::size_t>(rank)].peer, 0);
    EXPECT_THAT(ends[static_cast<std::size_t>(rank)].detail, HasSubstr("rank 0 was revoked"));
  }
}

TEST(SharedMemoryFailure, ARankThatLeavesAfterABarrierFailsNobody) {
  for (int round = 0; round < 10; ++round) {
    Processes ranks(
        4, kNever, [](ShmCommunicator& c, int i) { return i < 5 ? anything(c, i) : c.barrier(); }, 6);
    for (int rank = 0; rank < 4; ++rank) {
      const auto* end = ranks.await_end(rank, kNever);
      ASSERT_NE(end, nullptr);
      EXPECT_EQ(end->code, Code::kOk) << end->detail.data();
    }
  }
}

std::array<Status, 2> with_two(const std::function<Status(ShmCommunicator&)>& zero,
                               const std::function<Status(ShmCommunicator&)>& one) {
  std::array<Status, 2> ends;
  on_all_ranks(2, kNever, [&](ShmCommunicator& communicator) {
    ends[static_cast<std::size_t>(communicator.rank())] =
        communicator.rank() == 0 ? zero(communicator) : one(communicator);
  });
  return ends;
}

TEST(SharedMemoryFailure, RanksThatDisagreeAreToldWhoCallsWhatAndDoNotHang) {
  std::vector<float> ten(10), twelve(12);
  std::vector<Bf16> bf16(10);
  const auto all_reduce = [](auto& data) { return [&](ShmCommunicator& c) { return c.all_reduce(data); }; };
  const auto broadcast = [&](int root) {
    return
        [&, root](ShmCommunicator& c) { return c.broadcast(std::as_writable_bytes(std::span(ten)), root); };
  };
  for (const auto& ends :
       {with_two(all_reduce(ten), all_reduce(twelve)), with_two(all_reduce(ten), all_reduce(bf16)),
        with_two(all_reduce(ten), [](ShmCommunicator& c) { return c.barrier(); }),
        with_two(broadcast(0), broadcast(1))})
    for (const Status& end : ends) EXPECT_EQ(end.code, Code::kPeerFailed) << end.detail;
  const auto ends = with_two(all_reduce(ten), all_reduce(bf16));
  EXPECT_THAT(ends[0].detail + ends[1].detail, HasSubstr("all_reduce of 10 bf16"));
}

TEST(SharedMemoryFailure, AMessageOfAnotherLengthThanAwaitedFailsItsReceiver) {
  std::vector<std::byte> ten(10), twelve(12);
  const auto ends = with_two([&](ShmCommunicator& c) { return c.send(ten, 1); },
                             [&](ShmCommunicator& c) { return c.receive(twelve, 0); });
  EXPECT_EQ(ends[1].code, Code::kPeerFailed);
  EXPECT_EQ(ends[1].detail, "receive in view 7: rank 0 sent 10 bytes where 12 were awaited");
}

TEST(ShmSegment, ARankIsTakenOnceAndOnlyInItsView) {
  const auto segment = ShmSegment::create({2, kEpoch, 100});
  EXPECT_EQ(segment.data(1).size(), 100U);
  const auto communicator = join(segment, 0, kNever);
  EXPECT_THAT([&] { join(segment, 0, kNever); },
              testing::ThrowsMessage<Error>(HasSubstr("rank 0 of view 7 has been taken before")));
  const auto join_as = [&](const Group& group) {
    const ShmCommunicator other(ShmSegment::adopt(dup(segment.descriptor())), group, kNever);
  };
  EXPECT_THROW(join_as(whole_view(kEpoch + 1, 1, 2)), Error);
  EXPECT_THROW(join_as(whole_view(kEpoch, 1, 3)), Error);
  EXPECT_THROW(join_as(whole_view(kEpoch, 2, 2)), Error);
}

TEST(ShmSegment, WhatIsNoSegmentIsRefused) {
  const int file = memfd_create("no segment", 0);
  EXPECT_THAT([&] { ShmSegment::adopt(dup(file)); },
              testing::ThrowsMessage<Error>(HasSubstr("is no segment of this version")));
  ASSERT_EQ(ftruncate(file, 1 << 20), 0);
  EXPECT_THROW(ShmSegment::adopt(file), Error);
  EXPECT_THROW(ShmSegment::create({0, 1, 0}), Error);
  EXPECT_THAT(
      [&] {
        ShmSegment::create({ShmSegment::kMaxRanks + 1, 1, 0});
      },
      testing::ThrowsMessage<Error>(HasSubstr("between 1 and 64 are possible")));
}

TEST(ShmSegment, MoreThanTheHostHasIsRefusedWithBothNumbers) {
  EXPECT_THAT(
      [] {
        ShmSegment::create({2, 1, std::size_t{1} << 45});
      },
      testing::ThrowsMessage<Error>(
          testing::AllOf(StartsWith("shared memory: this host has "), HasSubstr("2 ranks need 6710"))));
}

TEST(ShmSegment, LaidOutInAnInheritedDescriptorIsMappedByThoseWhoHadItBefore) {
  const int descriptor = ShmSegment::open_anonymous();
  EXPECT_EQ(fcntl(descriptor, F_GETFD), FD_CLOEXEC);
  const int inherited = dup(descriptor);
  EXPECT_THROW(ShmSegment::adopt(dup(inherited)), Error) << "not laid out yet";
  const auto segment = ShmSegment::lay_out(descriptor, {2, kEpoch, 100});
  const auto same = ShmSegment::adopt(inherited, 1);
  segment.data(1)[7] = std::byte{5};
  EXPECT_EQ(same.data(1)[7], std::byte{5});
}

// A host of 8 GiB of which 4 are left, and control groups with and without limits.
class MemoryRooms : public testing::Test {
 protected:
  MemoryRooms() {
    std::string name = (std::filesystem::temp_directory_path() / "stint-room-XXXXXX").string();
    root_ = mkdtemp(name.data());
    write("proc/meminfo", "MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 4194304 kB\n");
  }
  ~MemoryRooms() override { std::filesystem::remove_all(root_); }
  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }
  std::vector<std::array<std::size_t, 3>> rooms() const {
    std::vector<std::array<std::size_t, 3>> found;
    for (const auto& room : memory_rooms(root_))
      found.push_back({room.of_host ? 1U : 0U, room.left >> 20, room.limit >> 20});
    return found;
  }
  using Rooms = std::vector<std::array<std::size_t, 3>>;
  std::filesystem::path root_;
};

TEST_F(MemoryRooms, AreTheHostsWithoutGroups) {
  EXPECT_EQ(rooms(), (Rooms{{1, 4096, 8192}}));
}

TEST_F(MemoryRooms, AreThoseOfEveryGroupAboveUsInVersion2) {
  write("proc/self/cgroup", "0::/slurm/job_1/step_0\n");
  write("sys/fs/cgroup/slurm/job_1/step_0/memory.max", "max\n");
  write("sys/fs/cgroup/slurm/job_1/step_0/memory.current", "1048576\n");
  write("sys/fs/cgroup/slurm/job_1/memory.max", "1073741824\n");
  write("sys/fs/cgroup/slurm/job_1/memory.current", "536870912\n");
  write("sys/fs/cgroup/slurm/job_1/memory.stat", "anon 5\ninactive_file 268435456\n");
  EXPECT_EQ(rooms(), (Rooms{{1, 4096, 8192}, {0, 768, 1024}}));
}

TEST_F(MemoryRooms, AreThoseOfEveryGroupAboveUsInVersion1) {
  write("proc/self/cgroup", "4:cpu,memory:/job_1\n2:cpuset:/job_2\n0::/\n");
  write("sys/fs/cgroup/memory/job_1/memory.limit_in_bytes", "1073741824\n");
  write("sys/fs/cgroup/memory/job_1/memory.usage_in_bytes", "2147483648\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  write("sys/fs/cgroup/memory/memory.usage_in_bytes", "1\n");
  const auto found = rooms();
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found[1], (std::array<std::size_t, 3>{0, 0, 1024}));
}

TEST_F(MemoryRooms, LockedMemoryMattersToRdmaDevicesAndTheUnprivileged) {
  constexpr std::size_t kMiB = 1 << 20;
  write("proc/self/status", "Name:\tx\nCapEff:\t0000000000000000\n");
  EXPECT_EQ(locked_memory_problem(100 * kMiB, 8 * kMiB, root_), "") << "no such device";
  write("sys/class/infiniband/mlx5_0/node_guid", "");
  EXPECT_EQ(locked_memory_problem(8 * kMiB, 8 * kMiB, root_), "");
  EXPECT_THAT(locked_memory_problem(100 * kMiB, 8 * kMiB, root_),
              testing::AllOf(HasSubstr("mlx5_0"), HasSubstr("8 MiB may be locked"),
                             HasSubstr("LimitMEMLOCK=infinity")));
  write("proc/self/status", "CapEff:\t0000000000004000\n");
  EXPECT_EQ(locked_memory_problem(100 * kMiB, 8 * kMiB, root_), "") << "CAP_IPC_LOCK";
}

// In a mount namespace of its own, on a file system of one MiB.
std::string complaint_of_a_small_file_system(const std::string& folder) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t id = fork();
  if (id == 0) {
    std::string text = "not refused";
    if (unshare(CLONE_NEWNS) != 0 || mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("tmpfs", folder.c_str(), "tmpfs", 0, "size=1m") != 0)
      text = "cannot mount";
    else
      try {
        ShmSegment::create({2, 1, 1 << 20}, folder + "/segment");
      } catch (const Error& error) {
        text = error.what();
        if (std::filesystem::exists(folder + "/segment")) text = "left a file behind";
      }
    _exit(write(ends[1], text.data(), text.size()) > 0 ? 0 : 1);
  }
  close(ends[1]);
  std::array<char, 500> text{};
  const ssize_t length = read(ends[0], text.data(), text.size());
  close(ends[0]);
  waitpid(id, nullptr, 0);
  return std::string(text.data(), static_cast<std::size_t>(std::max<ssize_t>(0, length)));
}

TEST(ShmSegment, AFileSystemTooSmallIsRefusedWithWhatIsNeeded) {
  if (geteuid() != 0) GTEST_SKIP() << "wants root, to mount a small file system";
  std::string folder = (std::filesystem::temp_directory_path() / "stint-shm-XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string complaint = complaint_of_a_small_file_system(folder);
  std::filesystem::remove(folder);
  EXPECT_THAT(complaint, StartsWith("shared memory: " + folder + " has 1 MiB left, 2 ranks need "));
  EXPECT_THAT(complaint, HasSubstr("mount -o remount,size="));
}

TEST(ShmSegment, ANamedOneIsFoundByItsNameAndNeverMadeTwice) {
  const auto name = std::filesystem::temp_directory_path() / fmt::format("stint-segment-{}", getpid());
  {
    const auto segment = ShmSegment::create({1, kEpoch, 64}, name);
    segment.data(0)[3] = std::byte{5};
    const auto same = ShmSegment::open(name);
    EXPECT_EQ(same.data(0)[3], std::byte{5});
    EXPECT_EQ(same.shape().epoch, kEpoch);
    EXPECT_THROW(ShmSegment::create({1, kEpoch, 64}, name), Error);
  }
  std::filesystem::remove(name);
  EXPECT_THAT([&] { ShmSegment::open(name); },
              testing::ThrowsMessage<Error>(HasSubstr("No such file or directory")));
}

}  // namespace
}  // namespace stint::comm
