// SPDX-License-Identifier: Apache-2.0
// What a worker computes on, and how workers with GPUs reach each other. Knows nothing of the agent.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "recipes/recipe.h"
#include "trainer/comm/gpu_libraries.h"
#include "trainer/engine/data_path.h"
#include "trainer/model/device.h"

namespace stint::engine {

struct ChosenDevice {
  std::unique_ptr<model::Device> gpu;  // null: the CPU
  std::string note;                    // for people: why not the GPU that is there; may be empty

  model::Device& get() const { return gpu ? *gpu : model::cpu(); }
};
// `wanted`: resources.device. `has_gpu`: this process sees one GPU, which no other worker has. Where a GPU is
// wanted and cannot be used: throws Error with the remedy, FinalError where it is the build that cannot.
ChosenDevice choose_device(const std::string& wanted, bool has_gpu);

// By rank: whether it computes on a GPU. Throws Error with the remedy where some do and others do not.
void require_equal_devices(const std::vector<bool>& gpus);

struct GpuOptions {
  comm::gpu::LibraryNames libraries{};
  int number = 0;                                       // of the GPU, in this process
  std::function<void(const comm::Status&)> on_stuck{};  // as NcclOptions'
};
// Over NCCL, for ranks that all compute on GPUs; every rank of `control` calls it. Throws on all ranks,
// with the remedy, where one of them lacks a library (FinalError) or its GPU (Error).
comm::Status connect_gpus(comm::Communicator& control, const recipes::Recipe& recipe, model::Device& device,
                          const GpuOptions& options, std::unique_ptr<DataPath>& path);

}  // namespace stint::engine
