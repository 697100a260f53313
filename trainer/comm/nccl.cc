// SPDX-License-Identifier: Apache-2.0
#include "trainer/comm/nccl.h"

#include <algorithm>

#include "base/error.h"
#include "trainer/comm/nccl_device.h"
#include "trainer/comm/nccl_session.h"

namespace stint::comm {
namespace {

using gpu::NcclOp;
using gpu::NcclResult;
using gpu::NcclType;

NcclType nccl_type(Type type) {
  return type == Type::kFloat ? NcclType::kFloat32 : NcclType::kBfloat16;
}

// The part of rank `rank`'s chunk that lies in tile [begin, begin + length) of every chunk.
Data tile_of(Data data, int size, int rank, std::size_t begin, std::size_t length) {
  const Range chunk = chunk_of(data.count(), size, rank);
  return data.part(
      {std::min(chunk.begin + begin, chunk.end), std::min(chunk.begin + begin + length, chunk.end)});
}

}  // namespace

NcclCommunicator::NcclCommunicator(Group group, std::chrono::milliseconds timeout,
                                   std::shared_ptr<NcclSession> session, std::size_t member,
                                   std::shared_ptr<Device> device)
    : Communicator(std::move(group), timeout),
      session_(std::move(session)),
      member_(member),
      device_(std::move(device)) {}

NcclCommunicator::~NcclCommunicator() = default;

gpu::NcclComm* NcclCommunicator::comm() const {
  return session_->comm(member_);
}

void NcclCommunicator::revoke() {
  session_->revoke();
}

NcclCommunicator::Pending NcclCommunicator::start(const char* name, int peer, gpu::CudaStream* after,
                                                  const Body& body) {
  if (peer < 0 && size() == 2) peer = 1 - rank();
  auto operation = std::make_shared<NcclOperation>(NcclOperation{
      name, operations_++, epoch(), member_, rank(), peer, NcclOperation::Clock::now() + timeout()});
  try {
    operation->status = enqueue(*operation, after, body);
  } catch (const Error& error) {
    operation->status = session_->fail(*operation, {Code::kPeerFailed, rank(), error.what()});
  }
  if (operation->status) session_->watch(operation);
  return operation;
}

Status NcclCommunicator::enqueue(NcclOperation& operation, gpu::CudaStream* after, const Body& body) {
  const gpu::CudaFunctions& cuda = device_->libraries->cuda;
  const gpu::Event ready = gpu::make_event(cuda);
  operation.done = gpu::make_event(cuda);
  if (Status s = check(operation, cuda.event_record(ready.get(), after)); !s) return s;
  if (Status s = check(operation, cuda.stream_wait(device_->stream.get(), ready.get(), 0)); !s) return s;
  if (Status s = body(operation); !s) return s;
  return check(operation, cuda.event_record(operation.done.get(), device_->stream.get()));
}

Status NcclCommunicator::check(const NcclOperation& operation, gpu::CudaError error) {
  if (error == gpu::CudaError::kSuccess) return {};
  return session_->fail(operation,
                        {Code::kPeerFailed, rank(), gpu::text_of(device_->libraries->cuda, error)});
}

Status NcclCommunicator::wait(const Pending& pending) {
  return pending->status ? session_->wait(*pending) : pending->status;
}

Status NcclCommunicator::hold(gpu::CudaStream* stream, const Pending& pending) {
  if (!pending->status) return pending->status;
  return check(*pending, device_->libraries->cuda.stream_wait(stream, pending->done.get(), 0));
}

Status NcclCommunicator::group(const NcclOperation& operation,
                               const std::function<void(std::vector<NcclResult>&)>& calls) {
  const gpu::NcclFunctions& nccl = device_->libraries->nccl;
  return session_->call(operation, [&] {
    std::vector<NcclResult> results{nccl.group_start()};
    calls(results);
    const NcclResult whole = nccl.group_end();
    const auto failed = std::ranges::find_if(
        results, [](NcclResult r) { return r != NcclResult::kSuccess && r != NcclResult::kInProgress; });
    return failed == results.end() ? whole : *failed;
  });
}

NcclCommunicator::Pending NcclCommunicator::start_reduce_scatter(Data data, gpu::CudaStream* after) {
  return start("reduce_scatter", -1, after,
               [&](const NcclOperation& operation) { return sum_chunks(operation, data); });
}

NcclCommunicator::Pending NcclCommunicator::start_all_gather(Data data, gpu::CudaStream* after) {
  return start("all_gather", -1, after,
               [&](const NcclOperation& operation) { return gather_chunks(operation, data); });
}

NcclCommunicator::Pending NcclCommunicator::start_all_reduce(Data data, gpu::CudaStream* after) {
  return start("all_reduce", -1, after, [&](const NcclOperation& operation) -> Status {
    if (device_->sums == NcclSums::kNative) {
      void* const bytes = data.bytes().data();
      return session_->call(operation, [&] {
        return device_->libraries->nccl.all_reduce(bytes, bytes, data.count(), nccl_type(data.type()),
                                                   NcclOp::kSum, comm(), device_->stream.get());
      });
    }
    if (Status status = sum_chunks(operation, data); !status) return status;
    return gather_chunks(operation, data);
  });
}

Status NcclCommunicator::sum_chunks(const NcclOperation& operation, Data data) {
  if (size() == 1 || data.count() == 0) return {};
  return device_->sums == NcclSums::kNative ? sum_natively(operation, data)
                                            : exchange_and_sum(operation, data);
}

// Each rank sends every chunk to its owner, who adds; as many bytes as a ring would move. In tiles, so that
// the scratch memory is enough for the terms of one.
Status NcclCommunicator::exchange_and_sum(const NcclOperation& operation, Data data) {
  const gpu::Libraries& libraries = *device_->libraries;
  gpu::CudaStream* const stream = device_->stream.get();
  const NcclType type = nccl_type(data.type());
  const auto others = static_cast<std::size_t>(size() - 1);
  const std::size_t length =
      std::max<std::size_t>(1, device_->scratch_bytes / (others * size_of(data.type())));
  auto* const scratch = static_cast<std::byte*>(device_->scratch.get());
  const auto place = [&](int other) {
    return scratch +
           static_cast<std::size_t>(other < rank() ? other : other - 1) * length * size_of(data.type());
  };
  const std::size_t longest = chunk_of(data.count(), size(), 0).size();
  for (std::size_t begin = 0; begin < longest; begin += length) {
    const Data own = tile_of(data, size(), rank(), begin, length);
    Status status = group(operation, [&](std::vector<NcclResult>& results) {
      for (int step = 1; step < size(); ++step) {
        const int to = (rank() + step) % size(), from = (rank() + size() - step) % size();
        const Data theirs = tile_of(data, size(), to, begin, length);
        if (theirs.count() > 0)
          results.push_back(
              libraries.nccl.send(theirs.bytes().data(), theirs.count(), type, to, comm(), stream));
        if (own.count() > 0)
          results.push_back(libraries.nccl.receive(place(from), own.count(), type, from, comm(), stream));
      }
    });
    if (!status) return status;
    const auto sum = data.type() == Type::kFloat ? libraries.kernels->sum_fp32 : libraries.kernels->sum_bf16;
    status = check(operation, sum(own.bytes().data(), scratch, length, size(), rank(), own.count(), stream));
    if (!status) return status;
  }
  return {};
}

// NCCL's own reduce-scatter wants chunks of one length.
Status NcclCommunicator::sum_natively(const NcclOperation& operation, Data data) {
  const gpu::NcclFunctions& nccl = device_->libraries->nccl;
  gpu::CudaStream* const stream = device_->stream.get();
  const NcclType type = nccl_type(data.type());
  const auto chunk = [&](int of) { return data.part(chunk_of(data.count(), size(), of)); };
  if (data.count() % static_cast<std::size_t>(size()) == 0)
    return session_->call(operation, [&] {
      const Data own = chunk(rank());
      return nccl.reduce_scatter(data.bytes().data(), own.bytes().data(), own.count(), type, NcclOp::kSum,
                                 comm(), stream);
    });
  return group(operation, [&](std::vector<NcclResult>& results) {
    for (int owner = 0; owner < size(); ++owner)
      if (const Data part = chunk(owner); part.count() > 0)
        results.push_back(nccl.reduce(part.bytes().data(), part.bytes().data(), part.count(), type,
                                      NcclOp::kSum, owner, comm(), stream));
  });
}

Status NcclCommunicator::gather_chunks(const NcclOperation& operation, Data data) {
  if (size() == 1 || data.count() == 0) return {};
  const gpu::NcclFunctions& nccl = device_->libraries->nccl;
  gpu::CudaStream* const stream = device_->stream.get();
  const NcclType type = nccl_type(data.type());
  const auto chunk = [&](int of) { return data.part(chunk_of(data.count(), size(), of)); };
  if (data.count() % static_cast<std::size_t>(size()) == 0)
    return session_->call(operation, [&] {
      const Data own = chunk(rank());
      return nccl.all_gather(own.bytes().data(), data.bytes().data(), own.count(), type, comm(), stream);
    });
  return group(operation, [&](std::vector<NcclResult>& results) {
    for (int owner = 0; owner < size(); ++owner)
      if (const Data part = chunk(owner); part.count() > 0)
        results.push_back(nccl.broadcast(part.bytes().data(), part.bytes().data(), part.count(), type, owner,
                                         comm(), stream));
  });
}

NcclCommunicator::Pending NcclCommunicator::start_broadcast(std::span<std::byte> data, int root,
                                                            gpu::CudaStream* after) {
  return start("broadcast", -1, after, [&](const NcclOperation& operation) -> Status {
    if (data.empty()) return {};
    return session_->call(operation, [&] {
      return device_->libraries->nccl.broadcast(data.data(), data.data(), data.size(), NcclType::kInt8, root,
                                                comm(), device_->stream.get());
    });
  });
}

Status NcclCommunicator::barrier() {
  return wait(start("barrier", -1, nullptr, [&](const NcclOperation& operation) {
    return session_->call(operation, [&] {
      void* const byte = device_->scratch.get();
      return device_->libraries->nccl.all_reduce(byte, byte, 1, NcclType::kInt8, NcclOp::kSum, comm(),
                                                 device_->stream.get());
    });
  }));
}

Status NcclCommunicator::send(std::span<const std::byte> data, int to) {
  return wait(start("send", to, nullptr, [&](const NcclOperation& operation) -> Status {
    if (data.empty()) return {};
    return session_->call(operation, [&] {
      return device_->libraries->nccl.send(data.data(), data.size(), NcclType::kInt8, to, comm(),
                                           device_->stream.get());
    });
  }));
}

Status NcclCommunicator::receive(std::span<std::byte> data, int from) {
  return wait(start("receive", from, nullptr, [&](const NcclOperation& operation) -> Status {
    if (data.empty()) return {};
    return session_->call(operation, [&] {
      return device_->libraries->nccl.receive(data.data(), data.size(), NcclType::kInt8, from, comm(),
                                              device_->stream.get());
    });
  }));
}

}  // namespace stint::comm
