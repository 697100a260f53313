// SPDX-License-Identifier: Apache-2.0
// Parameters and gradients of one rank, as its sharding keeps them, and their way between ranks while the
// model computes:
//   none, zero1  whole parameters, whole gradients; the last pass of a step reduces each unit's gradients as
//                they are complete
//   zero2        whole parameters; the gradients of a few units, which every pass reduces as they are
//                complete and adds to those of the shard
//   zero3        the same, and the parameters of a few units, gathered one unit ahead of the model
// Reduced is first by reduce_scatter in the shard group, then what is left by all_reduce in the replica
// group. One thread; what it posts, every rank posts in the same order.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "trainer/comm/communicator.h"
#include "trainer/engine/buffer.h"
#include "trainer/engine/data_path.h"
#include "trainer/engine/partition.h"
#include "trainer/engine/tracer.h"
#include "trainer/model/storage.h"

namespace stint::engine {

// What is cut, beside the optimiser's state.
struct ShardedKinds {
  bool gradients = false, parameters = false;
};

class UnitStorage final : public model::Storage {
 public:
  // `masters`: fp32 parameters, whole where operands are floats and parameters are not sharded; else the
  // shard's; all is memory of their device. What the ranks exchange lies in `room`, where it fits.
  UnitStorage(const model::Layout& layout, const Partition& partition, ShardedKinds sharded,
              model::Operand operand, Buffer& masters, DataPath& path, Tracer& tracer,
              std::span<std::byte>& room);
  // What it takes of the room, in bytes, beside the masters.
  static std::size_t room_bytes(const model::Layout& layout, ShardedKinds sharded, model::Operand operand);

  // The model's side. Each throws CommFailure.
  const void* parameters(std::size_t unit) override;
  Gradients gradients(std::size_t unit) override;
  void complete(std::size_t unit) override;

  // Before the first pass of a step: all gradients are fresh.
  void begin_step();
  // Before each pass. last: it is this rank's last one of the step.
  void begin_pass(bool last);
  // A piece of the shard: its reduced gradients, once all is waited for, and where its parameters stand for
  // the model; null where those are the masters themselves.
  std::span<float> reduced(const Piece& piece);
  void* operands(const Piece& piece);
  // After an update: the other ranks' parameters are fetched, at once or when they are wanted.
  void publish();
  // Then every pass is everyone's: all ranks make as many.
  bool shards_gradients() const { return sharded_.gradients; }

 private:
  // Memory that units take in turn.
  struct Slot {
    Buffer memory;
    std::optional<std::size_t> unit;  // whose it is
    DataPath::Ticket ticket = 0;      // what it waits for
    bool open = false;                // the model adds to it
  };

  std::size_t slot_of(std::size_t unit) const;
  static std::vector<std::size_t> slot_floats(const model::Layout& layout);
  comm::Data data(std::byte* begin, std::size_t count) const;
  std::byte* whole();  // parameters as operands
  std::byte* shard();
  const void* fetch(std::size_t unit, std::size_t place);
  void gather(std::size_t unit);
  comm::Status all_gather(std::size_t unit, comm::Data values);
  comm::Status reduce(std::size_t unit, std::span<float> values);
  void require(DataPath::Ticket ticket, const char* what, std::size_t unit);

  const model::Layout& layout_;
  const Partition& partition_;
  ShardedKinds sharded_;
  model::Operand operand_;
  std::span<float> masters_;
  model::Device& device_;
  DataPath& path_;
  Tracer& tracer_;

  Buffer whole_operands_, shard_operands_;  // where operands are no floats
  Buffer whole_gradients_, shard_gradients_;
  std::vector<bool> fresh_;  // by unit: of these two
  std::vector<Slot> parameter_slots_, gradient_slots_;
  std::vector<DataPath::Ticket> published_;  // by unit
  std::vector<std::size_t> order_;           // in which a pass asks for parameters
  std::size_t next_ = 0;
  bool last_ = false;
};

}  // namespace stint::engine
