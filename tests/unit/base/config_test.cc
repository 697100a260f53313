// SPDX-License-Identifier: Apache-2.0
#include "base/config.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <fstream>

#include "base/contract.h"
#include "base/error.h"
#include "tests/unit/base/temporary.h"

namespace stint {
namespace {

using testing::Contains;
using testing::ElementsAre;

class ConfigFile : public testing::Test {
 protected:
  std::string write(const std::string& text) {
    std::ofstream(folder_ / "stint.conf") << text;
    return folder_ / "stint.conf";
  }
  // The message without the folder.
  std::string problem(const std::string& text) {
    const std::string path = write(text);
    const std::string message = error_of([&] { load_config(path); });
    const std::size_t at = message.find(path);
    return at == 0 ? "stint.conf" + message.substr(path.size()) : message;
  }
  TemporaryFolder folder_;
};

TEST_F(ConfigFile, SharedKeysAreRead) {
  const Config config =
      load_config(write("[stintd]\naddress = head:7000\nuser = root\n[munge]\nsocket = "
                        "/run/m\n[recipes]\npath = /a:/b\n[price]\ncurrency = EUR\n"));
  EXPECT_EQ(config.address, "head:7000");
  EXPECT_THAT(config.server_uids, ElementsAre(0U));
  EXPECT_EQ(config.munge_socket, "/run/m");
  EXPECT_THAT(config.recipe_path, ElementsAre("/a", "/b"));
  EXPECT_EQ(*config.file.find("price", "currency"), "EUR");
}

TEST_F(ConfigFile, RootMayAlwaysSign) {
  EXPECT_THAT(load_config(write("[stintd]\nuser = daemon\n")).server_uids,
              testing::UnorderedElementsAre(0U, 1U));
  EXPECT_THAT(load_config(write("")).server_uids, Contains(0U));
}

TEST_F(ConfigFile, UnknownKeysAndSectionsGetASuggestion) {
  EXPECT_EQ(problem("[stintd]\nadress = a:1\n"),
            "stint.conf:2: unknown key 'adress' in [stintd]; did you mean 'address'?");
  EXPECT_EQ(problem("\n[stinted]\naddress = a:1\n"),
            "stint.conf:3: unknown section [stinted]; did you mean 'stintd'?");
  EXPECT_EQ(problem("[empty]\n"), "stint.conf: unknown section [empty]");
}

TEST_F(ConfigFile, WrongValuesAreNamedWithTheirLine) {
  EXPECT_EQ(problem("[stintd]\naddress = nowhere\n"), "stint.conf:2: 'address': 'nowhere' is no host:port");
  EXPECT_EQ(problem("[stintd]\naddress = h:0\n"),
            "stint.conf:2: 'address': 0 is out of range; it lies between 1 and 65535");
  for (const char* address : {"a b:1", "http://head:1", "head:1:1", "[]:1", ":1", "head:"}) {
    EXPECT_THAT(problem(std::string("[stintd]\naddress = ") + address + "\n"),
                testing::StartsWith("stint.conf:2: 'address': '"))
        << address;
  }
  EXPECT_EQ(load_config(write("[stintd]\naddress = [::1]:5\n")).address, "[::1]:5");
  EXPECT_EQ(problem("[stintd]\nuser = no_such_user_here\n"),
            "stint.conf:2: 'user': no user 'no_such_user_here' on this machine");
}

TEST_F(ConfigFile, EnvironmentNamesTheFileAndAMissingNamedFileIsAnError) {
  const std::string path = write("[stintd]\naddress = env:1\n");
  ::setenv(contract::kConfigEnv, path.c_str(), 1);
  EXPECT_EQ(load_config().address, "env:1");
  ::setenv(contract::kConfigEnv, (folder_ / "none").c_str(), 1);
  EXPECT_EQ(error_of([] { load_config(); }), (folder_ / "none") + ": No such file or directory");
  ::unsetenv(contract::kConfigEnv);
}

}  // namespace
}  // namespace stint
