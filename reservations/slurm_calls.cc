// SPDX-License-Identifier: Apache-2.0
#include "reservations/slurm_calls.h"

#include <fmt/format.h>
#include <slurm/slurm_errno.h>

#include <cerrno>

namespace stint::reservations {
namespace {

ClusterError::Code code_of(int number) {
  using Code = ClusterError::Code;
  switch (number) {
    case ESLURM_NODES_BUSY:
    case ESLURM_RESERVATION_BUSY:
    case ESLURM_TRANSITION_STATE_NO_UPDATE:
    case ESLURM_JOB_SETTING_DB_INX:
    case ESLURM_RESERVATION_OVERLAP:
    case ESLURM_JOB_PENDING:
    case EAGAIN:
      return Code::kBusy;
    case ESLURM_INVALID_JOB_ID:
    case ESLURM_ALREADY_DONE:
    case ESLURM_INVALID_NODE_NAME:
    case ESLURM_RESERVATION_INVALID:
      return Code::kMissing;
    case ESLURM_RESERVATION_NAME_DUP:
      return Code::kExists;
    case ESLURM_IN_STANDBY_MODE:
    case ESLURM_IN_STANDBY_USE_BACKUP:
    case ECONNREFUSED:
    case ECONNRESET:
    case ETIMEDOUT:
    case EPIPE:
      return Code::kUnreachable;
    default:
      break;
  }
  const bool communication =
      (number >= SLURM_UNEXPECTED_MSG_ERROR && number <= SLURM_COMMUNICATIONS_MISSING_SOCKET_ERROR) ||
      (number >= SLURMCTLD_COMMUNICATIONS_CONNECTION_ERROR &&
       number <= SLURMCTLD_COMMUNICATIONS_SHUTDOWN_ERROR) ||
      (number >= SLURM_PROTOCOL_SOCKET_IMPL_ZERO_RECV_LENGTH &&
       number <= SLURM_PROTOCOL_SOCKET_ZERO_BYTES_SENT);
  return communication ? Code::kUnreachable : Code::kRefused;
}

}  // namespace

void fail_slurm(const std::string& what, int number) {
  throw ClusterError(code_of(number), fmt::format("{}: {}", what, slurm_strerror(number)));
}

void check(int result, const std::string& what) {
  if (result != SLURM_SUCCESS) fail_slurm(what, result > 0 ? result : errno);
}

}  // namespace stint::reservations
