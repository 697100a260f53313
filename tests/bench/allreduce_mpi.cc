// SPDX-License-Identifier: Apache-2.0
// allreduce_mpi, started by mpirun: times of MPI_Allreduce.
#include <mpi.h>

#include "tests/bench/allreduce.h"

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0, ranks = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  stint::bench::bind_to_core(rank);
  std::vector<float> data(stint::bench::kSizes.back() / sizeof(float));
  for (const std::size_t bytes : stint::bench::kSizes) {
    const std::size_t count = bytes / sizeof(float);
    const auto all_reduce = [&] {
      MPI_Allreduce(MPI_IN_PLACE, data.data(), static_cast<int>(count), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    };
    std::fill(data.begin(), data.end(), static_cast<float>(rank + 1));
    all_reduce();
    if (data[count - 1] != static_cast<float>(ranks * (ranks + 1) / 2)) MPI_Abort(MPI_COMM_WORLD, 1);
    std::fill(data.begin(), data.end(), 0.0F);
    const double us = stint::bench::time_of(bytes, all_reduce, [] { MPI_Barrier(MPI_COMM_WORLD); });
    if (rank == 0) stint::bench::report("arbitrary", "fp32", count, us);
  }
  MPI_Finalize();
}
