// SPDX-License-Identifier: Apache-2.0
// A rank that gives up tells its neighbours, they theirs: without that, ranks far from a dead one would wait
// for their whole time-out. The idea is the propagation of MPI_Comm_revoke: Bland, Bouteiller, Herault,
// Bosilca and Dongarra, "Post-failure recovery of MPI communication capability", Int. J. High Perform.
// Comput. Appl. 27 (2013).
#include <fmt/format.h>
#include <sched.h>

#include <array>
#include <limits>

#include "trainer/comm/ring.h"

namespace stint::comm {
namespace {

constexpr auto kTellTime = std::chrono::milliseconds(20);
constexpr std::uint32_t kNoticeOperation = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint16_t kFromLeft = 0, kFromRight = 1;

using Notice = std::array<std::int32_t, 2>;  // code, peer; hosts of one run have one byte order

Status meaning_of(const Notice& notice, int teller, int view_size) {
  return told_by(teller, static_cast<Code>(notice[0]),
                 notice[1] >= 0 && notice[1] < view_size ? notice[1] : -1);
}

}  // namespace

void RingCommunicator::tell_neighbours(const Status& why) {
  if (size() < 2) return;
  const Notice notice{static_cast<std::int32_t>(why.code), why.peer};
  const auto bytes = std::as_bytes(std::span(notice));
  const auto view = static_cast<std::uint16_t>(epoch());
  transport_.send(named(right()), {view, kNoticeOperation, kFromLeft}, bytes);
  transport_.send(named(left()), {view, kNoticeOperation, kFromRight}, bytes);
  // To the end, though the notices may have left: TCP throws away what was sent when a connection is closed
  // with unread data in it.
  for (const auto end = Clock::now() + kTellTime; Clock::now() < end;)
    if (!transport_.progress()) sched_yield();
  transport_.abort();  // the notice's bytes are ours
}

Status RingCommunicator::hear_neighbours() {
  const auto hear = [&](int teller, std::uint16_t slot) -> Status {
    const Tag tag{static_cast<std::uint16_t>(epoch()), kNoticeOperation, slot};
    if (teller == rank() || !transport_.arrived(named(teller), tag)) return {};
    notice_ = {};
    const auto request = transport_.receive(named(teller), tag, std::as_writable_bytes(std::span(notice_)));
    const auto deadline = Clock::now() + kTellTime;
    while (transport_.test(request) == Outcome::kPending && Clock::now() < deadline) transport_.progress();
    return meaning_of(notice_, named(teller), transport_.size());
  };
  if (Status status = hear(left(), kFromLeft); !status) return status;
  return hear(right(), kFromRight);
}

}  // namespace stint::comm
