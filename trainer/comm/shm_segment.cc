// SPDX-License-Identifier: Apache-2.0
#include "trainer/comm/shm_segment.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <string>
#include <utility>

#include "base/final_error.h"
#include "trainer/comm/memory_room.h"
#include "trainer/comm/shm_control.h"

namespace stint::comm {
namespace {

constexpr std::uint64_t kMagic = 0x53'54'49'4e'54'53'48'01;  // the last byte is the layout's version
constexpr std::size_t kHugePage = 2 << 20;
constexpr std::size_t kMiB = 1 << 20;

std::size_t rounded_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

std::size_t mebibytes(std::size_t bytes) {
  return rounded_up(bytes, kMiB) / kMiB;
}

struct Offsets {
  std::size_t controls, channels, data, end;
};

Offsets offsets_of(const ShmShape& shape) {
  const auto ranks = static_cast<std::size_t>(shape.ranks);
  Offsets offsets{};
  offsets.controls = rounded_up(sizeof(shm::Header), 4096);
  offsets.channels = offsets.controls + ranks * sizeof(shm::RankControl);
  offsets.data = rounded_up(offsets.channels + ranks * ranks * sizeof(shm::Channel), kHugePage);
  offsets.end = offsets.data + ranks * rounded_up(shape.data_bytes, kHugePage);
  return offsets;
}

void require_memory(const ShmShape& shape, std::size_t bytes) {
  for (const MemoryRoom& room : memory_rooms()) {
    if (bytes <= room.left) continue;
    const std::string text = fmt::format(
        "shared memory: {} {} MiB of memory, {} ranks need {} MiB; {}take a smaller model or fewer workers a "
        "node",
        room.of_host ? "this host has left" : "the job's limit leaves", room.left / kMiB, shape.ranks,
        mebibytes(bytes), room.of_host ? "" : "ask for more with --mem, or ");
    if (bytes > room.limit) throw FinalError(text);
    throw Error(text);
  }
}

void require_room(const std::filesystem::path& folder, const ShmShape& shape, std::size_t bytes) {
  struct statvfs system {};
  if (statvfs(folder.c_str(), &system) != 0)
    fail("shared memory: {}: {}", folder.string(), errno_text(errno));
  const std::size_t room = system.f_bavail * system.f_frsize;
  if (bytes > room)
    fail(
        "shared memory: {} has {} MiB left, {} ranks need {} MiB; let root enlarge it with: mount -o "
        "remount,size={}m {}",
        folder.string(), room / kMiB, shape.ranks, mebibytes(bytes),
        mebibytes(bytes + (system.f_blocks - system.f_bavail) * system.f_frsize), folder.string());
}

void require_sense(const ShmShape& shape) {
  if (shape.ranks < 1 || shape.ranks > ShmSegment::kMaxRanks)
    fail("shared memory: {} ranks on one node; between 1 and {} are possible", shape.ranks,
         ShmSegment::kMaxRanks);
}

// At a multiple of the huge page's size: only so can the kernel use huge pages.
std::byte* map(int descriptor, std::size_t bytes) {
  void* room =
      mmap(nullptr, bytes + kHugePage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED)
    fail("shared memory: no room for {} MiB of addresses: {}", mebibytes(bytes), errno_text(errno));
  auto* begin = static_cast<std::byte*>(room);
  const std::size_t before = -reinterpret_cast<std::uintptr_t>(begin) % kHugePage;
  munmap(begin, before);
  munmap(begin + before + bytes, kHugePage - before);
  begin += before;
  void* mapped = mmap(begin, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, descriptor, 0);
  if (mapped == MAP_FAILED) {
    const int why = errno;
    munmap(begin, bytes);
    fail("shared memory: cannot map {} MiB: {}", mebibytes(bytes), errno_text(why));
  }
  return begin;
}

// Gives every page its memory and us our way to it.
void touch(std::byte* begin, std::size_t bytes) {
  madvise(begin, bytes, MADV_HUGEPAGE);  // only a hint
  if (madvise(begin, bytes, MADV_POPULATE_WRITE) == 0) return;
  if (errno == EINVAL) return;  // a kernel before 5.14: pages come when they are used
  fail("shared memory: the kernel gives no {} MiB: {}; see the job's --mem, or take a smaller model",
       mebibytes(bytes), errno_text(errno));
}

}  // namespace

std::size_t ShmSegment::bytes_of(const ShmShape& shape) {
  return offsets_of(shape).end;
}

ShmSegment::ShmSegment(int descriptor, std::byte* begin, const ShmShape& shape)
    : descriptor_(descriptor), begin_(begin), shape_(shape) {}

ShmSegment::ShmSegment(ShmSegment&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      begin_(std::exchange(other.begin_, nullptr)),
      shape_(other.shape_) {}

ShmSegment::~ShmSegment() {
  if (begin_ != nullptr) munmap(begin_, bytes_of(shape_));
  if (descriptor_ >= 0) close(descriptor_);
}

void ShmSegment::extend(const ShmShape& shape) {
  const std::size_t bytes = bytes_of(shape);
  if (ftruncate(descriptor_, static_cast<off_t>(bytes)) != 0)
    fail("shared memory: cannot make {} MiB: {}", mebibytes(bytes), errno_text(errno));
  begin_ = map(descriptor_, bytes);
  shape_ = shape;
}

// The file is all zeros, which is what every control word is to be.
void ShmSegment::write_header() const {
  auto* header = new (begin_) shm::Header{};
  header->ranks = shape_.ranks;
  header->epoch = shape_.epoch;
  header->data_bytes = shape_.data_bytes;
  std::atomic_ref(header->magic).store(kMagic, std::memory_order_release);
}

int ShmSegment::open_anonymous() {
  const int descriptor = memfd_create("stint", MFD_CLOEXEC);
  if (descriptor < 0) fail("shared memory: memfd_create: {}", errno_text(errno));
  return descriptor;
}

ShmSegment ShmSegment::lay_out(int descriptor, const ShmShape& shape) {
  ShmSegment segment(descriptor, nullptr, {});
  require_sense(shape);
  require_memory(shape, bytes_of(shape));
  segment.extend(shape);
  segment.write_header();
  return segment;
}

ShmSegment ShmSegment::create(const ShmShape& shape) {
  auto segment = lay_out(open_anonymous(), shape);
  touch(segment.begin_, bytes_of(shape));
  return segment;
}

ShmSegment ShmSegment::create(const ShmShape& shape, const std::filesystem::path& name) {
  require_sense(shape);
  require_room(name.parent_path(), shape, bytes_of(shape));
  const int descriptor = ::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (descriptor < 0) fail("shared memory: {}: {}", name.string(), errno_text(errno));
  try {
    ShmSegment segment(descriptor, nullptr, {});
    segment.extend(shape);
    touch(segment.begin_, bytes_of(shape));
    segment.write_header();
    return segment;
  } catch (const Error&) {
    unlink(name.c_str());
    throw;
  }
}

ShmSegment ShmSegment::open(const std::filesystem::path& name) {
  const int descriptor = ::open(name.c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0) fail("shared memory: {}: {}", name.string(), errno_text(errno));
  return adopt(descriptor);
}

// Pages are given by the memory next to whoever touches them first.
ShmSegment ShmSegment::adopt(int descriptor, int rank) {
  ShmSegment segment(descriptor, nullptr, {});
  struct stat file {};
  shm::Header header{};
  const bool sound = fstat(descriptor, &file) == 0 &&
                     pread(descriptor, static_cast<void*>(&header), sizeof header, 0) == sizeof header &&
                     header.magic == kMagic;
  const ShmShape shape{header.ranks, header.epoch, header.data_bytes};
  if (!sound || static_cast<std::size_t>(file.st_size) != bytes_of(shape))
    fail("shared memory: descriptor {} is no segment of this version of Stint", descriptor);
  segment.begin_ = map(descriptor, bytes_of(shape));
  segment.shape_ = shape;
  if (rank < shape.ranks) touch(segment.data(rank).data(), segment.data(rank).size());
  touch(segment.begin_, bytes_of(shape));
  return segment;
}

std::span<std::byte> ShmSegment::data(int rank) const {
  const std::size_t each = rounded_up(shape_.data_bytes, kHugePage);
  return {begin_ + offsets_of(shape_).data + static_cast<std::size_t>(rank) * each, shape_.data_bytes};
}

void ShmSegment::declare_dead(int rank) const {
  control(rank).presence.store(shm::Presence::kDead, std::memory_order_release);
}

shm::Header& ShmSegment::header() const {
  return *reinterpret_cast<shm::Header*>(begin_);
}

shm::RankControl& ShmSegment::control(int rank) const {
  return reinterpret_cast<shm::RankControl*>(begin_ + offsets_of(shape_).controls)[rank];
}

shm::Channel& ShmSegment::channel(int from, int to) const {
  return reinterpret_cast<shm::Channel*>(begin_ + offsets_of(shape_).channels)[from * shape_.ranks + to];
}

}  // namespace stint::comm
