// The life of a command: signals to an AbortSignal, results to stdout, errors to stderr and to an exit code. Knows no command.

import type { Command, CommanderError } from "commander";
import { exitCodes, StillroomError } from "../src/index.js";
import { asTyped } from "./options.js";
import { colours, plain } from "./print.js";
import { Progress } from "./print-progress.js";

/** Exit code of a command that is done, but had bad rows. */
const doneWithBadRows = 2;

/** What a command is given. */
export interface Session {
  /** Aborted by the first SIGINT or SIGTERM. */
  signal: AbortSignal;
  /** To stderr. */
  progress: Progress;
}

/** What a command gives back. */
export interface Outcome {
  /** What --json prints; null where lines of JSON were printed on the way, with --json or without. */
  result: object | null;
  /** What is printed otherwise. */
  text: string;
  badRows?: number;
  /** What did not hold of a result that is whole all the same: the process ends as at a gate. */
  failures?: readonly string[];
}

/** Runs a command's work, prints its outcome and ends the process with its exit code. */
export async function run(command: Command, work: (session: Session) => Promise<Outcome>): Promise<never> {
  const { json = false } = command.opts<{ json?: boolean }>();
  const controller = new AbortController();
  const progress = new Progress(process.stderr);
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(exitCodes.cancelled);
      controller.abort();
      progress.line("stopping after the piece of work in hand; a second signal stops at once");
    });
  }
  // Nobody reads the progress any more: no reason to stop the work.
  process.stderr.on("error", () => undefined);
  // A reader that has seen enough (head) is no fault.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : exitCodes.io));
  try {
    const { result, text, badRows = 0, failures = [] } = await work({ signal: controller.signal, progress });
    progress.end();
    if (failures.length > 0) {
      if (!json) await write(text);
      throw new StillroomError("gate", failures.join("\n"), { cause: result });
    }
    await write(json && result !== null ? `${JSON.stringify(result)}\n` : text);
    process.exit(badRows > 0 ? doneWithBadRows : 0);
  } catch (error) {
    progress.end();
    process.exit(await fail(error, json, command));
  }
}

/** Awaits work that ends at a gate: what was measured is worth showing where that is not passed. */
export async function measured<Result>(work: PromiseLike<Result>): Promise<{ result: Result; failures: string[] }> {
  try {
    return { result: await work, failures: [] };
  } catch (error) {
    if (!(error instanceof StillroomError) || error.code !== "gate") throw error;
    return { result: error.cause as Result, failures: [error.message] };
  }
}

/** Ends what the option parser stopped: it has told a person by now, and stdout is still owed --json's one object. */
export async function misused({ exitCode, code, message }: CommanderError): Promise<never> {
  // Help and version that were asked for.
  if (exitCode === 0) process.exit(0);
  process.stdout.on("error", () => process.exit(exitCodes.usage));
  // The parser may have stopped before it came to --json, so that only the words themselves say it.
  const end = process.argv.indexOf("--");
  if (process.argv.slice(2, end < 0 ? undefined : end).includes("--json")) {
    const said = code === "commander.help" ? "expected a command; --help lists them" : message.replace(/^error: /, "");
    await write(`${JSON.stringify({ error: { code: "usage", message: said } })}\n`);
  }
  process.exit(exitCodes.usage);
}

/** Prints an error and gives its exit code. With --json, stdout gets { error: { code, message } } and what is known besides. */
async function fail(error: unknown, json: boolean, command: Command): Promise<number> {
  const known =
    error instanceof StillroomError ? error : new StillroomError("internal", describe(error), { cause: error });
  const { code, cause } = known;
  const message = asTyped(known, command);
  // The parser of task files shows the lines that it means.
  const lines = message.split("\n").map(plain);
  process.stderr.write(`${colours(process.stderr).red("error:")} ${lines.join("\n")}\n`);
  if (code === "internal" && cause instanceof Error && cause.stack) process.stderr.write(`${cause.stack}\n`);
  const result = code === "gate" && cause !== null && typeof cause === "object" ? cause : {};
  if (json) await write(`${JSON.stringify({ error: { code, message }, ...result })}\n`);
  return exitCodes[code];
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function write(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => (error ? reject(error) : resolve()));
  });
}
