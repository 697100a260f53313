// SPDX-License-Identifier: Apache-2.0
// The run directory: its layout and its log. Written by agents, read by `stint run …`. On a file system that
// all nodes share. No threads; one append is one write(2) of one line.
//
//   recipe.ini                      the frozen recipe
//   log.jsonl                       one JSON object a line: {"t": unix seconds, "event": name, …}
//   events.out.tfevents.*           TensorBoard
//   checkpoints/step-00000100/      manifest.json, *.safetensors
//   model/                          the final weights, as Hugging Face reads them
//   topology.json                   what stands where and why, as of the last start
//   communication.json              which ways collectives go over the network, by layout; what was measured
//   profile/                        of `stint run profile`; base/run_profile.h
//   rendezvous/<job>.<restart>.<attempt>/   one file per agent, removed when the run ends
//   report.txt                      written when the run ends
//
// Events: start {job, restart, attempt, world, nodes[], order[], resume_step, peak{tflops: of all workers,
// source: "measured" | "recipe"}} · step {step, loss, grad_norm, learning_rate, tokens_per_second,
// step_seconds, mfu: of the peak, communication_share and data_share: of the time, waited for them,
// peak_memory_bytes: of the worker with most, loss_scale: of fp16} · overflow {step, loss_scale} · checkpoint
// {step, seconds, bytes} · peer_lost {node, why} · worker_lost {node, why} · stopping {why, step} · finish
// {step, loss, seconds} · profile {id, steps} · error {what}.
#pragma once

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace stint {

struct RunDirectory {
  std::filesystem::path root;

  std::filesystem::path recipe() const { return root / "recipe.ini"; }
  std::filesystem::path log() const { return root / "log.jsonl"; }
  std::filesystem::path checkpoints() const { return root / "checkpoints"; }
  std::filesystem::path rendezvous() const { return root / "rendezvous"; }
  std::filesystem::path weights() const { return root / "model"; }
  std::filesystem::path topology() const { return root / "topology.json"; }
  std::filesystem::path communication() const { return root / "communication.json"; }
  std::filesystem::path report() const { return root / "report.txt"; }
};

double unix_seconds();

// Appends {"t": now, "event": event, …fields} as one line. Throws Error that names the file; a FinalError
// where there is no room.
void append_event(const RunDirectory& run, const std::string& event, nlohmann::json fields);

// For reading from the start; not open: the run has not started. Throws Error where the log is no file, or
// one that cannot be read.
std::ifstream open_log(const RunDirectory& run);

// All whole lines so far; a torn or damaged line (a writer died) is skipped and counted.
struct RunLog {
  std::vector<nlohmann::json> events;
  std::size_t damaged = 0;
};
RunLog read_log(const RunDirectory& run);

}  // namespace stint
