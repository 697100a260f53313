// SPDX-License-Identifier: Apache-2.0
// Parameters and gradients from GPU to GPU over NCCL. Collectives go to NCCL's stream as they are posted:
// they wait there for what the device was asked for before, and the device waits for them, never the host,
// but in finish(). No GPU was at hand for this code: it was tested on a stand-in for NCCL and CUDA
// (tests/unit/engine/gpu_test.cc).
#pragma once

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "trainer/comm/nccl.h"
#include "trainer/engine/data_path.h"
#include "trainer/model/device.h"

namespace stint::engine {

class NcclPath final : public DataPath {
 public:
  struct Made {
    comm::Status status;
    std::unique_ptr<NcclPath> path;  // null where the status is not Ok
  };
  // All ranks of the view call it; its GPU is the device, which outlives this. Without `overlaps` the device
  // waits for each operation at once.
  static Made make(std::unique_ptr<comm::NcclView> view, const Partition& partition, model::Device& device,
                   bool overlaps);
  ~NcclPath() override;
  // For the operations that begin from now on.
  void set_timeout(std::chrono::milliseconds timeout);

  comm::Communicator& shard() override;
  comm::Communicator& replica() override;
  Ticket post(Operation operation, std::function<void()> after) override;
  comm::Status wait(Ticket ticket) override;
  comm::Status finish() override;
  double seconds_waited() const override { return std::chrono::duration<double>(waited_).count(); }
  void close() override;

 private:
  class Lane;
  using Pending = comm::NcclCommunicator::Pending;

  NcclPath(std::unique_ptr<comm::NcclView> view, model::Device& device, bool overlaps);
  comm::Status join(const std::vector<int>& members, std::unique_ptr<Lane>& lane);
  comm::gpu::CudaStream* stream() const;
  comm::Status note(Pending pending);
  void keep(comm::Status status);

  std::unique_ptr<comm::NcclView> view_;
  model::Device& device_;
  bool overlaps_;
  std::unique_ptr<Lane> shard_, replica_;
  Ticket posted_ = 0, held_ = 0;  // held: the device waits for it
  std::deque<std::pair<Ticket, Pending>> started_;
  std::deque<std::pair<Ticket, std::function<void()>>> after_;
  comm::Status failure_;  // the first one
  std::chrono::steady_clock::duration waited_{};
};

}  // namespace stint::engine
