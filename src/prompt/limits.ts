// Limits for templates that nobody has read: time for any work, size for any value on the way. Knows no prompt.
import vm from "node:vm";
import { Interpreter } from "@huggingface/jinja";
import { StillroomError } from "../support/errors.js";

/** Longest time for one parse or one rendering; either takes well under a millisecond when it is meant well. */
export const timeLimit = 1000;
/** Below this share of the time limit spent on a processor, work was not slow but kept waiting: it is begun again. */
const workingShare = 0.1;
/** How often. */
const attempts = 10;
/** Most characters and items of any value while rendering, beside those that were put in. */
export const sizeLimit = 1024 * 1024;

const box: { work: () => unknown } = { work: () => undefined };
const context = vm.createContext(box);
const call = new vm.Script("work()");

/** Work that took longer than its limit: a fault of the template, not of one row. */
export class OutOfTime extends StillroomError {}

/**
 * Runs synchronous work under the time limit. Node's watchdog of vm scripts ends whatever JavaScript runs below the script,
 * a regular expression included, wherever that was defined. It looks at the clock on the wall: where the machine gave this
 * process no time, the work is begun again.
 *
 * @param what - subject of the error: "the chat template"
 * @param work - the same each time
 */
export function withinTime<T>(what: string, work: () => T, milliseconds = timeLimit): T {
  box.work = work;
  try {
    for (let attempt = 1; ; attempt++) {
      const before = process.cpuUsage();
      try {
        return call.runInContext(context, { timeout: milliseconds }) as T;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ERR_SCRIPT_EXECUTION_TIMEOUT") throw error;
        const { user, system } = process.cpuUsage(before);
        if ((user + system) / 1000 < workingShare * milliseconds && attempt < attempts) continue;
        throw new OutOfTime("input", `${what} takes longer than ${milliseconds / 1000} s`, { cause: error });
      }
    }
  } finally {
    box.work = () => undefined;
  }
}

/** A value of Jinja's run time. */
interface Value {
  type: string;
  value: unknown;
}

// The package's own types do not resolve under Node's rules for modules, so the two methods are named here.
const JinjaInterpreter = Interpreter as unknown as new (
  environment: unknown,
) => {
  run(program: unknown): Value;
  evaluate(statement: unknown, environment: unknown): Value;
};

/** Jinja's interpreter, which stops at a value that outgrows the limit: strings that double, lists of themselves. */
export class LimitedInterpreter extends JinjaInterpreter {
  readonly #sizes = new WeakMap<object, number>();

  constructor(
    environment: unknown,
    readonly limit: number,
  ) {
    super(environment);
  }

  override evaluate(statement: unknown, environment: unknown): Value {
    const value = super.evaluate(statement, environment);
    this.#size(value);
    return value;
  }

  /** Characters and items of a value, those of its items included. Only a namespace can change, so the others are kept. */
  #size(value: Value): number {
    const kept = this.#sizes.get(value);
    if (kept !== undefined) return kept;
    const content = value.value;
    let size = 1;
    let lasting = value.type !== "NamespaceValue";
    if (typeof content === "string") size += content.length;
    else if (Array.isArray(content) || content instanceof Map) {
      for (const item of content.values() as Iterable<Value>) {
        size += this.#size(item);
        lasting &&= item.value === null || typeof item.value !== "object" || this.#sizes.has(item);
        if (size > this.limit) break;
      }
      if (lasting) this.#sizes.set(value, size);
    }
    if (size > this.limit)
      throw new StillroomError("input", `a value of it is larger than ${this.limit} characters and items`);
    return size;
  }
}
