// SPDX-License-Identifier: Apache-2.0
#include "base/ini.h"

#include <fcntl.h>
#include <ini.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <utility>

#include "base/final_error.h"
#include "base/text.h"

namespace stint {
namespace {

// inih keeps section and key names in fields of 50 bytes and cuts what is longer without a word.
constexpr std::size_t kMaxNameBytes = 49;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kBlanks = " \t";

bool is_blank(char c) {
  return kBlanks.find(c) != std::string_view::npos;
}
bool starts_comment(char c) {
  return c == ';' || c == '#';
}

bool valid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80   ? 1
                               : lead < 0xC2 ? 0
                               : lead < 0xE0 ? 2
                               : lead < 0xF0 ? 3
                               : lead < 0xF5 ? 4
                                             : 0;
    if (length == 0 || i + length > text.size()) return false;
    for (std::size_t k = 1; k < length; ++k) {
      if ((static_cast<unsigned char>(text[i + k]) & 0xC0) != 0x80) return false;
    }
    if (length > 2) {  // overlong forms, surrogates, beyond U+10FFFF
      const auto second = static_cast<unsigned char>(text[i + 1]);
      if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ||
          (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F)) {
        return false;
      }
    }
    i += length;
  }
  return true;
}

bool has_control_byte(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\t') || byte == 0x7F;
  });
}

// The name that a section or key line gives; throws with the reason when the line is neither.
struct LineName {
  bool is_section = false;
  std::string_view name;
};

LineName name_of_line(std::string_view line) {
  if (line.front() == '[') {
    if (line.back() != ']') fail("'{}' lacks its closing ']'; a section stands alone on its line", line);
    return {true, line.substr(1, line.size() - 2)};
  }
  const std::size_t mark = line.find_first_of("=:");
  if (mark == std::string_view::npos || line[mark] != '=') {
    fail("'{}' is no section, 'key = value' or comment", line.substr(0, 60));
  }
  const std::string_view key = trim(line.substr(0, mark));
  if (key.empty()) fail("no key before '='");
  return {false, key};
}

void check_name(std::string_view name, const char* what) {
  if (trim(name).empty() || trim(name).size() != name.size())
    fail("{} name '{}' is empty or padded", what, name);
  if (name.size() > kMaxNameBytes) {
    fail("{} name '{}' is longer than {} bytes", what, name.substr(0, 60), kMaxNameBytes);
  }
  if (name.find_first_of("[]") != std::string_view::npos) fail("{} name '{}' holds a bracket", what, name);
}

