// SPDX-License-Identifier: Apache-2.0
#include "base/ini.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>
#include <random>

#include "base/error.h"
#include "tests/unit/base/temporary.h"

namespace stint {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

std::string parse_error(const std::string& text) {
  return error_of([&] { IniFile::parse(text, "x.ini"); });
}

TEST(Ini, EntriesKeepSectionKeyValueAndLine) {
  const IniFile file = IniFile::parse(
      "# head\n\n[a]\nk = v w\n  ; indented comment\n[b]\nk=\nurl = http://x:1/=?#y\n", "x.ini");
  ASSERT_EQ(file.entries().size(), 3U);
  EXPECT_EQ(file.entries()[0].value, "v w");
  EXPECT_EQ(file.entries()[0].line, 4);
  EXPECT_EQ(file.entries()[1].section, "b");
  EXPECT_EQ(file.entries()[1].value, "");
  EXPECT_EQ(file.entries()[2].value, "http://x:1/=?#y");
  EXPECT_EQ(file.where(file.entries()[2]), "x.ini:8: ");
  EXPECT_EQ(*file.find("a", "k"), "v w");
  EXPECT_EQ(file.find("a", "z"), nullptr);
}

TEST(Ini, SectionsWithoutKeysAreListed) {
  EXPECT_THAT(IniFile::parse("[b]\n[a]\nk=1\n[b]\n", "x").sections(), testing::ElementsAre("b", "a"));
}

TEST(Ini, EmptyTextHasNoEntries) {
  EXPECT_THAT(IniFile::parse("", "x").entries(), IsEmpty());
  EXPECT_THAT(IniFile::parse("\n\n# only\n", "x").entries(), IsEmpty());
}

TEST(Ini, LastLineNeedsNoNewline) {
  EXPECT_EQ(*IniFile::parse("[a]\nk = v", "x").find("a", "k"), "v");
}

TEST(Ini, WindowsLinesAndByteOrderMarkAreTaken) {
  const IniFile file = IniFile::parse("\xEF\xBB\xBF[a]\r\nk = v\r\nl = w\r\n", "x");
  EXPECT_EQ(*file.find("a", "k"), "v");
  EXPECT_EQ(*file.find("a", "l"), "w");
  EXPECT_EQ(file.entries()[1].line, 3);
}

// Debian's inih cuts lines at 200 bytes; ours must not.
TEST(Ini, ValuesOfManyLengthsComeBackWhole) {
  std::mt19937 random(1);
  const std::string letters = "abc =;#[]:,/\t";
  for (std::size_t length = 1; length < 9000; length += 1 + length / 7) {
    std::string value;
    while (value.size() < length) value += letters[random() % letters.size()];
    if (!ini_value_problem(value).empty()) value.assign(length, 'v');
    const IniFile file = IniFile::parse("[s]\nbefore = 1\nkey = " + value + "\nafter = 2\n", "x");
    ASSERT_EQ(file.entries().size(), 3U) << length;
    EXPECT_EQ(*file.find("s", "key"), value);
    EXPECT_EQ(file.entries()[2].line, 4);
  }
}

TEST(Ini, LongValueWithWordsAndHashesComesBackWhole) {
  std::string value;
  while (value.size() < 4000) value += "word;x #y \xC3\xA9, ";
  value += "end";
  EXPECT_EQ(*IniFile::parse("[s]\nkey = " + value, "x").find("s", "key"), value);
}

TEST(Ini, LongCommentIsPassedOver) {
  EXPECT_EQ(IniFile::parse("# " + std::string(5000, '=') + "\n[a]\nk=1\n", "x").entries().size(), 1U);
}

TEST(Ini, LineThatCannotBeCutIsRefusedNotShortened) {
  EXPECT_THAT(parse_error("[a]\nk = a" + std::string(500, ' ') + "b\n"),
              HasSubstr("x.ini:2: the line is too long"));
}

TEST(Ini, LongNamesAreRefusedNotShortened) {
  EXPECT_EQ(IniFile::parse("[" + std::string(49, 's') + "]\n" + std::string(49, 'k') + "=1\n", "x")
                .entries()[0]
                .key.size(),
            49U);
  EXPECT_THAT(parse_error("[" + std::string(50, 's') + "]\n"), HasSubstr("x.ini:1: section name"));
  EXPECT_THAT(parse_error("[s]\n" + std::string(50, 'k') + "=1\n"), HasSubstr("x.ini:2: key name"));
}

TEST(Ini, BadLinesAreNamed) {
  EXPECT_EQ(parse_error("[a]\nnonsense\n"), "x.ini:2: 'nonsense' is no section, 'key = value' or comment");
  EXPECT_EQ(parse_error("[a]\nk : v\n"), "x.ini:2: 'k : v' is no section, 'key = value' or comment");
  EXPECT_EQ(parse_error("[a\nk=1\n"),
            "x.ini:1: '[a' lacks its closing ']'; a section stands alone on its line");
  EXPECT_EQ(parse_error("[a] k=1\n"),
            "x.ini:1: '[a] k=1' lacks its closing ']'; a section stands alone on its line");
  EXPECT_EQ(parse_error("k = 1\n[a]\n"), "x.ini:1: 'k' stands before any [section]");
  EXPECT_EQ(parse_error("[a]\n= 1\n"), "x.ini:2: no key before '='");
  EXPECT_THAT(parse_error("[]\n"), HasSubstr("x.ini:1: section name ''"));
  EXPECT_THAT(parse_error("[a]]\n"), HasSubstr("holds a bracket"));
}

TEST(Ini, KeyGivenTwiceIsRefusedAlsoWhenItsSectionIsReopened) {
  EXPECT_EQ(parse_error("[a]\nk=1\nk=1\n"), "x.ini:3: 'k' is given twice in [a]");
  EXPECT_EQ(parse_error("[a]\nk=1\n[b]\nk=1\n[a]\nk=2\n"), "x.ini:6: 'k' is given twice in [a]");
}

TEST(Ini, ContinuationLinesAreRefused) {
  EXPECT_THAT(parse_error("[a]\nk = 1\n  2\n"), HasSubstr("x.ini:3: an indented line"));
  EXPECT_THAT(parse_error("[a]\n\tk = 1\n"), HasSubstr("x.ini:2: an indented line"));
}

TEST(Ini, CommentBehindAValueIsRefused) {
  EXPECT_THAT(parse_error("[a]\nk = 1 ; one\n"), HasSubstr("x.ini:2: 'k': a comment stands on its own line"));
  EXPECT_THAT(parse_error("[a]\nk = 1 # one\n"), HasSubstr("x.ini:2: 'k': a comment stands on its own line"));
  EXPECT_EQ(*IniFile::parse("[a]\nk = issue #2; done\n", "x").find("a", "k"), "issue #2; done");
}

TEST(Ini, BinaryIsRefused) {
  EXPECT_THAT(parse_error(std::string("[a]\nk = \0v\n", 10)), HasSubstr("x.ini:2: a control byte"));
  EXPECT_THAT(parse_error("\x7F"
                          "ELF\x02\x01"),
              HasSubstr("x.ini:1: a control byte"));
  for (const char* bad :
       {"\xFF", "\xC3", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE0\x80\xAF", "\x80"}) {
    EXPECT_THAT(parse_error(std::string("[a]\nk = ") + bad + "\n"), HasSubstr("x.ini:2: not valid UTF-8"));
  }
  EXPECT_EQ(parse_error("[a]\nk = \xF0\x9F\x98\x80 \xE2\x82\xAC\n"), "no error");
}

TEST(Ini, HugeTextIsRefused) {
  EXPECT_EQ(parse_error(std::string(IniFile::kMaxBytes + 1, '\n')), "x.ini: larger than 1048576 bytes");
}

// Whatever bytes come in: a parse that succeeds holds exactly the entries that a second look finds.
TEST(Ini, RandomTextNeverLosesAnEntry) {
  std::mt19937 random(7);
  const std::vector<std::string> pieces = {
      "[a]\n", "[b c]\n",   "k = v\n", "l=\n", "# c\n",          ";\n",  "\n",       " x\n", "m = ;\n",
      "[\n",   "n = a;b\n", "o=1=2\n", "p\n",  "\xC3\xA9 = e\n", "\r\n", "q = [z]\n"};
  int accepted = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = "[s]\n";
    std::size_t expected = 0;
    for (int i = 0; i < 6; ++i) {
      const std::string& piece = pieces[random() % pieces.size()];
      text += piece;
      if (piece.find('=') != std::string::npos) ++expected;
    }
    try {
      EXPECT_EQ(IniFile::parse(text, "x").entries().size(), expected) << text;
      ++accepted;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(accepted, 100);
}

TEST(DidYouMean, OffersOnlyWhatIsClose) {
  EXPECT_EQ(did_you_mean("learning_rte", {"learning_rate", "eps"}), "learning_rate");
  EXPECT_EQ(did_you_mean("setps", {"steps", "seed"}), "steps");
  EXPECT_EQ(did_you_mean("PATH", {"path"}), "path");
  EXPECT_EQ(did_you_mean("xyz", {"steps", "seed"}), "");
  EXPECT_EQ(did_you_mean("", {"a", "bc"}), "");
  EXPECT_EQ(did_you_mean(std::string(100000, 'a'), {"a"}), "");
}

TEST(ReadFile, SaysWhatIsWrongWithThePath) {
  const TemporaryFolder folder;
  const auto problem = [&](const std::string& path) { return error_of([&] { read_file(path, 10); }); };
  EXPECT_EQ(problem(folder / "none"), (folder / "none") + ": No such file or directory");
  EXPECT_EQ(problem(folder.path().string()), folder.path().string() + ": is a folder, not a file");
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(problem(folder / "fifo"), (folder / "fifo") + ": is no regular file");
  std::ofstream(folder / "big") << "12345678901";
  EXPECT_EQ(problem(folder / "big"), (folder / "big") + ": larger than 10 bytes");
}

TEST(WriteFile, ReplacesTheContentAndLeavesNothingElse) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "f", "one");
  write_file_atomically(folder / "f", "two", 0600);
  EXPECT_EQ(read_file(folder / "f", 100), "two");
  struct stat status {};
  ASSERT_EQ(::stat((folder / "f").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(WriteFile, FailureChangesNothing) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "d/occupied");
  EXPECT_THAT(error_of([&] { write_file_atomically(folder / "d", "x"); }), HasSubstr("cannot be replaced"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
  EXPECT_THAT(error_of([&] { write_file_atomically(folder / "none/f", "x"); }),
              HasSubstr("No such file or directory"));
}

}  // namespace
}  // namespace stint
