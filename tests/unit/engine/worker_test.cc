// SPDX-License-Identifier: Apache-2.0
// Workers that train: the same bits over every connection, in every life.
#include "base/run_profile.h"
#include "recipes/estimate.h"
#include "trainer/comm/ways.h"
#include "worker_fixture.h"

namespace stint::engine {
namespace {

using testing::HasSubstr;

// The same run within this process, over memory; the hashes of its last checkpoint.
json files_of_a_run_over_memory(const recipes::Recipe& recipe, int size) {
  const TemporaryFolder folder;
  comm::MemoryNetwork network(size);
  json files;
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < size; ++rank)
      threads.emplace_back([&, rank] {
        model::start_mathematics(1);
        comm::RingCommunicator communicator(network.transport(rank), 1, kLong);
        Engine engine(recipe, folder.run(), communicator, {});
        if (!engine.start()) return;
        StepReport report;
        while (!engine.finished() && engine.step(false, report)) {
        }
        const auto saved = save(engine);
        if (rank == 0)
          files = json::parse(read_file((saved.folder / "manifest.json").string(), 1 << 20)).at("files");
      });
  }
  return files;
}

TEST(WorkerProgram, TwoTrainToTheEndAndTellTheirAgents) {
  Fixture f;
  f.freeze();
  World world(f.run, 2);
  EXPECT_EQ(world.finish(), (std::vector<int>{0, 0}));
  const auto ready = world[0].seen("ready");
  ASSERT_EQ(ready.size(), 1);
  EXPECT_EQ(ready[0].at("resume_step"), 0);
  EXPECT_GT(ready[0].at("parameters"), 10'000);
  for (int rank : {0, 1}) {
    const auto steps = world[rank].seen("step");
    ASSERT_EQ(steps.size(), 12);
    EXPECT_EQ(steps[11].at("step"), 12);
    EXPECT_GT(steps[0].at("tokens_per_second"), 0);
    EXPECT_GE(steps[0].at("communication_share"), 0);
    EXPECT_LT(steps[0].at("communication_share"), 1);
    EXPECT_GT(steps[0].at("data_share"), 0);
    EXPECT_LT(steps[0].at("data_share"), 1);
    EXPECT_GT(steps[0].at("mfu"), 0);
    EXPECT_GT(steps[0].at("peak_memory_bytes"), 50 << 20);
    EXPECT_EQ(steps[0].at("peak_memory_bytes"), world[1 - rank].seen("step")[0].at("peak_memory_bytes"));
    EXPECT_LT(steps[11].at("loss"), steps[0].at("loss"));
    ASSERT_EQ(world[rank].seen("finish").size(), 1);
    EXPECT_EQ(world[rank].seen("finish")[0].at("loss"), steps[11].at("loss"));
  }
  EXPECT_EQ(world[0].seen("checkpoint").size(), 3);
  EXPECT_TRUE(world[1].seen("checkpoint").empty());
  const auto manifest = f.manifest("00000012");
  EXPECT_FALSE(manifest.at("blas").at("kernel").get<std::string>().empty());
  EXPECT_FALSE(manifest.at("kernels").get<std::string>().empty());
  EXPECT_EQ(manifest.at("threads"), 1);
  EXPECT_EQ(manifest.at("peak").at("source"), "measured");
  EXPECT_GT(manifest.at("peak").at("tflops"), 0);
  EXPECT_EQ(manifest.at("peak"), ready[0].at("peak"));
  EXPECT_EQ(manifest.at("files"), files_of_a_run_over_memory(f.recipe, 2)) << "UCX and memory differ in bits";
}

TEST(WorkerProgram, HoldsTheStepAgainstThePeakOfTheRecipe) {
  Fixture f;
  f.recipe.resources.worker_tflops = 0.25;
  f.freeze();
  World world(f.run, 2);
  ASSERT_EQ(world.finish(), (std::vector<int>{0, 0}));
  EXPECT_EQ(world[0].seen("ready").at(0).at("peak"), (json{{"tflops", 0.5}, {"source", "recipe"}}));
  for (const json& step : world[0].seen("step"))
    EXPECT_NEAR(
        step.at("mfu").get<double>(),
        step.at("tokens_per_second").get<double>() * recipes::estimate(f.recipe).flops_per_token / 0.5e12,
        1e-12);
}

TEST(WorkerProgram, WorkersOfANodeShareMemoryAndComeToTheBitsOfUcx) {
  Fixture flat;
  flat.freeze();
  World over_ucx(flat.run, 4);
  ASSERT_EQ(over_ucx.finish(), std::vector<int>(4, 0));
  EXPECT_EQ(over_ucx[0].seen("ready").at(0).at("communication"), "ucx");
  for (const auto& [places, kind] : {std::pair{4, "shm"}, std::pair{2, "hierarchical"}}) {
    Fixture f;
    f.freeze();
    World world(f.run, 4, places);
    ASSERT_EQ(world.finish(), std::vector<int>(4, 0)) << kind;
    EXPECT_EQ(world[0].seen("ready").at(0).at("communication"), kind);
    EXPECT_EQ(f.manifest("00000012").at("communication"), kind);
    EXPECT_EQ(f.manifest("00000012").at("files"), flat.manifest("00000012").at("files")) << kind;
  }
}

// UCX cannot start with what it is told here, as the last of them shows.
TEST(WorkerProgram, WorkersThatAreAloneOnTheirNodeStartNoUcx) {
  const std::vector<std::string> no_ucx{"UCX_TLS=pigeon"};
  for (const int size : {1, 2}) {
    Fixture f;
    f.recipe.resources.workers_per_node = size;
    f.freeze();
    World world(f.run, size, size, 1, true, no_ucx);
    for (const int number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE})
      EXPECT_EQ(world[0].caught_signals() >> (number - 1) & 1, 0) << "signal " << number;
    EXPECT_EQ(world.finish(), std::vector<int>(static_cast<std::size_t>(size), 0));
    EXPECT_EQ(world[0].seen("ready").at(0).at("communication"), size == 1 ? "none" : "shm");
    EXPECT_FALSE(exists(f.run.communication()));
  }
  Fixture f;
  f.freeze();
  Worker worker(f.run, no_ucx);
  EXPECT_THAT(worker.expect("error").at("what").get<std::string>(), HasSubstr("ucx: cannot"));
}

