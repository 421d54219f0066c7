#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "base/parallel.h"
#include "error_of.h"
#include "grpo/error.h"
#include "grpo/optimizer.h"

namespace grpo {
namespace {

using testing::HasSubstr;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

OptimizerConfig plain_config() {
  OptimizerConfig config;
  config.learning_rate = 1e-2;
  config.max_grad_norm = 0.0;
  return config;
}

at::Tensor random(at::IntArrayRef shape, uint64_t seed, at::ScalarType dtype = at::kFloat) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed), at::TensorOptions()).to(dtype);
}

double max_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

// Matrices, a vector, a scalar-like and one tensor that spans several chunks.
NamedParameters make_parameters(at::ScalarType dtype) {
  return {{"weight", random({31, 7}, 1, dtype)},
          {"bias", random({13}, 2, dtype)},
          {"large", random({101, 211}, 3, dtype)},
          {"scalar", random({1}, 4, dtype)}};
}

void set_gradients(const Gradients& gradients, uint64_t seed) {
  for (const auto& [name, tensor] : gradients.parameters())
    tensor.grad().copy_(random(tensor.sizes(), ++seed, tensor.scalar_type()));
}

StepReport step_with(AdamW& optimizer, uint64_t seed, int64_t step, double loss = 0.0) {
  const Gradients gradients(optimizer.parameters());
  set_gradients(gradients, seed);
  return optimizer.step(gradients, step, loss);
}

// `value` for every element of every gradient.
StepReport step_of(AdamW& optimizer, double value, int64_t step = 0) {
  const Gradients gradients(optimizer.parameters());
  for (const auto& [name, tensor] : gradients.parameters()) tensor.grad().fill_(value);
  return optimizer.step(gradients, step, 0.0);
}

TEST(AdamW, agrees_with_the_fused_adamw_of_torch_in_double_for_20_steps_but_for_one_rounding_a_step) {
  OptimizerConfig config = plain_config();
  config.weight_decay = 0.1;
  config.beta2 = 0.95;
  config.epsilon = 1e-5;
  AdamW optimizer(make_parameters(at::kFloat), config);
  NamedParameters expected = make_parameters(at::kFloat);
  for (auto& [name, tensor] : expected) tensor = tensor.to(at::kDouble);
  std::map<std::string, std::pair<at::Tensor, at::Tensor>> moments;
  for (auto& [name, tensor] : expected) moments[name] = {at::zeros_like(tensor), at::zeros_like(tensor)};
  at::Tensor finished = at::zeros({}, at::kFloat);

  for (int step = 0; step < 20; ++step) {
    const Gradients gradients(optimizer.parameters());
    set_gradients(gradients, 100 * step);
    finished.add_(1);
    for (std::size_t p = 0; p < expected.size(); ++p) {
      auto& [name, tensor] = expected[p];
      const double decay = tensor.dim() >= 2 ? config.weight_decay : 0.0;
      at::_fused_adamw_({tensor}, {optimizer.parameters()[p].second.grad().to(at::kDouble)}, {moments[name].first},
                        {moments[name].second}, {}, {finished}, config.learning_rate, config.beta1, config.beta2, decay,
                        config.epsilon, false, false);
    }
    const StepReport report = optimizer.step(gradients, step, 0.5);
    EXPECT_FALSE(report.skipped) << report.why;
  }
  EXPECT_EQ(optimizer.updates(), 20);
  for (std::size_t p = 0; p < expected.size(); ++p) {
    const at::Tensor& exact = expected[p].second;
    const at::Tensor error = (optimizer.parameters()[p].second.to(at::kDouble) - exact).abs();
    EXPECT_LE((error - exact.abs() * (20 * 0x1p-24)).max().item<double>(), 1e-7) << expected[p].first;
  }
}

TEST(AdamW, decays_matrices_only_and_apart_from_the_gradient) {
  OptimizerConfig config = plain_config();
  config.weight_decay = 0.5;
  NamedParameters parameters{{"weight", at::full({2, 2}, 4.0)}, {"bias", at::full({2}, 4.0)}};
  AdamW optimizer(parameters, config);
  step_of(optimizer, 0);
  EXPECT_NEAR(parameters[0].second[1][1].item<double>(), 4.0 * (1.0 - 1e-2 * 0.5), 1e-6);
  EXPECT_EQ(parameters[1].second[0].item<double>(), 4.0);
}