// Hands inih one line at a time, so that each entry's line is known, and a line that is longer than inih's
// buffer (200 bytes in Debian's build) as continuation lines, which the handler joins again.
class Feeder {
 public:
  Feeder(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  // As fgets(3), for ini_parse_stream. Must not throw through C: keeps the error for later.
  static char* read(char* buffer, int size, void* self) noexcept {
    auto* feeder = static_cast<Feeder*>(self);
    try {
      return feeder->next(buffer, static_cast<std::size_t>(size)) ? buffer : nullptr;
    } catch (const std::exception& error) {
      feeder->problem_ = fmt::format("{}:{}: {}", feeder->name_, feeder->line_, error.what());
      return nullptr;
    }
  }

  static int handle(void* self, const char* section, const char* key, const char* value) noexcept {
    try {
      return static_cast<Feeder*>(self)->accept(section, key, value) ? 1 : 0;
    } catch (const std::exception&) {
      return 0;
    }
  }

  // Throws the problem met on the way, if any. `result` is what inih returned.
  void finish(int result) {
    check_consumed();
    if (problem_.empty() && result != 0) problem_ = fmt::format("{}:{}: cannot be parsed", name_, line_);
    if (!problem_.empty()) throw Error(problem_);
  }

  std::vector<IniEntry> entries;
  std::vector<std::string> sections;
  std::map<std::pair<std::string, std::string>, std::size_t> index;

 private:
  bool next(char* buffer, std::size_t size) {
    check_consumed();
    if (!problem_.empty()) return false;
    if (rest_.empty() && !take_line()) return false;
    const std::size_t space = size - 3;  // newline, NUL, and one that inih wants spare
    const std::size_t indent = continuing_ ? 1 : 0;
    const std::size_t length = rest_.size() + indent <= space ? rest_.size() : cut_point(space - indent);
    if (continuing_) *buffer++ = '\t';
    buffer = std::copy_n(rest_.data(), length, buffer);
    std::memcpy(buffer, "\n", 2);
    rest_.remove_prefix(length);
    continuing_ = !rest_.empty();
    ++pieces_fed_;
    return true;
  }

  // Neither side of a cut may be a blank, which inih would strip, and no piece may look like a comment.
  std::size_t cut_point(std::size_t longest) const {
    const std::size_t shortest = continuing_ ? 1 : rest_.find('=') + 2;
    for (std::size_t at = longest; at >= shortest; --at) {
      if (!is_blank(rest_[at - 1]) && rest_[at - 1] != '=' && !is_blank(rest_[at]) &&
          !starts_comment(rest_[at])) {
        return at;
      }
    }
    fail("the line is too long ({} bytes left) and holds no place to cut it for the parser", rest_.size());
  }

  // Moves to the next line that says something; false at the end of the text.
  bool take_line() {
    while (position_ < text_.size()) {
      const std::size_t end = std::min(text_.find('\n', position_), text_.size());
      std::string_view line = text_.substr(position_, end - position_);
      position_ = end + 1;
      ++line_;
      if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
      if (has_control_byte(line)) fail("a control byte; is this a text file?");
      if (!valid_utf8(line)) fail("not valid UTF-8; is this a text file?");
      if (take(line)) return true;
    }
    return false;
  }

  bool take(std::string_view line) {
    const std::string_view trimmed = trim(line);
    if (trimmed.empty() || starts_comment(trimmed.front())) return false;
    if (is_blank(line.front()))
      fail("an indented line; each 'key = value' starts at the margin and ends on its line");
    const LineName named = name_of_line(trimmed);
    check_name(named.name, named.is_section ? "section" : "key");
    if (named.is_section) {
      section_ = named.name;
      if (std::find(sections.begin(), sections.end(), section_) == sections.end())
        sections.push_back(section_);
    } else {
      if (section_.empty()) fail("'{}' stands before any [section]", named.name);
      const std::string_view value = trim(trimmed.substr(trimmed.find('=') + 1));
      if (const auto reason = ini_value_problem(value); !reason.empty()) fail("'{}': {}", named.name, reason);
      const bool added = index.try_emplace({section_, std::string(named.name)}, entries.size()).second;
      if (!added) fail("'{}' is given twice in [{}]", named.name, section_);
    }
    rest_ = trimmed;
    expects_entry_ = !named.is_section;
    pieces_fed_ = pieces_seen_ = 0;
    return true;
  }

  bool accept(const char* section, const char* key, const char* value) {
    ++pieces_seen_;
    if (pieces_seen_ == 1) {
      entries.push_back({section, key, value, line_});
    } else {
      entries.back().value += value;
    }
    return section_ == section && (entries.back().key == key);
  }

  // inih has answered for the pieces it was given so far: one call for each piece of an entry.
  void check_consumed() {
    if (!problem_.empty() || line_ == 0 || pieces_fed_ == 0) return;
    if (pieces_seen_ != (expects_entry_ ? pieces_fed_ : 0)) {
      problem_ = fmt::format("{}:{}: the INI parser does not take this line ({} bytes); shorten it", name_,
                             line_, rest_.size());
    }
  }

  std::string_view text_;
  const std::string& name_;
  std::size_t position_ = 0;
  int line_ = 0;
  std::string_view rest_;  // of the current line, not yet fed
  bool continuing_ = false;
  bool expects_entry_ = false;
  int pieces_fed_ = 0, pieces_seen_ = 0;
  std::string section_;
  std::string problem_;
};

// Owner of a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  int get() const { return value_; }

 private:
  int value_;
};

