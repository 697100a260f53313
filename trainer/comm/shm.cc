// SPDX-License-Identifier: Apache-2.0
#include "trainer/comm/shm.h"

#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>

#include "base/error.h"

namespace stint::comm {
namespace {

using namespace std::chrono_literals;

constexpr int kSpins = 2000;          // some 20 us, where every rank has a core
constexpr auto kBetweenChecks = 1ms;  // whether the awaited process lives
// Whoever has waited so long sleeps a small part of that between two looks.
constexpr auto kPatience = 20ms;
constexpr int kNapShare = 64;
constexpr auto kLongestNap = 1ms;
constexpr int kNotOpened = -1, kCannotTell = -2, kGone = -3;  // instead of a pidfd

// The first failure, in one word. Ranks of the view, of up to 24 bits.
struct Notice {
  Code code;
  int teller;
  int peer;
};

std::uint64_t packed(const Notice& notice) {
  return std::uint64_t{1} << 63 | static_cast<std::uint64_t>(notice.code) << 48 |
         static_cast<std::uint64_t>(notice.teller) << 24 | static_cast<std::uint64_t>(notice.peer + 1);
}

Notice unpacked(std::uint64_t word) {
  constexpr std::uint64_t kRank = 0xffffff;
  return {static_cast<Code>(word >> 48 & 0xff), static_cast<int>(word >> 24 & kRank),
          static_cast<int>(word & kRank) - 1};
}

const char* name_of(shm::Kind kind) {
  switch (kind) {
    case shm::Kind::kBarrier:
      return "barrier";
    case shm::Kind::kAllReduce:
      return "all_reduce";
    case shm::Kind::kReduceScatter:
      return "reduce_scatter";
    case shm::Kind::kAllGather:
      return "all_gather";
    case shm::Kind::kBroadcast:
      return "broadcast";
  }
  return "?";
}

// In clock ticks since boot: field 22 of proc(5)'s stat. 0: there is no such process, or it is hidden.
std::uint64_t start_of(pid_t process) {
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  std::string text;
  std::getline(file, text);
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(text.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  std::uint64_t ticks = 0;
  fields >> ticks;
  return ticks;
}

int open_process(pid_t process, std::uint64_t started) {
  const int descriptor = static_cast<int>(syscall(SYS_pidfd_open, process, 0));
  if (descriptor < 0) return errno == ESRCH ? kGone : kCannotTell;
  if (start_of(process) == started) return descriptor;
  close(descriptor);
  return kGone;
}

bool has_ended(int pidfd, std::chrono::nanoseconds within) {
  pollfd one{pidfd, POLLIN, 0};
  const timespec limit{0, within.count()};
  return ppoll(&one, 1, &limit, nullptr) > 0;
}

}  // namespace

ShmCommunicator::ShmCommunicator(ShmSegment segment, Group group, std::chrono::milliseconds timeout)
    : Communicator(std::move(group), timeout),
      segment_(std::move(segment)),
      terms_(members().size()),
      sums_(members().size()),
      pidfds_(members().size(), kNotOpened) {
  const ShmShape& shape = segment_.shape();
  if (size() != shape.ranks || epoch() != shape.epoch || rank() < 0 || rank() >= size())
    fail("shared memory: rank {} of {} in view {} does not fit a segment of {} ranks in view {}", rank(),
         size(), epoch(), shape.ranks, shape.epoch);
  shm::RankControl& self = segment_.control(rank());
  if (self.presence.load(std::memory_order_acquire) != shm::Presence::kAbsent)
    fail("shared memory: rank {} of view {} has been taken before; a new view needs a new segment", rank(),
         epoch());
  self.process = getpid();
  self.started = start_of(self.process);
  sched_getaffinity(0, sizeof self.cores, &self.cores);
  self.presence.store(shm::Presence::kHere, std::memory_order_release);
}

ShmCommunicator::~ShmCommunicator() {
  for (const int pidfd : pidfds_)
    if (pidfd >= 0) close(pidfd);
}

Status ShmCommunicator::attempt(const char* name, const std::function<Status()>& body) {
  if (!broken_) return broken_;
  deadline_.reset();
  Status status = interruption();
  if (status) status = body();
  if (status) return status;
  if (revoked_.load(std::memory_order_acquire)) status = {Code::kRevoked, -1, "revoked"};
  status.detail = fmt::format("{} in view {}: {}", name, epoch(), status.detail);
  give_up(status);
  return status;
}

void ShmCommunicator::give_up(const Status& why) {
  if (!broken_) return;
  tell(why);
  broken_ = why;
}

Status ShmCommunicator::news() const {
  return broken_ ? interruption() : broken_;
}

Status ShmCommunicator::watch() {
  if (Status status = news(); !status) return status;
  const auto now = Clock::now();
  if (now < next_watch_) return {};
  next_watch_ = now + kBetweenChecks;
  return for_peers([&](int peer) { return is_dead(peer) ? death_of(peer) : Status{}; });
}

Status ShmCommunicator::perform(const Call& call, const std::function<Status()>& body) {
  Status status = attempt(name_of(call.kind), [&]() -> Status {
    if (Status met = meet(call); !met) return met;
    return body();
  });
  ++operations_;
  return status;
}

Status ShmCommunicator::meet(const Call& call) {
  shm::Announcement& mine = announcement(rank());
  mine.count = call.count;
  mine.place = place_of(call.buffer);
  mine.kind = call.kind;
  mine.type = call.type;
  mine.root = static_cast<std::uint16_t>(call.root);
  if (call.small <= shm::kSmall && !call.contribution.empty())
    std::memcpy(contribution(rank(), call.small), call.contribution.data(), call.contribution.size());
  mine.operation.store(operations_ + 1, std::memory_order_release);
  return for_peers([&](int peer) -> Status {
    if (Status met = await(peer, announcement(peer).operation, operations_ + 1); !met) return met;
    if (!cores_counted_ && (rank() + size() - peer) % size() == 1) count_cores();
    return check_sameness(call, peer);
  });
}

Status ShmCommunicator::check_sameness(const Call& call, int peer) const {
  const shm::Announcement& theirs = announcement(peer);
  if (theirs.kind == call.kind && theirs.type == call.type && theirs.count == call.count &&
      theirs.root == call.root)
    return {};
  return {Code::kPeerFailed, named(peer),
          fmt::format("rank {} calls {} of {} {}, root {}, where we call {} of {} {}, root {}", named(peer),
                      name_of(theirs.kind), theirs.count, name_of(theirs.type), theirs.root,
                      name_of(call.kind), call.count, name_of(call.type), call.root)};
}

Status ShmCommunicator::finish() {
  segment_.control(rank()).done.store(operations_ + 1, std::memory_order_release);
  return for_peers([&](int peer) { return await(peer, segment_.control(peer).done, operations_ + 1); });
}

// Spinning takes the core from the rank that is waited for unless there is one for each. Called when all are
// here.
void ShmCommunicator::count_cores() {
  cpu_set_t all{};
  for (int r = 0; r < size(); ++r) CPU_OR(&all, &all, &segment_.control(r).cores);
  spins_ = CPU_COUNT(&all) >= size() ? kSpins : 0;
  cores_counted_ = true;
}

void ShmCommunicator::pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

Status ShmCommunicator::await_long(int peer, const shm::Counter& counter, std::uint64_t value) {
  const auto come = [&] { return counter.load(std::memory_order_acquire) >= value; };
  if (come()) return {};
  const auto begin = Clock::now();
  if (!deadline_) deadline_ = begin + timeout();
  auto next_check = begin + kBetweenChecks;
  for (auto now = begin; !come(); now = Clock::now()) {
    if (Status status = interruption(); !status) return status;
    if (meanwhile_) meanwhile_();
    if (now >= *deadline_)
      return {Code::kTimeout, named(peer),
              fmt::format("still waiting for rank {} after {} ms", named(peer), timeout().count())};
    if (now >= next_check) {
      next_check = now + kBetweenChecks;
      // What it did last counts: it may have left in peace.
      if (is_dead(peer) && !come()) return death_of(peer);
    }
    if (now - begin < kPatience)
      sched_yield();
    else
      nap(peer, std::min<Clock::duration>((now - begin) / kNapShare, kLongestNap));
  }
  return {};
}

Status ShmCommunicator::interruption() const {
  if (revoked_.load(std::memory_order_acquire)) return {Code::kRevoked, -1, "revoked"};
  const std::uint64_t word = segment_.header().failure.load(std::memory_order_acquire);
  if (word == 0) return {};
  const Notice notice = unpacked(word);
  return told_by(notice.teller, notice.code, notice.peer);
}

bool ShmCommunicator::is_dead(int peer) {
  const shm::RankControl& control = segment_.control(peer);
  const auto presence = control.presence.load(std::memory_order_acquire);
  if (presence != shm::Presence::kHere) return presence == shm::Presence::kDead;
  int& pidfd = pidfds_[static_cast<std::size_t>(peer)];
  if (pidfd == kNotOpened) pidfd = open_process(control.process, control.started);
  return pidfd == kGone || (pidfd >= 0 && has_ended(pidfd, 0ns));
}

Status ShmCommunicator::death_of(int peer) const {
  return {Code::kPeerFailed, named(peer), fmt::format("rank {} is dead", named(peer))};
}

// Ends early with the peer's process.
void ShmCommunicator::nap(int peer, Clock::duration length) {
  const int pidfd = pidfds_[static_cast<std::size_t>(peer)];
  has_ended(std::max(pidfd, -1), length);  // -1: a sleep and no more
}

// The first word stands.
void ShmCommunicator::tell(const Status& why) {
  std::uint64_t none = 0;
  segment_.header().failure.compare_exchange_strong(none, packed({why.code, named(rank()), why.peer}));
}

void ShmCommunicator::revoke() {
  revoked_.store(true, std::memory_order_release);
  tell({Code::kRevoked, -1, {}});
}

bool ShmCommunicator::in_place() const {
  for (int r = 0; r < size(); ++r)
    if (announcement(r).place == shm::kElsewhere) return false;
  return true;
}

std::uint64_t ShmCommunicator::place_of(std::span<const std::byte> buffer) const {
  const auto own = memory();
  const bool within = !buffer.empty() && buffer.data() >= own.data() &&
                      buffer.data() + buffer.size() <= own.data() + own.size();
  return within ? static_cast<std::uint64_t>(buffer.data() - own.data()) : shm::kElsewhere;
}

std::byte* ShmCommunicator::placed(int rank) const {
  return segment_.data(rank).data() + announcement(rank).place;
}

std::byte* ShmCommunicator::contribution(int rank, std::size_t longest) const {
  return longest <= shm::kInline ? announcement(rank).contribution.data()
                                 : segment_.control(rank).small[operations_ % 2].data();
}

shm::Announcement& ShmCommunicator::announcement(int rank) const {
  return segment_.control(rank).announcements[operations_ % 2];
}

std::byte* ShmCommunicator::tile_of(int rank, int lane, std::size_t tile) const {
  const auto l = static_cast<std::size_t>(lane);
  return segment_.control(rank).tiles[l][(tiles_before_[l] + tile) % shm::kTiles].data();
}

Status ShmCommunicator::open_tile(int lane, std::size_t tile) {
  const auto l = static_cast<std::size_t>(lane);
  const std::uint64_t number = tiles_before_[l] + tile;
  if (number < shm::kTiles) return {};
  return for_peers(
      [&](int peer) { return await(peer, segment_.control(peer).lanes[l].taken, number + 1 - shm::kTiles); });
}

void ShmCommunicator::publish(int lane, std::size_t tile) {
  const auto l = static_cast<std::size_t>(lane);
  segment_.control(rank()).lanes[l].staged.store(tiles_before_[l] + tile + 1, std::memory_order_release);
}

Status ShmCommunicator::await_tile(int peer, int lane, std::size_t tile) {
  const auto l = static_cast<std::size_t>(lane);
  return await(peer, segment_.control(peer).lanes[l].staged, tiles_before_[l] + tile + 1);
}

void ShmCommunicator::take(int lane, std::size_t tile) {
  const auto l = static_cast<std::size_t>(lane);
  segment_.control(rank()).lanes[l].taken.store(tiles_before_[l] + tile + 1, std::memory_order_release);
}

void ShmCommunicator::pass_tiles(int lane, std::size_t tiles) {
  tiles_before_[static_cast<std::size_t>(lane)] += tiles;
}

}  // namespace stint::comm
