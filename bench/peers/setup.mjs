// Makes the peers' Python environment in .peers/ of the checkout: node bench/peers/setup.mjs
// STILLROOM_PEERS=/path/to/venv uses one that exists. Knows versions only through requirements.txt.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const given = process.env.STILLROOM_PEERS;
const folder = path.resolve(given ?? path.join(here, "../../.peers"));
const python = path.join(folder, process.platform === "win32" ? "Scripts/python.exe" : "bin/python");

function run(command, ...args) {
  const { status, error } = spawnSync(command, args, { stdio: ["ignore", 2, 2] });
  if (status === 0) return;
  process.stderr.write(`${command} ${args.join(" ")}: ${error?.message ?? `exit code ${status}`}\n`);
  process.exit(69);
}

if (given) {
  if (!existsSync(python)) {
    process.stderr.write(`STILLROOM_PEERS is ${given}, but there is no ${python}; unset it to make .peers\n`);
    process.exit(69);
  }
} else {
  // PyPI's Linux wheels of torch bring 4 GB of CUDA libraries; PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu avoids them.
  if (!existsSync(python)) run(process.env.PYTHON ?? "python3", "-m", "venv", folder);
  run(python, "-m", "pip", "install", "--quiet", "-r", path.join(here, "requirements.txt"));
}
run(python, "-c", "import torch, transformers, peft, gguf");
process.stdout.write(`${python}\n`);
