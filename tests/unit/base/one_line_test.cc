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

TEST(OneLine, WhatDoesNotFitIsMadeToFit) {
  EXPECT_EQ(as_one_line("no \r\n\t route\n", 80), "no route");
  EXPECT_EQ(as_one_line("\n\n", 80), "");
  EXPECT_EQ(as_one_line("a b", 80), "a b");
  EXPECT_EQ(as_one_line("a\xE2\x80\xA8\xC2\x85z", 80), "a z");
  EXPECT_EQ(as_one_line("abc", 2), "ab");
  EXPECT_EQ(as_one_line("zoë", 3), "zo") << "no half of a character";
  EXPECT_EQ(as_one_line("zoë", 4), "zoë");
}

}  // namespace
}  // namespace stint
