// SPDX-License-Identifier: Apache-2.0
// allreduce_gloo RANKS FOLDER [RANK ADDRESS]: times of gloo's all_reduce, ranks as processes that meet in the
// empty FOLDER: all of them on this host, or this one rank, whose node has the address.
#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/bench/allreduce.h"

namespace stint::bench {
namespace {

void live(int rank, int ranks, const std::string& folder, const std::string& hostname, const Effort& effort) {
  bind_to_core(rank);
  gloo::transport::tcp::attr address;
  address.hostname = hostname;
  auto device = gloo::transport::tcp::CreateDevice(address);
  gloo::rendezvous::FileStore store(folder);
  auto context = std::make_shared<gloo::rendezvous::Context>(rank, ranks);
  context->connectFullMesh(store, device);
  for (const std::size_t bytes : effort.sizes) {
    std::vector<float> data(bytes / sizeof(float));
    const auto all_reduce = [&] {
      gloo::AllreduceOptions options(context);
      options.setOutput(data.data(), data.size());
      options.setReduceFunction(
          static_cast<void (*)(void*, const void*, const void*, std::size_t)>(&gloo::sum<float>));
      gloo::allreduce(options);
    };
    const auto barrier = [&] {
      gloo::BarrierOptions options(context);
      gloo::barrier(options);
    };
    fill(data, rank);
    all_reduce();
    if (!is_sum(data, ranks)) throw std::runtime_error("wrong sum");
    std::ranges::fill(data, 0.0F);
    const double us = time_of(effort, bytes, all_reduce, barrier);
    if (rank == 0) report("arbitrary", "fp32", data.size(), us);
  }
}

int run_one(int rank, int ranks, const std::string& folder, const std::string& address,
            const Effort& effort) {
  try {
    live(rank, ranks, folder, address, effort);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "allreduce_gloo: rank " << rank << ": " << error.what() << '\n';
    return 1;
  }
}

int run_all(int ranks, const std::string& folder) {
  Effort effort = kInMemory;
  effort.most_calls = 50;  // it takes milliseconds on a full machine
  for (int rank = 0; rank < ranks; ++rank)
    if (fork() == 0) std::_Exit(run_one(rank, ranks, folder, "127.0.0.1", effort));
  bool well = true;
  for (int status = 0; wait(&status) > 0;) well = well && status == 0;
  return well ? 0 : 1;
}

}  // namespace
}  // namespace stint::bench

int main(int argc, char** argv) {
  if (argc == 3) return stint::bench::run_all(std::atoi(argv[1]), argv[2]);
  if (argc == 5)
    return stint::bench::run_one(std::atoi(argv[3]), std::atoi(argv[1]), argv[2], argv[4],
                                 stint::bench::kOverNetwork);
  std::cerr << "usage: allreduce_gloo RANKS FOLDER [RANK ADDRESS]\n";
  return 2;
}
