// SPDX-License-Identifier: Apache-2.0
// Memory that the ranks of one node share: the control words of ShmCommunicator, room to pass things through
// and, for each rank, memory of its own that the others read and write in place. Made by one owner, the
// node's agent or a test, for one view; mapped by all. Every rank touches every page before it begins, its
// own first, in huge pages where the kernel has them: no step pays for that later.
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

  // They throw Error that says how much is needed where memory, or the file system of the name, is short; a
  // FinalError where there can never be so much.
  // Anonymous: held by its descriptor, which a forked child shares, and gone with its last holder.
  static ShmSegment create(const ShmShape& shape);
  // The same in two steps, for children that exec before the shape is known: a descriptor for them to inherit
  // (close-on-exec here), then the segment in it, of which no page has been touched. It takes the descriptor.
  static int open_anonymous();
  static ShmSegment lay_out(int descriptor, const ShmShape& shape);
  // A file, which somebody has to remove: where no descriptor can be passed on. Fails if there is one.
  static ShmSegment create(const ShmShape& shape, const std::filesystem::path& name);
  // One that was made before, by one of its ranks. They throw Error where it is none, or of another version.
  static ShmSegment adopt(int descriptor, int rank = 0);
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
  void extend(const ShmShape& shape);
  void write_header() const;

  int descriptor_ = -1;
  std::byte* begin_ = nullptr;
  ShmShape shape_;
};

}  // namespace stint::comm