std::string read_all(int descriptor, const std::string& path, std::size_t max_bytes) {
  std::string content;
  char buffer[65536];
  for (;;) {
    const ssize_t got = ::read(descriptor, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("{}: cannot be read: {}", path, errno_text(errno));
    if (got == 0) return content;
    content.append(buffer, static_cast<std::size_t>(got));
    if (content.size() > max_bytes) fail("{}: larger than {} bytes", path, max_bytes);
  }
}

void write_all(int descriptor, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t put = ::write(descriptor, content.data(), content.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail_write(path + ": cannot be written", errno);
    content.remove_prefix(static_cast<std::size_t>(put));
  }
}

void sync_folder(const std::filesystem::path& folder) {
  const Descriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.get() < 0 || ::fsync(descriptor.get()) != 0) {
    fail("{}: cannot be synced: {}", folder.string(), errno_text(errno));
  }
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> cost(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) cost[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) cost[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[a.size()][b.size()];
}

}  // namespace

std::string ini_value_problem(std::string_view value) {
  if (trim(value).size() != value.size()) return "the value begins or ends with a blank";
  if (has_control_byte(value)) return "the value holds a control byte or a line break";
  if (!valid_utf8(value)) return "the value is not valid UTF-8";
  if (!value.empty() && value.front() == ';')
    return "the value begins with ';'; a comment stands on its own line";
  for (std::size_t i = 1; i < value.size(); ++i) {
    if (!is_blank(value[i - 1])) continue;
    if (value[i] == ';' || (value[i] == '#' && (i + 1 == value.size() || is_blank(value[i + 1])))) {
      return "a comment stands on its own line, not behind a value";
    }
  }
  return {};
}

IniFile IniFile::parse(std::string_view text, std::string name, std::size_t max_bytes) {
  if (text.size() > max_bytes) fail("{}: larger than {} bytes", name, max_bytes);
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  IniFile file;
  file.name_ = std::move(name);
  Feeder feeder(text, file.name_);
  feeder.finish(::ini_parse_stream(&Feeder::read, &feeder, &Feeder::handle, &feeder));
  file.entries_ = std::move(feeder.entries);
  file.sections_ = std::move(feeder.sections);
  file.index_ = std::move(feeder.index);
  return file;
}

IniFile IniFile::load(const std::string& path) {
  return parse(read_file(path, kMaxBytes), path);
}

const std::string* IniFile::find(std::string_view section, std::string_view key) const {
  const auto at = index_.find({std::string(section), std::string(key)});
  return at == index_.end() ? nullptr : &entries_[at->second].value;
}

std::string IniFile::where(const IniEntry& entry) const {
  return fmt::format("{}:{}: ", name_, entry.line);
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
  constexpr std::size_t kLongestWord = 64;
  if (word.size() > kLongestWord) return {};
  std::string best;
  std::size_t best_distance = std::clamp<std::size_t>(word.size() / 3, 1, 3) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(lower(word), lower(candidate));
    if (distance < best_distance && distance < candidate.size()) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string read_file(const std::string& path, std::size_t max_bytes) {
  const Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (descriptor.get() < 0) fail("{}: {}", path, errno_text(errno));
  struct stat status {};
  if (::fstat(descriptor.get(), &status) != 0) fail("{}: {}", path, errno_text(errno));
  if (S_ISDIR(status.st_mode)) fail("{}: is a folder, not a file", path);
  if (!S_ISREG(status.st_mode)) fail("{}: is no regular file", path);
  return read_all(descriptor.get(), path, max_bytes);
}

void write_file_atomically(const std::string& path, std::string_view content, unsigned mode) {
  std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (folder.empty()) folder = ".";
  std::string temporary = path + ".XXXXXX";
  const Descriptor descriptor(::mkostemp(temporary.data(), O_CLOEXEC));
  if (descriptor.get() < 0) fail_write(path + ": cannot be written", errno);
  try {
    if (::fchmod(descriptor.get(), mode) != 0) fail("{}: cannot set its mode: {}", path, errno_text(errno));
    write_all(descriptor.get(), content, path);
    if (::fsync(descriptor.get()) != 0) fail_write(path + ": cannot be written", errno);
    if (::rename(temporary.c_str(), path.c_str()) != 0) {
      fail_write(path + ": cannot be replaced", errno);
    }
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_folder(folder);
}

}  // namespace stint
