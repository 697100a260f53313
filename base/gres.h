// SPDX-License-Identifier: Apache-2.0
// Slurm's generic resources of a node, as it writes them: "gpu:a100:4(S:0-1),gpu:2,nic:1"; of a job
// each word may bear "gres:" or "gres/". Pure.
#pragma once

#include <string_view>

namespace stint {

// All GPUs, of whatever type; a word without a count is one.
int count_gpus(std::string_view gres);

}  // namespace stint
