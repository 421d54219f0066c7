// Writes the same figures as metrics.jsonl and as an event file into a folder, killed and resumed half-way: what
// read_events.py compares.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "grpo/error.h"
#include "grpo/metrics.h"
#include "grpo/tensorboard.h"

namespace {

class Figures {
 public:
  Figures(const std::filesystem::path& folder, std::optional<uint64_t> lines, std::optional<uint64_t> events)
      : lines_(folder / "metrics.jsonl", lines), events_(folder / "events.out.tfevents.grpo", events) {}

  void write(int64_t step) {
    const double x = static_cast<double>(step);
    const grpo::NamedValues values{{"reward", std::sin(x)},
                                   {"reward/정확", 1.0 / 3.0},
                                   {"seconds/rollout", x * 1e-7},
                                   {"loss", -3e-9},
                                   {"completion_length", 1e6 + x},
                                   {"zero", 0.0},
                                   {"every_third", step % 3 ? std::nan("") : x}};
    const double wall_time = 1.7e9 + 0.125 * x;
    nlohmann::ordered_json line{{"step", step}, {"wall_time", wall_time}};
    for (const auto& [name, value] : values) line[name] = value;
    lines_.write(line);
    events_.write(step, wall_time, values);
  }

  std::pair<uint64_t, uint64_t> offsets() const { return {lines_.offset(), events_.offset()}; }

 private:
  grpo::JsonlWriter lines_;
  grpo::EventWriter events_;
};

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) throw grpo::Error("write_events", "expected one folder");
  const std::filesystem::path folder = argv[1];
  std::pair<uint64_t, uint64_t> checkpoint;
  {
    Figures figures(folder, {}, {});
    for (int64_t step = 0; step < 150; ++step) {
      figures.write(step);
      if (step == 127) checkpoint = figures.offsets();
    }
  }
  std::ofstream(folder / "events.out.tfevents.grpo", std::ios::app) << "half a rec";
  Figures figures(folder, checkpoint.first, checkpoint.second);
  for (int64_t step = 128; step < 300; ++step) figures.write(step);
  figures.write(int64_t{1} << 40);
} catch (const std::exception& error) {
  return grpo::report(error);
}
