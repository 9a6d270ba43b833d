// The task file's fields, their types and their defaults, as zod schemas. Knows no paths and opens no file.
import { z } from "zod";
import { sourceFormats } from "./types.js";

const name = z.string().min(1);
const seed = z.int().min(0).max(Number.MAX_SAFE_INTEGER);

/** A mapping of texts. Its object has no prototype, so that any key is only a key (zod's own record drops __proto__). */
function textMapping(isValue: (value: unknown) => boolean, wantedValue: string) {
  return z.unknown().transform((value, context) => {
    const result: Record<string, string> = Object.create(null);
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      context.addIssue({ code: "custom", message: "a mapping" });
      return result;
    }
    for (const [key, item] of Object.entries(value)) {
      if (key === "" || !isValue(item)) context.addIssue({ code: "custom", message: wantedValue, path: [key] });
      result[key] = String(item);
    }
    return result;
  });
}

const isText = (value: unknown) => typeof value === "string" && value !== "";
const isScalar = (value: unknown) => ["string", "number", "boolean"].includes(typeof value);

export const sourceSchema = z.strictObject({
  path: name,
  format: z.enum(sourceFormats).optional(),
  columns: textMapping(isText, "a text that is not empty").optional(),
});

export const splitSchema = z.strictObject({
  from: z.enum(["train", "test"]),
  fraction: z.number().gt(0).lt(1),
  stratify: name.optional(),
  group: name.optional(),
  seed: seed.default(0),
});

export const dataSchema = z.strictObject({ train: z.unknown(), test: z.unknown(), validation: z.unknown() }).partial();

export const promptSchema = z.strictObject({
  instruction: z.string().optional(),
  template: z.string().default(""),
  separator: z.string().default("\n\n"),
  chat: z.boolean().default(false),
});

export const answerSchema = z.strictObject({
  field: name.default("answer"),
  labels: textMapping(isScalar, "a text, a number, true or false").optional(),
  separator: name.optional(),
});

const bound = z.number().min(0);
const share = bound.max(1);

const written = z.string().refine((text) => text.trim() !== "", "a text that is not blank");

export const auditSchema = z
  .strictObject({
    positive: name,
    columns: z.array(written),
    terms: z.record(name, z.record(name, z.array(written).min(1))),
    bounds: z
      .strictObject({
        demographic_parity: share,
        equal_opportunity: share,
        equalized_odds: share,
        calibration: bound,
        accuracy: share,
        mean_prediction: bound,
        mae: bound,
        rmse: bound,
        signed_error: bound,
        coverage: share,
        flips: share,
        shift: bound,
        crows_pairs: share,
        bbq: share,
        teacher: bound,
      })
      .partial(),
  })
  .partial();

export const taskSchema = z.strictObject({
  name: name.max(200),
  kind: z.unknown().optional(),
  data: z.unknown().optional(),
  prompt: z.unknown().optional(),
  answer: z.unknown().optional(),
  metric: z.string().optional(),
  audit: z.unknown().optional(),
  maxTokens: z.int().min(1).max(100_000).optional(),
});

/** What a schema's complaint wants to hear, in the words of {@link unexpected}. */
export function wanted(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case "invalid_type":
      return (
        {
          string: "a text",
          boolean: "true or false",
          number: "a number",
          int: "a whole number",
          record: "a mapping",
          object: "a mapping",
          array: "a list",
        }[issue.expected as string] ?? issue.expected
      );
    case "invalid_value":
      return `one of ${issue.values.join(", ")}`;
    case "too_small":
      if (issue.origin === "array") return "a list that is not empty";
      if (issue.origin === "string") return "a text that is not empty";
      return `a number ${issue.inclusive ? "of at least" : "above"} ${issue.minimum}`;
    case "too_big":
      if (issue.origin === "string") return `a text of at most ${issue.maximum} characters`;
      return `a number ${issue.inclusive ? "of at most" : "below"} ${issue.maximum}`;
    default:
      return issue.message;
  }
}
