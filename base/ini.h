// SPDX-License-Identifier: Apache-2.0
// Strict INI on top of inih: every entry with its line, nothing silently dropped. Knows nothing of
// which keys are allowed; recipes, the plan table and stint.conf each bring their own rules.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stint {

struct IniEntry {
  std::string section;
  std::string key;
  std::string value;
  int line = 0;
};

class IniFile {
 public:
  static constexpr std::size_t kMaxBytes = 1 << 20;  // of what people write

  // Parses text; `name` stands before the line number in messages ("llama.ini:14: …").
  // Throws Error on: a NUL or other control byte, invalid UTF-8, a line that is no section, key = value,
  // comment (';' or '#' at the start of a line; " ;" or " # " behind a value is refused, not cut off) or
  // blank, a key outside any section, a key given twice in a section, a line inih would cut. Indented
  // continuation lines are refused, not joined.
  static IniFile parse(std::string_view text, std::string name, std::size_t max_bytes = kMaxBytes);

  // Reads and parses a file of at most kMaxBytes. Throws Error that names the path and the cause
  // (missing, a directory, not readable, too large).
  static IniFile load(const std::string& path);

  const std::string& name() const { return name_; }
  const std::vector<IniEntry>& entries() const { return entries_; }
  // Section names in order of first appearance, also those without keys.
  const std::vector<std::string>& sections() const { return sections_; }
  // The value, or nullptr.
  const std::string* find(std::string_view section, std::string_view key) const;
  // "name:line: " for messages about one entry.
  std::string where(const IniEntry& entry) const;

 private:
  std::string name_;
  std::vector<IniEntry> entries_;
  std::vector<std::string> sections_;
  std::map<std::pair<std::string, std::string>, std::size_t> index_;  // of entries_, by section and key
};

// Why a value cannot stand in such a file and be read back as it is; empty when it can. Writers ask first.
std::string ini_value_problem(std::string_view value);

// Closest candidate within a small edit distance, for "did you mean"; empty when none is close.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

// A whole file as bytes; throws Error that names the path and the cause; refuses more than max_bytes.
std::string read_file(const std::string& path, std::size_t max_bytes);

// Writes a file so that readers see the old or the new content, never a mixture, also after a crash:
// temporary file beside it, fsync, rename, fsync of the folder. Throws Error; then nothing has changed.
void write_file_atomically(const std::string& path, std::string_view content, unsigned mode = 0644);

}  // namespace stint
