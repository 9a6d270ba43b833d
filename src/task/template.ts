// What a task's Jinja template asks of a row. Parses and inspects; renders nothing (prompt does).
import { parse, tokenize } from "@huggingface/jinja";
import { StillroomError } from "../support/errors.js";

/** Longest template in characters; the ones that models carry have a few thousand. */
export const templateLimit = 64 * 1024;
/** Longest run of white space: the parser's patterns take time quadratic in it. */
const whiteSpaceLimit = 1000;

/** Names that a template may use without a row having them. */
const globals = new Set([
  "true",
  "false",
  "none",
  "True",
  "False",
  "None",
  "range",
  "namespace",
  "raise_exception",
  "strftime_now",
  "loop",
  "caller",
  "varargs",
  "kwargs",
]);

export interface TemplateFields {
  /** Every field that the template names. */
  all: string[];
  /** Those that it prints or loops over without asking whether they are there: a row without one of them is bad. */
  required: string[];
}

type Program = ReturnType<typeof parse>;

/** Parses with Jinja's defaults of chat templates (trim_blocks, lstrip_blocks); a syntax error names the place as `where`. */
export function parseTemplate(template: string, where: string): Program {
  if (template.length > templateLimit) {
    throw new StillroomError(
      "input",
      `expected at most ${templateLimit} characters for ${where}, received ${template.length}`,
    );
  }
  if (new RegExp(`\\s{${whiteSpaceLimit}}`).test(template)) {
    throw new StillroomError(
      "input",
      `expected fewer than ${whiteSpaceLimit} white-space characters in a row for ${where}`,
    );
  }
  try {
    return parse(tokenize(template, { lstrip_blocks: true, trim_blocks: true }));
  } catch (error) {
    // The parser reads past its last token where a block is never closed.
    const reason = error instanceof TypeError ? "a block or an expression is not closed" : (error as Error).message;
    throw new StillroomError("input", `expected a Jinja template for ${where}: ${reason}`, {
      cause: error,
    });
  }
}

/** The fields that a parsed template reads. Names that it sets itself (set, for, macro) are not fields. */
export function templateFields(program: Program): TemplateFields {
  const own = new Set<string>();
  const all = new Set<string>();
  const required = new Set<string>();
  visit(program, false);
  const fields = (names: Set<string>) => [...names].filter((name) => !own.has(name) && !globals.has(name));
  return { all: fields(all), required: fields(required) };

  function visit(node: unknown, asked: boolean): void {
    if (Array.isArray(node)) {
      for (const item of node) visit(item, asked);
    } else if (node instanceof Map) {
      for (const [key, value] of node) {
        visit(key, asked);
        visit(value, asked);
      }
    } else if (isNode(node)) {
      visitNode(node, asked);
    }
  }

  function visitNode(node: JinjaNode, asked: boolean): void {
    switch (node.type) {
      case "Identifier":
        all.add(node.value as string);
        if (!asked) required.add(node.value as string);
        return;
      case "MemberExpression":
        visit(node.object, asked);
        if (node.computed) visit(node.property, asked);
        return;
      case "FilterExpression": {
        const filter = node.filter as JinjaNode;
        const name = (filter.type === "CallExpression" ? (filter.callee as JinjaNode) : filter).value;
        visit(node.operand, asked || name === "default");
        if (filter.type === "CallExpression") visit(filter.args, asked);
        return;
      }
      case "FilterStatement": {
        const filter = node.filter as JinjaNode;
        visit(node.body, asked);
        if (filter.type === "CallExpression") visit(filter.args, asked);
        return;
      }
      case "TestExpression":
        visit(node.operand, true);
        return;
      // The operator of these is a token, and words such as "and" are tokens of the type Identifier.
      case "BinaryExpression":
        visit([node.left, node.right], asked);
        return;
      case "UnaryExpression":
        visit(node.argument, asked);
        return;
      case "KeywordArgumentExpression":
        visit(node.value, asked);
        return;
      case "If":
        visit(node.test, true);
        markAsked(node.test, () => visit(node.body, asked));
        visit(node.alternate, asked);
        return;
      case "Ternary":
        visit(node.condition, true);
        markAsked(node.condition, () => visit(node.trueExpr, asked));
        visit(node.falseExpr, asked);
        return;
      case "Set":
        declare(node.assignee);
        visit(node.value, asked);
        visit(node.body, asked);
        return;
      case "For":
        declare(node.loopvar);
        visit(node.iterable, asked);
        visit(node.body, asked);
        visit(node.defaultBlock, asked);
        return;
      case "CallStatement":
        for (const argument of (node.callerArgs ?? []) as JinjaNode[]) declare(argument.key ?? argument);
        visit([node.call, node.body], asked);
        return;
      case "Macro":
        declare(node.name);
        for (const argument of node.args as JinjaNode[]) declare(argument.key ?? argument);
        visit(node.body, asked);
        return;
      default:
        for (const child of Object.values(node)) visit(child, asked);
    }
  }

  /** Within the branch of a condition, the fields that the condition names have been asked for. */
  function markAsked(condition: unknown, branch: () => void): void {
    const named = templateFields({ type: "Program", body: [condition] } as unknown as Program).all;
    const before = new Set(named.filter((name) => required.has(name)));
    branch();
    for (const name of named) if (!before.has(name)) required.delete(name);
  }

  function declare(target: unknown): void {
    if (!isNode(target)) return;
    if (target.type === "Identifier") own.add(target.value as string);
    else if (target.type === "TupleLiteral") for (const item of target.value as unknown[]) declare(item);
  }
}

interface JinjaNode {
  type: string;
  [part: string]: unknown;
}

function isNode(value: unknown): value is JinjaNode {
  return typeof value === "object" && value !== null && typeof (value as JinjaNode).type === "string";
}
