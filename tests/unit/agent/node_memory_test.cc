// SPDX-License-Identifier: Apache-2.0
#include "trainer/agent/node_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/final_error.h"
#include "recipes/memory.h"

namespace stint::agent {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(NodeMemory, IsThereBeforeItsSizeAndHoldsOneView) {
  NodeMemory memory(2);
  ASSERT_GE(memory.descriptor(), 0);
  EXPECT_FALSE(memory.is_laid_out());
  memory.declare_dead(1);  // nobody could be waiting yet
  memory.lay_out(7, 1000);
  const auto segment = comm::ShmSegment::adopt(dup(memory.descriptor()), 1);
  EXPECT_EQ(segment.shape().epoch, 7U);
  EXPECT_EQ(segment.shape().ranks, 2);
  EXPECT_EQ(segment.data(1).size(), 1000U);
}

TEST(NodeMemory, IsNoneForOneWorkerNorForMoreThanFit) {
  for (const int workers : {1, comm::ShmSegment::kMaxRanks + 1}) {
    NodeMemory memory(workers);
    EXPECT_EQ(memory.descriptor(), -1);
    memory.lay_out(1, 1000);
    EXPECT_FALSE(memory.is_laid_out());
  }
}

recipes::Recipe large() {
  recipes::Recipe r;
  r.model.vocab_size = 32000;
  r.model.hidden_size = 1024;
  r.model.intermediate_size = 4096;
  r.model.num_hidden_layers = 12;
  r.model.num_attention_heads = 16;
  r.model.num_key_value_heads = 16;
  r.model.precision = "fp32";
  r.data.sequence_length = 512;
  r.data.micro_batch_size = 1;
  r.parallel.sharding = "none";
  r.resources.nodes = 2;
  r.resources.workers_per_node = 4;
  return r;
}

TEST(CheckMemory, RefusesWhatCanNeverFitAndWarnsOfWhatIsShortNow) {
  const auto need = static_cast<std::size_t>(4 * recipes::memory(large(), 8).total());
  const auto check = [&](const comm::MemoryRoom& room) { return check_memory(large(), 8, {room}); };
  EXPECT_EQ(check({true, need, need}), "");
  EXPECT_EQ(check_memory(large(), 8, {}), "") << "nothing is known";
  EXPECT_THAT(check({true, need / 2, need}),
              AllOf(HasSubstr("memory: this host has"), HasSubstr("the 4 workers of a node need some"),
                    HasSubstr("short just now")));
  EXPECT_THAT(
      [&] {
        check({false, need / 2, need / 2});
      },
      testing::ThrowsMessage<FinalError>(
          AllOf(HasSubstr("memory: the job may use"), HasSubstr("ask for more with --mem"))));
}

}  // namespace
}  // namespace stint::agent
