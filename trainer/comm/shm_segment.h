// SPDX-License-Identifier: Apache-2.0
// Memory that the ranks of one node share: the control words of ShmCommunicator, room to pass things through
// and, for each rank, memory of its own that the others read and write in place. Made by one owner, the
// node's agent or a test, for one view; mapped by all. Every page is touched at once and in huge pages where
// the kernel has them, so no step pays for that later.
//
// A rank that stopped and is woken up may still write: the owner kills the ranks of a view before it takes
// their memory for anything else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace stint::comm {

namespace shm {
struct Header;
struct RankControl;
struct Channel;
}  // namespace shm

struct ShmShape {
  int ranks = 0;
  std::uint32_t epoch = 0;     // the view's number
  std::size_t data_bytes = 0;  // memory of its own for each rank
};

class ShmSegment {
 public:
  static constexpr int kMaxRanks = 64;

  // Both throw Error that says how much is needed where memory, or the file system of the name, is short.
  // Anonymous: held by its descriptor, which a child inherits, and gone with its last holder. The one to use.
  static ShmSegment create(const ShmShape& shape);
  // A file, which somebody has to remove: where no descriptor can be passed on. Fails if there is one.
  static ShmSegment create(const ShmShape& shape, const std::filesystem::path& name);
  // One that was made before. They throw Error where it is none, or of another version.
  static ShmSegment adopt(int descriptor);
  static ShmSegment open(const std::filesystem::path& name);

  ShmSegment(ShmSegment&& other) noexcept;
  ShmSegment& operator=(ShmSegment&& other) = delete;
  ~ShmSegment();

  int descriptor() const { return descriptor_; }
  const ShmShape& shape() const { return shape_; }
  // All of a segment, in bytes.
  static std::size_t bytes_of(const ShmShape& shape);

  // The memory of one rank; zero at first.
  std::span<std::byte> data(int rank) const;
  // The owner's word that a rank is no more: what waits for it fails. Any process, any thread.
  void declare_dead(int rank) const;

  // For ShmCommunicator.
  shm::Header& header() const;
  shm::RankControl& control(int rank) const;
  shm::Channel& channel(int from, int to) const;

 private:
  ShmSegment(int descriptor, std::byte* begin, const ShmShape& shape);
  static ShmSegment make(int descriptor, const ShmShape& shape);

  int descriptor_ = -1;
  std::byte* begin_ = nullptr;
  ShmShape shape_;
};

}  // namespace stint::comm