TEST(AdamW, bits_depend_on_neither_the_run_nor_the_number_of_threads) {
  const auto train = [](int threads, at::ScalarType dtype) {
    set_num_threads(threads);
    OptimizerConfig config = plain_config();
    config.max_grad_norm = 1.0;
    config.weight_decay = 0.01;
    AdamW optimizer(make_parameters(dtype), config);
    for (int step = 0; step < 5; ++step) step_with(optimizer, 100 * step, step);
    return optimizer.parameters();
  };
  const int threads = num_threads();
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const NamedParameters one = train(1, dtype), three = train(3, dtype);
    for (std::size_t p = 0; p < one.size(); ++p) EXPECT_TRUE(at::equal(one[p].second, three[p].second)) << one[p].first;
  }
  set_num_threads(threads);
}

at::Tensor master_of(const AdamW& optimizer) {
  for (const auto& [name, tensor] : optimizer.state())
    if (name.starts_with("master.")) return tensor.clone();
  return {};
}

TEST(AdamW, masters_of_bf16_weights_round_to_them) {
  NamedParameters parameters{{"w", random({63, 65}, 3, at::kBFloat16)}};
  at::Tensor weight = parameters[0].second;
  const std::vector<double> odd{0.0, -0.0, 1.0, -1.0, 1e-40, -3e-39, 3.3895e38, INFINITY, -INFINITY};
  for (std::size_t i = 0; i < odd.size(); ++i) weight[0][static_cast<int64_t>(i)] = odd[i];
  const at::Tensor before = weight.clone();
  AdamW optimizer(parameters, plain_config());
  EXPECT_TRUE(at::equal(master_of(optimizer).to(at::kBFloat16), before));
  EXPECT_TRUE(at::equal(weight, before));
  EXPECT_GT((master_of(optimizer) - before.to(at::kFloat)).ne(0).sum().item<int64_t>(), 4000);
}

// A step of 1e-4 is far below the spacing of bf16 at 1.5, 1/128.
TEST(AdamW, updates_too_small_for_bf16_move_their_share_of_the_weights_from_the_first_on) {
  for (const double sign : {1.0, -1.0}) {
    OptimizerConfig config = plain_config();
    config.learning_rate = 1e-4;
    NamedParameters parameters{{"weight", at::full({64, 65}, 1.5, at::kBFloat16)}};
    AdamW optimizer(parameters, config);
    at::Tensor weight = parameters[0].second;
    for (int step = 1; step <= 100; ++step) {
      step_of(optimizer, sign, step);
      EXPECT_NEAR(weight.to(at::kDouble).mean().item<double>(), 1.5 - sign * 1e-4 * step, 1e-5) << step;
    }
    EXPECT_TRUE(at::equal(master_of(optimizer).to(at::kBFloat16), weight));
  }
}

TEST(AdamW, masters_of_bf16_parameters_change_as_an_fp32_run_of_the_same_gradients) {
  OptimizerConfig config = plain_config();
  config.weight_decay = 0;
  NamedParameters low{{"w", random({19, 23}, 1, at::kBFloat16)}};
  NamedParameters high{{"w", low[0].second.to(at::kFloat)}};
  AdamW low_optimizer(low, config), high_optimizer(high, config);
  const at::Tensor low_before = master_of(low_optimizer), high_before = high[0].second.clone();
  for (int step = 0; step < 10; ++step) {
    const Gradients of_low(low), of_high(high);
    set_gradients(of_low, 50 + step);  // as bf16 holds them
    of_high.all().copy_(of_low.all());
    low_optimizer.step(of_low, step, 0.0);
    high_optimizer.step(of_high, step, 0.0);
  }
  const at::Tensor low_change = master_of(low_optimizer) - low_before, high_change = high[0].second - high_before;
  EXPECT_LT((low_change - high_change).abs().max().item<double>(), 2e-6);
  EXPECT_GT(high_change.abs().mean().item<double>(), 1e-3);
  EXPECT_TRUE(at::equal(low[0].second, master_of(low_optimizer).to(at::kBFloat16)));
}

