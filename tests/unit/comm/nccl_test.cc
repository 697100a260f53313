// SPDX-License-Identifier: Apache-2.0
// The NCCL back end on the stand-in for NCCL and CUDA: ranks as threads, faults at will. A broken rule of
// NCCL's would end this program; nccl_rules_test.cc shows that it does.
#include "trainer/comm/nccl.h"

#include <gmock/gmock.h>

#include <atomic>
#include <future>
#include <numeric>
#include <thread>

#include "base/error.h"
#include "tests/unit/comm/nccl_shim/nccl_shim.h"
#include "tests/unit/comm/reference.h"

namespace stint::comm {
namespace {

using namespace std::chrono_literals;
using testing::Each;
using testing::HasSubstr;

constexpr auto kNever = 100s;
constexpr auto kSoon = 200ms;  // a time-out that is meant to come
constexpr auto kSlack = 5s;    // of a busy machine

std::shared_ptr<const gpu::Libraries> libraries() {
  static const auto all =
      std::make_shared<const gpu::Libraries>(gpu::LibraryNames{NCCL_SHIM, NCCL_SHIM, NCCL_SHIM});
  return all;
}

NcclOptions options_of(std::chrono::milliseconds timeout) {
  NcclOptions options;
  options.timeout = timeout;
  options.grace = 3s;
  options.scratch_bytes = 1 << 20;
  return options;
}

template <typename Body>
void in_threads(int size, Body body) {
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < size; ++rank) threads.emplace_back([&, rank] { body(rank); });
}

// Runs the body once a rank, in a thread and on a device of its own.
template <typename Body>
void on_all_ranks(int size, const NcclOptions& options, Body body) {
  const std::vector<std::string> ids{NcclView::new_id(*libraries())};
  in_threads(size, [&](int rank) {
    NcclOptions own = options;
    own.device = rank;
    auto [status, view] = NcclView::join(libraries(), own, ids, 1, rank, size);
    ASSERT_TRUE(status) << status.detail;
    body(*view);
  });
}

class Nccl : public testing::Test {
 protected:
  Nccl() { nccl_shim::reset(); }
  ~Nccl() override { nccl_shim::reset(); }
};

void expect_right(int size, const NcclOptions& options, std::span<const std::size_t> counts) {
  std::vector<std::uint64_t> hashes(static_cast<std::size_t>(size));
  on_all_ranks(size, options, [&](NcclView& view) {
    const Exercise result = exercise(view.whole(), counts);
    EXPECT_EQ(result.complaint, "") << size << " ranks";
    hashes[static_cast<std::size_t>(view.whole().rank())] = result.hash;
  });
  EXPECT_THAT(hashes, Each(hashes[0]));
}

TEST_F(Nccl, EqualsTheReferenceBitForBitForAllSizesCountsAndTypes) {
  for (int size = 1; size <= 5; ++size) expect_right(size, options_of(kNever), all_counts());
}

constexpr std::array<std::size_t, 4> kFewCounts{1, 7, 64, 1000};

TEST_F(Nccl, EqualsTheReferenceWhileEveryCallStaysInProgressForAWhile) {
  nccl_shim::stay_in_progress(3);
  expect_right(3, options_of(kNever), kFewCounts);
}

TEST_F(Nccl, EqualsTheReferenceHoweverSmallTheScratchMemory) {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{100}, std::size_t{4096}}) {
    NcclOptions options = options_of(kNever);
    options.scratch_bytes = bytes;
    expect_right(3, options, kFewCounts);
  }
}

TEST_F(Nccl, KeepsOneThreadInsideNcclWhileItsCallsTakeTime) {
  nccl_shim::take_time(300);
  nccl_shim::stay_in_progress(2);
  on_all_ranks(2, options_of(kNever), [](NcclView& view) {
    std::vector<NcclCommunicator::Pending> all;
    std::vector<std::vector<float>> data(8, std::vector<float>(100, 1));
    for (auto& each : data) all.push_back(view.whole().start_all_reduce(each));
    for (const auto& each : all) EXPECT_TRUE(view.whole().wait(each));
    for (const auto& each : data) EXPECT_THAT(each, Each(2.0F));
  });
}

