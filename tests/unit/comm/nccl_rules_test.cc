// SPDX-License-Identifier: Apache-2.0
// The stand-in for NCCL ends whoever breaks a rule, so that a test of the back end that passes has kept them
// all.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>

#include "tests/unit/comm/nccl_shim/nccl_shim.h"
#include "trainer/comm/gpu_handles.h"

namespace stint::comm {
namespace {

using gpu::NcclComm;
using gpu::NcclOp;
using gpu::NcclResult;
using gpu::NcclType;

const gpu::Libraries& libraries() {
  static const gpu::Libraries all({NCCL_SHIM, NCCL_SHIM, NCCL_SHIM});
  return all;
}
const gpu::NcclFunctions& nccl() {
  return libraries().nccl;
}
const gpu::CudaFunctions& cuda() {
  return libraries().cuda;
}
void ignore(auto /*result*/) {}

NcclResult state_of(NcclComm* comm) {
  NcclResult result{};
  ignore(nccl().async_error(comm, &result));
  return result;
}

gpu::NcclConfig nonblocking() {
  gpu::NcclConfig config;
  config.blocking = 0;
  return config;
}

gpu::NcclId new_id() {
  gpu::NcclId id{};
  ignore(nccl().new_id(&id));
  return id;
}

NcclComm* made(gpu::NcclId id, int size, int rank) {
  NcclComm* comm = nullptr;
  gpu::NcclConfig config = nonblocking();
  ignore(cuda().set_device(rank));
  ignore(nccl().init(&comm, size, rank, 1, &id, &config));
  while (state_of(comm) == NcclResult::kInProgress) std::this_thread::yield();
  return comm;
}

NcclComm* alone() {
  return made(new_id(), 1, 0);
}

void on_each_of(int size, const std::function<void(NcclComm*, int)>& body) {
  const gpu::NcclId id = new_id();
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank] { body(made(id, size, rank), rank); });
}

void add(NcclComm* comm, gpu::CudaStream* stream, std::size_t count = 1) {
  static float numbers[8];
  ignore(nccl().all_reduce(numbers, numbers, count, NcclType::kFloat32, NcclOp::kSum, comm, stream));
}

void shrink(NcclComm* comm, std::vector<int> excluded) {
  static NcclComm* child;
  gpu::NcclConfig config = nonblocking();
  ignore(nccl().shrink(comm, excluded.data(), static_cast<int>(excluded.size()), &child, &config, 0));
}

