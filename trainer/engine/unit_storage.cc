// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/unit_storage.h"

#include <algorithm>

namespace stint::engine {
namespace {

using comm::Status;
using model::Operand;

constexpr std::size_t kVocabularySlot = 2;
constexpr char kParametersAwaited[] = "waits for parameters of";

std::size_t floats_for(std::size_t operands, Operand operand) {
  return (operands * bytes_of(operand) + sizeof(float) - 1) / sizeof(float);
}

bool has_head(const model::Layout& layout) {
  return layout.parameters().back().name == "lm_head.weight";
}

}  // namespace

UnitStorage::UnitStorage(const model::Layout& layout, const Partition& partition, ShardedKinds sharded,
                         Operand operand, Buffer& masters, DataPath& path, Tracer& tracer,
                         std::span<std::byte>& room)
    : layout_(layout),
      partition_(partition),
      sharded_(sharded),
      operand_(operand),
      masters_(masters.span()),
      device_(masters.device()),
      path_(path),
      tracer_(tracer),
      fresh_(layout.units().size(), true),
      published_(layout.units().size()) {
  const bool floats = operand == Operand::kFloat;
  if (!floats && !sharded.parameters)
    whole_operands_ = Buffer::within(room, floats_for(layout.floats(), operand), device_);
  if (!floats && sharded.parameters)
    shard_operands_ = Buffer(floats_for(partition.shard_floats(), operand), device_);
  if (sharded.gradients)
    shard_gradients_ = Buffer(partition.shard_floats(), device_);
  else
    whole_gradients_ = Buffer::within(room, layout.floats(), device_);
  for (const std::size_t count : slot_floats(layout)) {
    if (sharded.gradients) gradient_slots_.push_back({Buffer::within(room, count, device_), {}, 0, false});
    if (sharded.parameters)
      parameter_slots_.push_back({Buffer::within(room, floats_for(count, operand), device_), {}, 0, false});
  }
  const std::size_t head = has_head(layout) ? layout.units().size() - 1 : 0;
  const std::size_t layers = layout.units().size() - (head == 0 ? 1 : 2);
  for (std::size_t unit = 0; unit <= layers; ++unit) order_.push_back(unit);
  order_.push_back(head);
  for (std::size_t unit = layers; unit > 0; --unit) order_.push_back(unit);
}

std::size_t UnitStorage::room_bytes(const model::Layout& layout, ShardedKinds sharded, Operand operand) {
  std::size_t bytes = 0;
  if (operand != Operand::kFloat && !sharded.parameters)
    bytes += Buffer::room_for(floats_for(layout.floats(), operand));
  if (!sharded.gradients) bytes += Buffer::room_for(layout.floats());
  for (const std::size_t count : slot_floats(layout)) {
    if (sharded.gradients) bytes += Buffer::room_for(count);
    if (sharded.parameters) bytes += Buffer::room_for(floats_for(count, operand));
  }
  return bytes;
}

// Two for the layers, which follow each other, and one for the units that hold the vocabulary.
std::vector<std::size_t> UnitStorage::slot_floats(const model::Layout& layout) {
  const auto& units = layout.units();
  const std::size_t vocabulary =
      has_head(layout) ? std::max(units.front().size(), units.back().size()) : units.front().size();
  return {units[1].size(), units[1].size(), vocabulary};
}

std::size_t UnitStorage::slot_of(std::size_t unit) const {
  const bool vocabulary = unit == 0 || (has_head(layout_) && unit + 1 == layout_.units().size());
  return vocabulary ? kVocabularySlot : unit % 2;
}

comm::Data UnitStorage::data(std::byte* begin, std::size_t count) const {
  if (operand_ == Operand::kBf16) return std::span(reinterpret_cast<comm::Bf16*>(begin), count);
  return std::span(reinterpret_cast<float*>(begin), count);
}

void UnitStorage::require(DataPath::Ticket ticket, const char* what, std::size_t unit) {
  if (ticket == 0) return;
  const Span span(tracer_, what, unit);
  if (auto status = path_.wait(ticket); !status) throw CommFailure(std::move(status));
}

void UnitStorage::begin_pass(bool last) {
  next_ = 0;
  last_ = last;
}

// What follows, until something else is asked for, is work on this unit.
const void* UnitStorage::parameters(std::size_t unit) {
  tracer_.end_phase();
  const std::size_t place = next_++;
  const void* parameters = fetch(unit, place);
  const std::size_t head = order_.size() / 2;
  tracer_.begin_phase(place < head ? "forward" : place == head ? "forward and backward" : "backward", unit);
  return parameters;
}

const void* UnitStorage::fetch(std::size_t unit, std::size_t place) {
  if (!sharded_.parameters) {
    require(published_[unit], kParametersAwaited, unit);
    return whole() + layout_.units()[unit].begin * bytes_of(operand_);
  }
  gather(unit);
  if (place + 1 < order_.size())
    gather(order_[place + 1]);
  else if (!last_)
    gather(order_[0]);
  const Slot& slot = parameter_slots_[slot_of(unit)];
  require(slot.ticket, kParametersAwaited, unit);
  return slot.memory.span().data();
}

Status UnitStorage::all_gather(std::size_t unit, comm::Data values) {
  const auto span = Span::collective(tracer_, "all_gather", static_cast<std::int64_t>(unit),
                                     layout_.units()[unit].size() * bytes_of(operand_));
  return path_.shard().all_gather(values);
}

// Into its slot, unless it is there already.
void UnitStorage::gather(std::size_t unit) {
  Slot& slot = parameter_slots_[slot_of(unit)];
  if (slot.unit == unit) return;
  slot.unit = unit;
  const auto& all = layout_.units()[unit];
  const Piece& own = partition_.shard_pieces()[unit];
  auto* memory = reinterpret_cast<std::byte*>(slot.memory.span().data());
  device_.copy(memory + (own.flat - all.begin) * bytes_of(operand_), shard() + own.held * bytes_of(operand_),
               own.count * bytes_of(operand_));
  if (partition_.degree() == 1) return;
  slot.ticket =
      path_.post([this, unit, whole = data(memory, all.size())] { return all_gather(unit, whole); });
}

model::Storage::Gradients UnitStorage::gradients(std::size_t unit) {
  if (!tracer_.in_phase_of(unit)) tracer_.begin_phase("backward", unit);
  if (!sharded_.gradients) {
    const bool fresh = fresh_[unit];
    fresh_[unit] = false;
    return {&whole_gradients_.span()[layout_.units()[unit].begin], fresh};
  }
  Slot& slot = gradient_slots_[slot_of(unit)];
  float* data = slot.memory.span().data();
  if (slot.open && slot.unit == unit) return {data, false};
  require(slot.ticket, "waits for room for gradients of", unit);
  // Layers have their holes at the same places, those of the vocabulary have not.
  if (slot.unit != unit && slot_of(unit) == kVocabularySlot)
    device_.clear(data, layout_.units()[unit].size() * sizeof(float));
  slot.unit = unit;
  slot.open = true;
  return {data, true};
}

void UnitStorage::complete(std::size_t unit) {
  const auto& all = layout_.units()[unit];
  if (!sharded_.gradients) {
    if (last_)
      path_.post([=, this] { return reduce(unit, whole_gradients_.span().subspan(all.begin, all.size())); });
    return;
  }
  Slot& slot = gradient_slots_[slot_of(unit)];
  slot.open = false;
  const auto values = slot.memory.span().first(all.size());
  const bool fresh = fresh_[unit];
  slot.ticket = path_.post([=, this] { return reduce(unit, values); },
                           [=, this] {
                             const Piece& own = partition_.shard_pieces()[unit];
                             const auto& ops = device_.kernels(Operand::kFloat);
                             (fresh ? ops.to_floats : ops.add)(values.data() + (own.flat - all.begin),
                                                               static_cast<std::int64_t>(own.count),
                                                               shard_gradients_.span().data() + own.held);
                           });
  fresh_[unit] = false;
}

// The shard's chunk of a unit to its sum over all ranks.
Status UnitStorage::reduce(std::size_t unit, std::span<float> values) {
  const auto traced = [&](const char* name, std::size_t floats) {
    return Span::collective(tracer_, name, static_cast<std::int64_t>(unit), floats * sizeof(float));
  };
  if (path_.shard().size() > 1) {
    const auto span = traced("reduce_scatter", values.size());
    if (auto status = path_.shard().reduce_scatter(values); !status) return status;
  }
  if (path_.replica().size() == 1) return {};
  const Piece& own = partition_.shard_pieces()[unit];
  const auto span = traced("all_reduce", own.count);
  return path_.replica().all_reduce(values.subspan(own.flat - layout_.units()[unit].begin, own.count));
}

void UnitStorage::begin_step() {
  fresh_.assign(fresh_.size(), true);
}

std::span<float> UnitStorage::reduced(const Piece& piece) {
  return sharded_.gradients ? shard_gradients_.span().subspan(piece.held, piece.count)
                            : whole_gradients_.span().subspan(piece.flat, piece.count);
}

std::byte* UnitStorage::whole() {
  float* begin = operand_ == Operand::kFloat ? masters_.data() : whole_operands_.span().data();
  return reinterpret_cast<std::byte*>(begin);
}

std::byte* UnitStorage::shard() {
  float* begin = operand_ == Operand::kFloat ? masters_.data() : shard_operands_.span().data();
  return reinterpret_cast<std::byte*>(begin);
}

void* UnitStorage::operands(const Piece& piece) {
  if (operand_ == Operand::kFloat) return nullptr;
  return sharded_.parameters ? shard() + piece.held * bytes_of(operand_)
                             : whole() + piece.flat * bytes_of(operand_);
}

void UnitStorage::publish() {
  if (sharded_.parameters) {
    for (auto& slot : parameter_slots_) slot.unit.reset();
    return gather(order_[0]);
  }
  if (partition_.degree() == 1) return;
  for (std::size_t unit = 0; unit < published_.size(); ++unit) {
    const auto& all = layout_.units()[unit];
    published_[unit] =
        path_.post([this, unit, values = data(whole() + all.begin * bytes_of(operand_), all.size())] {
          return all_gather(unit, values);
        });
  }
}

}  // namespace stint::engine
