// SPDX-License-Identifier: Apache-2.0
// The engine's side of a trace: all ranks begin and end it at the same steps, on clocks that they have
// compared.
#include <array>

#include "trainer/engine/engine.h"
#include "trainer/engine/exchange.h"

namespace stint::engine {
namespace {

constexpr std::size_t kBarriers = 16;  // that the clocks are compared by

std::int64_t now() {
  return std::chrono::nanoseconds(Tracer::Clock::now().time_since_epoch()).count();
}

std::vector<std::string> unit_names(const model::Layout& layout) {
  const std::size_t units = layout.units().size();
  const bool head = layout.parameters().back().name == "lm_head.weight";
  std::vector<std::string> names{head ? "embedding" : "embedding and head"};
  for (std::size_t layer = 0; layer + 1 + (head ? 1 : 0) < units; ++layer)
    names.push_back("layer " + std::to_string(layer));
  if (head) names.emplace_back("head");
  return names;
}

}  // namespace

void Engine::ask_for_trace(std::int64_t id, std::int64_t steps) {
  wanted_trace_.id = id;
  wanted_trace_.steps = steps;
}

comm::Status Engine::begin_trace() {
  struct Record {
    std::array<Window, kBarriers> windows;
  };
  std::vector<Record> all(static_cast<std::size_t>(communicator_.size()));
  Record& own = all[static_cast<std::size_t>(communicator_.rank())];
  auto status = queue_.run([&]() -> comm::Status {
    for (Window& window : own.windows) {
      window.entered = now();
      if (auto together = communicator_.barrier(); !together) return together;
      window.left = now();
    }
    return exchange(communicator_, all);
  });
  if (!status) return status;
  auto& facts = trace_.facts;
  facts.rank = communicator_.rank();
  facts.first_step = state_.step + 1;
  facts.offset = clock_offset(own.windows, all.front().windows);
  const auto zero = static_cast<double>(all.front().windows.back().left) + facts.offset.nanoseconds;
  facts.zero = Tracer::Clock::time_point(std::chrono::nanoseconds(static_cast<std::int64_t>(zero)));
  facts.units = unit_names(layout_);
  tracer_.start();
  return {};
}

std::optional<Engine::Trace> Engine::take_trace(bool over) {
  if (!tracer_.on()) return std::nullopt;
  trace_.facts.steps = state_.step + 1 - trace_.facts.first_step;
  if (trace_.facts.steps < trace_.steps && !over) return std::nullopt;
  trace_.steps = 0;
  return Trace{trace_.id, trace_part(trace_.facts, tracer_.stop())};
}

}  // namespace stint::engine