// A way that is not likely to be measured: whether it is still there shows whether it was measured again.
TEST(WorkerProgram, WaysOverTheNetworkAreMeasuredOnceAndAnewWhereWhatIsKeptIsOfNoUse) {
  constexpr const char* kLayout = "ucx, 2 by 1";
  constexpr const char* kOdd = "0 halving ring parts, 77 straight doubling direct";
  const auto train = [](Fixture& f, const std::string& kept) {
    f.recipe.resources.nodes = 2;
    f.freeze();
    if (!kept.empty()) write_text(f.run.communication(), kept);
    testing::internal::CaptureStderr();
    World world(f.run, 2);
    EXPECT_EQ(world.finish(), std::vector<int>(2, 0));
    return testing::internal::GetCapturedStderr();
  };
  const auto ways_in = [&](const Fixture& f) {
    return json::parse(read_file(f.run.communication().string(), 1 << 20));
  };
  Fixture first;
  EXPECT_THAT(train(first, ""), HasSubstr("for the first time"));
  const json measured = ways_in(first);
  EXPECT_TRUE(comm::WaysBySize::parse(measured.at(kLayout).at("ways").get<std::string>()).fit(2));

  json odd = measured, foreign = measured;
  odd[kLayout]["ways"] = kOdd;
  odd["hierarchical, 9 by 1"] = "another layout's";
  foreign[kLayout]["ways"] = kOdd;
  foreign[kLayout]["members"] = "others";
  const auto nonsense = json{{kLayout, {{"members", measured.at(kLayout).at("members")}, {"ways", "0 x"}}}};
  Fixture again;
  EXPECT_THAT(train(again, odd.dump()), HasSubstr("as an earlier start measured"));
  EXPECT_EQ(ways_in(again), odd);
  for (const auto& [kept, said] : {std::pair{foreign.dump(), "for other machines or in another order"},
                                   {nonsense.dump(), "no choice of ways"},
                                   {json{{kLayout, 7}}.dump(), "is not as we write it"},
                                   {std::string("[1"), "communication.json: is damaged"}}) {
    Fixture f;
    EXPECT_THAT(train(f, kept), HasSubstr(said)) << kept;
    EXPECT_NE(ways_in(f).at(kLayout).at("ways"), kOdd) << kept;
    EXPECT_EQ(f.manifest("00000012").at("files"), first.manifest("00000012").at("files")) << kept;
  }
  EXPECT_EQ(again.manifest("00000012").at("files"), first.manifest("00000012").at("files"));
}

TEST(WorkerProgram, ShardedStateComesToTheSameBitsOverEveryConnection) {
  for (const char* sharding : {"zero1", "zero3", "hybrid"}) {
    Fixture f, flat;
    for (Fixture* each : {&f, &flat}) {
      each->recipe.parallel.sharding = sharding;
      each->recipe.resources.nodes = 2;
      each->recipe.resources.workers_per_node = 2;
      each->freeze();
    }
    World nodes(f.run, 4, 2), over_ucx(flat.run, 4);
    ASSERT_EQ(nodes.finish(), std::vector<int>(4, 0)) << sharding;
    ASSERT_EQ(over_ucx.finish(), std::vector<int>(4, 0)) << sharding;
    EXPECT_EQ(f.manifest("00000012").at("communication"), "hierarchical");
    const auto files = files_of_a_run_over_memory(f.recipe, 4);
    EXPECT_EQ(f.manifest("00000012").at("files"), files) << sharding;
    EXPECT_EQ(flat.manifest("00000012").at("files"), files) << sharding;
  }
}

