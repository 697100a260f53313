// SPDX-License-Identifier: Apache-2.0
// A stand-in for libnccl, libcudart and libstint_gpu with their binary interface: ranks are threads of one
// process, each with a device number of its own, device memory is host memory, streams are threads. It really
// moves and adds numbers, causes faults at will, and holds its caller to the rules of NCCL: a broken one ends
// the process with "nccl_shim: rule NAME is broken by …". Here are its controls; everything else is called
// through gpu_libraries.h.
//
// The rules:
//   blocking_communicator      a communicator is made without blocking = 0
//   call_in_progress           a call before the one before it was polled to its end
//   concurrent_calls           two threads are inside NCCL with one communicator
//   call_while_aborting        the same, and one of them aborts or destroys it
//   use_after_destroy          a call with a communicator that is gone
//   queued_before_taken        work put on a stream behind a collective that NCCL has not put there yet
//   collective_after_revoke    … or after finalize
//   mismatched_collective      ranks differ in what they call, in type, count or root
//   revoke_twice, revoke_after_finalize, finalize_after_revoke
//   revoke_all_first           one is shrunk, destroyed after a revoke, or aborted, while another of the same
//   device
//                              could still be at work
//   destroy_unfinished         destroyed though neither finalize nor revoke has ended
//   destroy_in_error           destroyed, not aborted, though it reports an error
//   exclude_lists_differ       survivors shrink by different lists
//   excluded_rank_shrinks      one that is on the list shrinks
//   free_under_way             device memory freed while something runs on that device
//   wrong_device               a thread uses a stream or communicator of another device than its own
#pragma once

#include <functional>
#include <string>

#include "trainer/comm/gpu_abi.h"

#define STINT_SHIM __attribute__((visibility("default")))

namespace stint::comm::nccl_shim {

// Ends all faults and whatever hangs because of them; forgets the counts.
STINT_SHIM void reset();

// Each call that NCCL does in the background stays in progress for so many polls.
STINT_SHIM void stay_in_progress(int polls);
// A collective that this device starts is never taken: the call stays in progress.
STINT_SHIM void never_take(int device);
// Each call spends so long inside NCCL, so that others can collide with it.
STINT_SHIM void take_time(int microseconds);
// The n-th piece of work (from 0) that this device starts from now on never ends by itself.
STINT_SHIM void hang(int device, int n);
// From that piece on the device's communicators report the result; the piece ends with garbage, or hangs.
STINT_SHIM void report(int device, int n, gpu::NcclResult result, bool ends);
// Work on the device does not end even when it is revoked, as on a broken GPU.
STINT_SHIM void ignore_revoke(int device);
// That call by a thread of that device does not return.
STINT_SHIM void hang_call(const std::string& name, int device);
// Fewer, or an older NCCL, than the real ones.
STINT_SHIM void set_devices(int count);
STINT_SHIM void set_nccl_version(int version);

// How often a function of NCCL was called since the last reset.
STINT_SHIM int calls(const std::string& name);
// NCCL's work on this device that has not ended.
STINT_SHIM int under_way(int device);

// Work of a computation, done on the stream.
STINT_SHIM void enqueue(gpu::CudaStream* stream, std::function<void()> work);
// A stream whose work waits while the gate is closed; for tests of overlap.
STINT_SHIM void close_gate(gpu::CudaStream* stream);
STINT_SHIM void open_gate(gpu::CudaStream* stream);

}  // namespace stint::comm::nccl_shim
