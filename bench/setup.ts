// The peers on this machine: where they lie, and how they are made. Knows their versions through bench/peers/requirements.txt and
// node-llama-cpp's bundle only.
import { spawn } from "node:child_process";
import { accessSync, constants, existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { StillroomError } from "../src/index.js";
import { cacheFolder, packageRoot } from "../src/model/index.js";
import { throwIfCancelled } from "../src/support/cancelled.js";
import type { TrialSession } from "./tune.js";

/** Peers that have to be made; node-llama-cpp is a dependency of the package. */
export const madePeers = ["pytorch", "llama.cpp", "llama-server", "sqlite", "redis", "wrk"] as const;
export type MadePeer = (typeof madePeers)[number];

/** A script of bench/peers: the package has them as they are, nothing compiles them. */
export const peerScript = (name: string): string => path.join(packageRoot(), "bench/peers", name);

/** STILLROOM_PEERS; else .peers in a checkout that can be written; else in the user's cache. */
export function peersFolder(): string {
  const given = process.env.STILLROOM_PEERS;
  if (given) return path.resolve(given);
  const root = packageRoot();
  const checkout = existsSync(path.join(root, "bench/setup.ts")) && writable(root);
  return checkout ? path.join(root, ".peers") : path.join(cacheFolder(), "peers");
}

function writable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** The program of a peer, whether or not it is there. */
function programOf(peer: MadePeer): string {
  const windows = process.platform === "win32";
  const inside = {
    pytorch: windows ? "Scripts/python.exe" : "bin/python",
    sqlite: "sqlite/node_modules/better-sqlite3",
    redis: onPath("redis-server") ?? "redis-server",
    wrk: onPath("wrk") ?? "wrk",
    "llama.cpp": `llama.cpp/build/bin/llama-batched-bench${windows ? ".exe" : ""}`,
    "llama-server": `llama.cpp/build/bin/llama-server${windows ? ".exe" : ""}`,
  };
  return path.resolve(peersFolder(), inside[peer]);
}

function onPath(name: string): string | undefined {
  const folders = (process.env.PATH ?? "").split(path.delimiter);
  return folders.map((folder) => path.join(folder, name)).find((file) => existsSync(file));
}

/** The program of a peer: Python with PyTorch, llama-batched-bench, llama-server, the folder of better-sqlite3, redis-server, or wrk. */
export function peerProgram(peer: MadePeer): string {
  const program = programOf(peer);
  if (existsSync(program)) return program;
  throw new StillroomError(
    "missing",
    `the peer ${peer} is missing (${program}); make it with: stillroom bench setup ${peer}`,
  );
}

/** Makes the peers that are missing. Gives the program of each. */
export async function setupPeers(peers: readonly MadePeer[], session: TrialSession): Promise<Record<string, string>> {
  const made: Record<string, string> = {};
  for (const peer of peers) {
    await makers[peer](programOf(peer), session);
    made[peer] = peerProgram(peer);
  }
  return made;
}

/** What the system's packages bring. */
async function requireSystems(program: string, name: string): Promise<void> {
  if (existsSync(program)) return;
  throw new StillroomError("missing", `there is no ${name} on the PATH; on Debian: apt-get install ${name}`);
}

const makers: Record<MadePeer, (program: string, session: TrialSession) => Promise<void>> = {
  async pytorch(python, session) {
    const check = ["-c", "import torch, transformers, peft, gguf, datasets, trl"];
    if (existsSync(python) && (await complaint(session, python, check)) === null) return;
    if (!existsSync(python)) await call(session, process.env.PYTHON ?? "python3", ["-m", "venv", peersFolder()]);
    // PyPI's Linux wheels of torch bring 4 GB of CUDA libraries; PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu avoids them.
    await call(session, python, ["-m", "pip", "install", "--quiet", "-r", peerScript("requirements.txt")]);
    await call(session, python, check);
  },

  async sqlite(folder, session) {
    if (existsSync(folder)) return;
    const home = path.resolve(folder, "../..");
    await mkdir(home, { recursive: true });
    await call(session, "npm", ["install", "--no-save", "--prefix", home, "better-sqlite3@12"]);
  },

  redis: (program) => requireSystems(program, "redis-server"),

  wrk: (program) => requireSystems(program, "wrk"),

  "llama.cpp": (program, session) => makeLlama(program, "llama-batched-bench", session),

  "llama-server": (program, session) => makeLlama(program, "llama-server", session),
};

/** A program of llama.cpp's, from the source that the engine's own is of, for this processor. */
async function makeLlama(program: string, name: string, session: TrialSession): Promise<void> {
  if (existsSync(program)) return;
  const folder = path.join(peersFolder(), "llama.cpp");
  const [source, build, fresh] = ["source", "build", "unpacking"].map((name) => path.join(folder, name)) as [
    string,
    string,
    string,
  ];
  if (!existsSync(source)) {
    const bundle = fileURLToPath(new URL("../llama/gitRelease.bundle", import.meta.resolve("node-llama-cpp")));
    await rm(fresh, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    await call(session, "git", ["clone", "--quiet", "--no-checkout", bundle, fresh]);
    await call(session, "git", ["-C", fresh, "checkout", "--quiet", "HEAD", "--", "."]);
    await rename(fresh, source);
  }
  const off = ["TESTS", "EXAMPLES", "APP", "UI"].map((part) => `-DLLAMA_BUILD_${part}=OFF`);
  const options = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_SERVER=ON",
  ];
  await call(session, "cmake", ["-S", source, "-B", build, ...options, ...off]);
  const target = ["--target", name, "--parallel", `${availableParallelism()}`];
  await call(session, "cmake", ["--build", build, ...target]);
}

/** Runs a program to its end, with what it says on stderr; null when it did well, else what went wrong. */
async function complaint({ say, signal }: TrialSession, command: string, args: string[]): Promise<string | null> {
  say([command, ...args].join(" "));
  const child = spawn(command, args, { stdio: ["ignore", 2, 2], signal });
  const ended = await new Promise<string | null>((resolve) => {
    child.once("error", ({ message }) => resolve(message));
    child.once("close", (code) => resolve(code === 0 ? null : `exit code ${code}`));
  });
  throwIfCancelled(signal, "making a peer");
  return ended;
}

async function call(session: TrialSession, command: string, args: string[]): Promise<void> {
  const ended = await complaint(session, command, args);
  if (ended !== null) throw new StillroomError("missing", `${[command, ...args].join(" ")} failed: ${ended}`);
}
