// JSON Schema as a GBNF grammar: whatever the grammar lets through, once it is complete, is valid against the schema. Refuses by name the
// keywords that it cannot hold to.
import { StillroomError, unexpected } from "../support/errors.js";
import { nearestName } from "../task/index.js";

/** A JSON Schema of the kind that {@link jsonSchemaToGrammar} takes. */
export type JsonSchema = boolean | { readonly [keyword: string]: unknown };

const annotations = ["$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated"];
const companions: Record<string, readonly string[]> = {
  $ref: [],
  const: ["type"],
  enum: ["type"],
  anyOf: [],
  oneOf: [],
  type: [
    ...["properties", "required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems"],
    ...["minLength", "maxLength", "format"],
  ],
};
const keywords = [...annotations, "$defs", "definitions", ...Object.keys(companions), ...companions.type!];
/** Far deeper than people write, and well within the stack. */
const mostLevels = 200;
/** llama.cpp refuses a grammar that repeats something more often. */
const mostRepeats = 2000;

const types: Record<string, string> = {
  string: '"\\"" char* "\\""',
  integer: '"-"? ("0" | [1-9] [0-9]{0,15})',
  number: '"-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?',
  boolean: '"true" | "false"',
  null: '"null"',
  object: '"{" space (string space ":" space value space ("," space string space ":" space value space)*)? "}"',
  array: '"[" space (value space ("," space value space)*)? "]"',
};
const basics: Record<string, string> = {
  ...types,
  value: Object.keys(types)
    .filter((type) => type !== "integer")
    .join(" | "),
  char: '[^"\\\\\\x00-\\x1F\\x7F] | "\\\\" (["\\\\/bfnrt] | "u" [0-9a-fA-F]{4})',
  // A little white space, as people write it; never so much that an answer is nothing else.
  space: '(" " | "\\n" " "{0,16})?',
  date: '[0-9]{4} "-" (("0" [13578] | "1" [02]) "-" (day | "29" | "3" [01]) | ("0" [469] | "11") "-" (day | "29" | "30") | "02-" day)',
  day: '"0" [1-9] | "1" [0-9] | "2" [0-8]',
  time: '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{3})? ("Z" | [-+] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])',
};
const formats: Record<string, string> = { date: "date", time: "time", "date-time": 'date "T" time' };

/**
 * The GBNF grammar of the JSON values that a schema allows; for the `grammar` of a request, which takes a `schema` as well.
 *
 * Taken are type (also a list), enum, const, anyOf, oneOf, properties, required, additionalProperties, items, prefixItems, minItems,
 * maxItems, minLength, maxLength (to 2,000), format (date, time, date-time), $ref to # or into $defs or definitions, and
 * annotations. Properties come in the order of the schema, others than those described only where none is described.
 *
 * @throws StillroomError "usage" naming the place and a keyword that is not supported, or a value that it cannot have
 *
 * @example
 * ```ts
 * import { jsonSchemaToGrammar } from "stillroom";
 * const schema = { type: "object", properties: { fruit: { enum: ["drupe", "pome"] } }, required: ["fruit"] };
 * console.log(jsonSchemaToGrammar(schema));
 * ```
 */
export function jsonSchemaToGrammar(schema: JsonSchema): string {
  const grammar = new Grammar(schema);
  return grammar.text();
}

class Grammar {
  readonly #root: JsonSchema;
  readonly #rules = new Map<string, string>();
  /** Names of the rules that references have, by their targets. */
  readonly #targets = new Map<string, string>();
  /** Which targets can begin with which others, with nothing of their own before: a cycle in it has no first character. */
  readonly #begins = new Map<string, Set<string>>();
  #levels = 0;
  /** The target whose rule the schema in hand would begin; null behind a brace or a bracket. */
  #beginning: string | null = "#";

  constructor(root: JsonSchema) {
    this.#root = root;
    this.#targets.set("#", "whole");
    this.#rules.set("whole", "");
    this.#rules.set("whole", this.#of(root, "#", "#"));
  }

  text(): string {
    const rules = [["root", "whole"], ...this.#rules, ...Object.entries(basics)];
    return rules.map(([name, rule]) => `${name} ::= ${rule}\n`).join("");
  }

  #name(rule: string): string {
    if (/^[a-z]+[0-9]*$/.test(rule)) return rule;
    const name = `r${this.#rules.size}`;
    this.#rules.set(name, rule);
    return name;
  }