// As a policy in bf16 has routers in fp32.
TEST(AdamW, has_masters_for_the_parameters_of_a_lower_precision_among_others) {
  const auto low = [] { return std::pair("low", random({19, 23}, 1, at::kBFloat16)); };
  const auto high = [] { return std::pair("high", random({5, 7}, 2)); };
  AdamW both({high(), low(), {"more", random({3}, 3)}}, plain_config()), low_alone({low()}, plain_config()),
      high_alone({high()}, plain_config());
  for (int step = 0; step < 3; ++step)
    for (AdamW* each : {&both, &low_alone, &high_alone}) step_of(*each, 0.25 * step, step);
  std::map<std::string, at::Tensor> state;
  for (const auto& [name, tensor] : both.state()) state[name] = tensor;
  EXPECT_EQ(state.count("master.high") + state.count("master.more"), 0u);
  EXPECT_TRUE(at::equal(state.at("master.low"), master_of(low_alone)));
  EXPECT_TRUE(at::equal(both.parameters()[1].second, low_alone.parameters()[0].second));
  EXPECT_TRUE(at::equal(both.parameters()[0].second, high_alone.parameters()[0].second));
  AdamW resumed({high(), low(), {"more", random({3}, 3)}}, plain_config());
  resumed.load_state(both.state());
  EXPECT_TRUE(at::equal(master_of(resumed), master_of(both)));
}

TEST(AdamW, the_master_follows_weights_that_were_loaded_from_outside) {
  NamedParameters parameters{{"w", at::ones({2, 3}, at::kBFloat16)}};
  AdamW optimizer(parameters, plain_config());
  at::Tensor weight = parameters[0].second;
  weight.fill_(-2.0);
  step_of(optimizer, 0);
  EXPECT_EQ(weight[1][2].item<double>(), -2.0);
}

TEST(AdamW, an_update_makes_a_backward_through_the_old_weights_fail) {
  NamedParameters parameters{{"w", at::ones({2, 3})}};
  AdamW optimizer(parameters, plain_config());
  const auto before = parameters[0].second._version();
  step_of(optimizer, 0);
  EXPECT_GT(parameters[0].second._version(), before);
}

TEST(AdamW, clips_by_the_norm_over_all_parameters) {
  OptimizerConfig config = plain_config();
  config.max_grad_norm = 2.0;
  config.beta1 = 0.0;  // the first moment is then the clipped gradient
  NamedParameters parameters{{"a", at::zeros({2, 2})}, {"b", at::zeros({1})}};
  AdamW optimizer(parameters, config);
  const auto first_moment = [&](std::size_t i) {
    return optimizer.state()[2 + 2 * i].second.flatten()[0].item<double>();
  };
  {
    const Gradients gradients(parameters);
    parameters[0].second.grad().fill_(3.0);
    parameters[1].second.grad().fill_(8.0);
    EXPECT_DOUBLE_EQ(optimizer.step(gradients, 0, 0.0).grad_norm, 10.0);  // √(4·9 + 64)
  }
  EXPECT_NEAR(first_moment(0), 0.6, 1e-6);
  EXPECT_NEAR(first_moment(1), 1.6, 1e-6);
  step_of(optimizer, 0.5);  // below the limit: untouched
  EXPECT_EQ(first_moment(0), 0.5);
  EXPECT_EQ(first_moment(1), 0.5);
}

TEST(AdamW, the_norm_is_exact_where_fp32_would_overflow_or_lose_digits) {
  NamedParameters parameters{{"w", at::zeros({1000, 100})}};
  AdamW optimizer(parameters, plain_config());
  EXPECT_NEAR(step_of(optimizer, 1e30).grad_norm / (std::sqrt(1e5) * 1e30), 1.0, 1e-6);
}

TEST(AdamW, skips_what_is_not_finite_and_names_the_step_and_the_parameter) {
  AdamW optimizer(make_parameters(at::kFloat), plain_config());
  step_with(optimizer, 7, 0);
  const auto snapshot = [&] {
    NamedTensors all = optimizer.state();
    for (const auto& each : optimizer.parameters()) all.push_back(each);
    for (auto& [name, tensor] : all) tensor = tensor.clone();
    return all;
  };
  NamedTensors before = snapshot();

  for (const double broken : {kInfinity, -kInfinity, std::nan("")}) {
    const Gradients gradients(optimizer.parameters());
    set_gradients(gradients, 8);
    gradients.parameters()[2].second.grad()[100][210] = broken;  // the last element of all
    const StepReport report = optimizer.step(gradients, 40, 0.0);
    EXPECT_TRUE(report.skipped);
    EXPECT_THAT(report.why, testing::AllOf(HasSubstr("step 40"), HasSubstr("large")));
    EXPECT_FALSE(std::isfinite(report.grad_norm));
  }
  const StepReport report = step_with(optimizer, 8, 41, std::nan(""));
  EXPECT_TRUE(report.skipped);
  EXPECT_THAT(report.why, testing::AllOf(HasSubstr("step 41"), HasSubstr("loss")));

  EXPECT_EQ(optimizer.skipped_updates(), 4);
  EXPECT_EQ(optimizer.updates(), 1);
  NamedTensors after = snapshot();
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (before[i].first == "skipped_updates") continue;
    EXPECT_TRUE(at::equal(before[i].second, after[i].second)) << before[i].first;
  }
  EXPECT_FALSE(step_with(optimizer, 8, 42).skipped);
}

