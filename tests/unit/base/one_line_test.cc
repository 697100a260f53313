// SPDX-License-Identifier: Apache-2.0
#include "base/one_line.h"

#include <gtest/gtest.h>

#include <string>

namespace stint {
namespace {

TEST(OneLine, PathsOfAnyLanguageFit) {
  for (const char* text :
       {"", "/home/ada/stint runs/%n-%j", "/home/zoë/トレーニング", "/a/\xC2\xA0\xE2\x80\xA6"})
    EXPECT_TRUE(fits_one_line(text)) << text;
}

TEST(OneLine, EveryBreakAndControlCharacterIsFound) {
  for (const std::string text : {"a\nb", "a\tb", "a\rb", "\x1b[31ma", "a\x7f", "a\xC2\x85", "\xC2\x9f",
                                 "a\xE2\x80\xA8", "a\xE2\x80\xA9z"})
    EXPECT_FALSE(fits_one_line(text)) << testing::PrintToString(text);
  EXPECT_FALSE(fits_one_line(std::string_view("a\0b", 3)));
}

}  // namespace
}  // namespace stint
