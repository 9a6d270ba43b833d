// One Jinja template, parsed and rendered under limits. Knows nothing of chats or tasks.
import { Environment } from "@huggingface/jinja";
import { StillroomError } from "../support/errors.js";
import { parseTemplate, templateFields } from "../task/index.js";
import { LimitedInterpreter, sizeLimit, withinTime } from "./limits.js";

/** Most items of a range in a template. */
const rangeLimit = 10_000;

/** The day that a template is told: a prompt must not change overnight, and this is the one that Llama 3 falls back to. */
const today = new Date(Date.UTC(2024, 6, 26));

/** A template that was parsed once. Throws "input" for whatever goes wrong in it. */
export class Renderer {
  readonly #program: ReturnType<typeof parseTemplate>;
  readonly #names: ReadonlySet<string>;
  /** Text, and names of fields, where the template holds nothing else. */
  readonly #plain: readonly { text: string; field: boolean }[] | null;

  /** @param what - subject of errors: "the chat template of the model" */
  constructor(
    template: string,
    readonly what: string,
  ) {
    this.#program = withinTime(what, () => parseTemplate(template, what));
    this.#names = new Set(templateFields(this.#program).all);
    this.#plain = plainParts(this.#program.body as unknown as Statement[], this.#names);
  }

  /** White space at the end of the template itself, not of a value. */
  get endsInSpace(): boolean {
    const last = this.#program.body.at(-1) as { type: string; value?: unknown } | undefined;
    return last?.type === "StringLiteral" && /\s$/.test(String(last.value));
  }

  /** Values that the template does not name are not touched. */
  render(values: Record<string, unknown>): string {
    return this.#fill(values) ?? this.#interpret(values);
  }

  /** What the interpreter makes of texts put in their places, at a hundredth of its cost, which is its limits'; null where it has to look. */
  #fill(values: Record<string, unknown>): string | null {
    if (this.#plain === null) return null;
    let out = "";
    for (const { text, field } of this.#plain) {
      const part = field ? (Object.hasOwn(values, text) ? values[text] : undefined) : text;
      if (typeof part !== "string") return null;
      out += part;
      if (out.length >= sizeLimit) return null;
    }
    return out;
  }

  #interpret(values: Record<string, unknown>): string {
    let size = 0;
    const environment = globals();
    try {
      for (const [name, value] of Object.entries(values)) {
        if (!this.#names.has(name) || value === undefined) continue;
        size += sizeOf(value);
        environment.set(name, value);
      }
      const interpreter = new LimitedInterpreter(environment, sizeLimit + 4 * size);
      return withinTime(this.what, () => String(interpreter.run(this.#program).value));
    } catch (error) {
      if (error instanceof StillroomError && error.message.startsWith(this.what)) throw error;
      throw new StillroomError("input", `${this.what} cannot be rendered: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }
}

interface Statement {
  type: string;
  value?: unknown;
}

function plainParts(body: readonly Statement[], names: ReadonlySet<string>): { text: string; field: boolean }[] | null {
  const plain = body.every(
    ({ type, value }) => type === "StringLiteral" || (type === "Identifier" && names.has(String(value))),
  );
  return plain ? body.map(({ type, value }) => ({ text: String(value), field: type === "Identifier" })) : null;
}

function globals(): Environment {
  const environment = new Environment();
  const constants = { true: true, false: false, none: null, True: true, False: false, None: null };
  for (const [name, value] of Object.entries(constants)) environment.set(name, value);
  environment.set("raise_exception", (message: unknown) => {
    throw new Error(String(message));
  });
  environment.set("range", range);
  environment.set("strftime_now", (format: unknown) => formatDay(String(format)));
  return environment;
}

function range(...given: unknown[]): number[] {
  const numbers = given.filter((one) => typeof one === "number");
  const [start, stop] = numbers.length === 1 ? [0, numbers[0]!] : [numbers[0] ?? 0, numbers[1] ?? 0];
  const step = numbers[2] ?? 1;
  const count = Math.max(0, Math.ceil((stop - start) / step));
  if (!(count <= rangeLimit)) throw new Error(`range gives more than ${rangeLimit} numbers`);
  return Array.from({ length: count }, (_, index) => start + index * step);
}

function formatDay(format: string): string {
  const day = today.toISOString();
  const named = (options: Intl.DateTimeFormatOptions) =>
    new Intl.DateTimeFormat("en-US", { ...options, timeZone: "UTC" }).format(today);
  const parts: Record<string, string> = {
    "%Y": day.slice(0, 4),
    "%m": day.slice(5, 7),
    "%d": day.slice(8, 10),
    "%H": day.slice(11, 13),
    "%M": day.slice(14, 16),
    "%b": named({ month: "short" }),
    "%B": named({ month: "long" }),
    "%a": named({ weekday: "short" }),
    "%A": named({ weekday: "long" }),
    "%%": "%",
  };
  return format.replaceAll(/%./g, (part) => parts[part] ?? part);
}

function sizeOf(value: unknown): number {
  if (typeof value === "string") return value.length;
  if (typeof value !== "object" || value === null) return 1;
  return Object.values(value).reduce<number>((sum, item) => sum + sizeOf(item), 1);
}
