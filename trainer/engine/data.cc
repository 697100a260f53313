// SPDX-License-Identifier: Apache-2.0
#include "trainer/engine/data.h"

#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/error.h"
#include "trainer/model/random.h"
#include "trainer/training_text.h"

namespace stint::engine {
namespace {

constexpr std::int64_t kByteValues = 256;

}  // namespace

ByteText::ByteText(std::string path, std::int64_t sequence_length, std::int64_t vocab_size,
                   std::uint64_t seed)
    : path_(std::move(path)), sequence_length_(sequence_length), key_(model::stream_key(seed, "data")) {
  if (vocab_size < kByteValues)
    fail("recipe: model.vocab_size = {} is too small for data.tokenizer = bytes; it needs {}", vocab_size,
         kByteValues);
  auto text = open_training_text(path_, sequence_length);
  file_ = std::move(text.file);
  bytes_ = text.bytes;
}

std::uint64_t ByteText::offset_of(std::int64_t step, std::int64_t slot) const {
  const std::uint64_t step_key = model::random_bits(key_, static_cast<std::uint64_t>(step));
  return model::random_below(step_key, static_cast<std::uint64_t>(slot),
                             bytes_ - static_cast<std::uint64_t>(sequence_length_));
}

void ByteText::read(std::int64_t step, std::int64_t slot, std::span<std::int64_t> tokens) const {
  std::vector<unsigned char> text(static_cast<std::size_t>(sequence_length_) + 1);
  if (tokens.size() != text.size()) fail("data: room for {} tokens, not {}", tokens.size(), text.size());
  const auto offset = static_cast<off_t>(offset_of(step, slot));
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t got =
        pread(file_.get(), text.data() + done, text.size() - done, offset + static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("data: cannot read {}: {}", path_, errno_text(errno));
    if (got == 0)
      fail("data: {} became shorter than its {} bytes while it was in use; restore it", path_, bytes_);
    done += static_cast<std::size_t>(got);
  }
  for (std::size_t i = 0; i < text.size(); ++i) tokens[i] = text[i];
}

}  // namespace stint::engine