TEST(Gradients, are_fp32_zeros_in_one_piece_for_as_long_as_they_live) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const NamedParameters parameters = make_parameters(dtype);
    {
      const Gradients gradients(parameters);
      EXPECT_EQ(gradients.all().scalar_type(), at::kFloat);
      EXPECT_TRUE(gradients.all().is_contiguous() && gradients.all().eq(0).all().item<bool>());
      const auto* next = gradients.all().const_data_ptr<float>();
      for (const auto& [name, tensor] : parameters) {
        EXPECT_EQ(tensor.grad().sizes(), tensor.sizes());
        EXPECT_EQ(tensor.grad().const_data_ptr<float>(), next) << name;
        next += (tensor.numel() + 15) / 16 * 16;
      }
      EXPECT_EQ(next, gradients.all().const_data_ptr<float>() + gradients.all().numel());
      set_gradients(gradients, 1);
      double squares = 0;
      for (const auto& [name, tensor] : parameters)
        squares += tensor.grad().to(at::kDouble).square().sum().item<double>();
      EXPECT_DOUBLE_EQ(gradients.all().to(at::kDouble).square().sum().item<double>(), squares);
    }
    for (const auto& [name, tensor] : parameters) EXPECT_FALSE(tensor.grad().defined());
  }
}

TEST(AdamW, refuses_the_gradients_of_other_parameters) {
  const NamedParameters parameters = make_parameters(at::kFloat), others = make_parameters(at::kFloat);
  AdamW optimizer(parameters, plain_config());
  NamedParameters fewer = parameters;
  fewer.pop_back();
  EXPECT_THAT(error_of([&] { optimizer.step(Gradients(others), 0, 0.0); }), HasSubstr("of its own 4 parameters"));
  EXPECT_THAT(error_of([&] { optimizer.step(Gradients(fewer), 0, 0.0); }), HasSubstr("got those of 3 others"));
  EXPECT_EQ(optimizer.updates(), 0);
}

TEST(AdamW, decays_by_far_less_than_a_unit_of_the_weights_on_the_mean_of_many_updates) {
  for (const double learning_rate : {1e-6, 3e-6}) {
    OptimizerConfig config = plain_config();
    config.learning_rate = learning_rate;
    NamedParameters with{{"w", random({80, 100}, 1) * 0.02}}, without{{"w", with[0].second.clone()}};
    const at::Tensor start = with[0].second.to(at::kDouble);
    AdamW plain(without, config);
    config.weight_decay = 0.01;
    AdamW decaying(with, config);
    for (int step = 0; step < 960; ++step) {
      step_with(plain, 10 + step, step), step_with(decaying, 10 + step, step);
    }
    // How far weights of a size went towards 0 for it: the slope of the difference over the weights.
    const at::Tensor difference = without[0].second.to(at::kDouble) - with[0].second.to(at::kDouble);
    const double decay = (difference * start).sum().item<double>() / start.square().sum().item<double>();
    EXPECT_NEAR(decay / (960 * learning_rate * 0.01), 1.0, 0.03) << learning_rate;
  }
}

