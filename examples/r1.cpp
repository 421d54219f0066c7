// The recipe of DeepSeek-R1, or any other: a loop over the stages of a config.
//   r1 --config configs/r1_tiny.json --out runs/r1
#include "grpo/config.h"
#include "grpo/recipe.h"
#include "grpo/run.h"

int main(int argc, char** argv) try {
  const auto config = grpo::load_run_config<grpo::RecipeConfig>(argc, argv);
  const auto told = grpo::check_recipe(config);  // what is refused is refused before there is a folder
  grpo::Run run(config, grpo::dump_config(config), "r1");
  return run.attempt([&] {
    run.progress().note("grpo.cpp r1 · seed " + std::to_string(config.seed) + " · " + run.folder().string());
    for (const auto& note : config.notes) run.progress().note(note);
    for (const auto& note : told) run.progress().note(note);
    grpo::Recipe recipe(config, run);
    if (recipe.is_finished())
      run.progress().note("this recipe is finished; --force-from STAGE does that stage again, and those behind it");
    for (const auto& stage : recipe.stages())
      if (!recipe.perform(stage)) return run.stopped();
    run.progress().note(recipe.overview());
    run.progress().note(recipe.table());
    run.progress().note("saved " + run.folder().string() + " · report: scripts/report.py " + run.folder().string());
    return 0;
  });
} catch (const std::exception& error) {
  return grpo::report(error);
}