void in_two_threads(const std::function<void()>& first, const std::function<void()>& second) {
  nccl_shim::take_time(200'000);
  const std::jthread other([&] {
    ignore(cuda().set_device(0));
    first();
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  second();
}

struct Breach {
  const char* rule;
  std::function<void()> body;
};

void PrintTo(const Breach& breach, std::ostream* out) {
  *out << breach.rule;
}

const std::vector<Breach>& breaches() {
  static const std::vector<Breach> all{
      {"blocking_communicator",
       [] {
         gpu::NcclConfig config;
         gpu::NcclId id = new_id();
         NcclComm* comm = nullptr;
         ignore(nccl().init(&comm, 1, 0, 1, &id, &config));
       }},
      {"call_in_progress",
       [] {
         NcclComm* comm = alone();
         nccl_shim::stay_in_progress(5);
         const auto stream = gpu::make_stream(cuda());
         add(comm, stream.get());
         ignore(nccl().finalize(comm));
       }},
      {"concurrent_calls",
       [] {
         NcclComm* comm = alone();
         const auto stream = gpu::make_stream(cuda());
         in_two_threads([&] { add(comm, stream.get()); }, [&] { state_of(comm); });
       }},
      {"call_while_aborting",
       [] {
         NcclComm* comm = alone();
         in_two_threads([&] { ignore(nccl().abort(comm)); }, [&] { state_of(comm); });
       }},
      {"use_after_destroy",
       [] {
         NcclComm* comm = alone();
         ignore(nccl().abort(comm));
         state_of(comm);
       }},
      {"queued_before_taken",
       [] {
         NcclComm* comm = alone();
         nccl_shim::stay_in_progress(5);
         const auto stream = gpu::make_stream(cuda());
         add(comm, stream.get());
         ignore(cuda().event_record(gpu::make_event(cuda()).get(), stream.get()));
       }},
      {"collective_after_revoke",
       [] {
         NcclComm* comm = alone();
         ignore(nccl().revoke(comm, 0));
         add(comm, gpu::make_stream(cuda()).get());
       }},
      {"mismatched_collective",
       [] {
         on_each_of(2, [](NcclComm* comm, int rank) {
           add(comm, gpu::make_stream(cuda()).get(), static_cast<std::size_t>(rank) + 1);
         });
         std::this_thread::sleep_for(std::chrono::seconds(5));
       }},
      {"revoke_twice",
       [] {
         NcclComm* comm = alone();
         ignore(nccl().revoke(comm, 0));
         ignore(nccl().revoke(comm, 0));
       }},
      {"revoke_after_finalize",
       [] {
         NcclComm* comm = alone();
         ignore(nccl().finalize(comm));
         ignore(nccl().revoke(comm, 0));
       }},
      {"finalize_after_revoke",
       [] {
         NcclComm* comm = alone();
         ignore(nccl().revoke(comm, 0));
         ignore(nccl().finalize(comm));
       }},
      {"revoke_all_first",
       [] {
         NcclComm* comm = alone();
         alone();
         ignore(nccl().revoke(comm, 0));
         ignore(nccl().destroy(comm));
       }},
      {"revoke_all_first",
       [] {
         NcclComm* comm = alone();
         alone();
         ignore(nccl().abort(comm));
       }},
      {"revoke_all_first",
       [] {
         on_each_of(2, [](NcclComm* comm, int rank) {
           if (rank != 0) return;
           alone();
           ignore(nccl().revoke(comm, 0));
           shrink(comm, {1});
         });
       }},
      {"destroy_unfinished", [] { ignore(nccl().destroy(alone())); }},
      {"destroy_unfinished",
       [] {
         NcclComm* comm = alone();
         nccl_shim::stay_in_progress(5);
         ignore(nccl().revoke(comm, 0));
         ignore(nccl().destroy(comm));
       }},
      {"destroy_in_error",
       [] {
         NcclComm* comm = alone();
         nccl_shim::report(0, 0, NcclResult::kRemoteError, true);
         const auto stream = gpu::make_stream(cuda());
         add(comm, stream.get());
         while (state_of(comm) == NcclResult::kSuccess) std::this_thread::yield();
         ignore(nccl().revoke(comm, 0));
         while (state_of(comm) == NcclResult::kInProgress) std::this_thread::yield();
         ignore(nccl().destroy(comm));
       }},
      {"exclude_lists_differ",
       [] {
         on_each_of(4, [](NcclComm* comm, int rank) {
           ignore(nccl().revoke(comm, 0));
           if (rank < 2) shrink(comm, rank == 0 ? std::vector{2} : std::vector{3});
         });
       }},
      {"excluded_rank_shrinks",
       [] {
         NcclComm* comm = alone();
         ignore(nccl().revoke(comm, 0));
         shrink(comm, {0});
       }},
      {"free_under_way",
       [] {
         NcclComm* comm = alone();
         nccl_shim::hang(0, 0);
         const auto stream = gpu::make_stream(cuda());
         add(comm, stream.get());
         gpu::allocate(cuda(), 100).reset();
       }},
      {"wrong_device",
       [] {
         NcclComm* comm = alone();
         ignore(cuda().set_device(1));
         ignore(nccl().finalize(comm));
       }},
      {"wrong_device",
       [] {
         ignore(cuda().set_device(1));
         const auto stream = gpu::make_stream(cuda());
         ignore(cuda().set_device(0));
         ignore(cuda().event_record(gpu::make_event(cuda()).get(), stream.get()));
       }},
  };
  return all;
}

class NcclRule : public testing::TestWithParam<Breach> {};

TEST_P(NcclRule, EndsWhoeverBreaksIt) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(GetParam().body(), std::string("nccl_shim: rule ") + GetParam().rule + " is broken by");
}

INSTANTIATE_TEST_SUITE_P(Each, NcclRule, testing::ValuesIn(breaches()),
                         [](const auto& info) { return std::to_string(info.index) + "_" + info.param.rule; });

}  // namespace
}  // namespace stint::comm
