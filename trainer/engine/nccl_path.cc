// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/nccl_path.h"

#include <algorithm>

#include "trainer/comm/nccl_operation.h"

namespace stint::engine {

using comm::Status;

// A communicator whose collectives of data return once they have begun. Of one rank alone it has nothing to
// do.
class NcclPath::Lane final : public comm::Communicator {
 public:
  Lane(NcclPath& path, comm::Group group, comm::NcclCommunicator* under)
      : Communicator(std::move(group), path.view_->whole().timeout()), path_(path), under_(under) {}

  Status reduce_scatter(comm::Data data) override {
    return begin([&] { return under_->start_reduce_scatter(data, path_.stream()); });
  }
  Status all_gather(comm::Data data) override {
    return begin([&] { return under_->start_all_gather(data, path_.stream()); });
  }
  Status all_reduce(comm::Data data) override {
    return begin([&] { return under_->start_all_reduce(data, path_.stream()); });
  }
  Status broadcast(std::span<std::byte> data, int root) override {
    return begin([&] { return under_->start_broadcast(data, root, path_.stream()); });
  }
  Status barrier() override { return under_ == nullptr ? Status{} : under_->barrier(); }
  Status send(std::span<const std::byte> data, int to) override {
    return under_ == nullptr ? Status{} : under_->send(data, to);
  }
  Status receive(std::span<std::byte> data, int from) override {
    return under_ == nullptr ? Status{} : under_->receive(data, from);
  }
  void revoke() override { path_.view_->revoke(); }
  comm::NcclCommunicator* under() { return under_; }

 private:
  template <typename Start>
  Status begin(Start&& start) {
    return under_ == nullptr ? Status{} : path_.note(start());
  }

  NcclPath& path_;
  comm::NcclCommunicator* under_;  // null: of one rank
};

NcclPath::NcclPath(std::unique_ptr<comm::NcclView> view, model::Device& device, bool overlaps)
    : view_(std::move(view)), device_(device), overlaps_(overlaps) {}

NcclPath::~NcclPath() = default;

NcclPath::Made NcclPath::make(std::unique_ptr<comm::NcclView> view, const Partition& partition,
                              model::Device& device, bool overlaps) {
  std::unique_ptr<NcclPath> path(new NcclPath(std::move(view), device, overlaps));
  if (auto status = path->join(partition.shard_group(), path->shard_); !status) return {status, nullptr};
  if (auto status = path->join(partition.replica_group(), path->replica_); !status) return {status, nullptr};
  return {{}, std::move(path)};
}

// Groups of one kind are all of one size, so that all ranks split or none does.
Status NcclPath::join(const std::vector<int>& members, std::unique_ptr<Lane>& lane) {
  comm::NcclCommunicator& whole = view_->whole();
  const auto place = std::ranges::find(members, whole.rank()) - members.begin();
  const comm::Group group{whole.epoch(), static_cast<int>(place), members};
  comm::NcclView::Part part{{}, members.size() == 1 ? nullptr : &whole};
  if (members.size() > 1 && members.size() < whole.members().size()) part = view_->split(group);
  if (part.status) lane = std::make_unique<Lane>(*this, group, part.communicator);
  return part.status;
}

void NcclPath::set_timeout(std::chrono::milliseconds timeout) {
  view_->whole().set_timeout(timeout);
  for (Lane* lane : {shard_.get(), replica_.get()})
    if (lane->under() != nullptr) lane->under()->set_timeout(timeout);
}

comm::Communicator& NcclPath::shard() {
  return *shard_;
}

comm::Communicator& NcclPath::replica() {
  return *replica_;
}

comm::gpu::CudaStream* NcclPath::stream() const {
  return static_cast<comm::gpu::CudaStream*>(device_.stream());
}

Status NcclPath::note(Pending pending) {
  const Status status = pending->status;
  started_.emplace_back(posted_, std::move(pending));
  return status;
}

void NcclPath::keep(Status status) {
  if (failure_) failure_ = std::move(status);
}

DataPath::Ticket NcclPath::post(Operation operation, std::function<void()> after) {
  ++posted_;
  if (failure_) failure_ = operation();
  if (failure_ && after) after_.emplace_back(posted_, std::move(after));
  if (!overlaps_) static_cast<void>(wait(posted_));
  return posted_;
}

// NCCL's stream is in order: who waits for the last one waits for all.
Status NcclPath::wait(Ticket ticket) {
  if (failure_ && ticket > held_) {
    const auto is_in = [&](const auto& started) { return started.first <= ticket; };
    const auto last = std::find_if(started_.rbegin(), started_.rend(), is_in);
    if (last != started_.rend()) keep(view_->whole().hold(stream(), last->second));
    held_ = ticket;
  }
  for (; failure_ && !after_.empty() && after_.front().first <= ticket; after_.pop_front())
    after_.front().second();
  return failure_;
}

Status NcclPath::finish() {
  const auto begin = std::chrono::steady_clock::now();
  static_cast<void>(wait(posted_));
  for (const auto& [ticket, pending] : started_) keep(view_->whole().wait(pending));
  started_.clear();
  waited_ += std::chrono::steady_clock::now() - begin;
  return failure_;
}

void NcclPath::close() {
  started_.clear();
  view_.reset();
}

}  // namespace stint::engine
