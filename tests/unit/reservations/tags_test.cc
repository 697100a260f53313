// SPDX-License-Identifier: Apache-2.0
#include "reservations/tags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "reservations/plan_view.h"
#include "tests/unit/reservations/book_fixture.h"

namespace stint::reservations {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

template <typename Work>
std::string error_of(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

std::string refused_tags(const std::vector<std::string>& words) {
  return error_of([&] { parse_tags("plan demo", words); });
}

nlohmann::json booking_with(const nlohmann::json& tags) {
  return {{"name", "demo"}, {"nodes", 4}, {"duration", 600}, {"tags", tags}};
}

Tags many_tags(int count) {
  Tags tags;
  for (int i = 0; i < count; ++i) tags[fmt::format("key{}", i)] = "value";
  return tags;
}

TEST(Tags, AreWordsOfAKeyAndAValue) {
  EXPECT_THAT(parse_tags("plan demo", {"project=llm", "cost-center=4711/b", "who=a@b.c:x+y_z"}),
              ElementsAre(Pair("cost-center", "4711/b"), Pair("project", "llm"), Pair("who", "a@b.c:x+y_z")));
  EXPECT_THAT(refused_tags({"project"}), HasSubstr("plan demo: 'project' is no tag; write key=value"));
  EXPECT_THAT(refused_tags({"a=1", "b=2", "a=3"}), HasSubstr("plan demo: tag 'a' is given twice"));
}

TEST(Tags, HaveNothingInThemThatTablesOrSpreadsheetsTakeForTheirOwn) {
  const std::string bad_key = "is no tag's key; begin with a letter";
  EXPECT_THAT(refused_tags({"=llm"}), HasSubstr(bad_key));
  EXPECT_THAT(refused_tags({"1st=llm"}), HasSubstr(bad_key));
  EXPECT_THAT(refused_tags({"a b=llm"}), HasSubstr(bad_key));
  EXPECT_THAT(refused_tags({std::string(64, 'k') + "=llm"}), HasSubstr("at most 63"));
  for (const char* value : {"", "-1", "@sum", "+1", "a b", "a,b", "a=b", "a\nb", "\xc3\xa4", "a;b", "a\"b"})
    EXPECT_THAT(refused_tags({std::string("k=") + value}), HasSubstr("is no value of tag 'k'")) << value;
  EXPECT_THAT(refused_tags({"k=" + std::string(128, 'v')}), HasSubstr("at most 127"));
  EXPECT_EQ(refused_tags({"k=" + std::string(127, 'v')}), "accepted");
}

TEST(Tags, ComeWithABookingCheckedLikeAnyOtherField) {
  EXPECT_THAT(PlanRequest::parse(booking_with({{"project", "llm"}})).tags,
              ElementsAre(Pair("project", "llm")));
  const auto error = [](const nlohmann::json& tags) {
    return error_of([&] { PlanRequest::parse(booking_with(tags)); });
  };
  EXPECT_EQ(error(many_tags(50)), "accepted");
  EXPECT_THAT(error(many_tags(51)), HasSubstr("plan demo: has 51 tags, at most 50 are allowed"));
  EXPECT_THAT(error({"project"}), HasSubstr("plan demo: tags must be an object of texts"));
  EXPECT_THAT(error({{"project", 7}}), HasSubstr("plan demo: tags must be an object of texts"));
  EXPECT_THAT(error({{"project", "a\nb"}}), HasSubstr("is no value of tag 'project'"));
}

TEST(Tags, AreSetAndRemovedByARequest) {
  const auto request = TagRequest::parse("demo", {{"set", {{"a", "1"}}}, {"remove", {"b"}}});
  EXPECT_THAT(request.set, ElementsAre(Pair("a", "1")));
  EXPECT_THAT(request.remove, ElementsAre("b"));
  const auto error = [](const nlohmann::json& body) {
    return error_of([&] { TagRequest::parse("demo", body); });
  };
  EXPECT_THAT(error(nlohmann::json::object()), HasSubstr("plan demo: name tags to set or to remove"));
  EXPECT_THAT(error({{"set", {{"a", "1"}}}, {"remove", {"a"}}}), HasSubstr("'a' is to be set and removed"));
  EXPECT_THAT(error({{"put", {{"a", "1"}}}}), HasSubstr("unknown field 'put'"));
}

class TagsOfPlans : public BookTest {
 protected:
  void book_tagged(const Tags& tags) {
    auto wanted = request();
    wanted.tags = tags;
    book_->create(wanted, kRoot);
  }
  Plan tag(const Tags& set, const std::vector<std::string>& remove = {}) {
    return book_->tag("demo", {set, remove}, kRoot);
  }
  Tags tags() { return book_->show("demo").tags; }
};

TEST_F(TagsOfPlans, AreKeptSinceTheBookingThroughChangesAndARestart) {
  book_tagged({{"project", "llm"}});
  ShrinkRequest fewer;
  fewer.nodes = 2;
  book_->shrink("demo", fewer, kRoot);
  restart_stintd();
  EXPECT_THAT(tags(), ElementsAre(Pair("project", "llm")));
}

TEST_F(TagsOfPlans, ChangeByTheirOwnerAndTheHistorySaysHow) {
  book_tagged({{"project", "llm"}, {"team", "a"}});
  EXPECT_THAT(tag({{"project", "vision"}, {"cost", "7"}}, {"team"}).tags,
              ElementsAre(Pair("cost", "7"), Pair("project", "vision")));
  const auto entry = book_->history("demo").back();
  EXPECT_EQ(entry.who, "root");
  EXPECT_EQ(entry.action, "tagged");
  EXPECT_EQ(entry.detail, "cost=7,project=vision; without team");
}

TEST_F(TagsOfPlans, ThatStayAsTheyAreLeaveNoTrace) {
  book_tagged({{"project", "llm"}});
  const auto before = book_->history("demo").size();
  tag({{"project", "llm"}});
  EXPECT_EQ(book_->history("demo").size(), before);
}

TEST_F(TagsOfPlans, AreRefusedToStrangersAndBeyondTheirBound) {
  book_tagged(many_tags(50));
  EXPECT_THAT(refusal([&] {
                book_->tag("demo", {{{"a", "1"}}, {}}, kStranger);
              }),
              HasSubstr("only its owner or an operator may tag it"));
  EXPECT_THAT(refusal([&] {
                tag({{"one", "more"}});
              }),
              HasSubstr("plan demo: has 51 tags, at most 50 are allowed"));
  EXPECT_THAT(refusal([&] { tag({}, {"other"}); }), HasSubstr("plan demo: has no tag 'other'"));
  EXPECT_EQ(tag({{"one", "more"}}, {"key7"}).tags.size(), 50U);
}

TEST_F(TagsOfPlans, DoNotFillTheLedger) {
  constexpr std::uint32_t kDaemon = 1;
  settings_.policy.book.everyone = true;
  restart_stintd();
  book_->create(request(), kDaemon);
  const auto plan = book_->show("demo");
  for (int i = 1; i < 1'000; ++i) ledger_.add_history(plan.id, {1, "daemon", "tagged", "a=1"});
  EXPECT_THAT(refusal([&] {
                book_->tag("demo", {{{"a", "2"}}, {}}, kDaemon);
              }),
              HasSubstr("plan demo: was changed 1000 times; ask an operator to tag it"));
  EXPECT_EQ(tag({{"a", "2"}}).tags.size(), 1U);
}

TEST_F(TagsOfPlans, MayBeGivenToPlansThatAreOver) {
  book_tagged({});
  book_->cancel("demo", kRoot, false);
  EXPECT_THAT(tag({{"project", "llm"}}).tags, ElementsAre(Pair("project", "llm")));
  EXPECT_EQ(book_->show("demo").phase, Phase::kCancelled);
}

TEST_F(TagsOfPlans, WaitWhileAChangeOfThePlanIsOnItsWay) {
  book_tagged({});
  PlanChange change{book_->show("demo"), {1, "root", "extended", ""}};
  ledger_.begin_change(change);
  EXPECT_THAT(refusal([&] { tag({{"project", "llm"}}); }), HasSubstr("a change of it is on its way"));
  EXPECT_THAT(tags(), IsEmpty());
}

TEST_F(TagsOfPlans, StandInEveryFormatOfAPlan) {
  book_tagged({{"project", "llm"}, {"team", "a"}});
  const auto json = to_json(book_->show("demo"), now(), {});
  EXPECT_EQ(json["tags"], (nlohmann::json{{"project", "llm"}, {"team", "a"}}));
  EXPECT_THAT(plan_text(json), HasSubstr("\ntags        project=llm,team=a\n"));
  EXPECT_THAT(plans_text(nlohmann::json::array({json})),
              testing::AllOf(HasSubstr("  TAGS\n"), HasSubstr("  project=llm,team=a\n")));
  EXPECT_THAT(plans_ini(nlohmann::json::array({json})), HasSubstr("\ntags = project=llm,team=a\n"));
}

TEST_F(TagsOfPlans, TakeNoRoomWhereThereAreNone) {
  book_tagged({});
  const auto json = to_json(book_->show("demo"), now(), {});
  EXPECT_THAT(plan_text(json), testing::Not(HasSubstr("tags")));
  EXPECT_THAT(plans_text(nlohmann::json::array({json})), testing::Not(HasSubstr("TAGS")));
}

TEST(TagFilter, TakesAKeyOrAKeyWithItsValue) {
  const Tags tags{{"project", "llm"}, {"team", "a"}};
  EXPECT_TRUE(has_tag(tags, "project"));
  EXPECT_TRUE(has_tag(tags, "project=llm"));
  EXPECT_FALSE(has_tag(tags, "project=ll"));
  EXPECT_FALSE(has_tag(tags, "proj"));
  EXPECT_EQ(error_of([] { check_tag_filter("list", "project"); }), "accepted");
  EXPECT_EQ(error_of([] { check_tag_filter("list", "project=llm"); }), "accepted");
  EXPECT_THAT(error_of([] { check_tag_filter("list", "pro ject"); }),
              HasSubstr("list: 'pro ject' is no tag's key"));
}

}  // namespace
}  // namespace stint::reservations
