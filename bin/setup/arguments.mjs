// What npm start was given, read when this is first imported: before the set-up, which takes a minute. No dependencies.
import { parseArgs } from "node:util";

export const task = "examples/creatures/task.yaml";
export const out = "runs/creatures";

const help = `npm start -- [options]   prompt, tune, distil, export, batch, look up and audit: ${task}
  --model M               a GGUF file or an hf: URI; default: the model in the box
  --threads N  --seed S   of everything
What is made lies in ${out}: a run that was cut off goes on, one that has ended begins anew.
`;

/** What was given by its names. Importing ends the process where help is asked for, or an option is unknown. */
export const given = readArguments();

function readArguments() {
  const text = { type: "string" };
  try {
    const { values } = parseArgs({ options: { model: text, threads: text, seed: text, help: { type: "boolean" } } });
    if (!values.help) return values;
    process.stdout.write(help);
    process.exit(0);
  } catch (error) {
    process.stderr.write(`${error.message}\n\n${help}`);
    process.exit(64);
  }
}