  /** The right side of a rule, for what stands behind a brace or a bracket. */
  #inside(schema: unknown, at: string): string {
    return this.#of(schema, at, null);
  }

  /** The right side of a rule. Schemas that hold themselves are endless, so that their depth tells. */
  #of(schema: unknown, at: string, beginning: string | null): string {
    const before = this.#beginning;
    this.#beginning = beginning;
    if (++this.#levels > mostLevels) {
      throw new StillroomError(
        "usage",
        `expected at most ${mostLevels} levels for schema, received more at ${at.length > 80 ? `${at.slice(0, 80)}…` : at}; a schema that holds itself is written with $ref`,
        { options: ["schema"] },
      );
    }
    const rule = this.#ruleOf(schema, at);
    this.#levels--;
    this.#beginning = before;
    return rule;
  }

  #ruleOf(schema: unknown, at: string): string {
    if (schema === true) return "value";
    if (typeof schema !== "object" || schema === null || Array.isArray(schema))
      throw unexpected("an object or true", at, schema);
    const given = schema as Record<string, unknown>;
    const kind = Object.keys(companions).find((keyword) => given[keyword] !== undefined) ?? "type";
    for (const keyword of Object.keys(given)) {
      if (!keywords.includes(keyword)) throw unsupported(keyword, at);
      const fits = keyword === kind || companions[kind]!.includes(keyword);
      if (!fits && !annotations.includes(keyword) && !/^(\$defs|definitions)$/.test(keyword)) {
        throw new StillroomError("usage", `the schema has ${keyword} beside ${kind} at ${at}, which is not supported`, {
          options: ["schema"],
        });
      }
    }
    if (kind === "$ref") return this.#reference(given.$ref, at);
    if (kind === "const") return literalOf(given.const, given.type, at);
    if (kind === "enum")
      return list(given.enum, `${at}/enum`, 1)
        .map((value) => literalOf(value, given.type, at))
        .join(" | ");
    if (kind === "anyOf" || kind === "oneOf") {
      return list(given[kind], `${at}/${kind}`, 1)
        .map((one, i) => this.#name(this.#of(one, `${at}/${kind}/${i}`, this.#beginning)))
        .join(" | ");
    }
    return this.#typed(given, at);
  }

  #reference(target: unknown, at: string): string {
    const match = typeof target === "string" ? /^#(?:\/(\$defs|definitions)\/([^/]+))?$/.exec(target) : null;
    if (!match) throw unexpected("# or #/$defs/NAME", `${at}/$ref`, target);
    this.#begin(target as string, at);
    const known = this.#targets.get(target as string);
    if (known) return known;
    const name = `t${this.#targets.size}`;
    this.#targets.set(target as string, name);
    const folder = (this.#root as Record<string, Record<string, unknown> | undefined>)[match[1]!];
    const key = match[2]!.replaceAll("~1", "/").replaceAll("~0", "~");
    if (!folder || !Object.hasOwn(folder, key))
      throw unexpected("a name that the schema defines", `${at}/$ref`, target);
    this.#rules.set(name, "");
    this.#rules.set(name, this.#of(folder[key], target as string, target as string));
    return name;
  }

  /** Notes that the target in hand can begin with another. Throws "usage" where that comes back to it. */
  #begin(target: string, at: string): void {
    const from = this.#beginning;
    if (from === null) return;
    this.#begins.set(from, (this.#begins.get(from) ?? new Set()).add(target));
    const reached = new Set([target]);
    for (const one of reached) for (const next of this.#begins.get(one) ?? []) reached.add(next);
    if (!reached.has(from)) return;
    throw new StillroomError("usage", `the schema refers to nothing but itself at ${at}/$ref`, { options: ["schema"] });
  }

  #typed(given: Record<string, unknown>, at: string): string {
    const implied = "properties" in given || "required" in given || "additionalProperties" in given ? "object" : null;
    const named = given.type ?? implied ?? ("items" in given || "prefixItems" in given ? "array" : undefined);
    if (
      named === undefined &&
      ("minLength" in given || "maxLength" in given || "format" in given || "minItems" in given || "maxItems" in given)
    ) {
      throw unexpected("a type", `${at}/type`, undefined);
    }
    if (named === undefined) return "value";
    const wanted = Array.isArray(named) ? list(named, `${at}/type`, 1) : [named];
    return wanted
      .map((type) => {
        if (typeof type !== "string" || !(type in types))
          throw unexpected(`one of ${Object.keys(types).join(", ")}`, `${at}/type`, type);
        if (type === "string") return this.#string(given, at);
        if (type === "object") return this.#object(given, at);
        return type === "array" ? this.#array(given, at) : type;
      })
      .map((rule) => (wanted.length > 1 ? this.#name(rule) : rule))
      .join(" | ");
  }

  #string(given: Record<string, unknown>, at: string): string {
    const [least, most] = range(given, "minLength", "maxLength", at);
    if (given.format !== undefined) {
      const format = typeof given.format === "string" ? formats[given.format] : undefined;
      if (!format) throw unexpected(`one of ${Object.keys(formats).join(", ")}`, `${at}/format`, given.format);
      if (least > 0 || most !== null) throw unsupported("minLength or maxLength beside format", at);
      return `"\\"" ${format} "\\""`;
    }
    return least === 0 && most === null ? "string" : `"\\"" char{${least},${most ?? ""}} "\\""`;
  }

  #object(given: Record<string, unknown>, at: string): string {
    const { properties = {}, required = [], additionalProperties } = given;
    if (typeof properties !== "object" || properties === null || Array.isArray(properties)) {
      throw unexpected("an object", `${at}/properties`, properties);
    }
    const needed = list(required, `${at}/required`, 0).map((name) => {
      if (typeof name === "string") return name;
      throw unexpected("a name", `${at}/required`, name);
    });
    const described = Object.entries(properties);
    const undescribed = needed
      .filter((name) => !Object.hasOwn(properties, name))
      .map((name) => [name, additionalProperties ?? true] as const);
    const members = [...described, ...undescribed].map(([name, schema]) => {
      const rule = this.#name(this.#inside(schema, `${at}/properties/${name}`));
      return {
        rule: this.#name(`${quoted(JSON.stringify(name))} space ":" space ${rule} space`),
        needed: needed.includes(name),
      };
    });
    if (members.length === 0) {
      if (additionalProperties === false) return '"{" space "}"';
      const value = this.#name(this.#inside(additionalProperties ?? true, `${at}/additionalProperties`));
      const member = this.#name(`string space ":" space ${value} space`);
      return `"{" space (${member} ("," space ${member})*)? "}"`;
    }
    // The first member that is there has no comma before it.
    const tail = (from: number) =>
      members
        .slice(from)
        .map(({ rule, needed }) => (needed ? ` "," space ${rule}` : ` ("," space ${rule})?`))
        .join("");
    const firstNeeded = members.findIndex((member) => member.needed);
    const last = firstNeeded < 0 ? members.length - 1 : firstNeeded;
    const heads = members.slice(0, last + 1).map(({ rule }, i) => rule + tail(i + 1));
    return `"{" space (${heads.join(" | ")})${firstNeeded < 0 ? "?" : ""} "}"`;
  }

  #array(given: Record<string, unknown>, at: string): string {
    const front = list(given.prefixItems ?? [], `${at}/prefixItems`, 0).map((one, i) =>
      this.#name(this.#inside(one, `${at}/prefixItems/${i}`)),
    );
    const [least, most] = range(given, "minItems", "maxItems", at);
    const closed = given.items === false || (front.length > 0 && given.items === undefined);
    if (least > front.length && closed) throw unexpected(`items, or at most ${front.length}`, `${at}/minItems`, least);
    if (most !== null && most < front.length)
      throw unexpected(`at least ${front.length}, the prefixItems`, `${at}/maxItems`, most);
    const beginning = front.join(' space "," space ');
    if (closed) return `"[" space ${beginning === "" ? "" : `${beginning} space `}"]"`;
    const item = this.#name(this.#inside(given.items ?? true, `${at}/items`));
    const from = Math.max(0, least - Math.max(front.length, 1));
    const until = most === null ? null : most - Math.max(front.length, 1);
    const more = until === null || until > 0 ? `(space "," space ${item}){${from},${until ?? ""}}` : "";
    if (front.length > 0) return `"[" space ${beginning} ${more} space "]"`;
    if (most === 0) return '"[" space "]"';
    return `"[" space ${least > 0 ? `${item} ${more} space` : `(${item} ${more} space)?`} "]"`;
  }
}