TEST(WorkerProgram, ThreeWorkersOnEachOfTwoNodesKeepToUcxAndItsBits) {
  Fixture flat, f;
  flat.freeze();
  f.freeze();
  World over_ucx(flat.run, 6), world(f.run, 6, 3);
  ASSERT_EQ(over_ucx.finish(), std::vector<int>(6, 0));
  ASSERT_EQ(world.finish(), std::vector<int>(6, 0));
  EXPECT_EQ(world[0].seen("ready").at(0).at("communication"), "ucx");
  EXPECT_EQ(f.manifest("00000012").at("files"), flat.manifest("00000012").at("files"));
}

TEST(WorkerProgram, KilledWorkerOfANodeEndsAllAndTheNextViewGoesOnBitForBit) {
  Fixture f, whole;
  for (Fixture* each : {&f, &whole}) {
    each->recipe.run.steps = 200;
    each->recipe.checkpoint.interval = 10;
    each->freeze();
  }
  World undisturbed(whole.run, 4, 2);
  ASSERT_EQ(undisturbed.finish(), std::vector<int>(4, 0));
  {
    World world(f.run, 4, 2);
    world[0].expect("checkpoint");
    world[3].kill_now();
    EXPECT_EQ(world.finish(), (std::vector<int>{1, 1, 1, 128 + SIGKILL}));
    for (const int rank : {0, 1, 2})
      EXPECT_THAT(world[rank].seen("peer_lost").at(0).at("why").get<std::string>(),
                  testing::Not(HasSubstr("still waiting")));
  }
  World next(f.run, 4, 2, 2);
  ASSERT_EQ(next.finish(), std::vector<int>(4, 0));
  EXPECT_GE(next[0].seen("ready").at(0).at("resume_step"), 10);
  EXPECT_EQ(f.manifest("00000200").at("files"), whole.manifest("00000200").at("files"));
}

TEST(WorkerProgram, StoppedRunResumesInNewProcessesBitForBit) {
  for (const char* precision : {"fp32", "bf16"}) {
    Fixture f;
    f.recipe.model.precision = precision;
    f.recipe.run.steps = 30;
    f.recipe.checkpoint.interval = 0;
    f.freeze();
    const json undisturbed = files_of_a_run_over_memory(f.recipe, 2);
    World world(f.run, 2);
    world[1].expect("step");
    world[1].send({{"type", "stop"}, {"why", "test"}});
    ASSERT_EQ(world.finish(), (std::vector<int>{75, 75}));
    const auto stopped = world[0].seen("checkpoint");
    ASSERT_EQ(stopped.size(), 1);
    ASSERT_LT(stopped[0].at("step"), 30);
    World resumed(f.run, 2);
    EXPECT_EQ(resumed.finish(), (std::vector<int>{0, 0}));
    EXPECT_EQ(resumed[0].seen("ready").at(0).at("resume_step"), stopped[0].at("step"));
    EXPECT_EQ(f.manifest("00000030").at("files"), undisturbed) << precision;
  }
}

TEST(WorkerProgram, EveryRankLeavesItsPartOfAProfile) {
  Fixture f;
  f.recipe.run.steps = 2000;
  f.recipe.checkpoint.interval = 0;
  f.freeze();
  World world(f.run, 2);
  world[0].expect("step");
  world[0].send({{"type", "profile"}, {"id", 5}, {"steps", 3}});
  const auto path = [&](int rank) { return profile_part(f.run, 5, rank); };
  const auto deadline = Clock::now() + kLong;
  while (!(exists(path(0)) && exists(path(1))) && Clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  world[0].send({{"type", "stop"}, {"why", "test"}});
  ASSERT_EQ(world.finish(), (std::vector<int>{75, 75}));
  json first_step;
  for (const int rank : {0, 1}) {
    const json part = json::parse(read_file(path(rank).string(), 1 << 20));
    EXPECT_EQ(part.at("rank"), rank);
    EXPECT_EQ(part.at("steps"), 3);
    if (rank == 0) first_step = part.at("first_step");
    EXPECT_EQ(part.at("first_step"), first_step);
    EXPECT_GT(part.at("events").size(), 3 * 10);
  }
}

TEST(WorkerProgram, FinishedRunStaysFinished) {
  Fixture f;
  f.freeze();
  World world(f.run, 1);
  ASSERT_EQ(world.finish(), std::vector<int>{0});
  World again(f.run, 1);
  EXPECT_EQ(again.finish(), std::vector<int>{0});
  EXPECT_TRUE(again[0].seen("step").empty());
  EXPECT_EQ(again[0].seen("finish").at(0).at("loss"), world[0].seen("finish").at(0).at("loss"));
}

TEST(WorkerProgram, KilledPeerIsReportedByTheSurvivor) {
  Fixture f;
  f.recipe.run.steps = 100'000;
  f.freeze();
  World world(f.run, 2);
  world[0].expect("step");
  world[1].kill_now();
  EXPECT_EQ(world.finish(), (std::vector<int>{1, 128 + SIGKILL}));
  const auto lost = world[0].seen("peer_lost");
  ASSERT_EQ(lost.size(), 1);
  EXPECT_EQ(lost[0].at("rank"), 1);
  EXPECT_THAT(lost[0].at("why").get<std::string>(), testing::Not(HasSubstr("still waiting")));
}

}  // namespace
}  // namespace stint::engine