TEST_F(Nccl, LeavesSumsToNcclWhenToldTo) {
  NcclOptions options = options_of(kNever);
  options.sums = NcclSums::kNative;
  on_all_ranks(3, options, [](NcclView& view) {
    NcclCommunicator& whole = view.whole();
    for (const std::size_t count : {std::size_t{1}, std::size_t{7}, std::size_t{300}}) {
      std::vector<float> all(count, 1);
      std::vector<Bf16> parts(count, to_bf16(2));
      EXPECT_TRUE(whole.all_reduce(all));
      EXPECT_THAT(all, Each(3.0F));
      EXPECT_TRUE(whole.reduce_scatter(parts));
      const Range own = chunk_of(count, 3, whole.rank());
      for (std::size_t i = own.begin; i < own.end; ++i) EXPECT_EQ(to_float(parts[i]), 6);
      EXPECT_TRUE(whole.all_gather(parts));
      for (const Bf16 part : parts) EXPECT_EQ(to_float(part), 6);
    }
  });
  EXPECT_GT(nccl_shim::calls("ncclAllReduce"), 0);
  EXPECT_GT(nccl_shim::calls("ncclReduceScatter"), 0);
  EXPECT_GT(nccl_shim::calls("ncclReduce"), 0);
}

Group group_of(std::vector<int> members, int rank) {
  const auto place = std::ranges::find(members, rank) - members.begin();
  return {1, static_cast<int>(place), std::move(members)};
}

TEST_F(Nccl, SplitsIntoTheRanksOfANodeAndThoseAcrossNodes) {
  nccl_shim::stay_in_progress(1);
  on_all_ranks(5, options_of(kNever), [](NcclView& view) {
    const int rank = view.whole().rank();
    const int first = rank / 2 * 2;
    const auto inside = view.split(rank == 4 ? Group{1, 0, {}} : group_of({first, first + 1}, rank));
    ASSERT_TRUE(inside.status) << inside.status.detail;
    const auto across = view.split(rank == 4 ? group_of({4}, 4) : group_of({rank % 2, rank % 2 + 2}, rank));
    ASSERT_TRUE(across.status) << across.status.detail;
    std::vector<float> data{static_cast<float>(rank)};
    if (rank == 4) {
      EXPECT_EQ(inside.communicator, nullptr);
    } else {
      EXPECT_EQ(inside.communicator->rank(), rank % 2);
      EXPECT_TRUE(inside.communicator->all_reduce(data));
    }
    EXPECT_TRUE(across.communicator->all_reduce(data));
    EXPECT_THAT(data, Each(rank == 4 ? 4.0F : 6.0F));
  });
}

TEST_F(Nccl, BeginsWhenTheComputationIsDoneAndLetsTheHostGoOn) {
  on_all_ranks(2, options_of(kNever), [](NcclView& view) {
    const gpu::Stream compute = gpu::make_stream(libraries()->cuda);
    nccl_shim::close_gate(compute.get());
    std::vector<float> data(1000, 1);
    const auto pending = view.whole().start_all_reduce(data, compute.get());
    std::this_thread::sleep_for(20ms);
    EXPECT_THAT(data, Each(1.0F));  // both ranks' gradients are still being computed
    nccl_shim::open_gate(compute.get());
    EXPECT_TRUE(view.whole().wait(pending));
    EXPECT_THAT(data, Each(2.0F));
  });
}

TEST_F(Nccl, LetsTheComputationWaitForItOnTheDevice) {
  on_all_ranks(2, options_of(kNever), [](NcclView& view) {
    const gpu::Stream gradients = gpu::make_stream(libraries()->cuda),
                      update = gpu::make_stream(libraries()->cuda);
    const gpu::Event updated = gpu::make_event(libraries()->cuda);
    nccl_shim::close_gate(gradients.get());
    std::vector<float> data(1000, 1);
    const auto pending = view.whole().start_all_reduce(data, gradients.get());
    ASSERT_TRUE(view.whole().hold(update.get(), pending));
    gpu::check(libraries()->cuda, libraries()->cuda.event_record(updated.get(), update.get()), "record");
    std::this_thread::sleep_for(20ms);
    EXPECT_EQ(libraries()->cuda.event_query(updated.get()), gpu::CudaError::kNotReady);
    nccl_shim::open_gate(gradients.get());
    while (libraries()->cuda.event_query(updated.get()) != gpu::CudaError::kSuccess)
      std::this_thread::yield();
    EXPECT_THAT(data, Each(2.0F));
    EXPECT_TRUE(view.whole().wait(pending));
  });
}

