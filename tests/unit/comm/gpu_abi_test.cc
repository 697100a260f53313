// SPDX-License-Identifier: Apache-2.0
// Where the CUDA toolkit and NCCL are: gpu_abi.h says what their headers say, function by function, this
// program links against the real libraries, and they load. None of it needs a GPU.
#include <gmock/gmock.h>
#include <nccl.h>

#include <cstddef>
#include <cstring>

#include "base/error.h"
#include "tests/unit/comm/same_abi.h"
#include "trainer/comm/gpu_libraries.h"

namespace stint::comm::gpu {
namespace {

static_assert(NCCL_VERSION_CODE >= kNcclOldest && NCCL_MAJOR == 2, "gpu_abi.h is of NCCL 2.28.9");

static_assert(!Same<int (*)(int), int (*)(long)>::value);
static_assert(!Same<int (*)(int), int (*)(int, int)>::value);
static_assert(!Same<int (*)(void*), int (*)(long)>::value);

#define STINT_SAME(result, name, symbol, parameters) \
  static_assert(Same<decltype(NcclFunctions::name), decltype(&::symbol)>::value, #symbol);
STINT_NCCL_FUNCTIONS(STINT_SAME)

#define STINT_VALUE(ours, theirs) static_assert(static_cast<long>(ours) == static_cast<long>(theirs), #theirs)
STINT_VALUE(NcclResult::kSuccess, ncclSuccess);
STINT_VALUE(NcclResult::kUnhandledCudaError, ncclUnhandledCudaError);
STINT_VALUE(NcclResult::kSystemError, ncclSystemError);
STINT_VALUE(NcclResult::kInternalError, ncclInternalError);
STINT_VALUE(NcclResult::kInvalidArgument, ncclInvalidArgument);
STINT_VALUE(NcclResult::kInvalidUsage, ncclInvalidUsage);
STINT_VALUE(NcclResult::kRemoteError, ncclRemoteError);
STINT_VALUE(NcclResult::kInProgress, ncclInProgress);
STINT_VALUE(NcclType::kInt8, ncclInt8);
STINT_VALUE(NcclType::kFloat32, ncclFloat32);
STINT_VALUE(NcclType::kBfloat16, ncclBfloat16);
STINT_VALUE(NcclOp::kSum, ncclSum);
STINT_VALUE(kNcclNoColor, NCCL_SPLIT_NOCOLOR);
STINT_VALUE(kNcclShrinkDefault, NCCL_SHRINK_DEFAULT);
STINT_VALUE(kNcclRevokeDefault, NCCL_REVOKE_DEFAULT);
STINT_VALUE(sizeof(NcclId), sizeof(ncclUniqueId));

// Later headers may have a longer configuration; ours is its beginning.
static_assert(sizeof(NcclConfig) <= sizeof(ncclConfig_t));
#define STINT_PLACE(ours, theirs)                                               \
  static_assert(offsetof(NcclConfig, ours) == offsetof(ncclConfig_t, theirs) && \
                    sizeof(NcclConfig::ours) == sizeof(ncclConfig_t::theirs),   \
                #theirs)
STINT_PLACE(size, size);
STINT_PLACE(magic, magic);
STINT_PLACE(version, version);
STINT_PLACE(blocking, blocking);
STINT_PLACE(cluster_size, cgaClusterSize);
STINT_PLACE(min_ctas, minCTAs);
STINT_PLACE(max_ctas, maxCTAs);
STINT_PLACE(net_name, netName);
STINT_PLACE(split_share, splitShare);
STINT_PLACE(traffic_class, trafficClass);
STINT_PLACE(name, commName);
STINT_PLACE(collnet, collnetEnable);
STINT_PLACE(cta_policy, CTAPolicy);
STINT_PLACE(shrink_share, shrinkShare);
STINT_PLACE(nvls_ctas, nvlsCTAs);
STINT_PLACE(channels_per_net_peer, nChannelsPerNetPeer);
STINT_PLACE(nvlink_centric, nvlinkCentricSched);

TEST(GpuAbi, AConfigurationBeginsAsTheHeadersOwnDoes) {
  const NcclConfig ours;
  const ncclConfig_t theirs = NCCL_CONFIG_INITIALIZER;
  EXPECT_EQ(ours.magic, theirs.magic);
  if (NCCL_VERSION_CODE == kNcclOldest) {
    EXPECT_EQ(ours.size, theirs.size);
    EXPECT_EQ(ours.version, theirs.version);
    EXPECT_EQ(std::memcmp(&ours, &theirs, sizeof ours), 0);
  }
}

// The linker found them all: each is there under its name.
TEST(GpuAbi, TheRealNcclHasEveryFunction) {
#define STINT_LINKED(result, name, symbol, parameters) EXPECT_NE(reinterpret_cast<void*>(&::symbol), nullptr);
  STINT_NCCL_FUNCTIONS(STINT_LINKED)
}

TEST(GpuAbi, TheRealLibrariesLoadWithOurKernels) {
  const Libraries libraries({NCCL_LIBRARY, CUDA_LIBRARY});
  EXPECT_TRUE(libraries.kernels) << libraries.why_no_kernels;
  int version = 0;
  EXPECT_EQ(libraries.nccl.version(&version), NcclResult::kSuccess);
  EXPECT_GE(version, kNcclOldest);
  EXPECT_STRNE(libraries.nccl.error_text(NcclResult::kRemoteError), "");
}

TEST(GpuAbi, WithoutADriverTheErrorSaysWhatToDo) {
  const Libraries libraries({NCCL_LIBRARY, CUDA_LIBRARY});
  int count = 0;
  if (libraries.cuda.device_count(&count) == CudaError::kSuccess) GTEST_SKIP() << "this machine has a driver";
  try {
    libraries.use_device(0);
    FAIL() << "used a GPU without a driver";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::StartsWith("gpu: no GPU can be used: "));
    EXPECT_THAT(error.what(), testing::HasSubstr("driver"));
  }
}

}  // namespace
}  // namespace stint::comm::gpu
