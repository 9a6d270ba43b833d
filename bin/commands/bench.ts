// stillroom bench: the engine and its peers on the same work in the same run. The trials and their options live in bench/.
import { Command } from "commander";
import { trialCommands } from "../../bench/commands.js";

export function benchCommand(): Command {
  const made = new Command("bench").description("Times stillroom and its peers on the same work in the same run.");
  for (const trial of trialCommands()) made.addCommand(trial);
  return made.addHelpText(
    "after",
    `
Examples:
  $ stillroom bench setup pytorch
  $ stillroom bench tune --peer pytorch --model model.gguf
  $ stillroom bench score task.yaml --shots 16 --peer node-llama-cpp --model model.gguf`,
  );
}
