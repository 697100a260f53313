// SPDX-License-Identifier: Apache-2.0
// Collectives among GPUs over NCCL. All data is device memory of the view's GPU, and everything runs on one
// stream of its own, so that it overlaps with the computation: start_… returns when NCCL has taken the work,
// wait() when it is done. A view and its communicators belong to one thread, but for revoke().
//
// Sums. kRepeatable keeps the order of communicator.h: NCCL only moves each chunk to its owner, where a
// kernel of ours adds, with bf16 summed in fp32. kNative leaves the sums to NCCL: they may be faster, bf16 is
// rounded at each hop, and the order is NCCL's, which depends on where ranks run.
//
// Failures. The first one is that of the whole view, of each of its communicators: all are revoked, what was
// started counts for nothing, and an operation that failed returns when NCCL no longer touches a buffer.
// Which rank failed NCCL does not say, unless there are but two. When NCCL or the GPU does not let go,
// stuck() is true, nothing is freed, and only the end of the process helps; errors of CUDA itself (an illegal
// address, ECC) need that as well.
//
// No GPU was at hand for this code: it compiles and links against NCCL 2.28.9 and CUDA 13, and its logic was
// tested on a stand-in with their binary interface (tests/unit/comm/nccl_shim).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "trainer/comm/communicator.h"
#include "trainer/comm/gpu_handles.h"

namespace stint::comm {

class NcclSession;
struct NcclOperation;

enum class NcclSums { kRepeatable, kNative };

struct NcclOptions {
  int device = 0;
  std::chrono::milliseconds timeout{60'000};  // of joining, and at first of all operations
  std::chrono::milliseconds grace{10'000};    // for NCCL to let go after a failure, before it counts as stuck
  NcclSums sums = NcclSums::kRepeatable;
  std::size_t scratch_bytes = std::size_t{64} << 20;  // on the GPU, for terms on their way into a sum
  // Called on another thread when a thread of the caller may never come back: should end the process.
  std::function<void(const Status&)> on_stuck;
};

class NcclCommunicator final : public Communicator {
 public:
  using Pending = std::shared_ptr<NcclOperation>;

  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;
  ~NcclCommunicator() override;

  // Begins when all that `after` holds by now is done; null is CUDA's default stream. The data must stay
  // where it is until wait() has returned.
  Pending start_reduce_scatter(Data data, gpu::CudaStream* after = nullptr);
  Pending start_all_gather(Data data, gpu::CudaStream* after = nullptr);
  Pending start_all_reduce(Data data, gpu::CudaStream* after = nullptr);
  Pending start_broadcast(std::span<std::byte> data, int root, gpu::CudaStream* after = nullptr);
  Status wait(const Pending& pending);
  // What `stream` is given from now on begins when the operation is done; the host does not wait. Results
  // count only once wait() has said Ok.
  Status hold(gpu::CudaStream* stream, const Pending& pending);

  Status reduce_scatter(Data data) override { return wait(start_reduce_scatter(data)); }
  Status all_gather(Data data) override { return wait(start_all_gather(data)); }
  Status all_reduce(Data data) override { return wait(start_all_reduce(data)); }
  Status broadcast(std::span<std::byte> data, int root) override { return wait(start_broadcast(data, root)); }
  Status barrier() override;
  Status send(std::span<const std::byte> data, int to) override;
  Status receive(std::span<std::byte> data, int from) override;
  void revoke() override;  // of the whole view

 private:
  friend class NcclView;
  struct Device;
  using Body = std::function<Status(const NcclOperation&)>;

  NcclCommunicator(Group group, std::chrono::milliseconds timeout, std::shared_ptr<NcclSession> session,
                   std::size_t member, std::shared_ptr<Device> device);

  Pending start(const char* name, int peer, gpu::CudaStream* after, const Body& body);
  Status enqueue(NcclOperation& operation, gpu::CudaStream* after, const Body& body);
  Status check(const NcclOperation& operation, gpu::CudaError error);
  // One group of NCCL calls.
  Status group(const NcclOperation& operation,
               const std::function<void(std::vector<gpu::NcclResult>&)>& calls);
  Status sum_chunks(const NcclOperation& operation, Data data);
  Status exchange_and_sum(const NcclOperation& operation, Data data);
  Status sum_natively(const NcclOperation& operation, Data data);
  Status gather_chunks(const NcclOperation& operation, Data data);
  gpu::NcclComm* comm() const;

  const std::shared_ptr<NcclSession> session_;
  const std::size_t member_;
  const std::shared_ptr<Device> device_;
  std::uint32_t operations_ = 0;
};

class NcclView {
 public:
  struct Made {
    Status status;
    std::unique_ptr<NcclView> view;  // null where the status is not Ok
  };

  // A new id, from which a view can be made once: opaque bytes to be given to all its ranks.
  static std::string new_id(const gpu::Libraries& libraries);
  // All `size` ranks call it with the same ids, in the same order; several ids, made on different ranks, let
  // many ranks meet faster. Throws Error where this machine lacks something, before it meets the others.
  static Made join(std::shared_ptr<const gpu::Libraries> libraries, NcclOptions options,
                   std::span<const std::string> ids, std::uint32_t epoch, int rank, int size);
  ~NcclView();

  NcclCommunicator& whole() { return *whole_; }
  // A communicator among some ranks, such as those of a node, of the same life as the view. All ranks of the
  // view call it, each with the group that it is in, or one without members if it is in none; null then, and
  // on failure.
  struct Part {
    Status status;
    NcclCommunicator* communicator = nullptr;
  };
  Part split(const Group& group);

  // Gives up this view, if it has not failed yet, and makes one of all ranks but the excluded, which keep
  // their order. Each of them calls it, with the same ranks excluded; NCCL does not find out for itself who
  // is left. Afterwards this view is only to be destroyed. Where NCCL cannot shrink, as after some errors of
  // the network, the status says so, and join() with new ids can.
  Made shrink(std::vector<int> excluded, std::uint32_t epoch);

  void revoke();  // any thread
  bool stuck() const;

 private:
  NcclView(std::shared_ptr<const gpu::Libraries> libraries, NcclOptions options);
  NcclOperation operation(const char* name, std::uint32_t epoch, int rank) const;
  void adopt(Group group, std::size_t member);
  void reserve_device(int size);

  const std::shared_ptr<const gpu::Libraries> libraries_;
  const NcclOptions options_;
  std::shared_ptr<NcclSession> session_;
  std::shared_ptr<NcclCommunicator::Device> device_;
  std::unique_ptr<NcclCommunicator> whole_;
  std::vector<std::unique_ptr<NcclCommunicator>> parts_;
};

}  // namespace stint::comm
