// SPDX-License-Identifier: Apache-2.0
// allreduce_gloo RANKS FOLDER: times of gloo's all_reduce, ranks as processes that meet in the empty FOLDER.
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

void live(int rank, int ranks, const std::string& folder) {
  bind_to_core(rank);
  gloo::transport::tcp::attr address;
  address.hostname = "127.0.0.1";
  auto device = gloo::transport::tcp::CreateDevice(address);
  gloo::rendezvous::FileStore store(folder);
  auto context = std::make_shared<gloo::rendezvous::Context>(rank, ranks);
  context->connectFullMesh(store, device);
  std::vector<float> data(kSizes.back() / sizeof(float));
  for (const std::size_t bytes : kSizes) {
    const std::size_t count = bytes / sizeof(float);
    const auto all_reduce = [&] {
      gloo::AllreduceOptions options(context);
      options.setOutput(data.data(), count);
      options.setReduceFunction(
          static_cast<void (*)(void*, const void*, const void*, std::size_t)>(&gloo::sum<float>));
      gloo::allreduce(options);
    };
    const auto barrier = [&] {
      gloo::BarrierOptions options(context);
      gloo::barrier(options);
    };
    std::fill(data.begin(), data.end(), static_cast<float>(rank + 1));
    all_reduce();
    if (data[count - 1] != static_cast<float>(ranks * (ranks + 1) / 2)) throw std::runtime_error("wrong sum");
    std::fill(data.begin(), data.end(), 0.0F);
    const double us = time_of(bytes, all_reduce, barrier, 50);  // it takes milliseconds on a full machine
    if (rank == 0) report("arbitrary", "fp32", count, us);
  }
}

int run(int ranks, const std::string& folder) {
  for (int rank = 0; rank < ranks; ++rank) {
    if (fork() != 0) continue;
    try {
      live(rank, ranks, folder);
      std::_Exit(0);
    } catch (const std::exception& error) {
      std::cerr << "allreduce_gloo: rank " << rank << ": " << error.what() << '\n';
      std::_Exit(1);
    }
  }
  bool well = true;
  for (int status = 0; wait(&status) > 0;) well = well && status == 0;
  return well ? 0 : 1;
}

}  // namespace
}  // namespace stint::bench

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: allreduce_gloo RANKS FOLDER\n";
    return 2;
  }
  return stint::bench::run(std::atoi(argv[1]), argv[2]);
}