TEST_F(Nccl, AnErrorOfTheNetworkEndsTheOperationAndNamesTheOnlyPeer) {
  nccl_shim::report(0, 1, gpu::NcclResult::kRemoteError, false);
  on_all_ranks(2, options_of(kNever), [](NcclView& view) {
    EXPECT_TRUE(view.whole().barrier());
    view.whole().set_timeout(1s);
    std::vector<float> data(1000, 1);
    const auto begin = std::chrono::steady_clock::now();
    const Status status = view.whole().all_reduce(data);
    EXPECT_FALSE(status);
    EXPECT_EQ(status.peer, 1 - view.whole().rank());
    if (view.whole().rank() != 0) return;  // it waits for its deadline
    EXPECT_EQ(status.code, Code::kPeerFailed);
    EXPECT_THAT(status.detail, HasSubstr("all_reduce 1 in view 1: NCCL: remote process exited"));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 900ms);
  });
}

TEST_F(Nccl, AResultDoesNotCountWhenNcclReportsAnErrorAfterIt) {
  nccl_shim::report(0, 0, gpu::NcclResult::kRemoteError, true);
  on_all_ranks(1, options_of(kNever), [](NcclView& view) {
    const Status status = view.whole().barrier();
    EXPECT_EQ(status.code, Code::kPeerFailed) << status.detail;
  });
}

TEST_F(Nccl, AHangEndsAtTheDeadlineAndTheDeviceHasLetGo) {
  nccl_shim::hang(1, 0);
  const auto begin = std::chrono::steady_clock::now();
  on_all_ranks(3, options_of(kNever), [&](NcclView& view) {
    view.whole().set_timeout(kSoon);
    std::vector<float> data(1000, 1);
    const Status status = view.whole().all_reduce(data);
    EXPECT_EQ(status.code, Code::kTimeout) << status.detail;
    EXPECT_THAT(status.detail, HasSubstr("all_reduce 0 in view 1: the GPU still waits at its deadline"));
    EXPECT_EQ(nccl_shim::under_way(view.whole().rank()), 0);
    EXPECT_EQ(view.whole().barrier().detail, status.detail) << "the first failure is kept";
    EXPECT_FALSE(view.stuck());
  });
  EXPECT_GE(std::chrono::steady_clock::now() - begin, kSoon);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kSoon + kSlack);
}