TEST(AdamW, decays_by_far_less_than_a_unit_where_no_gradient_comes_and_across_a_resume) {
  for (const double learning_rate : {1e-6, 3e-6, 1e-4}) {
    OptimizerConfig config = plain_config();
    config.learning_rate = learning_rate, config.weight_decay = 0.01;
    NamedParameters whole{{"w", random({80, 100}, 1)}}, halves{{"w", whole[0].second.clone()}};
    const at::Tensor start = whole[0].second.to(at::kDouble);
    AdamW optimizer(whole, config), first(halves, config);
    const Gradients none(whole), none_of_halves(halves);
    for (int step = 0; step < 2000; ++step) optimizer.step(none, step, 0.0);
    for (int step = 0; step < 777; ++step) first.step(none_of_halves, step, 0.0);
    AdamW second(halves, config);
    second.load_state(first.state());
    for (int step = 777; step < 2000; ++step) second.step(none_of_halves, step, 0.0);
    const double left = (whole[0].second.to(at::kDouble) * start).sum().item<double>() / start.square().sum().item<double>();
    EXPECT_NEAR((1.0 - left) / (2000 * learning_rate * 0.01), 1.0, 0.05) << learning_rate;
    EXPECT_TRUE(whole[0].second.equal(halves[0].second)) << learning_rate;
  }
}

TEST(AdamW, skips_a_gradient_whose_square_fp32_cannot_hold) {
  OptimizerConfig config = plain_config();
  NamedParameters parameters{{"w", at::ones({2, 3})}};
  AdamW optimizer(parameters, config);
  const StepReport report = step_of(optimizer, 1e21, 3);
  EXPECT_TRUE(report.skipped);
  EXPECT_THAT(report.why, HasSubstr("step 3: the gradient's norm is too large"));
  EXPECT_TRUE(parameters[0].second.equal(at::ones({2, 3})));
  config.max_grad_norm = 1.0;
  AdamW clipping(parameters, config);
  EXPECT_FALSE(step_of(clipping, 1e21, 3).skipped);
  EXPECT_TRUE(clipping.state()[3].second.isfinite().all().item<bool>());
}

TEST(AdamW, moves_by_no_more_than_the_learning_rate_where_squares_underflow) {
  OptimizerConfig config = plain_config();
  config.epsilon = 1e-20;
  for (const double size : {1e-18, 1e-20, 1e-22, 1e-24, 1e-30, 1e-45}) {
    NamedParameters parameters{{"w", at::zeros({3})}};
    AdamW optimizer(parameters, config);
    for (int step = 0; step < 20; ++step) step_of(optimizer, size, step);
    EXPECT_LE(parameters[0].second.abs().max().item<double>(), 20 * 1.1 * config.learning_rate) << size;
  }
  config.epsilon = 1e-21;
  EXPECT_THAT(error_of([&] { validate(config, "optimizer"); }), HasSubstr("optimizer.epsilon: expected x >= "));
}

TEST(AdamW, goes_on_exactly_from_its_saved_state) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    OptimizerConfig config = plain_config();
    config.schedule = Schedule::cosine;
    config.warmup_steps = 2;
    config.total_steps = 10;
    config.weight_decay = 0.1;
    AdamW whole(make_parameters(dtype), config);
    NamedTensors state;
    NamedParameters parameters;
    for (int step = 0; step < 8; ++step) {
      if (step == 4) {
        for (const auto& [name, tensor] : whole.state()) state.emplace_back(name, tensor.clone());
        for (const auto& [name, tensor] : whole.parameters()) parameters.emplace_back(name, tensor.clone());
      }
      step_with(whole, 100 * step, step, step == 1 ? kInfinity : 0.0);
    }
    AdamW resumed(parameters, config);
    resumed.load_state(state);
    EXPECT_EQ(resumed.updates(), 3);
    EXPECT_EQ(resumed.skipped_updates(), 1);
    for (int step = 4; step < 8; ++step) step_with(resumed, 100 * step, step);
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      EXPECT_TRUE(at::equal(parameters[p].second, whole.parameters()[p].second)) << parameters[p].first;
    }
  }
}

