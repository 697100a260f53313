// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "trainer/comm/nccl.h"
#include "trainer/comm/nccl_device.h"
#include "trainer/comm/nccl_session.h"

namespace stint::comm {
namespace {

using gpu::NcclResult;

std::vector<gpu::NcclId> unpacked(std::span<const std::string> ids) {
  std::vector<gpu::NcclId> all(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i].size() != sizeof(gpu::NcclId))
      fail("nccl: the {} bytes given are not the id of a view", ids[i].size());
    std::memcpy(&all[i], ids[i].data(), sizeof(gpu::NcclId));
  }
  return all;
}

gpu::NcclConfig nonblocking() {
  gpu::NcclConfig config;
  config.blocking = 0;
  config.collnet = 0;  // in-network sums can be neither repeated nor revoked
  return config;
}

// What something may still write to. Freeing would wait for that.
void keep_for_ever(std::shared_ptr<void> device) {
  static std::mutex mutex;
  static auto* const kept = new std::vector<std::shared_ptr<void>>;
  const std::lock_guard lock(mutex);
  kept->push_back(std::move(device));
}

}  // namespace

std::string NcclView::new_id(const gpu::Libraries& libraries) {
  gpu::NcclId id{};
  if (const NcclResult result = libraries.nccl.new_id(&id); result != NcclResult::kSuccess)
    fail("nccl: cannot make an id for a view: {}; see NCCL_SOCKET_IFNAME, and what NCCL_DEBUG=INFO says",
         libraries.nccl.error_text(result));
  return {id.bytes, sizeof id.bytes};
}

NcclView::NcclView(std::shared_ptr<const gpu::Libraries> libraries, NcclOptions options)
    : libraries_(std::move(libraries)), options_(std::move(options)) {
  session_ = NcclSession::start(libraries_, options_.device, {options_.grace, options_.on_stuck});
}

NcclOperation NcclView::operation(const char* name, std::uint32_t epoch, int rank) const {
  const auto timeout = whole_ == nullptr ? options_.timeout : whole_->timeout();
  return {name, 0, epoch, 0, rank, -1, NcclOperation::Clock::now() + timeout};
}

NcclView::Made NcclView::join(std::shared_ptr<const gpu::Libraries> libraries, NcclOptions options,
                              std::span<const std::string> ids, std::uint32_t epoch, int rank, int size) {
  if (options.sums == NcclSums::kRepeatable && !libraries->kernels)
    fail("nccl: repeatable sums need our own kernels: {}", libraries->why_no_kernels);
  libraries->use_device(options.device);
  auto all = unpacked(ids);
  std::unique_ptr<NcclView> view(new NcclView(std::move(libraries), std::move(options)));
  view->reserve_device(size);
  const NcclOperation joining = view->operation("join", epoch, rank);
  NcclSession& session = *view->session_;
  const std::size_t member = session.add_member();
  Status status = session.call(joining, [&] {
    gpu::NcclConfig config = nonblocking();
    return view->libraries_->nccl.init(session.place(member), size, rank, static_cast<int>(all.size()),
                                       all.data(), &config);
  });
  if (status) status = session.await_ready(joining, member);
  if (!status) return {status, nullptr};
  view->adopt(whole_view(epoch, rank, size), member);
  return {status, std::move(view)};
}

void NcclView::reserve_device(int size) {
  // A term of each rank fits in any case.
  const std::size_t bytes = std::max(options_.scratch_bytes, static_cast<std::size_t>(size) * sizeof(float));
  device_ = std::make_shared<NcclCommunicator::Device>(
      NcclCommunicator::Device{libraries_, options_.sums, bytes, gpu::make_stream(libraries_->cuda),
                               gpu::allocate(libraries_->cuda, bytes)});
}

void NcclView::adopt(Group group, std::size_t member) {
  std::unique_ptr<NcclCommunicator> communicator(
      new NcclCommunicator(std::move(group), options_.timeout, session_, member, device_));
  if (whole_ == nullptr)
    whole_ = std::move(communicator);
  else
    parts_.push_back(std::move(communicator));
}

NcclView::Part NcclView::split(const Group& group) {
  const NcclOperation splitting = operation("split", whole_->epoch(), whole_->rank());
  const std::size_t member = session_->add_member();
  const bool in_one = !group.members.empty();
  Status status = session_->call(splitting, [&] {
    gpu::NcclConfig config = nonblocking();
    return until_polled(libraries_->nccl.split(session_->comm(0),
                                               in_one ? group.members.front() : gpu::kNcclNoColor, group.rank,
                                               session_->place(member), &config));
  });
  if (!status || !in_one) return {status};
  status = session_->await_ready(splitting, member);
  if (!status) return {status};
  adopt(group, member);
  return {status, parts_.back().get()};
}

NcclView::Made NcclView::shrink(std::vector<int> excluded, std::uint32_t epoch) {
  std::ranges::sort(excluded);
  excluded.erase(std::ranges::unique(excluded).begin(), excluded.end());
  const int rank = whole_->rank(), size = whole_->size();
  if (excluded.empty() || excluded.front() < 0 || excluded.back() >= size)
    fail("nccl: a view of {} ranks cannot shrink by {} ranks from {} to {}", size, excluded.size(),
         excluded.empty() ? 0 : excluded.front(), excluded.empty() ? 0 : excluded.back());
  if (std::ranges::binary_search(excluded, rank))
    fail("nccl: rank {} is excluded and cannot shrink the view", rank);
  gpu::NcclComm* child = nullptr;
  if (Status status = session_->shrink(operation("shrink", epoch, rank), excluded, &child); !status)
    return {status, nullptr};
  std::unique_ptr<NcclView> view(new NcclView(libraries_, options_));
  view->device_ = device_;
  const auto before = std::ranges::lower_bound(excluded, rank) - excluded.begin();
  view->adopt(whole_view(epoch, rank - static_cast<int>(before), size - static_cast<int>(excluded.size())),
              view->session_->add_member(child));
  return {{}, std::move(view)};
}

NcclView::~NcclView() {
  session_->close(options_.grace);
  if (session_->stuck() && device_ != nullptr) keep_for_ever(device_);
}

void NcclView::revoke() {
  session_->revoke();
}

bool NcclView::stuck() const {
  return session_->stuck();
}

}  // namespace stint::comm