TEST_F(Nccl, TheWatchdogRevokesThoughTheHostWaitsForNothing) {
  nccl_shim::hang(0, 0);
  on_all_ranks(2, options_of(kNever), [&](NcclView& view) {
    view.whole().set_timeout(kSoon);
    std::vector<float> data(1000, 1);
    const auto pending = view.whole().start_all_reduce(data);
    const auto end = std::chrono::steady_clock::now() + kSoon + kSlack;
    while (nccl_shim::under_way(view.whole().rank()) > 0 && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(5ms);
    EXPECT_EQ(nccl_shim::under_way(view.whole().rank()), 0);
    EXPECT_EQ(view.whole().wait(pending).code, Code::kTimeout);
  });
}

TEST_F(Nccl, ACallThatNcclNeverFinishesEndsAtTheDeadline) {
  nccl_shim::never_take(0);
  on_all_ranks(2, options_of(kNever), [&](NcclView& view) {
    view.whole().set_timeout(kSoon);
    std::vector<float> data(1000, 1);
    const Status status = view.whole().all_reduce(data);
    EXPECT_EQ(status.code, Code::kTimeout);
    EXPECT_EQ(status.peer, 1 - view.whole().rank());
    EXPECT_EQ(status.detail, view.whole().rank() == 0
                                 ? "all_reduce 0 in view 1: NCCL still works on it at its deadline"
                                 : "all_reduce 0 in view 1: the GPU still waits at its deadline");
    EXPECT_FALSE(view.stuck());
  });
}

TEST_F(Nccl, RevokeFromAnotherThreadEndsTheOperationUnderWayAndAllLaterOnes) {
  nccl_shim::hang(0, 0);
  nccl_shim::hang(1, 0);
  on_all_ranks(2, options_of(kNever), [](NcclView& view) {
    std::jthread revoker([&] {
      std::this_thread::sleep_for(50ms);
      view.whole().revoke();
      view.revoke();
    });
    std::vector<float> data(10);
    EXPECT_EQ(view.whole().barrier().code, Code::kRevoked);
    EXPECT_EQ(view.whole().all_reduce(data).code, Code::kRevoked);
    EXPECT_EQ(view.whole().reduce_scatter(data).code, Code::kRevoked);
    EXPECT_EQ(view.whole().all_gather(data).code, Code::kRevoked);
    EXPECT_EQ(view.whole().broadcast(std::as_writable_bytes(std::span(data)), 0).code, Code::kRevoked);
    EXPECT_EQ(view.whole().send(std::as_bytes(std::span(data)), 0).code, Code::kRevoked);
    EXPECT_EQ(view.whole().receive(std::as_writable_bytes(std::span(data)), 0).code, Code::kRevoked);
    EXPECT_EQ(view.split(whole_view(1, view.whole().rank(), 2)).status.code, Code::kRevoked);
  });
}

TEST_F(Nccl, AFailureInOneCommunicatorRevokesAllOfTheViewBeforeAnyIsDestroyed) {
  on_all_ranks(2, options_of(kNever), [](NcclView& view) {
    view.whole().set_timeout(kSoon);
    const auto part = view.split(whole_view(1, view.whole().rank(), 2));
    ASSERT_TRUE(part.status);
    ASSERT_TRUE(part.communicator->barrier());
    part.communicator->set_timeout(kSoon);
    nccl_shim::hang(view.whole().rank(), 0);
    EXPECT_EQ(part.communicator->barrier().code, Code::kTimeout);
    EXPECT_EQ(view.whole().barrier().code, Code::kTimeout);
  });
  EXPECT_EQ(nccl_shim::calls("ncclCommRevoke"), 4);
  EXPECT_EQ(nccl_shim::calls("ncclCommDestroy"), 4);
  EXPECT_EQ(nccl_shim::calls("ncclCommAbort"), 0);
  EXPECT_EQ(nccl_shim::calls("ncclCommFinalize"), 0);
}

TEST_F(Nccl, AHealthyViewIsFinalizedAndThenDestroyed) {
  nccl_shim::stay_in_progress(2);
  on_all_ranks(3, options_of(kNever), [](NcclView& view) { EXPECT_TRUE(view.whole().barrier()); });
  EXPECT_EQ(nccl_shim::calls("ncclCommFinalize"), 3);
  EXPECT_EQ(nccl_shim::calls("ncclCommDestroy"), 3);
  EXPECT_EQ(nccl_shim::calls("ncclCommRevoke") + nccl_shim::calls("ncclCommAbort"), 0);
}

TEST_F(Nccl, ACommunicatorThatReportsAnErrorIsAbortedNotDestroyed) {
  nccl_shim::report(0, 0, gpu::NcclResult::kRemoteError, false);
  on_all_ranks(2, options_of(kNever), [](NcclView& view) {
    view.whole().set_timeout(kSoon);
    EXPECT_FALSE(view.whole().barrier());
  });
  EXPECT_EQ(nccl_shim::calls("ncclCommAbort"), 1);
  EXPECT_EQ(nccl_shim::calls("ncclCommDestroy"), 1);
}

TEST_F(Nccl, JoiningAloneEndsAtTheDeadlineAndIsAborted) {
  const std::vector<std::string> ids{NcclView::new_id(*libraries())};
  const auto [status, view] = NcclView::join(libraries(), options_of(kSoon), ids, 7, 0, 2);
  EXPECT_EQ(status.code, Code::kTimeout);
  EXPECT_EQ(status.detail, "join 0 in view 7: NCCL still works on it at its deadline");
  EXPECT_EQ(view, nullptr);
  EXPECT_EQ(nccl_shim::calls("ncclCommAbort"), 1);
}

TEST_F(Nccl, ShrinksToTheSurvivorsWhoGoOnWithTheirOwnBits) {
  nccl_shim::hang(2, 0);
  on_all_ranks(4, options_of(kNever), [](NcclView& view) {
    view.whole().set_timeout(kSoon);
    const int rank = view.whole().rank();
    EXPECT_FALSE(view.whole().barrier());
    if (rank == 2) return;
    view.whole().set_timeout(kNever);
    // In any order, and twice: it is the same set.
    const auto [status, next] = view.shrink(rank == 0 ? std::vector{2} : std::vector{2, 2}, 9);
    ASSERT_TRUE(status) << status.detail;
    EXPECT_EQ(next->whole().epoch(), 9U);
    EXPECT_EQ(next->whole().rank(), rank < 2 ? rank : rank - 1);
    EXPECT_EQ(next->whole().size(), 3);
    EXPECT_EQ(exercise(next->whole(), kFewCounts).complaint, "");
  });
}

TEST_F(Nccl, ShrinkGivesUpWhatIsUnderWayInAHealthyView) {
  on_all_ranks(3, options_of(kNever), [](NcclView& view) {
    const int rank = view.whole().rank();
    const auto part = view.split(whole_view(1, rank, 3));
    ASSERT_TRUE(part.status);
    if (rank == 0) return view.revoke();
    std::vector<float> data(1000, 1);
    const auto pending = part.communicator->start_all_reduce(data);  // rank 0 does not come
    const auto [status, next] = view.shrink({0}, 2);
    ASSERT_TRUE(status) << status.detail;
    EXPECT_TRUE(next->whole().barrier());
    EXPECT_EQ(part.communicator->wait(pending).code, Code::kRevoked);
  });
}

TEST_F(Nccl, ASecondFailureDuringShrinkIsATimeoutAndAFreshViewCanBeMade) {
  nccl_shim::hang(2, 0);
  const std::vector<std::string> fresh{NcclView::new_id(*libraries())};
  on_all_ranks(3, options_of(kNever), [&](NcclView& view) {
    view.whole().set_timeout(kSoon);
    const int rank = view.whole().rank();
    EXPECT_FALSE(view.whole().barrier());
    if (rank == 2) return;
    if (rank == 0) {  // rank 1 does not come
      const auto [status, next] = view.shrink({2}, 2);
      EXPECT_EQ(status.code, Code::kTimeout);
      EXPECT_EQ(status.detail, "shrink 0 in view 2: NCCL still works on it at its deadline");
      EXPECT_EQ(next, nullptr);
      EXPECT_FALSE(view.stuck());
    }
    NcclOptions options = options_of(kNever);
    options.device = 10 + rank;
    const auto [status, next] = NcclView::join(libraries(), options, fresh, 3, rank, 2);
    ASSERT_TRUE(status) << status.detail;
    EXPECT_TRUE(next->whole().barrier());
    libraries()->use_device(rank);
  });
}

TEST_F(Nccl, WhereNcclCannotShrinkAfterAnErrorItSaysSo) {
  nccl_shim::report(0, 0, gpu::NcclResult::kRemoteError, false);
  on_all_ranks(2, options_of(kNever), [](NcclView& view) {
    view.whole().set_timeout(kSoon);
    EXPECT_FALSE(view.whole().barrier());
    if (view.whole().rank() != 0) return;
    const auto [status, next] = view.shrink({1}, 2);
    EXPECT_EQ(status.code, Code::kPeerFailed);
    EXPECT_THAT(status.detail, HasSubstr("shrink 0 in view 2: NCCL: remote process exited"));
    EXPECT_FALSE(view.stuck());
  });
}

TEST_F(Nccl, RefusesAListThatCannotShrinkTheView) {
  on_all_ranks(1, options_of(kNever), [](NcclView& view) {
    for (const std::vector<int>& bad : {std::vector<int>{}, {0}, {-1}, {1}})
      EXPECT_THROW(view.shrink(bad, 2), Error);
    EXPECT_TRUE(view.whole().barrier());
  });
}

struct Stuck {
  std::atomic<int> told = 0;
  NcclOptions options = options_of(kNever);
  Stuck() {
    options.grace = 1s;
    options.on_stuck = [this](const Status& status) {
      EXPECT_THAT(status.detail, HasSubstr("this process must end"));
      ++told;
    };
  }
};

TEST_F(Nccl, ACallOfShrinkThatDoesNotComeBackIsLeftBehind) {
  nccl_shim::hang_call("ncclCommShrink", 0);
  Stuck stuck;
  on_all_ranks(1, options_of(kNever), [](NcclView&) {});
  const auto begin = std::chrono::steady_clock::now();
  on_all_ranks(2, stuck.options, [](NcclView& view) {
    view.whole().set_timeout(kSoon);
    if (view.whole().rank() == 1) return view.revoke();
    const auto [status, next] = view.shrink({1}, 2);
    EXPECT_THAT(status.detail, HasSubstr("NCCL does not come back from shrinking within 1000 ms"));
    EXPECT_TRUE(view.stuck());
  });
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kSlack);
  EXPECT_EQ(stuck.told, 1);
}