TEST(AdamW, refuses_the_state_of_other_parameters_and_stays_as_it_was) {
  AdamW optimizer(make_parameters(at::kFloat), plain_config());
  step_with(optimizer, 1, 0);
  const auto refusal = [&](const auto& change) {
    NamedTensors state;
    for (const auto& [name, tensor] : optimizer.state()) state.emplace_back(name, at::zeros_like(tensor));
    change(state);
    return error_of([&] { optimizer.load_state(state); });
  };
  EXPECT_THAT(refusal([](NamedTensors& s) {
                std::erase_if(s, [](const auto& each) { return each.first == "second_moment.scalar"; });
              }),
              HasSubstr("second_moment.scalar"));
  ASSERT_EQ(optimizer.state().back().first, "decay_due");
  for (const double due : {1.0, -1e-9, kInfinity, std::nan("")})
    EXPECT_THAT(refusal([&](NamedTensors& s) { s.back().second = at::scalar_tensor(due, at::kDouble); }),
                HasSubstr("decay_due: expected 0 <= x < 1"))
        << due;
  for (const std::size_t count : {0, 1})
    EXPECT_THAT(refusal([&](NamedTensors& s) { s[count].second = at::scalar_tensor(-1, at::kLong); }),
                HasSubstr("expected counts of updates and skipped_updates"));
  EXPECT_THAT(refusal([](NamedTensors& s) { s[2].second = at::zeros({31, 8}); }), HasSubstr("first_moment.weight"));
  EXPECT_THAT(refusal([](NamedTensors& s) { s[2].second = at::zeros({31, 7}, at::kDouble); }), HasSubstr("Double"));
  EXPECT_THAT(refusal([](NamedTensors& s) { s.emplace_back("master.weight", at::zeros({1})); }),
              HasSubstr("master.weight"));
  EXPECT_EQ(optimizer.updates(), 1);
  EXPECT_GT(optimizer.state()[2].second.abs().sum().item<double>(), 0.0);
}

TEST(AdamW, refuses_parameters_that_it_cannot_train) {
  const OptimizerConfig config = plain_config();
  const auto refusal = [&](NamedParameters p) { return error_of([&] { AdamW(std::move(p), config); }); };
  const at::Tensor tensor = at::zeros({4, 6});
  EXPECT_THAT(refusal({}), HasSubstr("at least one parameter"));
  EXPECT_THAT(refusal({{"w", tensor.t()}}), HasSubstr("contiguous"));
  EXPECT_THAT(refusal({{"w", at::zeros({2}, at::kInt)}}), HasSubstr("w: expected float32 or bfloat16, got Int"));
  EXPECT_THAT(refusal({{"w", tensor}, {"w", at::zeros({2})}}), HasSubstr("w twice"));
  EXPECT_THAT(refusal({{"embedding", tensor}, {"head", tensor}}), HasSubstr("tied"));
}

TEST(Schedule, warms_up_and_then_follows_its_curve) {
  OptimizerConfig config;
  config.learning_rate = 1.0;
  config.warmup_steps = 4;
  config.total_steps = 14;
  config.min_learning_rate_ratio = 0.2;
  const auto at_update = [&](Schedule schedule, int64_t updates) {
    config.schedule = schedule;
    return config.learning_rate_at(updates);
  };
  for (const Schedule each : {Schedule::constant, Schedule::linear, Schedule::cosine}) {
    EXPECT_DOUBLE_EQ(at_update(each, 0), 0.25);
    EXPECT_DOUBLE_EQ(at_update(each, 2), 0.75);
    EXPECT_DOUBLE_EQ(at_update(each, 3), 1.0);
    EXPECT_DOUBLE_EQ(at_update(each, 4), 1.0);
  }
  EXPECT_DOUBLE_EQ(at_update(Schedule::constant, 1000), 1.0);
  EXPECT_DOUBLE_EQ(at_update(Schedule::linear, 9), 0.2 + 0.8 * 0.5);
  EXPECT_DOUBLE_EQ(at_update(Schedule::cosine, 9), 0.2 + 0.8 * 0.5);
  EXPECT_DOUBLE_EQ(at_update(Schedule::linear, 6), 0.2 + 0.8 * 0.8);
  EXPECT_DOUBLE_EQ(at_update(Schedule::cosine, 6), 0.2 + 0.8 * 0.5 * (1 + std::cos(0.2 * M_PI)));
  for (const Schedule each : {Schedule::linear, Schedule::cosine}) {
    EXPECT_DOUBLE_EQ(at_update(each, 14), 0.2);
    EXPECT_DOUBLE_EQ(at_update(each, 100), 0.2);
  }
}

TEST(Schedule, drives_the_update_and_stands_still_while_one_is_skipped) {
  OptimizerConfig config = plain_config();
  config.warmup_steps = 2;
  NamedParameters parameters{{"w", at::zeros({1})}};
  AdamW optimizer(parameters, config);
  const Gradients gradients(parameters);
  parameters[0].second.grad().fill_(1);
  EXPECT_DOUBLE_EQ(optimizer.step(gradients, 0, 0.0).learning_rate, 0.5e-2);
  EXPECT_NEAR(parameters[0].second.item<double>(), -0.5e-2, 1e-8);  // Adam's first step is the learning rate
  EXPECT_DOUBLE_EQ(optimizer.step(gradients, 1, kInfinity).learning_rate, 1e-2);
  EXPECT_DOUBLE_EQ(optimizer.step(gradients, 2, 0.0).learning_rate, 1e-2);
}

