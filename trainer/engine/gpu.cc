// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/gpu.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/final_error.h"
#include "trainer/engine/exchange.h"
#include "trainer/engine/nccl_path.h"
#include "trainer/model/aten.h"
#include "trainer/model/config.h"

namespace stint::engine {

using comm::Status;

namespace {

std::shared_ptr<const comm::gpu::Libraries> load(const GpuOptions& options) {
  std::shared_ptr<const comm::gpu::Libraries> libraries;
  try {
    libraries = std::make_shared<const comm::gpu::Libraries>(options.libraries);
  } catch (const Error& error) {
    throw FinalError(error.what());
  }
  if (!libraries->kernels) throw FinalError(libraries->why_no_kernels);
  libraries->use_device(options.number);
  return libraries;
}

}  // namespace

ChosenDevice choose_device(const std::string& wanted, bool has_gpu) {
  if (wanted == "gpu" && !has_gpu)
    fail_finally(
        "resources.device = gpu: this worker was given no GPU; ask for them with resources.gres, or take "
        "auto");
  if (wanted == "cpu" || !has_gpu) return {};
  try {
    return {model::aten::make_device(true), ""};
  } catch (const model::DeviceFailure& failure) {
    if (wanted == "gpu" && !model::aten::is_for_gpus())
      fail_finally("resources.device = gpu: {}", failure.what());
    if (wanted == "gpu") fail("resources.device = gpu: {}", failure.what());
    return {nullptr, fmt::format("the CPU is computed on, not the GPU: {}", failure.what())};
  }
}

void require_equal_devices(const std::vector<bool>& gpus) {
  std::vector<int> without;
  for (std::size_t rank = 0; rank < gpus.size(); ++rank)
    if (!gpus[rank]) without.push_back(static_cast<int>(rank));
  if (without.empty() || without.size() == gpus.size()) return;
  fail(
      "resources.device: rank{} {} found no GPU to use, the others did; see nvidia-smi on their nodes and "
      "the "
      "workers' messages, or set resources.device = cpu",
      without.size() == 1 ? "" : "s", fmt::join(without, ", "));
}

Status connect_gpus(comm::Communicator& control, const recipes::Recipe& recipe, model::Device& device,
                    const GpuOptions& options, std::unique_ptr<DataPath>& path) {
  std::shared_ptr<const comm::gpu::Libraries> libraries;
  std::string id(sizeof(comm::gpu::NcclId), '\0');
  const Outcome mine = attempt([&] {
    libraries = load(options);
    if (control.rank() == 0) id = comm::NcclView::new_id(*libraries);
    return std::string();
  });
  std::vector<Outcome> all;
  if (auto status = exchange(control, mine, all); !status) return status;
  throw_first_error(all);
  if (auto status = control.broadcast(std::as_writable_bytes(std::span(id)), 0); !status) return status;

  comm::NcclOptions nccl;
  nccl.device = options.number;
  nccl.timeout = recipe.resilience.startup_timeout;
  nccl.on_stuck = options.on_stuck;
  auto joined = comm::NcclView::join(libraries, nccl, std::span(&id, 1), control.epoch(), control.rank(),
                                     control.size());
  if (!joined.status) return joined.status;
  const auto degree = static_cast<int>(recipes::shard_degree(recipe, control.size()));
  const model::Layout layout(model::config_of(recipe), static_cast<std::size_t>(control.size()));
  const Partition partition(layout, control.size(), degree, control.rank());
  auto made = NcclPath::make(std::move(joined.view), partition, device, recipe.parallel.overlap);
  if (!made.status) return made.status;
  made.path->set_timeout(recipe.resilience.collective_timeout);
  path = std::move(made.path);
  return {};
}

}  // namespace stint::engine