/** A JSON value as a GBNF literal. */
function literalOf(value: unknown, type: unknown, at: string): string {
  const own = value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
  const wanted = type === undefined ? [own] : [type].flat();
  if (!wanted.includes(own) && !(wanted.includes("integer") && Number.isInteger(value)))
    throw unexpected(`a value of type ${wanted.join(" or ")}`, at, value);
  return quoted(jsonOf(value, at));
}

/** The value as JSON. Throws "usage" for one that JSON has not, holds itself, or is too deep. */
function jsonOf(value: unknown, at: string): string {
  try {
    const text = JSON.stringify(value) as string | undefined;
    if (text !== undefined) return text;
  } catch {
    // The same refusal.
  }
  throw unexpected("a JSON value", at, value);
}

const quoted = (text: string): string => `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;

function list(value: unknown, at: string, least: number): unknown[] {
  if (Array.isArray(value) && value.length >= least) return value;
  throw unexpected(least > 0 ? "a list that is not empty" : "a list", at, value);
}

function range(given: Record<string, unknown>, low: string, high: string, at: string): [number, number | null] {
  const whole = (name: string, least: number): number => {
    const value = given[name];
    if (Number.isInteger(value) && (value as number) >= least && (value as number) <= mostRepeats)
      return value as number;
    throw unexpected(`a whole number from ${least} to ${mostRepeats}`, `${at}/${name}`, value);
  };
  const least = given[low] === undefined ? 0 : whole(low, 0);
  return [least, given[high] === undefined ? null : whole(high, least)];
}

function unsupported(keyword: string, at: string): StillroomError {
  const near = nearestName(keyword, keywords);
  const hint = near ? `; did you mean ${near}?` : "";
  return new StillroomError("usage", `the schema has ${keyword} at ${at}, which is not supported${hint}`, {
    options: ["schema"],
  });
}
