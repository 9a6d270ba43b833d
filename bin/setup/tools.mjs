// What the set-up needs from the machine, and the one sentence that names what is missing with the line that installs it.
// No dependencies: it runs before npm ci.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";

const oldestNode = 20;

function answers(command) {
  return spawnSync(command, ["--version"], { stdio: "ignore" }).status === 0;
}

/** The line that installs a Debian package here, or its nearest kin on another system. */
export function installLine(debian, { brew = debian, dnf = debian, apk = debian } = {}) {
  const sudo = process.getuid?.() === 0 ? "" : "sudo ";
  if (process.platform === "darwin") return brew.startsWith("xcode") ? brew : `brew install ${brew}`;
  if (existsSync("/usr/bin/dnf")) return `${sudo}dnf install -y ${dnf}`;
  if (existsSync("/sbin/apk")) return `${sudo}apk add ${apk}`;
  return `${sudo}apt-get install -y ${debian}`;
}

const needed = [
  { name: "git", commands: () => ["git"], line: () => installLine("git") },
  { name: "CMake", commands: () => ["cmake"], line: () => installLine("cmake") },
  {
    name: "a C++ compiler",
    commands: () => (process.env.CXX ? [process.env.CXX] : ["c++", "g++", "clang++"]),
    line: () => installLine("g++", { brew: "xcode-select --install", dnf: "gcc-c++" }),
  },
  {
    name: "make or ninja",
    commands: () => ["make", "ninja"],
    line: () => installLine("make", { brew: "xcode-select --install" }),
  },
];

/** One sentence for each missing tool; an empty list when all are there. */
export function missingTools() {
  const sentences = [];
  const major = Number(process.versions.node.split(".")[0]);
  if (major < oldestNode) {
    sentences.push(
      `stillroom needs Node ${oldestNode} or newer, and this is ${process.versions.node}: install one from https://nodejs.org`,
    );
  }
  for (const tool of needed) {
    if (!tool.commands().some(answers))
      sentences.push(`stillroom needs ${tool.name} to compile its engine: ${tool.line()}`);
  }
  return sentences;
}

/** Ends the process with exit code 69 (a needed tool is missing) after naming each. */
export function requireTools() {
  const sentences = missingTools();
  if (sentences.length === 0) return;
  for (const sentence of sentences) process.stderr.write(`${sentence}\n`);
  process.exit(69);
}

/** Runs a command with our terminal; false when it failed. */
export function run(command, args, options = {}) {
  return spawnSync(command, args, { stdio: "inherit", ...options }).status === 0;
}
