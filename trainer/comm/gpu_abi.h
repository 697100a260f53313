// SPDX-License-Identifier: Apache-2.0
// What the NCCL back end calls: the binary interface of NCCL 2.28 and of the CUDA 13 runtime as far as it is
// used, and our own device kernels. Declared here, and found at run time, so that one build runs with and
// without GPUs and needs neither's headers. tests/unit/comm/gpu_abi_test.cc holds every line against those
// headers where they are.
#pragma once

#include <climits>
#include <cstddef>

namespace stint::comm::gpu {

// The libraries' own, never looked into.
struct NcclComm;
struct CudaStream;
struct CudaEvent;

enum class NcclResult : int {
  kSuccess = 0,
  kUnhandledCudaError = 1,
  kSystemError = 2,
  kInternalError = 3,
  kInvalidArgument = 4,
  kInvalidUsage = 5,
  kRemoteError = 6,
  kInProgress = 7
};
enum class NcclType : int { kInt8 = 0, kFloat32 = 7, kBfloat16 = 9 };
enum class NcclOp : int { kSum = 0 };
constexpr int kNcclNoColor = -1;
constexpr int kNcclShrinkDefault = 0;
constexpr int kNcclRevokeDefault = 0;
constexpr int kNcclOldest = 22809;  // earlier ones crash when they are revoked or shrunk

struct NcclId {
  char bytes[128];
};

// As of 2.28; later libraries take it too, by its size and version. INT_MIN and null: the library's choice.
struct NcclConfig {
  std::size_t size = sizeof(NcclConfig);
  unsigned magic = 0xcafebeef;
  unsigned version = kNcclOldest;
  int blocking = INT_MIN;
  int cluster_size = INT_MIN;
  int min_ctas = INT_MIN;
  int max_ctas = INT_MIN;
  const char* net_name = nullptr;
  int split_share = INT_MIN;
  int traffic_class = INT_MIN;
  const char* name = nullptr;
  int collnet = INT_MIN;
  int cta_policy = INT_MIN;
  int shrink_share = INT_MIN;
  int nvls_ctas = INT_MIN;
  int channels_per_net_peer = INT_MIN;
  int nvlink_centric = INT_MIN;
};

enum class CudaError : int { kSuccess = 0, kNotReady = 600 };
constexpr unsigned kCudaStreamNonBlocking = 1;
constexpr unsigned kCudaEventDisableTiming = 2;
constexpr int kCudaOldest = 13000;

// X(result, our name, the library's name, parameters)
#define STINT_NCCL_FUNCTIONS(X)                                                                    \
  X(NcclResult, version, ncclGetVersion, (int*))                                                   \
  X(NcclResult, new_id, ncclGetUniqueId, (NcclId*))                                                \
  X(NcclResult, init, ncclCommInitRankScalable, (NcclComm**, int, int, int, NcclId*, NcclConfig*)) \
  X(NcclResult, split, ncclCommSplit, (NcclComm*, int, int, NcclComm**, NcclConfig*))              \
  X(NcclResult, shrink, ncclCommShrink, (NcclComm*, int*, int, NcclComm**, NcclConfig*, int))      \
  X(NcclResult, revoke, ncclCommRevoke, (NcclComm*, int))                                          \
  X(NcclResult, finalize, ncclCommFinalize, (NcclComm*))                                           \
  X(NcclResult, destroy, ncclCommDestroy, (NcclComm*))                                             \
  X(NcclResult, abort, ncclCommAbort, (NcclComm*))                                                 \
  X(NcclResult, async_error, ncclCommGetAsyncError, (NcclComm*, NcclResult*))                      \
  X(const char*, error_text, ncclGetErrorString, (NcclResult))                                     \
  X(const char*, last_error, ncclGetLastError, (NcclComm*))                                        \
  X(NcclResult, group_start, ncclGroupStart, ())                                                   \
  X(NcclResult, group_end, ncclGroupEnd, ())                                                       \
  X(NcclResult, all_reduce, ncclAllReduce,                                                         \
    (const void*, void*, std::size_t, NcclType, NcclOp, NcclComm*, CudaStream*))                   \
  X(NcclResult, reduce_scatter, ncclReduceScatter,                                                 \
    (const void*, void*, std::size_t, NcclType, NcclOp, NcclComm*, CudaStream*))                   \
  X(NcclResult, all_gather, ncclAllGather,                                                         \
    (const void*, void*, std::size_t, NcclType, NcclComm*, CudaStream*))                           \
  X(NcclResult, reduce, ncclReduce,                                                                \
    (const void*, void*, std::size_t, NcclType, NcclOp, int, NcclComm*, CudaStream*))              \
  X(NcclResult, broadcast, ncclBroadcast,                                                          \
    (const void*, void*, std::size_t, NcclType, int, NcclComm*, CudaStream*))                      \
  X(NcclResult, send, ncclSend, (const void*, std::size_t, NcclType, int, NcclComm*, CudaStream*)) \
  X(NcclResult, receive, ncclRecv, (void*, std::size_t, NcclType, int, NcclComm*, CudaStream*))

#define STINT_CUDA_FUNCTIONS(X)                                                            \
  X(CudaError, version, cudaRuntimeGetVersion, (int*))                                     \
  X(CudaError, device_count, cudaGetDeviceCount, (int*))                                   \
  X(CudaError, set_device, cudaSetDevice, (int))                                           \
  X(const char*, error_name, cudaGetErrorName, (CudaError))                                \
  X(const char*, error_text, cudaGetErrorString, (CudaError))                              \
  X(CudaError, priorities, cudaDeviceGetStreamPriorityRange, (int*, int*))                 \
  X(CudaError, stream_create, cudaStreamCreateWithPriority, (CudaStream**, unsigned, int)) \
  X(CudaError, stream_destroy, cudaStreamDestroy, (CudaStream*))                           \
  X(CudaError, stream_wait, cudaStreamWaitEvent, (CudaStream*, CudaEvent*, unsigned))      \
  X(CudaError, event_create, cudaEventCreateWithFlags, (CudaEvent**, unsigned))            \
  X(CudaError, event_record, cudaEventRecord, (CudaEvent*, CudaStream*))                   \
  X(CudaError, event_query, cudaEventQuery, (CudaEvent*))                                  \
  X(CudaError, event_destroy, cudaEventDestroy, (CudaEvent*))                              \
  X(CudaError, allocate, cudaMalloc, (void**, std::size_t))                                \
  X(CudaError, release, cudaFree, (void*))

// Ours, of trainer/comm/gpu_kernels.cu.
#define STINT_KERNEL_FUNCTIONS(X)                                          \
  X(CudaError, sum_fp32, stint_gpu_sum_fp32,                               \
    (void*, const void*, std::size_t, int, int, std::size_t, CudaStream*)) \
  X(CudaError, sum_bf16, stint_gpu_sum_bf16,                               \
    (void*, const void*, std::size_t, int, int, std::size_t, CudaStream*))

#define STINT_MEMBER(result, name, symbol, parameters) result(*name) parameters = nullptr;
struct NcclFunctions {
  STINT_NCCL_FUNCTIONS(STINT_MEMBER)
};
struct CudaFunctions {
  STINT_CUDA_FUNCTIONS(STINT_MEMBER)
};
struct KernelFunctions {
  STINT_KERNEL_FUNCTIONS(STINT_MEMBER)
};
#undef STINT_MEMBER

}  // namespace stint::comm::gpu