TEST_F(Nccl, AGpuThatDoesNotLetGoIsToldAndNothingOfItIsFreed) {
  nccl_shim::hang(0, 0);
  nccl_shim::ignore_revoke(0);
  Stuck stuck;
  on_all_ranks(1, stuck.options, [](NcclView& view) {
    view.whole().set_timeout(kSoon);
    const Status status = view.whole().barrier();
    EXPECT_EQ(status.code, Code::kTimeout);
    EXPECT_THAT(status.detail, HasSubstr("the GPU does not let go of what was revoked"));
    EXPECT_TRUE(view.stuck());
  });
  EXPECT_EQ(stuck.told, 1);
  EXPECT_EQ(nccl_shim::calls("ncclCommDestroy") + nccl_shim::calls("ncclCommAbort"), 0);
}

TEST_F(Nccl, AThreadThatDoesNotComeBackFromNcclIsTold) {
  Stuck stuck;
  std::jthread rescue;
  on_all_ranks(1, stuck.options, [&](NcclView& view) {
    nccl_shim::hang_call("ncclAllReduce", 0);
    rescue = std::jthread([&] {
      while (nccl_shim::calls("ncclAllReduce") == 0) std::this_thread::sleep_for(1ms);
      view.revoke();
      const auto end = std::chrono::steady_clock::now() + kSlack;
      while (stuck.told == 0 && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(5ms);
      EXPECT_EQ(stuck.told, 1);  // a real one ends the process here
      nccl_shim::reset();
    });
    EXPECT_EQ(view.whole().barrier().code, Code::kRevoked);
    rescue.join();
  });
}

std::string refusal(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "none";
}

TEST_F(Nccl, WhatIsMissingIsNamedWithItsRemedy) {
  EXPECT_THAT(refusal([] {
                gpu::Libraries({"nowhere.so.2", NCCL_SHIM, NCCL_SHIM});
              }),
              AllOf(HasSubstr("gpu: cannot load nowhere.so.2: "), HasSubstr("libnccl2")));
  EXPECT_THAT(refusal([] {
                gpu::Libraries({NCCL_SHIM, "nowhere.so.13", NCCL_SHIM});
              }),
              AllOf(HasSubstr("gpu: cannot load nowhere.so.13: "), HasSubstr("cuda-cudart-13-0")));
  EXPECT_THAT(refusal([] {
                gpu::Libraries({"libm.so.6", NCCL_SHIM, NCCL_SHIM});
              }),
              HasSubstr("gpu: libm.so.6 has no function ncclGetVersion; install NCCL 2.28.9"));
  nccl_shim::set_nccl_version(22703);
  EXPECT_THAT(refusal([] {
                gpu::Libraries({NCCL_SHIM, NCCL_SHIM, NCCL_SHIM});
              }),
              HasSubstr("is NCCL 2.27.3; install NCCL 2.28.9 or newer"));
}

TEST_F(Nccl, WithoutKernelsOnlySumsOfNcclAreToBeHad) {
  const auto partial =
      std::make_shared<const gpu::Libraries>(gpu::LibraryNames{NCCL_SHIM, NCCL_SHIM, "nowhere.so"});
  const std::vector<std::string> ids{NcclView::new_id(*partial)};
  NcclOptions options = options_of(kNever);
  EXPECT_THAT(refusal([&] { NcclView::join(partial, options, ids, 1, 0, 1); }),
              AllOf(HasSubstr("nccl: repeatable sums need our own kernels: gpu: cannot load nowhere.so"),
                    HasSubstr("build Stint with nvcc")));
  options.sums = NcclSums::kNative;
  EXPECT_TRUE(NcclView::join(partial, options, ids, 1, 0, 1).status);
}

TEST_F(Nccl, AMissingGpuIsNamedBeforeAnyoneIsMet) {
  const std::vector<std::string> ids{NcclView::new_id(*libraries())};
  NcclOptions options = options_of(kNever);
  options.device = 2;
  nccl_shim::set_devices(2);
  EXPECT_EQ(refusal([&] { NcclView::join(libraries(), options, ids, 1, 0, 1); }),
            "gpu: there is no GPU 2, this process sees 2; see CUDA_VISIBLE_DEVICES and the job's --gres");
  nccl_shim::set_devices(0);
  EXPECT_EQ(
      refusal([&] { NcclView::join(libraries(), options, ids, 1, 0, 1); }),
      "gpu: no GPU can be used: no CUDA-capable device is detected (cudaErrorNoDevice); see what nvidia-smi "
      "says, and that the driver is of release 580 or newer");
  nccl_shim::set_devices(8);
  const std::vector<std::string> bad{"x"};
  EXPECT_EQ(refusal([&] { NcclView::join(libraries(), options, bad, 1, 0, 1); }),
            "nccl: the 1 bytes given are not the id of a view");
  EXPECT_EQ(nccl_shim::calls("ncclCommInitRankScalable"), 0);
}

}  // namespace
}  // namespace stint::comm
