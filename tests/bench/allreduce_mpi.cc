// SPDX-License-Identifier: Apache-2.0
// allreduce_mpi [network], started by mpirun: times of MPI_Allreduce.
#include <mpi.h>

#include "tests/bench/allreduce.h"

int main(int argc, char** argv) {
  using namespace stint::bench;
  MPI_Init(&argc, &argv);
  int rank = 0, ranks = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  bind_to_core(rank);
  const Effort& effort = argc > 1 ? kOverNetwork : kInMemory;
  for (const std::size_t bytes : effort.sizes) {
    std::vector<float> data(bytes / sizeof(float));
    const auto all_reduce = [&] {
      MPI_Allreduce(MPI_IN_PLACE, data.data(), static_cast<int>(data.size()), MPI_FLOAT, MPI_SUM,
                    MPI_COMM_WORLD);
    };
    fill(data, rank);
    all_reduce();
    if (!is_sum(data, ranks)) MPI_Abort(MPI_COMM_WORLD, 1);
    std::ranges::fill(data, 0.0F);
    const double us = time_of(effort, bytes, all_reduce, [] { MPI_Barrier(MPI_COMM_WORLD); });
    if (rank == 0) report("arbitrary", "fp32", data.size(), us);
  }
  MPI_Finalize();
}
