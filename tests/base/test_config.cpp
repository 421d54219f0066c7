#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "error_of.h"
#include "grpo/config.h"
#include "grpo/stop.h"

namespace grpo {

enum class Flavour { grpo, dr_grpo, dapo };
template <>
struct EnumNames<Flavour> {
  static constexpr std::array<std::pair<Flavour, std::string_view>, 3> values{
      {{Flavour::grpo, "grpo"}, {Flavour::dr_grpo, "dr_grpo"}, {Flavour::dapo, "dapo"}}};
};

namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

struct LossConfig {
  double clip_low = 0.2, clip_high = 0.2;
  Flavour flavour = Flavour::dapo;
  template <class V>
  void visit(V& v) {
    v("clip_low", clip_low, "lower clip range of the ratio", at_least(0).at_most(1));
    v("clip_high", clip_high, "upper clip range of the ratio", above(0));
    v("flavour", flavour, "which loss");
  }
  void validate() const {
    if (clip_low + clip_high > 10) throw Error("config", "grpo.clip_low: expected less with this clip_high");
  }
};
struct StageConfig {
  std::string kind = "grpo";
  int steps = 10;
  template <class V>
  void visit(V& v) {
    v("kind", kind, "what the stage does", {"pretrain", "grpo"});
    v("steps", steps, "optimizer steps", at_least(0).at_most(1e6));
  }
};
struct RewardsConfig {
  std::map<std::string, double> weights{{"accuracy", 1.0}, {"format", 0.2}};
  template <class V>
  void visit(V& v) {
    v("weights", weights, "weight of each reward", any_finite());
  }
};
struct DriverConfig {
  std::uint64_t seed = 11;
  std::int64_t tokens = 1'000'000'000'000;
  std::string out = "runs/zero";
  bool resume = false;
  int max_steps = 180;
  LossConfig grpo;
  RewardsConfig rewards;
  std::vector<StageConfig> stages = {{"pretrain", 1200}, {"grpo", 180}};
  std::vector<std::string> languages = {"en"};
  std::vector<int> sizes = {1, 2};
  template <class V>
  void visit(V& v) {
    v("seed", seed, "seed of every draw");
    v("tokens", tokens, "token budget", any_finite());
    v("out", out, "folder of the run");
    v("resume", resume, "continue the newest checkpoint");
    v("max_steps", max_steps, "steps in all", at_least(1).or_zero());
    v("grpo", grpo, "the loss");
    v("rewards", rewards, "the rewards");
    v("stages", stages, "stages, in order");
    v("languages", languages, "languages of the tasks", {"en", "ko"});
    v("sizes", sizes, "some sizes", at_least(1).below(100));
  }
};

DriverConfig parse(const std::vector<std::string>& arguments) { return parse_config<DriverConfig>(arguments); }

std::string error_of(const std::vector<std::string>& arguments) {
  try {
    parse(arguments);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

class ConfigFile : public ::testing::Test {
 protected:
  std::string write(const std::string& text, const std::string& name = "my.json") {
    const auto path = folder_ / name;
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
  }
  std::string error_in(const std::string& text) { return error_of({"--config", write(text)}); }
  void SetUp() override {
    folder_ = std::filesystem::path(::testing::TempDir()) /
              ("grpo_config_" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_;
};

TEST_F(ConfigFile, overrides_only_what_it_mentions) {
  const auto config = parse({"--config", write(R"({
    // a comment
    "grpo": {"clip_high": 0.28, "flavour": "dr_grpo"}, /* another */
    "stages": [{"steps": 7}],
    "rewards": {"weights": {"length": 1}}, "tokens": -3, "seed": 18446744073709551615
  })")});
  EXPECT_EQ(config.grpo.clip_high, 0.28);
  EXPECT_EQ(config.grpo.clip_low, 0.2);
  EXPECT_EQ(config.grpo.flavour, Flavour::dr_grpo);
  ASSERT_EQ(config.stages.size(), 1u) << "a list replaces the default list";
  EXPECT_EQ(config.stages[0].steps, 7);
  EXPECT_EQ(config.stages[0].kind, "grpo") << "elements start from their own defaults, not from the default list's";
  EXPECT_EQ(config.rewards.weights, (std::map<std::string, double>{{"length", 1.0}}));
  EXPECT_EQ(config.tokens, -3);
  EXPECT_EQ(config.seed, std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(config.max_steps, 180);
}

TEST_F(ConfigFile, later_files_and_then_arguments_win_wherever_they_stand) {
  const std::string first = write(R"({"max_steps": 1, "out": "a"})", "first.json");
  const std::string second = write(R"({"max_steps": 2})", "second.json");
  const auto config = parse({"--seed", "5", "--config", first, "--config=" + second, "--seed=6"});
  EXPECT_EQ(config.max_steps, 2);
  EXPECT_EQ(config.out, "a");
  EXPECT_EQ(config.seed, 6u);
  EXPECT_EQ(parse({"--max_steps", "9", "--config", first}).max_steps, 9);
}

TEST_F(ConfigFile, unknown_key_names_file_key_and_nearest) {
  const std::string path = write(R"({"grpo": {"clop_high": 1}})");
  EXPECT_EQ(error_of({"--config", path}),
            "[config] " + path + ": unknown key \"grpo.clop_high\"; did you mean \"grpo.clip_high\"?");
  EXPECT_THAT(error_in(R"({"stages": [{}, {}, {"stepz": 1}]})"),
              HasSubstr(R"(unknown key "stages.2.stepz"; did you mean "stages.2.steps"?)"));
  EXPECT_THAT(error_in(R"({"clip_low": 1})"), HasSubstr(R"(did you mean "grpo.clip_low"?)"));
  EXPECT_THAT(error_in(R"({"grpo": {"max_steps": 1}})"), HasSubstr(R"(did you mean "max_steps"?)"));
  EXPECT_THAT(error_in(R"({"stages": [{"seed": 1}]})"), HasSubstr(R"(did you mean "seed"?)"));
  EXPECT_THAT(error_in("{\"" + std::string(1 << 20, 'k') + "\": 1}"), HasSubstr("unknown key"));
}

TEST_F(ConfigFile, wrong_types_name_key_expected_and_got) {
  const std::string path = write(R"({"grpo": {"clip_high": "much"}})");
  EXPECT_EQ(error_of({"--config", path}), "[config] " + path + R"(: "grpo.clip_high": expected a number, got "much")");
  EXPECT_THAT(error_in(R"({"max_steps": 1.5})"), HasSubstr(R"("max_steps": expected an integer)"));
  EXPECT_THAT(error_in(R"({"max_steps": 1.0})"), HasSubstr("got 1.0"));
  EXPECT_THAT(error_in(R"({"max_steps": 2147483648})"), HasSubstr("to 2147483647, got 2147483648"));
  EXPECT_THAT(error_in(R"({"max_steps": -2147483649})"), HasSubstr("from -2147483648"));
  EXPECT_THAT(error_in(R"({"max_steps": true})"), HasSubstr("got true"));
  EXPECT_THAT(error_in(R"({"seed": -1})"), HasSubstr("an integer from 0 to 18446744073709551615, got -1"));
  EXPECT_THAT(error_in(R"({"seed": 18446744073709551616})"), HasSubstr("\"seed\""));
  EXPECT_THAT(error_in(R"({"tokens": 9223372036854775808})"), HasSubstr("\"tokens\""));
  EXPECT_THAT(error_in(R"({"resume": 1})"), HasSubstr("expected true or false, got 1"));
  EXPECT_THAT(error_in(R"({"out": 3})"), HasSubstr("expected a string, got 3"));
  EXPECT_THAT(error_in(R"({"out": null})"), HasSubstr("got null"));
  EXPECT_THAT(error_in(R"({"grpo": [1]})"), HasSubstr("got a list"));
  EXPECT_THAT(error_in(R"({"stages": {"0": {}}})"), HasSubstr("expected a list in [ ], got an object"));
  EXPECT_THAT(error_in(R"({"languages": ["en", 3]})"), HasSubstr(R"("languages.1": expected a string)"));
  EXPECT_THAT(error_in(R"({"rewards": {"weights": {"accuracy": "1"}}})"), HasSubstr("\"rewards.weights.accuracy\""));
  EXPECT_THAT(error_in(R"({"grpo": {"flavour": "gspo"}})"),
              HasSubstr(R"(expected one of "grpo", "dr_grpo", "dapo", got "gspo")"));
  EXPECT_THAT(error_in(R"({"grpo": {"flavour": 0}})"), HasSubstr("got 0"));
  EXPECT_THAT(error_in("[1]"), HasSubstr("expected an object of keys and values, got a list"));
}

TEST_F(ConfigFile, malformed_json_names_line_and_column) {
  const std::string path = write("{\n  \"seed\": 1,\n  \"out\" 2\n}");
  EXPECT_THAT(error_of({"--config", path}), HasSubstr(path + ":3:9: expected JSON"));
  EXPECT_THAT(error_in(""), HasSubstr(":1:1: expected JSON"));
  EXPECT_THAT(error_in("{} {}"), HasSubstr(":1:4"));
  EXPECT_THAT(error_in("{\"out\": \"\xff\"}"), HasSubstr(":1:"));
  EXPECT_THAT(error_in(R"({"grpo": {"clip_low": 1e999}})"), HasSubstr("expected JSON"));
  EXPECT_THAT(error_in("{\"out\": " + std::string(100000, '[')), HasSubstr("expected JSON"));
}

TEST_F(ConfigFile, duplicate_keys_are_refused_at_any_depth_but_not_across_objects) {
  EXPECT_THAT(error_in(R"({"grpo": {"clip_low": 1, "clip_low": 2}})"), HasSubstr("got \"grpo.clip_low\" twice"));
  EXPECT_EQ(error_in(R"({"stages": [{"steps": 1}, {"steps": 1}], "max_steps": 1})"), "");
  EXPECT_THAT(error_of({"--set", R"(stages=[{"steps": 1, "steps": 2}])"}),
              HasSubstr("\"stages\": expected JSON, got the key \"steps\" twice"));
  EXPECT_EQ(error_of({"--out", R"({"steps": 1, "steps": 2})"}), "") << "a text is what it is";
}

TEST_F(ConfigFile, missing_or_unreadable_file_is_named) {
  EXPECT_THAT(error_of({"--config", "nowhere/x.json"}), HasSubstr("nowhere/x.json"));
  EXPECT_THAT(error_of({"--config", folder_.string()}), HasSubstr(folder_.string()));
  EXPECT_THAT(error_of({"--config"}), HasSubstr("a value behind --config"));
}

TEST_F(ConfigFile, knows_which_keys_were_given) {
  DriverConfig config;
  GivenKeys given;
  const std::string file =
      write(R"({"grpo": {"clip_low": 0.1}, "stages": [{"steps": 3}, {"kind": "grpo"}], "rewards": {"weights": {"a": 1}}})");
  internal::parse(internal::make_knob("", config, ""),
                  {"--config", file, "--max_steps", "3", "--set", "stages=[{\"kind\": \"grpo\"}]", "--resume"}, nullptr,
                  &given);
  for (const char* key : {"grpo.clip_low", "rewards.weights", "max_steps", "stages",
                          "stages.0.kind", "resume"})
    EXPECT_TRUE(given.contains(key)) << key;
  for (const char* key : {"grpo.clip_high", "seed", "stages.0.steps", "stages.1.kind", "out"})
    EXPECT_FALSE(given.contains(key)) << key;
  given.clear();
  parse_config<DriverConfig>({"--seed", "3"}, &given);
  EXPECT_EQ(given, GivenKeys{"seed"});
}

TEST(Config, set_reaches_every_kind_of_key) {
  const auto config =
      parse({"--set", "grpo.clip_high=0.28", "--set=grpo.flavour=grpo", "--set", "rewards.weights.x=1", "--set",
             "rewards.weights.format=0", "--set", "stages.0.steps=3", "--set", R"(languages=["en","ko"])", "--set",
             "sizes.1=7", "--set", "out=a=b", "--set", "grpo.clip_low=1"});
  EXPECT_EQ(config.grpo.clip_high, 0.28);
  EXPECT_EQ(config.grpo.clip_low, 1.0) << "an integer is a number";
  EXPECT_EQ(config.grpo.flavour, Flavour::grpo);
  EXPECT_EQ(config.rewards.weights, (std::map<std::string, double>{{"accuracy", 1.0}, {"format", 0.0}, {"x", 1.0}}));
  EXPECT_EQ(config.stages[0].steps, 3);
  EXPECT_EQ(config.stages[1].steps, 180);
  EXPECT_THAT(config.languages, ElementsAre("en", "ko"));
  EXPECT_THAT(config.sizes, ElementsAre(1, 7));
  EXPECT_EQ(config.out, "a=b");
}

TEST(Config, strings_take_any_text) {
  for (const std::string text : {"5", "true", "null", "{", "", "\"half", "[1, 2]", "한국어"})
    EXPECT_EQ(parse({"--out=" + text}).out, text);
  EXPECT_EQ(parse({R"(--out="quoted\n")"}).out, "quoted\n");
  EXPECT_THAT(error_of({"--out=\xff"}), HasSubstr("UTF-8"));
}

TEST(Config, free_arguments_name_keys) {
  const auto config =
      parse({"--seed", "5", "--tokens=-7", "--max-steps", "12", "--resume", "--out", "-", "--grpo.clip_low=0.5"});
  EXPECT_EQ(config.seed, 5u);
  EXPECT_EQ(config.tokens, -7);
  EXPECT_EQ(config.max_steps, 12);
  EXPECT_TRUE(config.resume);
  EXPECT_EQ(config.out, "-");
  EXPECT_EQ(config.grpo.clip_low, 0.5);
  EXPECT_TRUE(parse({"--resume", "true", "--seed", "1"}).resume);
  EXPECT_FALSE(parse({"--resume", "--resume", "false"}).resume);
  EXPECT_FALSE(parse({"--resume=false"}).resume);
  EXPECT_EQ(parse({"--tokens", "-7"}).tokens, -7);
}

TEST(Config, dashes_in_the_name_of_an_option_are_underscores) {
  EXPECT_EQ(parse({"--max-steps=12"}).max_steps, 12);
  EXPECT_EQ(parse({"--max_steps", "12"}).max_steps, 12);
  EXPECT_EQ(parse({"--grpo.clip-low", "0.5"}).grpo.clip_low, 0.5);
  EXPECT_EQ(parse({"--grpo.clip-low=0.5", "--grpo.clip_low=0.25"}).grpo.clip_low, 0.25);
  EXPECT_EQ(parse({"--out=a-b"}).out, "a-b") << "the value stays as it is";
  EXPECT_EQ(parse({"--out", "-a-"}).out, "-a-");
  EXPECT_EQ(parse({"--set", "rewards.weights.my-own=1"}).rewards.weights.at("my-own"), 1.0)
      << "so does a key behind --set";
  EXPECT_THAT(error_of({"--max-stepz", "1"}), HasSubstr("did you mean \"max_steps\"?"));
  EXPECT_THAT(error_of({"--max-steps"}), HasSubstr("expected a value behind --max_steps"));
}

TEST(Config, bad_arguments_are_named) {
  EXPECT_EQ(error_of({"--sede", "1"}), "[config] command line: unknown key \"sede\"; did you mean \"seed\"?");
  EXPECT_THAT(error_of({"--clop-low", "1"}), HasSubstr("did you mean \"grpo.clip_low\"?"));
  EXPECT_EQ(error_of({"--set", "foo.bar=1"}), "[config] command line: unknown key \"foo.bar\"; --help lists them all");
  EXPECT_THAT(error_of({"--set", "grpo.clop_high=1"}), HasSubstr("did you mean \"grpo.clip_high\"?"));
  EXPECT_THAT(error_of({"--set", "stages.2.steps=1"}), HasSubstr("unknown key \"stages.2.steps\""));
  EXPECT_THAT(error_of({"--set", "rewards.weights.=1"}), HasSubstr("unknown key"));
  EXPECT_THAT(error_of({"--set", "seed.x=1"}), HasSubstr("unknown key \"seed.x\"; did you mean \"seed\"?"));
  EXPECT_THAT(error_of({"--set", "=1"}), HasSubstr("unknown key \"\""));
  EXPECT_THAT(error_of({"--set", "seed"}), HasSubstr("--set key=value"));
  EXPECT_THAT(error_of({"--seed"}), HasSubstr("a value behind --seed"));
  EXPECT_THAT(error_of({"--out", "--resume"}), HasSubstr("a value behind --out"));
  EXPECT_THAT(error_of({"seed=1"}), HasSubstr("expected --name, got \"seed=1\""));
  EXPECT_THAT(error_of({"--"}), HasSubstr("expected --name"));
  EXPECT_THAT(error_of({"--seed", "abc"}), AllOf(HasSubstr("\"seed\""), HasSubstr("got \"abc\"")));
  EXPECT_THAT(error_of({"--max_steps=1.5"}), HasSubstr("got 1.5"));
  EXPECT_THAT(error_of({"--grpo", "3"}), HasSubstr("expected an object"));
}

TEST(Config, checks_run_once_everything_is_loaded_and_in_nested_structs) {
  EXPECT_THAT(error_of({"--set", "grpo.clip_low=-1"}), HasSubstr("grpo.clip_low"));
  EXPECT_EQ(error_of({"--set", "grpo.clip_low=-1", "--set", "grpo.clip_low=1"}), "");
  EXPECT_EQ(error_of({"--grpo.clip_high=10"}), "[config] grpo.clip_low: expected less with this clip_high");
  EXPECT_EQ(error_of({"--grpo.clip_high=10", "--grpo.clip_low=0"}), "");
}

TEST_F(ConfigFile, numbers_out_of_their_range_are_named_wherever_they_come_from) {
  const std::string low = "[config] grpo.clip_low: expected 0 <= x <= 1, got -1";
  EXPECT_EQ(error_in(R"({"grpo": {"clip_low": -1}})"), low);
  EXPECT_EQ(error_of({"--set", "grpo.clip_low=-1"}), low);
  EXPECT_EQ(error_of({"--grpo.clip-low", "-1"}), low);
  EXPECT_EQ(error_of({"--grpo.clip_low=1.0000001"}), "[config] grpo.clip_low: expected 0 <= x <= 1, got 1.0000001");
  EXPECT_EQ(error_of({"--grpo.clip_high=0"}), "[config] grpo.clip_high: expected x > 0, got 0");
  EXPECT_EQ(error_of({"--max_steps=-2"}), "[config] max_steps: expected 0, or x >= 1, got -2");
  EXPECT_EQ(error_of({"--max_steps=0"}), "");
  EXPECT_EQ(error_of({"--set", "stages.1.steps=-1"}), "[config] stages.1.steps: expected 0 <= x <= 1000000, got -1");
  EXPECT_EQ(error_of({"--sizes=[1, 100]"}), "[config] sizes.1: expected 1 <= x < 100, got 100");
  EXPECT_EQ(error_of({"--languages=[\"en\", \"de\"]"}),
            "[config] languages.1: expected one of \"en\", \"ko\", got \"de\"");
  EXPECT_EQ(error_of({"--stages.0.kind=sft"}),
            "[config] stages.0.kind: expected one of \"pretrain\", \"grpo\", got \"sft\"");
  DriverConfig config;
  EXPECT_EQ(grpo::error_of([&] { load_json(config, nlohmann::json{{"max_steps", -2}}, "run/config.json"); }),
            "[config] run/config.json: max_steps: expected 0, or x >= 1, got -2");
}

TEST(Config, what_was_filled_in_code_meets_the_same_checks) {
  const auto refusal = [](auto change, std::string_view name = "driver") {
    DriverConfig config;
    change(config);
    return grpo::error_of([&] { validate(config, name); });
  };
  EXPECT_EQ(refusal([](DriverConfig&) {}), "(no error)");
  EXPECT_EQ(refusal([](DriverConfig& c) { c.max_steps = -1; }),
            "[config] driver.max_steps: expected 0, or x >= 1, got -1");
  EXPECT_EQ(refusal([](DriverConfig& c) { c.grpo.clip_high = std::nan(""); }, ""),
            "[config] grpo.clip_high: expected x > 0, got nan");
  EXPECT_EQ(refusal([](DriverConfig& c) { c.grpo.clip_high = std::numeric_limits<double>::infinity(); }, ""),
            "[config] grpo.clip_high: expected x > 0, got inf");
  EXPECT_EQ(refusal([](DriverConfig& c) { c.rewards.weights["x"] = -std::numeric_limits<double>::infinity(); }, ""),
            "[config] rewards.weights.x: expected a finite number, got -inf");
  EXPECT_EQ(refusal([](DriverConfig& c) { c.grpo.flavour = static_cast<Flavour>(17); }, ""),
            "[config] grpo.flavour: expected a named value, got 17");
  EXPECT_EQ(refusal([](DriverConfig& c) { c.grpo.clip_high = 10; }),
            "[config] driver.grpo.clip_low: expected less with this clip_high");
}

// What a struct says of itself, as a user writes it from outside.
struct SaysConfig {
  std::string text;
  template <class V>
  void visit(V& v) {
    v("text", text, "what validate() throws");
  }
  void validate() const {
    if (!text.empty()) throw Error("room", text);
  }
};
struct OuterConfig {
  struct Part {
    SaysConfig says;
    template <class V>
    void visit(V& v) {
      v("says", says, "");
    }
  };
  std::vector<Part> parts = std::vector<Part>(2);
  SaysConfig says;
  template <class V>
  void visit(V& v) {
    v("parts", parts, "");
    v("says", says, "");
  }
};

TEST(Config, what_a_struct_refuses_has_its_whole_key) {
  for (const auto& [said, inside, outside] : std::vector<std::array<std::string, 3>>{
           {"low: expected more", "parts.1.says.low: expected more", "says.low: expected more"},
           {"deep.low: expected more", "parts.1.says.deep.low: expected more", "says.deep.low: expected more"},
           {"says.low: expected more", "parts.1.says.low: expected more", "says.low: expected more"},
           {"expected low and high", "parts.1.says: expected low and high", "says: expected low and high"}}) {
    OuterConfig config;
    config.parts[1].says.text = said;
    EXPECT_EQ(grpo::error_of([&] { validate(config, ""); }), "[room] " + inside);
    EXPECT_EQ(grpo::error_of([&] { validate(config, "all"); }), "[room] all." + inside);
    EXPECT_EQ(grpo::error_of([&, &said = said] {
                OuterConfig loaded;
                load_json(loaded, nlohmann::json{{"says", {{"text", said}}}}, "x.json");
              }),
              "[room] x.json: " + outside);
    EXPECT_EQ(grpo::error_of([&] { validate(config.parts[1].says, ""); }), "[room] " + said);
  }
}

TEST(Range, says_what_it_contains) {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  struct Case {
    Range range;
    std::string text;
    std::vector<double> in, out;
  };
  for (const auto& [range, text, in, out] : std::vector<Case>{
           {at_least(1), "x >= 1", {1, 1e308}, {0.999, -1}},
           {above(0), "x > 0", {1e-300}, {0, -1e-300}},
           {above(0).at_most(1), "0 < x <= 1", {1e-9, 1}, {0, 1.0000001}},
           {at_least(0).below(1), "0 <= x < 1", {0, 0.5}, {1, -0.1}},
           {at_least(1e-6).at_most(1e6).or_zero(), "0, or 1e-06 <= x <= 1000000", {0, 1e-6, 1e6}, {1e-7, 1e7, -1}},
           {at_least(16).at_most(96).multiple_of(16), "a multiple of 16 with 16 <= x <= 96", {16, 48}, {0, 24, 112}},
           {any_finite(), "a finite number", {-1e308, 0, 1e308}, {}},
           {any_finite().at_most(2), "x <= 2", {-1e308, 2}, {2.1}}}) {
    EXPECT_EQ(range.text(), text);
    for (const double x : in) EXPECT_TRUE(range.contains(x)) << text << ' ' << x;
    for (const double x : out) EXPECT_FALSE(range.contains(x)) << text << ' ' << x;
    for (const double x : {nan, infinity, -infinity}) EXPECT_FALSE(range.contains(x)) << text << ' ' << x;
  }
}

TEST_F(ConfigFile, a_pipe_is_read_and_one_that_nobody_writes_to_is_refused) {
  const std::string pipe = (folder_ / "pipe").string();
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(error_of({"--config", pipe}), HasSubstr("got a pipe that nothing was written to"));
  EXPECT_THAT(error_of({"--config", "/dev/zero"}), HasSubstr("got a device or socket"));
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const std::string text = R"({"max_steps": 3})";
  ASSERT_EQ(::write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
  ::close(ends[1]);
  EXPECT_EQ(parse({"--config", "/dev/fd/" + std::to_string(ends[0])}).max_steps, 3);
  ::close(ends[0]);
}

TEST(Config, dump_is_ordered_and_loads_back_exactly) {
  DriverConfig config;
  config.grpo.clip_high = 0.1 + 0.2;
  config.seed = std::numeric_limits<std::uint64_t>::max();
  config.tokens = std::numeric_limits<std::int64_t>::min();
  config.rewards.weights = {{"only", -0.5}};
  config.stages = {};
  config.grpo.flavour = Flavour::dr_grpo;
  const auto dumped = dump_config(config);
  EXPECT_EQ(dumped.begin().key(), "seed");
  EXPECT_EQ(dumped["grpo"].dump(), R"({"clip_low":0.2,"clip_high":0.30000000000000004,"flavour":"dr_grpo"})");
  DriverConfig loaded;
  load_json(loaded, nlohmann::json::parse(dumped.dump()), "copy");
  EXPECT_EQ(dump_config(loaded).dump(), dumped.dump());
  EXPECT_EQ(loaded.grpo.clip_high, config.grpo.clip_high);
  EXPECT_TRUE(loaded.stages.empty());
}

TEST(Config, failed_load_changes_nothing) {
  DriverConfig config;
  EXPECT_THROW(load_json(config, nlohmann::json{{"max_steps", 3}, {"seed", -1}}, "x"), Error);
  EXPECT_THROW(load_json(config, nlohmann::json{{"max_steps", 3}, {"grpo", {{"clip_low", -1}}}}, "x"), Error);
  EXPECT_EQ(config.max_steps, 180);
  load_json(config, nlohmann::json{{"max_steps", 3}, {"seed", 4}}, "built in code, so signed");
  EXPECT_EQ(config.seed, 4u);
}

TEST(Config, help_lists_every_key_with_default_meaning_and_choices) {
  std::string text;
  try {
    parse({"--max_steps", "3", "--help"});
  } catch (const HelpRequested& help) {
    text = help.what();
  }
  for (const std::string part : {"seed = 11", "seed of every draw", "grpo.clip_high = 0.2", "grpo.flavour = \"dapo\"",
                                 "[grpo, dr_grpo, dapo]", "stages.N.steps", "optimizer steps", "max_steps = 180",
                                 "rewards.weights = {\"accuracy\":1.0,\"format\":0.2}", "languages = [\"en\"]",
                                 "steps in all [0, or x >= 1]", "lower clip range of the ratio [0 <= x <= 1]",
                                 "languages of the tasks [one of \"en\", \"ko\"]"})
    EXPECT_THAT(text, HasSubstr(part));
  EXPECT_THAT(text, Not(HasSubstr("languages.N")));
  EXPECT_THROW(parse({"-h"}), HelpRequested);
}

TEST(Config, version_is_asked_of_any_program_and_slips_of_the_common_options_are_guessed) {
  std::string text;
  try {
    parse({"--version"});
  } catch (const HelpRequested& version) {
    text = version.what();
  }
  EXPECT_THAT(text, ::testing::MatchesRegex("grpo.cpp [a-z_]+ [0-9]+\\.[0-9]+\\.[0-9]+\n"));
  for (const std::string option : {"version", "help", "config"})
    EXPECT_THAT(error_of({"--x" + option, "1"}), HasSubstr("did you mean \"" + option + "\"?"));
}

TEST(Config, load_config_skips_the_program_name) {
  std::string program = "r1_zero", option = "--seed=3";
  char* argv[] = {program.data(), option.data(), nullptr};
  EXPECT_EQ(load_config<DriverConfig>(2, argv).seed, 3u);
  EXPECT_EQ(load_config<DriverConfig>(0, argv + 2).seed, 11u);
}

TEST(Config, report_prints_help_as_success_and_errors_as_failure) {
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(report(HelpRequested("the help\n")), 0);
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "the help\n");
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(report(Error("config", "expected ", 1)), 1);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "error: [config] expected 1\n");
  // What other libraries throw, without what only their makers need.
  const std::pair<std::shared_ptr<std::exception>, std::string> others[] = {
      {std::make_shared<std::filesystem::filesystem_error>("cannot create", "a/b",
                                                           std::make_error_code(std::errc::not_a_directory)),
       "error: a/b: Not a directory\n"},
      {std::make_shared<std::runtime_error>("out of range\nException raised from f at g.cpp:1\nframe #0: h"),
       "error: out of range\n"},
      {std::make_shared<std::bad_alloc>(), "error: the memory does not suffice\n"}};
  for (const auto& [error, said] : others) {
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(report(*error), 1);
    EXPECT_EQ(::testing::internal::GetCapturedStderr(), said);
  }
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(report(ReaderGone()), 141);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "") << "whoever closed the pipe knows";
}

TEST(Config, enum_name_gives_the_spelling) {
  EXPECT_EQ(enum_name(Flavour::dr_grpo), "dr_grpo");
  EXPECT_THROW(enum_name(static_cast<Flavour>(17)), Error);
}

}  // namespace
}  // namespace grpo