TEST(OptimizerConfig, refuses_values_out_of_range_by_key) {
  const auto refusal = [](const auto& change) {
    OptimizerConfig config;
    change(config);
    return error_of([&] { validate(config, "optimizer"); });
  };
  EXPECT_EQ(refusal([](auto&) {}), "(no error)");
  EXPECT_THAT(refusal([](auto& c) { c.learning_rate = -1; }), HasSubstr("learning_rate: expected"));
  EXPECT_THAT(refusal([](auto& c) { c.beta1 = 1.0; }), HasSubstr("beta1: expected"));
  EXPECT_THAT(refusal([](auto& c) { c.beta2 = 1.0 - 1e-9; }), HasSubstr("beta2: expected"));  // 1 in fp32
  EXPECT_THAT(refusal([](auto& c) { c.beta2 = std::nan(""); }), HasSubstr("beta2: expected"));
  EXPECT_THAT(refusal([](auto& c) { c.epsilon = 0; }), HasSubstr("epsilon: expected"));
  EXPECT_THAT(refusal([](auto& c) { c.weight_decay = kInfinity; }), HasSubstr("weight_decay: expected"));
  EXPECT_THAT(refusal([](auto& c) { c.max_grad_norm = -1; }), HasSubstr("max_grad_norm: expected"));
  EXPECT_THAT(refusal([](auto& c) { c.warmup_steps = -1; }), HasSubstr("warmup_steps: expected"));
  EXPECT_THAT(refusal([](auto& c) { c.min_learning_rate_ratio = 1.5; }),
              HasSubstr("min_learning_rate_ratio: expected"));
  const auto short_decay = [](auto& c) { c.schedule = Schedule::linear, c.warmup_steps = 5, c.total_steps = 5; };
  EXPECT_THAT(refusal(short_decay), HasSubstr("total_steps: expected more than warmup_steps"));

  OptimizerConfig open_ended;
  open_ended.schedule = Schedule::cosine;
  EXPECT_THAT(error_of([&] { AdamW({{"w", at::zeros({1})}}, open_ended); }), HasSubstr("total_steps"));
}

TEST(AdamW, on_a_gpu_does_the_same) {
  // Nothing links libtorch_cuda: without loading it ATen sees no GPU even where there is one.
  if (!dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) || !at::hasCUDA()) GTEST_SKIP() << "no GPU here";
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    OptimizerConfig config = plain_config();
    config.weight_decay = 0.1;
    config.max_grad_norm = 1.0;
    NamedParameters host = make_parameters(dtype), device;
    for (const auto& [name, tensor] : host) device.emplace_back(name, tensor.to(at::kCUDA));
    AdamW on_host(host, config), on_device(device, config);
    for (int step = 0; step < 10; ++step) {
      const Gradients of_host(host), of_device(device);
      set_gradients(of_host, 100 * step);
      of_device.all().copy_(of_host.all());
      const double expected = on_host.step(of_host, step, 0.0).grad_norm;
      EXPECT_NEAR(on_device.step(of_device, step, 0.0).grad_norm / expected, 1.0, 1e-9);
    }
    const Gradients gradients(device);
    device[0].second.grad()[0][0] = std::nan("");
    EXPECT_THAT(on_device.step(gradients, 10, 0.0).why, HasSubstr("weight"));
    const double tolerance = dtype == at::kFloat ? 1e-6 : 1e-2;  // bf16: one rounding may tip over
    for (std::size_t p = 0; p < host.size(); ++p) {
      EXPECT_LE(max_difference(host[p].second, device[p].second.cpu()), tolerance) << host[p].first;
    }
  }
}

TEST(AdamW, begins_its_decay_anew_from_a_state_that_has_none_due) {
  AdamW optimizer(make_parameters(at::kFloat), plain_config());
  NamedTensors state = optimizer.state();
  ASSERT_EQ(state.back().first, "decay_due");
  state.pop_back();
  EXPECT_NO_THROW(optimizer.load_state(state));
  EXPECT_EQ(optimizer.state().back().second.item<double>(), 0.0);
}

}  // namespace
}  // namespace grpo
